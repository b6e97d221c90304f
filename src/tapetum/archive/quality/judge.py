"""From features to a verdict: gradable or not, why, and what to do at the camera. The numbers stand in `model.json`."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Float64

from tapetum.archive.quality.features import QUALITY_FEATURES
from tapetum.core.errors import ArtefactError, UsageError

THRESHOLD = 0.5
UNKNOWN = "quality is judged for fundus photographs only"
TOO_SMALL = "the field of view is too small to judge"
LEAST_PIXELS = 120  # across the field; below it no one could tell a blurred photograph from a thumbnail
_SCHEMA = 1

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "blurred": "Take it again: focus on the vessels at the disc, ask the patient to keep still and not to blink.",
        "dark": "Take it again with more flash, or widen the pupil; check that the eye is at working distance.",
        "overexposed": "Take it again with less flash.",
        "hazy": "Clean the front lens, ask the patient to blink, align on the pupil again; if it stays hazy, the lens "
        "of the eye may be cloudy: note it and refer.",
        "uneven light": "Take it again: centre the camera on the pupil and adjust the distance until the shadow goes.",
        "off-centre": "Take it again: disc and macula must both be inside the field, the field whole in the frame.",
        "artefact": "Clean the front lens, lift the lid and lashes, and take it again.",
        "noisy": "Take it again with more flash and less gain.",
        "compressed": "Export it again from the camera with less compression.",
    }
)
REASONS = tuple(ADVICE)


@dataclass(frozen=True)
class Verdict:
    """What is thought of a photograph's quality.

    Attributes:
        gradable: probability that a reader calls it gradable, 0..1; NaN where quality is not judged.
        reason: one of `REASONS` where it is below one half; why it is not judged where it is NaN; else empty.
        advice: what to do about it, in plain words; empty where nothing needs doing.
    """

    gradable: float
    reason: str = ""
    advice: str = ""


@dataclass(frozen=True)
class Model:
    """Weights of one hidden layer and two outputs: the probability, and the reason if it is bad.

    Attributes:
        names: features, in order. low, high: their range in training; values outside are cut. mean, spread: of each.
        hidden, bias: features → units. gradable, reasons: units and a constant → output.
    """

    names: tuple[str, ...]
    low: Float64[np.ndarray, "d"]
    high: Float64[np.ndarray, "d"]
    mean: Float64[np.ndarray, "d"]
    spread: Float64[np.ndarray, "d"]
    hidden: Float64[np.ndarray, "d u"]
    bias: Float64[np.ndarray, "u"]
    gradable: Float64[np.ndarray, "u1 1"]
    reasons: Float64[np.ndarray, "u1 r"]

    def outputs(self, rows: Float32[np.ndarray, "n q"]) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n r"]]:
        """Probability of being gradable, and evidence for each reason, of rows in the order of `QUALITY_FEATURES`."""
        chosen = rows[:, [QUALITY_FEATURES.index(name) for name in self.names]].astype(np.float64)
        scaled = (np.clip(chosen, self.low, self.high) - self.mean) / self.spread
        units = np.tanh(scaled @ self.hidden + self.bias)
        units = np.concatenate([units, np.ones((len(units), 1))], axis=1)
        return 1 / (1 + np.exp(-(units @ self.gradable)[:, 0])), units @ self.reasons

    def as_dict(self) -> dict[str, object]:
        """Plain lists of numbers, four significant digits."""
        arrays = ("low", "high", "mean", "spread", "hidden", "bias", "gradable", "reasons")
        numbers = {name: _short(getattr(self, name)) for name in arrays}
        return {"schema": _SCHEMA, "names": list(self.names), "reason_names": list(REASONS), **numbers}

    @staticmethod
    def from_dict(raw: Mapping[str, object]) -> Model:
        """The model that `as_dict` wrote.

        Raises:
            ArtefactError: another schema, other reasons or an unknown feature.
        """
        names = tuple(str(name) for name in np.atleast_1d(np.array(raw.get("names", []))))
        if raw.get("schema") != _SCHEMA or raw.get("reason_names") != list(REASONS):
            raise ArtefactError(
                "a quality model of another schema", f"schema {_SCHEMA}", "python recipes/train_quality.py"
            )
        if unknown := sorted(set(names) - set(QUALITY_FEATURES)):
            raise ArtefactError(f"a quality model with the unknown feature {unknown[0]!r}", "features of this version")
        arrays = ("low", "high", "mean", "spread", "hidden", "bias", "gradable", "reasons")
        return Model(names, *(np.array(raw[name], dtype=np.float64) for name in arrays))


@functools.cache
def shipped() -> Model:
    """The model that comes with the package."""
    text = resources.files("tapetum.archive.quality").joinpath("model.json").read_text(encoding="utf-8")
    return Model.from_dict(json.loads(text))


def judge(features: Float32[np.ndarray, "q"], *, model: Model | None = None) -> Verdict:
    """Whether a photograph can be graded. Research and second-reader support, not a cleared device.

    Args:
        features: of `tapetum.archive.quality.features`.
        model: another than the one that comes with the package.

    Returns:
        A verdict; `gradable` is NaN for everything that is no colour photograph of a fundus with its round field.

    Raises:
        UsageError: another number of features.

    Example:
        >>> from tapetum.archive.quality.features import features
        >>> judge(features(np.zeros((64, 64, 3), np.uint8))).reason
        'quality is judged for fundus photographs only'
    """
    if features.shape != (len(QUALITY_FEATURES),):
        raise UsageError(f"features of shape {features.shape}", f"({len(QUALITY_FEATURES)},), as features() gives them")
    told: dict[str, float] = dict(zip(QUALITY_FEATURES, features.tolist(), strict=True))
    if not is_fundus(told):
        return Verdict(float("nan"), UNKNOWN, "")
    if told["field_pixels"] < LEAST_PIXELS:
        return Verdict(float("nan"), TOO_SMALL, "Export it again at its full size.")
    probability, evidence = (model or shipped()).outputs(features[None])
    if probability[0] >= THRESHOLD:
        return Verdict(float(probability[0]))
    reason = REASONS[int(evidence[0].argmax())]
    return Verdict(float(probability[0]), reason, ADVICE[reason])


def is_fundus(told: Mapping[str, float]) -> bool:
    """A round field on a plain surround, in colour, and not bluer than a bad white balance makes a retina."""
    coloured = told["colour_spread"] > 3.0 or told["colour_spread"] > 0.25 * 255 * told["red"]
    return told["field_found"] > 0 and coloured and told["red_minus_blue"] > -40


def _short(values: Float64[np.ndarray, "*k"]) -> object:
    if values.ndim > 1:
        return [_short(row) for row in values]
    return [float(f"{value:.4g}") for value in values]
