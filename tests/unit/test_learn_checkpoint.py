"""Training checkpoints: everything is in them, damage is seen, another run's are refused."""

from __future__ import annotations

import dataclasses
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tapetum.core.errors import ArtefactError
from tapetum.learn.training.checkpoint import Run, Saver, Saving
from tapetum.learn.training.history import History, LoopSettings
from tapetum.learn.training.loop import run_loop

SETTINGS = LoopSettings(epochs=4, batch=8, learning_rate=0.05, ema=0.7, patience=0)
TRAIN, HELD = np.arange(24), np.arange(24, 32)


class Killed(BaseException):
    """Stands for a kill inside this process; the real one is in tests/integration."""


class Task:
    """A network with everything that keeps state: dropout (torch's generator), batch statistics, own generators."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        rng = np.random.default_rng(7)
        self.x = torch.from_numpy(rng.normal(size=(32, 6)).astype(np.float32))
        self.y = torch.from_numpy(rng.normal(size=(32, 1)).astype(np.float32))
        self.module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.mask, self.noise = torch.Generator().manual_seed(1), np.random.default_rng(2)
        self.rng = np.random.default_rng(3)

    def loss_of(self, rows, epoch):
        at = torch.from_numpy(rows)
        self.module.train(epoch >= 0)
        x = self.x[at]
        if epoch >= 0:
            x = x * (torch.rand(x.shape, generator=self.mask) > 0.1) + float(self.noise.normal()) * 0.01
        return (self.module(x) - self.y[at]).square().mean(1)

    def run(self, folder=None, *, kill_at=-1, every_steps=1, settings=SETTINGS, data="d", train=TRAIN, **more):
        def on_step(step, steps, loss, rate):
            if step == kill_at:
                raise Killed

        saving = None
        if folder is not None:
            saving = Saving(folder, every_steps, data=data, generators=(self.mask, self.noise))
        history = run_loop(
            self.module, self.loss_of, train, HELD, settings, self.rng, saving=saving, on_step=on_step, **more
        )
        return history, {k: v.clone() for k, v in self.module.state_dict().items()}


@pytest.fixture(scope="module")
def undisturbed():
    return Task().run()


def same(found, expected):
    (history, weights), (other, others) = found, expected
    assert dataclasses.asdict(dataclasses.replace(history, chance=0, held_chance=0)) == dataclasses.asdict(
        dataclasses.replace(other, chance=0, held_chance=0)
    )
    assert all(torch.equal(weights[k], others[k]) for k in others)


def test_saving_changes_nothing(tmp_path, undisturbed):
    same(Task().run(tmp_path), undisturbed)


@pytest.mark.parametrize("every", [1, 2, 5])
def test_killed_after_any_step_it_goes_on_bit_for_bit(tmp_path, undisturbed, every):
    for kill_at in (0, 1, 4, 7, 8, 11):
        with pytest.raises(Killed):
            Task().run(tmp_path / str(kill_at), kill_at=kill_at, every_steps=every)
        same(Task().run(tmp_path / str(kill_at), every_steps=every), undisturbed)


def test_killed_again_and_again(tmp_path, undisturbed):
    for kill_at in (2, 3, 6, 10):
        with pytest.raises(Killed):
            Task().run(tmp_path, kill_at=kill_at)
    same(Task().run(tmp_path), undisturbed)


def test_a_finished_run_is_not_trained_again(tmp_path, undisturbed):
    Task().run(tmp_path)
    same(Task().run(tmp_path, kill_at=0), undisturbed)  # no step: nobody is killed


def test_the_last_two_and_the_best_stay(tmp_path):
    Task().run(tmp_path)
    names = sorted(p.name for p in tmp_path.iterdir())
    steps = [n for n in names if n.startswith("step-")]
    assert steps == ["step-00000011", "step-00000012"]
    best = {json.loads((tmp_path / s / "state.json").read_text())["best"]["file"] for s in steps}
    assert {n for n in names if n.startswith("best-")} == best
    assert len(names) == len(steps) + len(best)


def damage_cut(folder):
    file = folder / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-40])


def damage_bit(folder):
    data = bytearray((folder / "state.safetensors").read_bytes())
    data[-3] ^= 1
    (folder / "state.safetensors").write_bytes(data)


def damage_meta(folder):
    (folder / "meta.json").write_text("{")


def damage_json(folder):
    (folder / "state.json").unlink()


@pytest.mark.parametrize("damage", [damage_cut, damage_bit, damage_meta, damage_json])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, undisturbed, damage):
    with pytest.raises(Killed):
        Task().run(tmp_path, kill_at=7)
    newest = max(tmp_path.glob("step-*"))
    assert newest.name == "step-00000007"
    damage(newest)
    with pytest.warns(RuntimeWarning, match=f"{newest.name} is damaged .*, the one before it is taken"):
        found = Task().run(tmp_path)
    same(found, undisturbed)
    assert (tmp_path / "damaged-step-00000007").is_dir()


def test_all_damaged_is_a_new_beginning(tmp_path, undisturbed):
    with pytest.raises(Killed):
        Task().run(tmp_path, kill_at=7)
    for folder in tmp_path.glob("step-*"):
        damage_cut(folder)
    with pytest.warns(RuntimeWarning, match="is damaged"):
        same(Task().run(tmp_path), undisturbed)


def test_a_damaged_best_copy_is_seen(tmp_path, undisturbed):
    with pytest.raises(Killed):
        Task().run(tmp_path, kill_at=7)
    for file in tmp_path.glob("best-*"):
        file.write_bytes(b"x")
    with pytest.warns(RuntimeWarning, match="is damaged"):
        found = Task().run(tmp_path)
    same(found, undisturbed)


def test_leftovers_of_a_kill_during_the_writing_are_removed(tmp_path, undisturbed):
    with pytest.raises(Killed):
        Task().run(tmp_path, kill_at=5)
    (tmp_path / ".step-00000006.99.part").mkdir()
    (tmp_path / ".step-00000006.99.part" / "state.json").write_text("half")
    (tmp_path / ".best-00001.safetensors.99.part").write_text("half")
    same(Task().run(tmp_path), undisturbed)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"data": "e"}, "data: 'd' there, 'e' here"),
        (
            {"settings": dataclasses.replace(SETTINGS, learning_rate=0.1)},
            "settings.learning_rate: 0.05 there, 0.1 here",
        ),
        ({"train": np.arange(20)}, "training rows"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused_naming_what_differs(tmp_path, change, named):
    with pytest.raises(Killed):
        Task().run(tmp_path, kill_at=5)
    with pytest.raises(ArtefactError) as caught:
        Task().run(tmp_path, **change)
    assert named in caught.value.found
    assert caught.value.found.count(" there, ") == 1


def test_another_seed_and_another_network_are_refused(tmp_path):
    with pytest.raises(Killed):
        Task().run(tmp_path, kill_at=5)
    other = Task()
    other.rng = np.random.default_rng(4)
    with pytest.raises(ArtefactError, match="generator"):
        other.run(tmp_path)
    other = Task()
    other.module.append(nn.Linear(1, 1))
    with pytest.raises(ArtefactError, match="network"):
        other.run(tmp_path)


def test_the_rows_of_a_bad_batch_are_named_and_saved(tmp_path):
    task = Task()
    bad = task.loss_of
    task.loss_of = lambda rows, epoch: bad(rows, epoch) * (math.nan if epoch == 1 and 5 in rows else 1)
    history, weights = task.run(tmp_path)
    assert 3 <= history.bad_step < 6
    assert 5 in history.bad_rows
    assert len(history.bad_rows) == 8
    told = json.loads((tmp_path / "bad_batch.json").read_text())
    assert told == {"step": history.bad_step, "epoch": 1, "rows": history.bad_rows}
    assert f"step {history.bad_step}, rows {history.bad_rows[0]}" in history.alarms()[0]
    assert all(torch.isfinite(w).all() for w in weights.values())
    assert max(tmp_path.glob("step-*")).name == f"step-{history.bad_step:08d}"  # the state before it


def test_saving_by_time(tmp_path, monkeypatch):
    now = iter(np.arange(0, 1000, 4.0))
    # the module's own name for it: other threads go on asking the real clock
    monkeypatch.setattr("tapetum.learn.training.checkpoint.time", SimpleNamespace(monotonic=lambda: float(next(now))))
    written = []
    monkeypatch.setattr(Saver, "write", lambda self: (written.append(self.run.step), self._note())[0])
    monkeypatch.setattr(Saver, "_note", lambda self: setattr(self, "_last", float(next(now))), raising=False)
    task = Task()
    saving = Saving(tmp_path, every_seconds=10.0)
    run_loop(task.module, task.loss_of, TRAIN, HELD, SETTINGS, task.rng, saving=saving)
    assert written == [3, 6, 9, 12, 12]  # 4 s a step, and once at the end


def test_generators_of_other_kinds_come_back(tmp_path):
    """MT19937 keeps its state in an array, PCG64 in large whole numbers."""
    module = nn.Linear(1, 1)
    for make in (np.random.MT19937, np.random.PCG64, np.random.Philox):
        rng = np.random.Generator(make(5))
        rng.normal(size=3)
        run = Run(module, torch.optim.AdamW(module.parameters()), rng)
        folder = tmp_path / make.__name__
        Saver(Saving(folder), run, {}).write()
        expected = rng.normal(size=4)
        back = Run(module, torch.optim.AdamW(module.parameters()), np.random.Generator(make(6)), history=History())
        assert Saver(Saving(folder), back, {}).resume()
        np.testing.assert_array_equal(back.rng.normal(size=4), expected)


def test_tied_weights_are_saved(tmp_path):
    module = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    module["b"].weight = module["a"].weight
    run = Run(module, torch.optim.AdamW(module.parameters()), np.random.default_rng(0))
    Saver(Saving(tmp_path), run, {}).write()
    before = module["a"].weight.detach().clone()
    with torch.no_grad():
        module["a"].weight.zero_()
    assert Saver(Saving(tmp_path), run, {}).resume()
    assert torch.equal(module["b"].weight.detach(), before)


def test_an_empty_folder_begins_anew(tmp_path):
    module = nn.Linear(1, 1)
    run = Run(module, torch.optim.AdamW(module.parameters()), np.random.default_rng(0))
    assert not Saver(Saving(tmp_path / "new"), run, {}).resume()
