"""Out-of-distribution detection: does the model notice images that it was not made for."""

from __future__ import annotations

from tapetum.bench.outlying import chosen_scores, known_of, parts_of, score_records
from tapetum.bench.results import Results
from tapetum.bench.trial import Trial
from tapetum.core.errors import UsageError

__all__ = ["ood"]

DEFAULT = ("knn", "mahalanobis", "energy")


def ood(
    trial: Trial, *, scores: tuple[str, ...] = (), head: str = "logistic", unseen: str = "", kept: float = 0.95
) -> Results:
    """Tell images of another archive, or of a finding held out, from test images of the kind learned on.

    Scores are fitted on the training patients and get their thresholds from the validation patients; no OOD image is
    seen before the test. Higher = more OOD. In rows `OOD` the OOD images are the positive class, in rows `ID` the known
    ones: average precision and FPR95 differ between them, AUROC does not. Sensitivity and specificity are shares
    refused and kept at the threshold (kept and refused in rows `ID`).

    Args:
        trial: the archive learned on; with another archive (`--test`), all of that one is OOD.
        scores: members of `score/ood` with options; one of features, one of classes and one of logits if empty.
        head: the linear adapter that the labels are learned with, for scores that need a head. It is read as findings
            that occur together (sigmoid), with `exclusive=true` as classes (softmax).
        unseen: instead of another archive, a label: its images are OOD, and none of them is fitted or chosen on.
        kept: share of the validation images that the threshold keeps.

    Raises:
        UsageError: neither or both of another archive and `unseen`, `ordinal`, a head that is not linear, a score that
            needs labels where there are none, or scores with unequal numbers of settings. DataError: too few images.

    Source: own protocol; measures as in OpenOOD v1.5, arXiv 2306.09301. Differs: patients, not images, are resampled;
    a threshold that is used, from known images alone; both conventions of FPR95.
    """
    if trial.config.ordinal:
        raise UsageError("ordinal=true with ood", "linear_probe or knn", "ordinal=false")
    parts = parts_of(trial, unseen)
    known = known_of(trial, parts, head, unseen)
    specs, left_out = chosen_scores(scores, DEFAULT, known.images)
    left_out += trial.refuse_unequal_budgets(specs)
    records, lines = score_records(trial, parts, known, specs, kept)
    sizes = ", ".join(f"{len(getattr(parts, n))} {n}" for n in ("train", "val", "test", "outside"))
    notes = (
        "higher scores = more OOD; rows OOD: OOD images are positive, rows ID: known images are",
        f"images: {sizes}; by chance AP is the share of positives and FPR95 about .95",
        known.note, *left_out, *lines, *parts.notes,
    )  # fmt: skip
    return Results(tuple(records), (), notes, None, trial)
