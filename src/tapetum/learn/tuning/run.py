"""One tuning run: towers with their tuner, a head, images, and which patients decide when to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from tapetum.core.config import fill
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family, Spec, nearest
from tapetum.core.types import Embeddings
from tapetum.learn.features.embed import ImageSource
from tapetum.learn.features.embedder import Embedder, parse_encoders
from tapetum.learn.features.loader import Loader
from tapetum.learn.fitting.ridge import patient_folds
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.learn.training.history import LoopSettings
from tapetum.learn.training.loop import held_out_loss
from tapetum.learn.training.memory import MemoryEstimate, activation_bytes, memory_estimate
from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.learn.tuners import Tuner
from tapetum.learn.tuning.attach import module_of
from tapetum.learn.tuning.delta import TUNERS
from tapetum.nets import Encoder

STARTS = ("probe", "zero")
# Logits of some rows and the numbers of these rows → loss per row, in nats.
Goal = Callable[[Float[Tensor, "b k"], Int[np.ndarray, "b"]], Float[Tensor, "b"]]
_SCALED_ON = 64  # images that the scale of new features is taken from


@dataclass(frozen=True)
class TuneConfig:
    """How a network is tuned.

    Args:
        tuner: member of `learn/tuners`. epochs: passes over the training images, at most (see `patience`).
        batch: images per step.
        learning_rate: peak for the network, 0 = the tuner's own. head_rate: peak for the head.
        weight_decay, clip_norm, patience: see `LoopSettings`.
        augment: specs of `learn/augment` joined by `+`; empty = none.
        held_out: share of the training patients that decide when to stop, 0..0.5; 0 = train all epochs.
        balance: weigh the images with a finding by its ratio of images without to images with it.
        ema: decay per step of a moving average of the weights, kept where it is better on held-out patients; 0 = none.
        start: the head starts from a linear `probe` on the frozen features, or from `zero`.
        only: places, from 0, of the encoders that are tuned; the others stay as they are and are not run again, their
            features being those they were embedded with. Empty = all are tuned.
        seed: of every random choice. threads: 0 = all cores.
    """

    tuner: str = "lora"
    epochs: int = 20
    batch: int = 16
    learning_rate: float = 0.0
    head_rate: float = 3e-3
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    patience: int = 5
    augment: str = "geometric()"
    held_out: float = 0.15
    balance: bool = False
    ema: float = 0.0
    start: str = "probe"
    only: tuple[int, ...] = ()
    seed: int = 0
    threads: int = 0


def tune_config(tuner: str, tuning: str, **defaults: Any) -> TuneConfig:
    """Settings from the options that a user types, as in `"epochs=10, batch=8"`; they win over the caller's defaults.

    Raises:
        UsageError: an unknown option.
    """
    return fill(TuneConfig, {"tuner": tuner, **defaults, **Spec.parse(f"tune({tuning})").options})


class Head(nn.Module):
    """A linear map of standardised features; mean and scale stay fixed."""

    mean: Tensor
    scale: Tensor

    def __init__(self, state: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(state["weight"]).float())
        self.bias = nn.Parameter(torch.from_numpy(state["bias"]).float())
        self.register_buffer("mean", torch.from_numpy(state["mean"]).float())
        self.register_buffer("scale", torch.from_numpy(state["scale"]).float())

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits of pooled features."""
        return (x - self.mean) / self.scale @ self.weight + self.bias

    def plain(self) -> dict[str, np.ndarray]:
        """The same map of raw features, as the state of a `logistic` adapter."""
        weight, bias, mean, scale = (
            t.detach().double().numpy() for t in (self.weight, self.bias, self.mean, self.scale)
        )
        folded = weight / scale[:, None]
        return {
            "mean": np.zeros(len(mean), dtype=np.float32), "scale": np.ones(len(mean), dtype=np.float32),
            "power": np.array(1.0), "weight": folded, "bias": bias - mean @ folded,
            "penalty": np.full(len(bias), np.nan),
        }  # fmt: skip


@dataclass
class TuningRun:
    """What one call of `tune` works on."""

    config: TuneConfig
    rows: Embeddings
    labels: Float[np.ndarray, "n k"]
    towers: nn.ModuleList
    head: Head
    tuner: Tuner
    tuner_spec: str
    places: tuple[int, ...]  # of the tuned towers among the encoders
    kept: Mapping[int, Float[Tensor, "n e"]]  # features of the others
    bases: tuple[tuple[str, str, str], ...]  # per tuned tower: weights digest, preprocessing digest, spec
    frozen: int
    loaders: tuple[Loader, ...]
    groups: tuple[ParameterGroup, ...]
    settings: LoopSettings
    train: Int[np.ndarray, "n"]
    held: Int[np.ndarray, "m"]
    weight: Float[Tensor, "k"]
    goal: Goal | None = None

    @staticmethod
    def prepared(
        archive: ImageSource,
        rows: Embeddings,
        labels: Float[np.ndarray, "n k"],
        config: TuneConfig,
        states: Mapping[int, Mapping[str, Tensor]],
        goal: Goal | None = None,
    ) -> TuningRun:
        """Build the towers, attach the tuner, divide the patients, start the head; with a goal all rows teach."""
        spec = _seeded(config)
        tuner: Tuner = Family(TUNERS).build(spec)
        embedder = Embedder(rows.encoder, backend="torch", states=states)
        every = [runner.encoder for runner in embedder.runners]
        places = _places(config.only, len(every))
        kept = {i: part for i, part in enumerate(_parts(rows, every)) if i not in places}
        encoders, prepares = [every[i] for i in places], [embedder.preprocess[i] for i in places]
        names = [parse_encoders(embedder.encoders)[i] for i in places]
        bases = tuple(
            (encoder.spec.weights_digest, prepare.digest, str(name))
            for encoder, prepare, name in zip(encoders, prepares, names, strict=True)
        )
        frozen = sum(p.numel() for encoder in every for p in module_of(encoder).parameters())
        groups = [group for encoder in encoders for group in tuner.attach(encoder)]
        folds = round(1 / config.held_out) if config.held_out else 0
        rng = np.random.default_rng(config.seed)
        fold = patient_folds(rows.patient_ids, folds, rng) if folds else np.ones(len(labels), dtype=int)
        some = ~np.isnan(labels).all(1) | (goal is not None)
        train, held = np.flatnonzero(some & (fold != 0)), np.flatnonzero(some & (fold == 0))
        loaders = tuple(
            Loader(archive, prepare, rows.image_ids, augment=config.augment, seed=config.seed) for prepare in prepares
        )
        towers = nn.ModuleList([module_of(encoder) for encoder in encoders])
        features = _Features(towers, loaders, places, kept)
        head = Head(_fresh(features, labels, train) if tuner.FRESH else _start(rows, labels, train, config))
        settings = LoopSettings(
            config.epochs, config.batch, config.learning_rate or tuner.RATE, config.weight_decay, config.clip_norm,
            config.patience, config.ema,
        )  # fmt: skip
        own = ParameterGroup(list(head.parameters()), rate=config.head_rate / settings.learning_rate)
        return TuningRun(
            config, rows, labels, towers, head, tuner, str(spec), places, kept,
            bases, frozen, loaders, (*groups, own), settings, train, held, _weights(labels[train], config.balance),
            goal,
        )  # fmt: skip

    @property
    def module(self) -> nn.Module:
        """All that is trained."""
        return nn.ModuleDict({"towers": self.towers, "head": self.head})

    @property
    def size(self) -> int:
        """Side of the largest input in pixels."""
        return max(loader.preprocess.size for loader in self.loaders)

    def logits(self, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b k"]:
        """Of the images of these rows, augmented from epoch 0 on."""
        if self.tuner.FRESH:
            for part in self.towers.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
                    part.train(epoch >= 0)
        return self.head(_Features(self.towers, self.loaders, self.places, self.kept)(rows, epoch))

    def loss_of(self, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        """Mean binary cross-entropy over the findings that are known of each image, or the goal's loss; in nats."""
        return self._loss(self.logits(rows, epoch), rows)

    def start_loss(self) -> float:
        """The held-out loss before any step; infinite where nothing is held out."""
        return held_out_loss(self.loss_of, self.held, self.settings.batch) if len(self.held) else float("inf")

    def chance(self, rows: Int[np.ndarray, "n"]) -> float:
        """The loss of the training images' base rates; NaN where there are no rows."""
        if not len(rows):
            return float("nan")
        constant = torch.from_numpy(_base_rates(self.labels[self.train])).float().expand(len(rows), -1)
        return float(self._loss(constant, rows).mean())

    def memory(self) -> MemoryEstimate:
        """Bytes of a step; what the backward pass keeps is measured on the first training image."""
        batch = min(self.settings.batch, len(self.train))
        one = activation_bytes(lambda: self.loss_of(self.train[:1], -1))
        inputs = sum(3 * loader.preprocess.size**2 * 4 for loader in self.loaders)
        return memory_estimate(self.module, batch * inputs, activations=batch * one, held_out=len(self.held) > 0)

    def _loss(self, logits: Float[Tensor, "b k"], rows: Int[np.ndarray, "b"]) -> Float[Tensor, "b"]:
        if self.goal is not None:
            return self.goal(logits, rows)
        truth = torch.from_numpy(self.labels[rows]).float()
        known = ~truth.isnan()
        each = binary_cross_entropy_with_logits(logits, truth.nan_to_num(0.0), pos_weight=self.weight, reduction="none")
        return (each * known).sum(1) / known.sum(1)


@dataclass(frozen=True)
class _Features:
    """Pooled features of some rows, encoder by encoder: computed where one is tuned, looked up where none is."""

    towers: nn.ModuleList
    loaders: Sequence[Loader]
    places: tuple[int, ...]
    kept: Mapping[int, Float[Tensor, "n e"]]

    def __call__(self, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b d"]:
        parts = {i: kept[torch.from_numpy(rows)] for i, kept in self.kept.items()}
        for place, tower, load in zip(self.places, self.towers, self.loaders, strict=True):
            parts[place] = tower(load(rows, epoch))
        return torch.cat([parts[i] for i in sorted(parts)], dim=1)


def _places(only: tuple[int, ...], number: int) -> tuple[int, ...]:
    """Which encoders are tuned."""
    if len(set(only)) < len(only) or any(not 0 <= i < number for i in only):
        raise UsageError(f"only={only} of {number} encoders", f"each place once, from 0 to {number - 1}", "only=(0,)")
    return tuple(sorted(only)) or tuple(range(number))


def _parts(rows: Embeddings, encoders: Sequence[Encoder]) -> list[Float[Tensor, "n e"]]:
    """The columns of each encoder."""
    ends = np.cumsum([encoder.spec.dim for encoder in encoders])
    return [torch.from_numpy(part.astype(np.float32)) for part in np.split(rows.features, ends[:-1], axis=1)]


def _seeded(config: TuneConfig) -> Spec:
    """The tuner with the run's seed, unless it has one of its own."""
    spec, family = Spec.parse(config.tuner), Family(TUNERS)
    if spec.name not in family.names():
        raise UsageError(f"unknown tuner {spec.name!r}", nearest(spec.name, family.names()), "tapetum list tuners")
    if "seed" in family.options(spec.name) and "seed" not in spec.options:
        spec = Spec(spec.name, {**spec.options, "seed": config.seed})
    return spec


def _start(
    rows: Embeddings, labels: Float[np.ndarray, "n k"], train: Int[np.ndarray, "n"], config: TuneConfig
) -> dict[str, np.ndarray]:
    """State of a linear probe on the frozen features of the training rows, or of a head that knows base rates only."""
    features, truth = rows.features[train], labels[train]
    standardiser = Standardiser.fit(features, 1.0, rows.blocks)
    weight, bias = np.zeros((features.shape[1], truth.shape[1])), _base_rates(truth)
    state = {**standardiser.state(), "weight": weight, "bias": bias}
    if config.start == "zero":
        return state
    probe = Family("tapetum.learn.adapters").build(Spec("logistic", {"power": 1.0, "seed": config.seed}))
    fitted = probe.fit(features, truth, np.asarray(rows.patient_ids)[train], rows.blocks).state()
    # a finding that the inner training patients lack one class of starts from its base rate
    learned = np.isfinite(fitted["bias"])
    weight, bias = np.where(learned, fitted["weight"], weight), np.where(learned, fitted["bias"], bias)
    return {**state, "weight": weight, "bias": bias}


def _fresh(
    features_of: _Features, labels: Float[np.ndarray, "n k"], train: Int[np.ndarray, "n"]
) -> dict[str, np.ndarray]:
    """State of a head that knows base rates only, on the scale of what the new weights give."""
    with torch.no_grad():
        features = features_of(train[:_SCALED_ON], -1).numpy()
    truth = labels[train]
    weight = np.zeros((features.shape[1], truth.shape[1]))
    return {**Standardiser.fit(features, 1.0).state(), "weight": weight, "bias": _base_rates(truth)}


def _base_rates(labels: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "k"]:
    """Log odds of each finding among the images where it is known, with one half image on either side."""
    return np.log(((labels == 1).sum(0) + 0.5) / ((labels == 0).sum(0) + 0.5))


def _weights(labels: Float[np.ndarray, "n k"], balance: bool) -> Float[Tensor, "k"]:
    positives, negatives = (labels == 1).sum(0), (labels == 0).sum(0)
    ratio = np.maximum(negatives, 1) / np.maximum(positives, 1)
    return torch.from_numpy(ratio if balance else np.ones(labels.shape[1])).float()
