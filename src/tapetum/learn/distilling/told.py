"""What a teacher says of the training images, as log odds, and what is known of them otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tapetum.archive import Archive
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, nearest
from tapetum.core.types import Embeddings, ImageRecord
from tapetum.learn.model import Model, zero_shot
from tapetum.learn.predict import askable
from tapetum.learn.pretrain import targets

_SURE = 1e-4  # a calibrated 0 or 1 has no finite log odds


@dataclass(frozen=True)
class Told:
    """What a student is told.

    Attributes:
        findings: the columns. soft: the teacher's log odds. hard: 0, 1, NaN unknown; from `truth`, labels or reports.
        left_out: findings that the teacher knows and nothing can be learned for, each with its reason.
    """

    findings: tuple[str, ...]
    soft: Float[np.ndarray, "n k"]
    hard: Float[np.ndarray, "n k"]
    truth: str
    left_out: tuple[str, ...] = ()


def told_by(
    teacher: Model,
    rows: Embeddings,
    archive: Archive,
    records: Sequence[ImageRecord],
    findings: Sequence[str] = (),
) -> Told:
    """The teacher's opinion of some images beside what labels (else reports) say of them.

    Args:
        teacher: with an adapter or an aligner.
        rows: features of these images from the teacher's towers.
        archive: whose images they are.
        records: the images, of training patients only.
        findings: the columns; all that the teacher can be asked if empty, without those that cannot be learned here.

    Returns:
        Log odds: calibrated where the teacher is, else as they are from an adapter, else by Platt scaling on the hard
        targets of these very images.

    Raises:
        UsageError: a finding that the teacher was not taught, or none is left.
        DataError: a finding asked for has one class only among these images.
    """
    known = askable(teacher)
    strange = [name for name in findings if teacher.findings and name not in known]
    if strange:
        raise UsageError(f"the teacher was not taught {strange[0]!r}", nearest(strange[0], known))
    columns = tuple(findings) or known
    hard, truth = targets(archive, records, columns)
    lacking = [j for j in range(len(columns)) if not ((hard[:, j] == 1).any() and (hard[:, j] == 0).any())]
    if findings and lacking:
        raise DataError(
            f"{columns[lacking[0]]!r} has one class only among the {len(records)} training images ({truth})",
            "at least one image with it and one without", "findings=… without it",
        )  # fmt: skip
    kept = [j for j in range(len(columns)) if j not in lacking]
    if not kept:
        raise UsageError(
            f"none of the teacher's {len(columns)} findings has both classes here", "an archive with labels or reports"
        )
    left_out = tuple(f"{columns[j]}: one class only among the training images ({truth})" for j in lacking)
    names, hard = tuple(columns[j] for j in kept), hard[:, kept]
    return Told(names, _log_odds(teacher, rows, names, hard), hard, truth, left_out)


def _log_odds(
    teacher: Model, rows: Embeddings, findings: tuple[str, ...], hard: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "n k"]:
    said = zero_shot(teacher, rows, findings)
    probs, logits = said.probs, said.logits
    bare = np.isnan(probs).any(0)
    if bare.any() and teacher.adapter is None:
        # cosines times a scale are no log odds: without a calibration they would teach a base rate of one half
        platt = Family("tapetum.score.calibration").build("platt").fit(logits[:, bare], hard[:, bare])
        probs = probs.copy()
        probs[:, bare] = platt(logits[:, bare])
        bare = np.isnan(probs).any(0)
    clipped = np.clip(probs, _SURE, 1 - _SURE)
    return np.where(bare, np.nan_to_num(logits), np.log(clipped) - np.log1p(-clipped))
