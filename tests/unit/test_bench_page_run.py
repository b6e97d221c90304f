"""The page of a training run: what it shows of a log, hand-computed places on the axes, nothing that loads or runs."""

from __future__ import annotations

import json
import math
import re

import pytest

from tapetum.bench.pages.plots_training import loss_plot, rate_plot, ticks
from tapetum.bench.pages.training import Stage, environment, run_page, stages, write_run
from tapetum.learn import Model

LOG = {
    "pairs": 40, "train_loss": [2.0, 1.0], "held_loss": [1.5, 1.8], "average_loss": [1.6, 1.4], "chance": 2.5,
    "held_chance": 2.25, "best_epoch": 1, "averaged": True, "bad_step": -1, "bad_rows": [],
    "curve": {"step": [0.0, 1.0, 2.0, 3.0], "loss": [2.2, 1.8, 1.2, 0.8], "rate": [0.5, 1.0, 0.5, 0.1], "steps": 4},
    "settings": {"epochs": 2, "batch": 16, "learning_rate": 1e-3, "parallel": ""}, "memory": "0.42 GB: weights 0.42",
    "trained": 1234, "alarms": ["labels may be <wrong>"],
}  # fmt: skip


def model(log=LOG, **config):
    told = {"archive": "clinic", "tuner": "lora(rank=4)", **config}
    return Model("tiny()", "", config=told, log=log, parents={"archive": "ab" * 32})


def page(of, **options):
    return run_page(of, stages(of), environment(1), **options)


def test_a_stage_is_read_from_the_log():
    (stage,) = stages(model())
    assert stage.name == "Tuning with lora(rank=4)"
    assert (stage.train, stage.held, stage.average) == ((2.0, 1.0), (1.5, 1.8), (1.6, 1.4))
    assert (stage.chance, stage.held_chance, stage.best_epoch, stage.averaged) == (2.5, 2.25, 1, True)
    assert stage.steps_per_epoch == 2
    assert stage.facts == {"trained": 1234}


def test_stages_stand_in_the_order_in_which_they_ran():
    inner = {"train_loss": [1.0], "held_loss": [], "chance": None}
    log = {**LOG, "fine_tuning": inner, "self_supervision": {"0": {**inner, "encoder": "tiny-64"}}}
    found = stages(model(log, tuner="", task="contrastive"))
    names = ["Self-supervision · 0 · tiny-64", "contrastive", "Fine-tuning"]
    assert [stage.name for stage in found] == names
    assert math.isnan(found[0].chance)


def test_a_closed_form_leaves_no_page(tmp_path):
    assert write_run(model({"pairs": 3, "penalty": 1.0}), tmp_path / "run") is None
    assert not (tmp_path / "run").exists()


def test_page_and_json_are_written_and_a_loaded_log_reads_the_same(tmp_path):
    assert write_run(model(), tmp_path / "run", seconds=12.3) == tmp_path / "run"
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["stages"][0]["held"] == [1.5, 1.8]
    assert told["data"] == {"archive": "clinic", "parents": {"archive": "ab" * 32}, "rows": 40}
    assert told["seconds"] == 12.3
    assert not told["phantom"]
    assert told["environment"]["threads"].partition(" of ")[0].isdigit()
    loaded = json.loads(json.dumps({**LOG, "chance": None}))
    write_run(model(loaded), tmp_path / "again")
    again = json.loads((tmp_path / "again" / "run.json").read_text())
    assert again["stages"][0]["chance"] is None
    assert again["seconds"] is None


def test_the_page_tells_all_and_loads_nothing():
    text = page(model(archive="<script>alert(1)</script>"), seconds=61.4, phantom=True)
    wanted = [
        "2 of 2", "1.400", "held-out loss of epoch 2, kept (chance 2.2500)", "1,234", "61 s", "0.42 GB", "ab" * 32,
        "2.5000 on training patients and 2.2500 on held-out patients", "The circle is the epoch that was kept, as",
        "PHANTOM", "Alarm: labels may be &lt;wrong&gt;", "lora(rank=4)", "processor", "threads", "not how well",
    ]  # fmt: skip
    assert [words for words in wanted if words not in text] == []
    assert "<script" not in text
    assert not re.search(r'(?:src|href)="(?!#)', text)


def test_without_the_number_of_epochs_no_step_is_placed():
    """Logs that do not tell it are drawn by epoch alone."""
    shown = page(model({**LOG, "settings": {}}))
    assert "loss of each step" not in shown
    assert "learning rate of" not in shown
    assert "learning rate of" in page(model())


def test_the_batch_that_broke_the_training_is_named():
    images = ["i" * 12, "j" * 12]
    broken = {**LOG, "bad_step": 7, "bad_rows": [3, 4], "bad_images": images}
    assert f"not finite at step 7; the batch: {images[0]}, {images[1]}" in page(model(broken))
    del broken["bad_images"]
    assert "the batch: row 3, row 4" in page(model(broken))


def test_where_the_start_was_better_the_page_says_so():
    text = page(model({**LOG, "best_epoch": -1, "averaged": False}))
    assert "least held-out loss; the start was better and is kept" in text
    assert "The circle" not in text


def places(svg, name):
    points = re.search(rf'points="([^"]*)"><title>{name}</title>', svg).group(1)
    return [tuple(map(float, pair.split(","))) for pair in points.split()]


def test_losses_stand_where_they_belong():
    svg = loss_plot(Stage("s", (2.0, 1.0), (1.0, 3.0)))

    # axes: two epochs over 78..706; losses 1..3 with 6 % margin = 0.88..3.12 over 270..12
    def y(loss):
        return 270 - (loss - 0.88) / 2.24 * 258

    assert places(svg, "training") == [
        pytest.approx((235.0, y(2.0)), abs=0.06),
        pytest.approx((549.0, y(1.0)), abs=0.06),
    ]
    assert places(svg, "held out") == [
        pytest.approx((392.0, y(1.0)), abs=0.06),
        pytest.approx((706.0, y(3.0)), abs=0.06),
    ]
    assert "loss of each step" not in svg
    assert "chance" not in svg


def test_a_chance_level_and_the_kept_epoch_are_drawn():
    svg = loss_plot(stages(model())[0])
    assert "chance on held-out patients: 2.2500" in svg
    assert "kept: epoch 2, 1.4000" in svg
    assert [x for x, _ in places(svg, "loss of each step")] == [235.0, 392.0, 549.0, 706.0]


def test_a_loss_that_is_not_finite_breaks_no_picture():
    svg = loss_plot(Stage("s", (2.0, math.nan), (math.nan, math.nan), chance=math.nan))
    assert "nan" not in svg


def test_one_wild_step_does_not_flatten_the_others():
    curve = {
        "step": list(range(100)),
        "loss": [1.0 + i / 100 for i in range(99)] + [1e6],
        "rate": [1.0] * 100,
        "steps": 100,
    }
    stage = Stage("s", (1.5,), curve=curve, settings={"epochs": 1})
    heights = [y for _, y in places(loss_plot(stage), "loss of each step")]
    assert max(heights[:99]) - min(heights[:99]) > 200


def test_the_learning_rate_starts_from_nought():
    svg = rate_plot(stages(model())[0])
    # 1.0 is the top but for 5 %: 110 − 98/1.05
    assert places(svg, "learning rate")[1] == pytest.approx((392.0, 110 - 98 / 1.05), abs=0.06)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]), (0.13, 0.31, [0.15, 0.2, 0.25, 0.3]), (2.0, 2.0, [2.0]),
        (0, 1e-4, [0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4]),
    ],
)  # fmt: skip
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)
