"""Running the cells of a comparison: fit, score the tested images, remember the scores."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tapetum.bench.comparison.cost import Cost, image_milliseconds, learned_values, stored_megabytes, tower_parameters
from tapetum.bench.comparison.plan import ADAPTERS, ALL, TUNERS, ZERO_SHOT, Cell, CompareConfig, is_tuner, needs_anchors
from tapetum.bench.trial import Trial, code_digest
from tapetum.core.errors import TapetumError
from tapetum.core.registry import Spec
from tapetum.core.store import atomic_write
from tapetum.learn import AdaptConfig, Model, PretrainConfig, adapt, pretrain, zero_shot
from tapetum.learn.features.embed import Embedder

_TIMED = 16  # images that the milliseconds are measured on


@dataclass(frozen=True)
class Measured:
    """A cell that was run.

    Attributes:
        scores: logits of the tested images, run by run. cost: what it took. alarms: what went wrong in training.
    """

    cell: Cell
    scores: Float[np.ndarray, "s n k"]
    cost: Cost
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """A cell that cannot be: its method does not fit the encoder, or the archive lacks what it needs."""

    cell: Cell
    reason: str


@dataclass(frozen=True)
class Bench:
    """One encoder with what all its cells share: features, speed, and a model that knows the findings by name.

    Args:
        trial: with this encoder.
        config: of the comparison.
        findings: the columns.
    """

    trial: Trial
    config: CompareConfig
    findings: tuple[str, ...]

    def run(self, cell: Cell) -> Measured | LeftOut:
        """Run a cell, or read it where it was run before on the same archive, code and settings."""
        place = self.trial.archive.cache / "compare" / f"{self._key(cell)}.npz"
        if place.exists():
            return _read(cell, place)
        try:
            found = self._measured(cell)
        except TapetumError as error:
            return LeftOut(cell, error.found)
        _write(found, place)
        return found

    def _measured(self, cell: Cell) -> Measured:
        several = cell.shots > ALL or is_tuner(cell.mode)
        scores, costs, alarms = list[np.ndarray](), list[Cost](), list[str]()
        for run in range(self.config.runs if several else 1):
            model, fit_s = self._model(cell, self.config.seed + run)
            scores.append(zero_shot(model, self.trial.test_embeddings_of(model), self.findings).logits)
            costs.append(self._cost(cell, model, fit_s))
            alarms += [f"run {run + 1}: {alarm}" for alarm in model.log.get("alarms", ())]
        mean = {f: float(np.mean([getattr(c, f) for c in costs])) for f in ("fit_s", "megabytes")}
        counts = {f: round(float(np.mean([getattr(c, f) for c in costs]))) for f in ("images", "learned")}
        return Measured(cell, np.stack(scores), dataclasses.replace(costs[0], **mean, **counts), tuple(alarms))

    def _model(self, cell: Cell, seed: int) -> tuple[Model, float]:
        """A fitted model and the seconds that the fit took."""
        archive, config = self.trial.archive, self.config
        if cell.mode == ZERO_SHOT:
            return self.aligned(cell.words)
        tuned = is_tuner(cell.mode)
        settings = AdaptConfig(
            adapter="" if tuned else cell.mode, tuner=cell.mode if tuned else "", encoders=cell.encoder,
            findings=self.findings, shots=max(cell.shots, ALL), seed=seed, threads=config.threads,
            tuning=config.tuning if tuned else "",
            check_colours=config.check_colours,
        )  # fmt: skip
        base = self.aligned(cell.words)[0] if needs_anchors(cell.mode) else None
        # what the method imports is no part of its price
        (TUNERS if tuned else ADAPTERS).member(Spec.parse(cell.mode).name)
        start = time.perf_counter()
        model = adapt(archive, settings, model=base, embeddings=self.trial.embeddings)
        return model, time.perf_counter() - start

    def aligned(self, words: str) -> tuple[Model, float]:
        """The encoder with words, and the seconds that took: aligned with the training patients' reports.

        Args:
            words: the text tower of its own checkpoint, in whose space it is then used as it is; empty = none.
        """
        if words not in self._aligned:
            text, task = (words, "joint") if words else (self.config.text_encoder, self.config.task)
            asked = self.config
            config = PretrainConfig(
                self.trial.config.encoders, text, task, seed=asked.seed, check_colours=asked.check_colours
            )
            start = time.perf_counter()
            model = pretrain(self.trial.archive, config, embeddings=self.trial.embeddings)
            self._aligned[words] = model, time.perf_counter() - start
        return self._aligned[words]

    @cached_property
    def _aligned(self) -> dict[str, tuple[Model, float]]:
        return {}

    @cached_property
    def embedder(self) -> Embedder:
        """The towers, exported once."""
        return Embedder(
            self.trial.config.encoders, threads=self.config.threads, cache=self.trial.archive.cache / "onnx"
        )

    @cached_property
    def speed_ms(self) -> float:
        """Milliseconds per image through the towers."""
        archive = self.trial.test_archive
        ids = [r.image_id for r in self.trial.test_records[:_TIMED]]
        side = max(p.size for p in self.embedder.preprocess)
        return image_milliseconds(self.embedder, [archive.pixels(i, min_side=side) for i in ids])

    def _cost(self, cell: Cell, model: Model, fit_s: float) -> Cost:
        learned = 0 if model.space else learned_values(model)
        return Cost(
            tower_parameters(self.embedder), learned, stored_megabytes(model), self.speed_ms,
            int(model.log["pairs"]), fit_s, is_tuner(cell.mode),
        )  # fmt: skip

    def _key(self, cell: Cell) -> str:
        """Everything that the scores depend on."""
        towers = [dataclasses.asdict(runner.spec) for runner in self.embedder.runners]
        settings = dataclasses.asdict(self.config)
        for name in ("encoders", "modes", "shots", "threads", "draws"):
            del settings[name]
        whole = [
            dataclasses.asdict(cell), towers, settings, self.findings, self.trial.archive.digest,
            self.trial.test_archive.digest, [r.image_id for r in self.trial.test_records], code_digest(),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:32]


def _write(found: Measured, place: Path) -> None:
    told = json.dumps({"cost": dataclasses.asdict(found.cost), "alarms": found.alarms})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, scores=found.scores, told=np.array(told))
    place.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(place, buffer.getvalue())


def _read(cell: Cell, place: Path) -> Measured:
    with np.load(place, allow_pickle=False) as arrays:
        told = json.loads(str(arrays["told"]))
        return Measured(cell, arrays["scores"], Cost(**told["cost"]), tuple(told["alarms"]))
