"""ODIN: does a network grow surer of an image when each pixel takes a small step towards what it calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.core.types import Head
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.features.runtime import core_count
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.learn.tuning.tune import torch_threads
from tapetum.score.in_distribution import Mode

AT_ONCE = 16
SMALLEST = 1e-6  # below it the signed root has no slope worth following
Classifier = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Step:
    """One setting of ODIN.

    Args:
        temperature: T, divides the logits.
        epsilon: how far each pixel moves, in units of the whole range from black to white; 0 = not at all.

    Raises:
        UsageError: a temperature not above 0, or an epsilon below 0.

    Example:
        >>> str(Step())
        'odin(temperature=1000, epsilon=0.0014)'
    """

    temperature: float = 1000.0
    epsilon: float = 0.0014

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not self.epsilon >= 0:
            raise UsageError(f"{self}", "a temperature above 0 and an epsilon of 0 or above")

    def __str__(self) -> str:
        return f"odin(temperature={self.temperature:g}, epsilon={self.epsilon:g})"


def odin(
    classify: Classifier,
    inputs: Sequence[Float[Tensor, "b _ _ _"]],
    steps: Sequence[Step],
    *,
    units: Sequence[Float[Tensor, "c 1 1"]] | None = None,
    mode: Mode = "softmax",
) -> Float64[np.ndarray, "s b"]:
    """Minus the confidence after one step of the pixels against the sign of the loss's gradient.

    The loss is -log of the called class's (sigmoid: the surest finding's) probability at temperature T; the confidence
    is that probability, after the step. Images are independent of each other, weights collect no gradient.

    Args:
        classify: from inputs to logits `[b k]`; differentiable, in evaluation mode.
        inputs: what the network sees, after preprocessing; several towers have one each, and all take the step.
        steps: temperatures and epsilons; images are shown once for each temperature and once for each step.
        units: of each input, how much one unit of epsilon is in each channel (1 / std); 1 if absent.
        mode: `softmax`: exclusive classes; `sigmoid`: findings that occur together.

    Returns:
        A row per step, higher = more OOD; -1..0.

    Raises:
        UsageError: no gradient reaches the inputs.

    Source: Liang, Li and Srikant, ICLR 2018, arXiv 1706.02690. Differs: the step is of one size in brightness for all
    channels and towers; the sigmoid form, and a step of several towers at once, are ours.
    """
    scaled = list(units) if units is not None else [torch.ones(1) for _ in inputs]
    slopes: dict[float, list[Tensor]] = {}
    found: list[np.ndarray] = []
    for step in steps:
        if step.epsilon and step.temperature not in slopes:
            slopes[step.temperature] = _slopes(classify, inputs, step.temperature, mode)
        moved = list(inputs)
        if step.epsilon:
            moved = [x - step.epsilon * u * s for x, u, s in zip(inputs, scaled, slopes[step.temperature], strict=True)]
        with torch.no_grad():
            found.append(-torch.exp(_log_confidence(classify(moved).double(), step.temperature, mode)).numpy())
    return np.stack(found)


def _slopes(classify: Classifier, inputs: Sequence[Tensor], temperature: float, mode: Mode) -> list[Tensor]:
    with torch.enable_grad():
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        loss = -_log_confidence(classify(leaves), temperature, mode).sum()
        if not loss.requires_grad:
            raise UsageError("a network whose output has no gradient", "one that runs in torch from pixels to logits")
        return [slope.sign() for slope in torch.autograd.grad(loss, leaves)]


def _log_confidence(logits: Float[Tensor, "b k"], temperature: float, mode: Mode) -> Float[Tensor, "b"]:
    scaled = logits / temperature
    if mode == "softmax":
        return torch.log_softmax(scaled, dim=1).amax(dim=1)
    return torch.nn.functional.logsigmoid(scaled.amax(dim=1))


class ImageClassifier:
    """Towers and a linear head as one function of the pixels.

    Args:
        embedder: the towers, of which the networks themselves are used, whatever runs them elsewhere.
        standardiser: of their features.
        head: linear in the standardised features.

    Raises:
        UsageError: widths that do not fit.
    """

    def __init__(self, embedder: Embedder, standardiser: Standardiser, head: Head) -> None:
        width = head.weight.shape[1]
        if not embedder.dim == len(standardiser.mean) == width:
            raise UsageError(
                f"towers of {embedder.dim} features, {len(standardiser.mean)} standardised, a head on {width}",
                "one number", "the encoders that the head was learned on",
            )  # fmt: skip
        self._towers = [cast("Callable[[Tensor], Tensor]", runner.encoder) for runner in embedder.runners]
        self._preprocess = embedder.preprocess
        self._mean, self._scale = (torch.from_numpy(np.asarray(x)) for x in (standardiser.mean, standardiser.scale))
        self._power = standardiser.power
        self._weight, self._bias = torch.from_numpy(head.weight), torch.from_numpy(head.bias)
        self.units = [1 / torch.tensor(p.std)[:, None, None] for p in embedder.preprocess]

    def inputs(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[Float[Tensor, "b 3 s s"]]:
        """What each tower sees of the images."""
        return [torch.from_numpy(np.stack([p(image) for image in images])) for p in self._preprocess]

    def __call__(self, inputs: Sequence[Float[Tensor, "b 3 s s"]]) -> Float[Tensor, "b k"]:
        """Logits, with a gradient to the inputs where they ask for one."""
        raw = torch.cat([tower(x) for tower, x in zip(self._towers, inputs, strict=True)], dim=1)
        rooted = raw if self._power == 1 else torch.sign(raw) * raw.abs().clamp_min(SMALLEST) ** self._power
        return ((rooted - self._mean) / self._scale).to(self._weight.dtype) @ self._weight.T + self._bias

    def odin(
        self, images: Iterable[UInt8[np.ndarray, "_ _ 3"]], steps: Sequence[Step], mode: Mode, *, threads: int = 0
    ) -> Float64[np.ndarray, "s n"]:
        """ODIN of loose images, a few at a time; see `odin`.

        Args:
            images: RGB, 8 bit.
            steps: settings.
            mode: how the head is read.
            threads: 0 = all cores.

        Returns:
            A row per step, a column per image, higher = more OOD.
        """
        found, waiting = [np.empty((len(steps), 0))], list[np.ndarray]()
        with torch_threads(threads or core_count()):
            for image in images:
                waiting.append(image)
                if len(waiting) == AT_ONCE:
                    found.append(odin(self, self.inputs(waiting), steps, units=self.units, mode=mode))
                    waiting.clear()
            if waiting:
                found.append(odin(self, self.inputs(waiting), steps, units=self.units, mode=mode))
        return np.concatenate(found, axis=1)
