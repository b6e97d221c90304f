"""The CSV of a run: a line per step, also across a kill."""

from __future__ import annotations

import csv

import numpy as np
import torch
from torch import nn

from tapetum.learn.training.loop import LoopSettings, learning_rate_at, run_loop
from tapetum.learn.training.runlog import COLUMNS, CsvLog


def lines(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_step_of_the_loop_is_a_line(tmp_path):
    torch.set_num_threads(1)
    module, path = nn.Linear(1, 1), tmp_path / "new" / "run.csv"
    x = torch.ones(6, 1)
    run_loop(
        module, lambda rows, epoch: module(x[torch.from_numpy(rows)]).square().mean(1), np.arange(6), np.arange(0),
        LoopSettings(epochs=2, batch=3), np.random.default_rng(0), on_step=CsvLog(path),
    )  # fmt: skip
    found = lines(path)
    assert tuple(found[0]) == COLUMNS
    assert [int(line["step"]) for line in found] == [0, 1, 2, 3]
    assert {line["steps"] for line in found} == {"4"}
    assert [float(line["learning_rate"]) for line in found] == [learning_rate_at(s, 4, 1e-3) for s in range(4)]
    losses = [float(line["loss"]) for line in found]
    assert losses[0] > losses[-1]


def test_steps_that_are_taken_again_are_cut_off(tmp_path):
    path = tmp_path / "run.csv"
    log = CsvLog(path)
    for step in range(6):
        log(step, 10, 1.0, 0.1)
    again = CsvLog(path)
    again(4, 10, 2.0, 0.1)
    again(5, 10, 2.0, 0.1)
    again(6, 10, 2.0, 0.1)
    assert [(int(line["step"]), float(line["loss"])) for line in lines(path)] == [
        (0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0),
    ]  # fmt: skip
    CsvLog(path)(7, 10, 3.0, 0.1)
    assert len(lines(path)) == 8


def test_a_line_that_was_cut_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "run.csv"
    log = CsvLog(path)
    for step in range(3):
        log(step, 10, 1.0, 0.1)
    path.write_text(path.read_text() + "3,1")
    CsvLog(path)(3, 10, 2.0, 0.1)
    assert [line["step"] for line in lines(path)] == ["0", "1", "2", "3"]
    assert lines(path)[-1]["loss"] == "2.0"
