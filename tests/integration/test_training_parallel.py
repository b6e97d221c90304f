"""Two processes on one machine (gloo): the same loop gives what one process gives, and only the first one writes.

The child is this file run by `torchrun`; it trains a small aligner and tower contrastively and writes what it found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def child(folder: str, mode: str, kind: str, stop: int) -> None:
    import torch
    from torch import nn

    from tapetum.learn.training.checkpoint import Saving
    from tapetum.learn.training.history import LoopSettings
    from tapetum.learn.training.loop import run_loop
    from tapetum.learn.training.parallel import World, launched

    def train() -> None:
        torch.manual_seed(0)
        data = np.random.default_rng(1)
        x = torch.from_numpy(data.normal(size=(70, 12)).astype(np.float32))
        t = torch.from_numpy(data.normal(size=(70, 6)).astype(np.float32)) + x[:, :6]
        settings = LoopSettings(epochs=3, batch=20, learning_rate=0.01, ema=0.9, patience=0, parallel=mode)
        world = World.of(mode)
        tower = nn.Sequential(nn.Linear(12, 32), nn.GELU(), nn.Linear(32, 6))
        module = nn.ModuleDict({"tower": tower, "head": nn.Linear(6, 6)})
        module.register_parameter("scale", nn.Parameter(torch.tensor([2.0])))
        module.register_parameter("unused", nn.Parameter(torch.tensor([1.0])))

        def contrastive(rows: np.ndarray, epoch: int) -> torch.Tensor:
            at = torch.from_numpy(rows)
            image, own = world.gather(nn.functional.normalize(module["tower"](x[at]), dim=1))
            text, _ = world.gather(nn.functional.normalize(module["head"](t[at]), dim=1))
            logits = module.scale * image @ text.T
            return nn.functional.cross_entropy(logits, torch.arange(len(logits)), reduction="none")[own]

        def each(rows: np.ndarray, epoch: int) -> torch.Tensor:
            at = torch.from_numpy(rows)
            return module.scale * (module["head"](module["tower"](x[at])) - t[at]).square().mean(1)

        def on_step(step: int, steps: int, loss: float, rate: float) -> None:
            if step == stop:
                os._exit(3)

        loss_of = contrastive if kind == "contrastive" else each
        saving = Saving(Path(folder) / "run", every_steps=2) if stop != -2 else None
        rows = np.arange(70)
        history = run_loop(
            module, loss_of, rows[:55], rows[55:], settings, np.random.default_rng(2), saving=saving, on_step=on_step
        )
        weights = {k: w.full_tensor() if hasattr(w, "full_tensor") else w for k, w in module.state_dict().items()}
        if world.rank == 0:
            np.savez(Path(folder) / "found.npz", **{k: w.numpy() for k, w in weights.items()})
            told = [history.train_loss, history.held_loss, history.average_loss, history.best_epoch, world.size]
            (Path(folder) / "found.json").write_text(json.dumps(told))

    torch.set_num_threads(1)
    if mode:
        with launched("gloo"):
            train()
        # A thread that outlives the group aborts the process now and then, when the interpreter ends.
        running = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
        assert not [name for name in running if "gloo" in name], running
    else:
        train()


def run(folder: Path, mode: str, kind: str = "each", stop: int = -2, *, fails: bool = False):
    folder.mkdir(exist_ok=True)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    several = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1", "--master-port=0",
               "--nnodes=1", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, *(several if mode else []), __file__, str(folder), mode, kind, str(stop)],
        env=env, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stderr[-3000:]
    if fails:
        return None
    told = json.loads((folder / "found.json").read_text())
    with np.load(folder / "found.npz") as arrays:
        return told, dict(arrays)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return {kind: run(folder / kind, "", kind) for kind in ("each", "contrastive")}


@pytest.mark.parametrize("mode", ["ddp", "after", "fsdp"])
@pytest.mark.parametrize("kind", ["each", "contrastive"])
def test_two_processes_train_as_one(tmp_path, alone, mode, kind):
    (told, weights), (expected, others) = run(tmp_path, mode, kind), alone[kind]
    assert (told[-1], expected[-1]) == (2, 1)
    for ours, theirs in zip(told[:3], expected[:3], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert told[3] == expected[3]
    for name, other in others.items():
        np.testing.assert_allclose(weights[name], other, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_stopped_and_started_again_the_first_process_alone_writes(tmp_path, alone, mode):
    run(tmp_path, mode, stop=5, fails=True)
    steps = sorted(p.name for p in (tmp_path / "run").glob("step-*"))
    assert steps == ["step-00000002", "step-00000004"]
    whole, uninterrupted = run(tmp_path, mode, stop=-1), run(tmp_path / "other", mode)
    assert whole[0] == uninterrupted[0]
    for name, other in uninterrupted[1].items():
        np.testing.assert_array_equal(whole[1][name], other, err_msg=name)


if __name__ == "__main__":
    child(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
