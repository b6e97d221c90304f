"""Training under real kills: SIGKILL at random steps and inside the writing of a checkpoint, then resumed, bit for bit.

The child is this file run as a script: `python test_training_survives.py FOLDER STEP WRITE POINT`; it kills itself
before step STEP, or inside its write number WRITE at POINT, and prints the digest of what it trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow
POINTS = ("flush", "swap", "prune", "best")


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def arm(number: int, point: str) -> None:
    """Kill this process inside the writing of checkpoint `number`, counted from 0."""
    import shutil

    from tapetum.core import store
    from tapetum.learn.training import checkpoint

    count = [0]
    targets = {
        "flush": (store, "_flush"),
        "swap": (store, "_swap"),
        "prune": (shutil, "rmtree"),
        "best": (checkpoint, "bytes_of"),
    }
    module, name = targets[point]
    original = getattr(module, name)

    def armed(*args, **more):
        count[0] += 1
        if count[0] > number:
            if point == "flush":  # cut a file first, as a full page cache would
                file = args[0] / "state.safetensors"
                file.write_bytes(file.read_bytes()[:100])
            kill()
        return original(*args, **more)

    setattr(module, name, armed)


def child(folder: str, kill_at: int, write: int, point: str) -> None:
    import torch
    from torch import nn

    from tapetum.learn.training.checkpoint import Saving
    from tapetum.learn.training.history import LoopSettings
    from tapetum.learn.training.loop import run_loop

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if write >= 0:
        arm(write, point)
    data = np.random.default_rng(1)
    x = torch.from_numpy(data.normal(size=(80, 12)).astype(np.float32))
    y = (x[:, :1] * 2 + x[:, 1:2]).sin()
    module = nn.Sequential(nn.Linear(12, 32), nn.BatchNorm1d(32), nn.Dropout(0.2), nn.GELU(), nn.Linear(32, 1))

    def loss_of(rows, epoch):
        module.train(epoch >= 0)
        at = torch.from_numpy(rows)
        return (module(x[at]) - y[at]).square().mean(1)

    def on_step(step, steps, loss, rate):
        if step == kill_at:
            kill()

    saving = Saving(Path(folder), every_steps=3) if folder else None
    settings = LoopSettings(epochs=6, batch=10, learning_rate=0.02, ema=0.9, patience=0)
    rows = np.arange(80)
    history = run_loop(
        module, loss_of, rows[:60], rows[60:], settings, np.random.default_rng(2), saving=saving, on_step=on_step
    )
    digest = hashlib.sha256()
    for tensor in module.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    print(json.dumps([digest.hexdigest(), history.train_loss, history.held_loss, history.average_loss,
                      history.best_epoch, history.averaged]))  # fmt: skip


def run(folder: Path | str, kill_at: int = -1, write: int = -1, point: str = "flush") -> str | None:
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run(
        [sys.executable, __file__, str(folder), str(kill_at), str(write), point],
        env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.stdout if done.returncode == 0 else None


@pytest.fixture(scope="module")
def undisturbed():
    return run("")


def test_killed_at_random_steps_until_it_is_done(tmp_path, undisturbed):
    rng = np.random.default_rng(0)
    kills, result = 0, None
    for kill_at in (*sorted(rng.choice(36, size=4, replace=False)), -1):
        result = run(tmp_path, int(kill_at))
        kills += result is None
    assert kills == 4
    assert result == undisturbed


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_a_checkpoint_is_written(tmp_path, undisturbed, point):
    assert run(tmp_path, write=4, point=point) is None
    assert run(tmp_path) == undisturbed
    assert not list(tmp_path.glob(".*"))
    assert not list(tmp_path.glob("damaged-*"))


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
