"""Training that goes on where it was killed: the whole state of a run, written whole or not at all.

A checkpoint is a folder `step-…` with tensors (`state.safetensors`), everything else (`state.json`) and `meta.json`
with the digest of both. The copy with the best held-out loss lies beside it and is written only when it changes. The
last two checkpoints stay: where the newest is damaged, the one before it is taken.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError
from tapetum.core.store import Meta, atomic_write, content_digest, file_digest, new_artefact, read_meta
from tapetum.learn.training.average import Average
from tapetum.learn.training.history import History
from tapetum.learn.training.parallel import ALONE, World, like, whole

KIND = "training"
KEPT = 2
_STEP = re.compile(r"step-\d{8,}")
_DAMAGE = (ArtefactError, OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)


@dataclass(frozen=True)
class Saving:
    """Where and how often the whole state of a run is written; the same call with the same folder goes on there.

    Args:
        folder: of this run alone.
        every_steps: a checkpoint after so many steps, 0 = never by count.
        every_seconds: a checkpoint after so many seconds, 0 = never by time; one is written at the end in any case.
        data: digest of what the rows stand for, for example of the archive.
        generators: numpy or torch generators that the loss draws from, besides torch's global one.
    """

    folder: Path
    every_steps: int = 0
    every_seconds: float = 300.0
    data: str = ""
    generators: Sequence[np.random.Generator | torch.Generator] = ()


@dataclass
class Run:
    """Everything that the next step depends on.

    Attributes:
        step: steps taken. epoch, batch: the next one; order: the rows of this epoch, None before it begins.
        total: sum of the losses of this epoch. best: copy of the weights with the best held-out loss.
    """

    module: nn.Module
    optimiser: torch.optim.Optimizer
    rng: np.random.Generator
    average: Average | None = None
    history: History = field(default_factory=History)
    best: Mapping[str, Tensor] | None = None
    step: int = 0
    epoch: int = 0
    batch: int = 0
    total: float = 0.0
    order: np.ndarray | None = None
    finished: bool = False

    def next_epoch(self) -> None:
        """Forget the epoch that is over."""
        self.epoch, self.batch, self.total, self.order = self.epoch + 1, 0, 0.0, None


class Saver:
    """Writes and reads the checkpoints of one run.

    Args:
        saving: where and when.
        run: what is saved and restored, in place.
        identity: name → value of what must be equal for a run to go on.
        world: of the processes that train together; the first of them writes.
    """

    def __init__(self, saving: Saving, run: Run, identity: Mapping[str, Any], world: World = ALONE) -> None:
        self.saving, self.run, self.world = saving, run, world
        self.identity = json.loads(json.dumps(identity))
        self._last = time.monotonic()
        self._best: dict[str, str] | None = None
        self._best_of = -1
        saving.folder.mkdir(parents=True, exist_ok=True)

    def after_step(self) -> None:
        """Write a checkpoint if one is due."""
        every = self.saving.every_steps
        by_time = self.saving.every_seconds > 0 and time.monotonic() - self._last >= self.saving.every_seconds
        if self.world.agree(by_time) or (every and self.run.step % every == 0):
            self.write()

    def write(self) -> None:
        """Write a checkpoint now, then remove what is older than the last two."""
        tensors, plain = self._tensors(), self._plain()
        best = self._whole_best()
        if self.world.rank == 0:
            if best is not None:
                path = self.saving.folder / f"best-{self.run.history.best_epoch:05d}.safetensors"
                atomic_write(path, bytes_of(best))
                self._best = {"file": path.name, "digest": file_digest(path)}
            plain["best"] = self._best if self.run.best is not None else None
            path = self.saving.folder / f"step-{self.run.step:08d}"
            with new_artefact(path, Meta(KIND, config=self.identity)) as folder:
                (folder / "state.safetensors").write_bytes(bytes_of(tensors))
                (folder / "state.json").write_text(json.dumps(plain) + "\n", encoding="utf-8")
            self._prune()
        self._last = time.monotonic()

    def resume(self) -> bool:
        """Take the run back to the newest checkpoint that is whole; False where there is none.

        Raises:
            ArtefactError: it belongs to another run: the message names what differs.
        """
        if self.world.rank == 0:
            for stale in [*self.saving.folder.glob(".*.part"), *self.saving.folder.glob(".*.old")]:
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        name = self.world.word(self._newest_whole() if self.world.rank == 0 else "")
        if not name:
            return False
        meta, tensors, plain, best = self._read(self.saving.folder / name)
        self._refuse_other(self.saving.folder / name, meta)
        self._restore(tensors, plain, best)
        return True

    def bad_batch(self) -> None:
        """Keep the row numbers of the batch whose loss was not finite."""
        history = self.run.history
        told = {"step": history.bad_step, "epoch": self.run.epoch, "rows": history.bad_rows}
        if self.world.rank == 0:
            atomic_write(self.saving.folder / "bad_batch.json", json.dumps(told) + "\n")

    def _tensors(self) -> dict[str, Tensor]:
        """The state of module, optimiser, average and torch's generators, each tensor with memory of its own."""
        run = self.run
        found = {f"module.{k}": v for k, v in run.module.state_dict().items()}
        for i, state in run.optimiser.state_dict()["state"].items():
            found |= {f"optimiser.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        if run.average:
            found |= {f"average.{k}": v for k, v in run.average.weights.items()}
        found["torch"] = torch.get_rng_state()
        if torch.cuda.is_available():
            found |= {f"cuda.{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
        for i, generator in enumerate(self.saving.generators):
            if isinstance(generator, torch.Generator):
                found[f"generator.{i}"] = generator.get_state()
        return _apart(found)

    def _plain(self) -> dict[str, Any]:
        run = self.run
        return {
            **{k: getattr(run, k) for k in ("step", "epoch", "batch", "total", "finished")},
            "order": None if run.order is None else run.order.tolist(),
            "history": dataclasses.asdict(run.history),
            "rng": to_json(run.rng.bit_generator.state),
            "generators": {
                str(i): to_json(g.bit_generator.state)
                for i, g in enumerate(self.saving.generators)
                if isinstance(g, np.random.Generator)
            },
        }

    def _whole_best(self) -> dict[str, Tensor] | None:
        """The best copy if it is not yet on disk."""
        if self.run.best is None or self._best_of == self.run.history.best_epoch:
            return None
        self._best_of = self.run.history.best_epoch
        return _apart(self.run.best)

    def _newest_whole(self) -> str:
        """The name of the newest checkpoint that can be read; damaged ones are set aside."""
        for path in self._newest_first():
            try:
                self._read(path)
            except _DAMAGE as error:
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                why = error.found if isinstance(error, ArtefactError) else error
                warnings.warn(
                    f"checkpoint {path} is damaged ({why}): kept as {aside.name}, the one before it is taken",
                    RuntimeWarning,
                    stacklevel=4,
                )
                continue
            return path.name
        return ""

    def _read(self, path: Path) -> tuple[Meta, dict[str, Tensor], dict[str, Any], dict[str, Tensor] | None]:
        meta = read_meta(path, KIND)
        if content_digest(path) != meta.digest:
            raise ArtefactError("its files are not those that were written", "the digest of meta.json")
        plain = json.loads((path / "state.json").read_text(encoding="utf-8"))
        tensors = tensors_of((path / "state.safetensors").read_bytes())
        if plain["best"] is None:
            return meta, tensors, plain, None
        file = self.saving.folder / plain["best"]["file"]
        if file_digest(file) != plain["best"]["digest"]:
            raise ArtefactError(f"{file.name} is not what was written", "the digest of state.json")
        return meta, tensors, plain, tensors_of(file.read_bytes())

    def _refuse_other(self, path: Path, meta: Meta) -> None:
        there = meta.config
        names = [k for k in sorted({*there, *self.identity}) if there.get(k) != self.identity.get(k)]
        if names:
            differ = "; ".join(f"{k}: {there.get(k)!r} there, {self.identity.get(k)!r} here" for k in names)
            raise ArtefactError(
                f"checkpoint {path} belongs to another run ({differ})", "the data and settings that it was made with",
                "another folder for a new run, or the old data and settings to go on",
            )  # fmt: skip

    def _restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any], best: dict[str, Tensor] | None) -> None:
        run = self.run
        run.module.load_state_dict(like(_under(tensors, "module."), run.module.state_dict()))
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in sorted(_under(tensors, "optimiser.").items()):
            place, _, key = name.partition(".")
            states.setdefault(int(place), {})[key] = tensor
        parameters = [p for group in run.optimiser.param_groups for p in group["params"]]
        for place, state in states.items():
            states[place] = like(state, {k: parameters[place] for k, v in state.items() if v.ndim})
        run.optimiser.load_state_dict({**run.optimiser.state_dict(), "state": states})
        if run.average:
            run.average.weights = like(_under(tensors, "average."), run.average.weights)
        torch.set_rng_state(tensors["torch"])
        for name, state in _under(tensors, "cuda.").items():
            torch.cuda.set_rng_state(state, int(name))
        for i, generator in enumerate(self.saving.generators):
            if isinstance(generator, torch.Generator):
                generator.set_state(tensors[f"generator.{i}"])
            else:
                generator.bit_generator.state = _from_json(plain["generators"][str(i)])
        run.rng.bit_generator.state = _from_json(plain["rng"])
        for key in ("step", "epoch", "batch", "total", "finished"):
            setattr(run, key, plain[key])
        run.order = None if plain["order"] is None else np.array(plain["order"], dtype=np.int64)
        for key, value in plain["history"].items():
            setattr(run.history, key, value)
        run.best = None if best is None else like(best, run.module.state_dict())
        self._best, self._best_of = plain["best"], run.history.best_epoch if best is not None else -1

    def _newest_first(self) -> list[Path]:
        return sorted((p for p in self.saving.folder.glob("step-*") if _STEP.fullmatch(p.name)), reverse=True)

    def _prune(self) -> None:
        kept, old = self._newest_first()[:KEPT], self._newest_first()[KEPT:]
        for path in old:
            shutil.rmtree(path)
        named = set(_best_files(kept))
        for file in self.saving.folder.glob("best-*.safetensors"):
            if file.name not in named:
                file.unlink()


def rows_digest(rows: np.ndarray) -> str:
    """SHA-256 of row numbers in their order."""
    return hashlib.sha256(np.ascontiguousarray(rows, dtype=np.int64).tobytes()).hexdigest()


def _best_files(folders: Sequence[Path]) -> Iterator[str]:
    for folder in folders:
        best = json.loads((folder / "state.json").read_text(encoding="utf-8"))["best"]
        if best:
            yield best["file"]


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU, contiguous, and tied weights twice: the format knows no tensors that share memory.

    By name: what is spread is collected in the same order by every process.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in sorted(tensors.items()):
        plain = whole(tensor.detach()).cpu().contiguous()
        found[name] = plain.clone() if plain.untyped_storage().data_ptr() in seen else plain
        seen.add(plain.untyped_storage().data_ptr())
    return found


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def to_json(state: Any) -> Any:
    """A generator's state as JSON takes it: arrays as lists."""
    if isinstance(state, Mapping):
        return {k: to_json(v) for k, v in state.items()}
    if isinstance(state, np.ndarray):
        return {"array": state.tolist(), "dtype": str(state.dtype)}
    return state.item() if isinstance(state, np.generic) else state


def _from_json(state: Any) -> Any:
    if not isinstance(state, Mapping):
        return state
    if set(state) == {"array", "dtype"}:
        return np.array(state["array"], dtype=state["dtype"])
    return {k: _from_json(v) for k, v in state.items()}
