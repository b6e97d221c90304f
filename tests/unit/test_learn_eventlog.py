"""CSV and TensorBoard logs, the event files read back by a reader of our own: framing, checksums, protobuf fields."""

from __future__ import annotations

import csv
import struct
import sys

import numpy as np
import pytest
import torch
from torch import nn

from tapetum.core.errors import MissingExtraError, UsageError
from tapetum.learn.training.eventlog import EPOCH_COLUMNS, EventFiles, opened_log
from tapetum.learn.training.history import History
from tapetum.learn.training.loop import LoopSettings, learning_rate_at, run_loop
from tapetum.learn.training.runlog import POINTS, Curve, Watch

EPOCHS, STEPS = 3, 2


def trained(watch):
    """A line through the origin: 4 rows to train on, 2 held out, 2 steps an epoch."""
    torch.set_num_threads(1)
    module, x = nn.Linear(1, 1, bias=False), torch.linspace(0.5, 1, 6)[:, None]
    with torch.no_grad():
        module.weight.fill_(3.0)

    def loss_of(rows, epoch):
        return module(x[torch.from_numpy(rows)]).square().mean(1)

    settings = LoopSettings(epochs=EPOCHS, batch=2, learning_rate=0.1, ema=0.5)
    return run_loop(
        module, loss_of, np.arange(4), np.arange(4, 6), settings, np.random.default_rng(0),
        on_step=watch.on_step, on_epoch=watch.on_epoch,
    )  # fmt: skip


# --- an independent reader of event files ----------------------------------------------------------------------------


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(file):
    data, at = file.read_bytes(), 0
    while at < len(data):
        head = data[at : at + 8]
        (length,) = struct.unpack("<Q", head)
        body = data[at + 12 : at + 12 + length]
        assert struct.unpack("<I", data[at + 8 : at + 12]) == (masked(head),)
        assert struct.unpack("<I", data[at + 12 + length : at + 16 + length]) == (masked(body),)
        yield body
        at += 16 + length


def fields(message):
    """Field number and value of every field of a protobuf message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        number, kind = key >> 3, key & 7
        if kind == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(kind) or varint()
            value, at = message[at : at + size], at + size
        yield number, value


def scalars(folder):
    """(tag, step, value) of every scalar, and the steps at which a session started."""
    found, starts = [], []
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for body in records(file):
            event = dict(fields(body))
            if 7 in event:  # session log
                starts.append(event.get(2, 0))
            for _, value in fields(event.get(5, b"")):  # summary
                tag, number = (dict(fields(value))[k] for k in (1, 2))
                found.append((tag.decode(), event.get(2, 0), struct.unpack("<f", number)[0]))
    return found, starts


def test_the_reader_knows_a_checksum_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720 names the polynomial; this is its check value


def test_event_files_hold_every_step_and_epoch(tmp_path):
    pytest.importorskip("tensorboardX", reason="the extra `tensorboard` is not installed")
    curve = Curve()
    with opened_log("tensorboard", tmp_path) as log:
        history = trained(Watch((log, curve)).stage("tuning with last()"))
    found, starts = scalars(tmp_path / "tuning_with_last")
    of = {tag: [(s, v) for t, s, v in found if t == tag] for tag in {t for t, _, _ in found}}
    assert set(of) == {"loss/step", "learning_rate", "loss/train", "loss/held_out", "loss/average"}
    assert [s for s, _ in of["loss/step"]] == list(range(EPOCHS * STEPS))
    np.testing.assert_allclose([v for _, v in of["loss/step"]], curve.told()["loss"], rtol=1e-6)
    rates = [learning_rate_at(s, EPOCHS * STEPS, 0.1) for s in range(EPOCHS * STEPS)]
    np.testing.assert_allclose([v for _, v in of["learning_rate"]], rates, rtol=1e-6)
    for tag, losses in (("train", history.train_loss), ("held_out", history.held_loss)):
        assert [s for s, _ in of[f"loss/{tag}"]] == [2, 4, 6]
        np.testing.assert_allclose([v for _, v in of[f"loss/{tag}"]], losses, rtol=1e-6)
    assert starts == [0]


def test_a_run_that_goes_on_purges_what_it_takes_again(tmp_path):
    pytest.importorskip("tensorboardX", reason="the extra `tensorboard` is not installed")
    for first in (0, 3):
        with opened_log("tensorboard", tmp_path) as log:
            log.stage("tuning")
            for step in range(first, 5):
                log.step(step, 5, 1.0 + first, 0.1)
    found, starts = scalars(tmp_path / "tuning")
    assert starts == [0, 3]
    assert [v for t, s, v in found if t == "loss/step" and s == 4] == [1.0, 4.0]


def test_without_the_extra_the_command_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tapetum\[tensorboard\]', or log=csv"):
        EventFiles(tmp_path)


def test_another_kind_of_log_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"csv \| tensorboard"), opened_log("wandb", tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def rows(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_csv_files_of_two_stages(tmp_path):
    with opened_log("csv", tmp_path / "log") as log:
        watch = Watch((log,))
        first = trained(watch.stage("aligning"))
        trained(watch.stage("fine-tuning"))
    names = ["aligning.csv", "aligning_epochs.csv", "fine_tuning.csv", "fine_tuning_epochs.csv"]
    assert sorted(f.name for f in (tmp_path / "log").iterdir()) == names
    assert [int(r["step"]) for r in rows(tmp_path / "log" / "fine_tuning.csv")] == list(range(EPOCHS * STEPS))
    epochs = rows(tmp_path / "log" / "aligning_epochs.csv")
    assert tuple(epochs[0]) == EPOCH_COLUMNS
    assert [float(r["held_out_loss"]) for r in epochs] == first.held_loss
    assert [float(r["average_loss"]) for r in epochs] == first.average_loss
    assert [int(r["best_epoch"]) for r in epochs].index(1) == first.best_epoch


def test_where_nothing_is_held_out_the_column_is_empty(tmp_path):
    with opened_log("csv", tmp_path) as log:
        log.epoch(0, History(train_loss=[1.0]))
    assert rows(tmp_path / "training_epochs.csv")[0]["held_out_loss"] == ""


def test_a_long_curve_is_thinned_to_means_of_equally_many_steps():
    curve, steps = Curve(), 3 * POINTS + 1
    curve.stage("long")
    for step in range(steps):
        curve.step(step, steps, float(step), 1.0)
    told = curve.told()
    assert told["steps"] == steps
    assert told["each"] == 4
    assert len(told["step"]) <= POINTS + 1
    assert told["step"][:2] == [1.5, 5.5]
    assert told["loss"] == told["step"]
    np.testing.assert_allclose(np.average(told["loss"][:-1]), (steps - 2) / 2)
    curve.stage("next")
    assert curve.told() == {"step": [], "loss": [], "rate": [], "each": 1, "steps": 0}
