"""What is seen while a verb works: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from tapetum.cli import live
from tapetum.cli.frame import run_folder
from tapetum.cli.words import sort_words
from tapetum.learn.training.history import History


@pytest.fixture
def bars():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress(TextColumn("{task.description}"), console=console, auto_refresh=False) as made:
        yield made


def test_rows_from_a_cache_count_for_no_speed(bars):
    images = live.Images(bars, "embedding")
    images(500, 1000)
    (task,) = bars.tasks
    assert (task.description, task.completed, task.total) == ("embedding", 500, 1000)
    assert task.speed is None
    images(516, 1000)
    images(532, 1000)
    assert task.completed == 532
    assert task.speed is None or task.speed > 0
    images(1000, 1000)
    assert bars.tasks == []


def test_a_second_archive_starts_anew(bars):
    images = live.Images(bars, "embedding")
    images(0, 10)
    images(8, 10)
    images(2, 50)
    (task,) = bars.tasks
    assert (task.completed, task.total) == (2, 50)


def test_steps_epochs_and_losses_are_told(bars):
    training = live.Training(bars)
    training.stage("tuning with last()")
    training.step(0, 4, 2.0, 1e-3)
    (task,) = bars.tasks
    assert task.fields["told"] == "epoch 1  loss 2.0000  rate 1.0e-03"
    training.epoch(0, History(train_loss=[2.0], held_loss=[1.25]))
    training.step(3, 4, 1.0, 1e-4)  # the last step is always shown
    assert task.fields["told"] == "epoch 2  loss 1.0000  held out 1.2500  rate 1.0e-04"
    assert (task.completed, task.total) == (4, 4)
    training.stage("fine-tuning")
    assert bars.tasks == []
    training.step(7, 10, 1.0, 1e-4)  # goes on after a kill: what was done before counts for no speed
    assert (bars.tasks[0].description, bars.tasks[0].completed) == ("fine-tuning", 8)
    assert bars.tasks[0].speed is None


def test_eighty_columns_are_enough():
    screen = io.StringIO()
    with live.bars_on(Console(file=screen, force_terminal=True, width=80)) as bars:
        training = live.Training(bars)
        training.stage("tuning with lora(rank=16, alpha=32, seed=5)")
        training.step(119_998, 120_000, 12.3456, 1e-5)
        training.epoch(98, History(train_loss=[2.0], held_loss=[123.4567]))
        training.step(119_999, 120_000, 12.3456, 1e-5)
    last = screen.getvalue()
    assert "tuning with lora(rank=16, a…" in last
    assert "120000/120000" in last
    assert "  epoch 100  loss 12.3456  held out 123.4567  rate 1.0e-05" in last
    assert "0:00" in last


def test_without_a_terminal_a_line_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    lines = live.EpochLines(every_seconds=10)
    lines.stage("tuning")
    for epoch, seconds in enumerate((4.0, 11.0, 12.0, 22.0)):
        now[0] = seconds
        lines.step(2 * epoch + 1, 8, 1.0, 1e-3)
        lines.epoch(epoch, History(train_loss=[0.5], held_loss=[0.75] if epoch > 1 else []))
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "tuning: epoch 2, step 4 of 8, loss 0.5000", "tuning: epoch 4, step 8 of 8, loss 0.5000, held out 0.7500",
    ]  # fmt: skip


def test_without_a_terminal_there_is_no_bar(monkeypatch):
    monkeypatch.setattr(live.sys, "stderr", io.StringIO())
    with live.live("embedding") as (progress, watchers):
        assert progress is None
        assert watchers == ()
    monkeypatch.setattr(live.sys, "stderr", None)  # closed by the one who started us
    assert not live.on_terminal()


def test_log_is_a_word_only_for_verbs_that_train():
    assert sort_words(["a.tap", "log=csv", "seed=3"], logs=True).log == "csv"
    assert sort_words(["a.tap", "log=csv", "seed=3"], logs=True).settings == ("seed=3",)
    assert sort_words(["a.tap", "log=csv"]).settings == ("log=csv",)


def test_a_run_is_told_beside_its_checkpoint(tmp_path):
    assert run_folder(tmp_path / "models" / "odir.v2") == tmp_path / "models" / "odir.v2_run"
