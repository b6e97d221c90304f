"""Anchors: what a model knows of each finding by its words, as a linear head that few-shot adapters start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest
from tapetum.learn.fitting.concepts import Described, described

if TYPE_CHECKING:
    from tapetum.learn.model import Model

# Standard deviation of the logits over unlabelled images. A calibrated score of two equal normal distributions with
# equal numbers has 1.8 at an AUROC of 0.85 and 2.4 at 0.90: the size of logit that a sound prompt deserves.
SPREAD = 2.0


@dataclass(frozen=True)
class Anchors:
    """The zero-shot head in the space of the rows: logits = rows @ weight + bias.

    Attributes:
        weight: prompt vector of each finding × the scale of its logits, column by column. bias: per finding.
        described: sentences of what is seen, for adapters that need `concepts`; None where there is no pack.

    Example:
        >>> Anchors(np.eye(2), np.array([0.0, 1.0])).logits(np.array([[3.0, 4.0]]))
        array([[3., 5.]])
    """

    weight: Float[np.ndarray, "d k"]
    bias: Float[np.ndarray, "k"]
    described: Described | None = None

    def logits(self, rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Zero-shot scores of rows, float64."""
        return np.asarray(rows, dtype=np.float64) @ self.weight + self.bias

    @property
    def lengths(self) -> Float[np.ndarray, "k"]:
        """Length of each finding's weight: the scale, since prompt vectors have length 1."""
        return np.maximum(np.linalg.norm(self.weight, axis=0), 1e-12)


def anchors_of(
    model: Model,
    findings: Sequence[str],
    rows: Float[np.ndarray, "n e"] | None = None,
    *,
    prompt_set: str = "",
    concepts: bool = False,
) -> Anchors:
    """The prompts of findings as a linear head in the common space.

    Args:
        model: with an aligner.
        findings: ids of its pack; plain words without a pack.
        rows: unlabelled images in the common space (`model.encode_image`). With them each finding's logits get mean 0
            and standard deviation 2 over those images, so that no aligner's temperature decides how far an adapter
            trusts the words; without (or with one image only) the scale is the aligner's and the bias 0.
        prompt_set: `name`, `grades` or `descriptions`; the model's own if empty.
        concepts: encode the pack's descriptions, too.

    Raises:
        UsageError: the model has no aligner, or its pack does not know a finding; the message names the nearest.
    """
    from tapetum.knowledge import load_pack
    from tapetum.learn.model import prompt_vectors  # a model holds an adapter, whose protocol names the anchors

    pack = load_pack(model.pack) if model.pack else None
    wordless = [name for name in findings if pack is not None and name not in pack.findings]
    if pack is not None and wordless:
        raise UsageError(
            f"{wordless[0]!r} is no finding of the pack {model.pack}: no words stand for it",
            nearest(wordless[0], list(pack.findings)),
            "findings=… without it, or an adapter that needs no words: adapter=linear_probe",
        )
    unit = prompt_vectors(model, findings, pack, prompt_set or model.prompt_set).T.astype(np.float64)
    said = described(model, findings) if concepts else None
    if rows is not None and len(rows) > 1:
        cosine = np.asarray(rows, dtype=np.float64) @ unit
        deviation = cosine.std(0)
        scale = SPREAD / np.where(deviation > 1e-9, deviation, SPREAD)
        return Anchors(unit * scale, -cosine.mean(0) * scale, said)
    scale = float(np.exp(model.aligner.logit_log_scale.detach().numpy())) if model.aligner else 1.0
    return Anchors(unit * scale, np.zeros(len(findings)), said)


def need_anchors(
    anchors: Anchors | None, support: Float[np.ndarray, "n d"], labels: Float[np.ndarray, "n k"]
) -> Anchors:
    """The anchors, checked against rows and labels.

    Raises:
        UsageError: there are none, or they belong to other rows or findings.
    """
    if anchors is None:
        raise UsageError("no anchors: this adapter starts from the words of the findings", "anchors=anchors_of(…)")
    wanted, found = (support.shape[1], labels.shape[1]), anchors.weight.shape
    if found != wanted or anchors.bias.shape != wanted[1:]:
        raise UsageError(
            f"anchors for {found[0]} columns and {found[1]} findings",
            f"{wanted[0]} columns and {wanted[1]} findings, as the rows and labels have",
            "rows from model.encode_image, anchors_of(model, findings)",
        )
    return anchors
