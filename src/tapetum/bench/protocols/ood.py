"""Out-of-distribution detection: does the model notice images that it was not made for."""

from __future__ import annotations

from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Trial
from tapetum.bench.trust.outlying import by_labels, chosen_scores, known_of, parts_of, score_records, values_of
from tapetum.bench.trust.outlying_words import words_of
from tapetum.core.errors import UsageError

__all__ = ["ood"]

DEFAULT = ("knn", "mahalanobis", "energy")
BY_WORDS = ("msp(temperature=0.01)", "max_logit", "energy(temperature=0.01)", "neg_label", "knn")


def ood(
    trial: Trial,
    *,
    scores: tuple[str, ...] = (),
    head: str = "logistic",
    unseen: str = "",
    kept: float = 0.95,
    prompt_set: str = "",
    places: bool = False,
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
            that occur together (sigmoid), with `exclusive=true` as classes (softmax). `words`: no labels; the words of
            the findings in the space of the given model, read as classes (`msp` with a temperature is then MCM).
        unseen: instead of another archive, a label: its images are OOD, and none of them is fitted or chosen on.
        kept: share of the validation images that the threshold keeps.
        prompt_set: with `words`, what stands for a finding: `name`, `grades` or `descriptions` (hierarchical prompts);
            the model's own if empty.
        places: with `words`, also the most confident place of each image (GL-MCM); every image is read again.

    Raises:
        UsageError: neither or both of another archive and `unseen`, `ordinal`, a head that is not linear, a score that
            needs labels where there are none, or scores with unequal numbers of settings. DataError: too few images.

    Source: own protocol; measures as in OpenOOD v1.5, arXiv 2306.09301. Differs: patients, not images, are resampled;
    a threshold that is used, from known images alone; both conventions of FPR95.
    """
    if trial.config.ordinal:
        raise UsageError("ordinal=true with ood", "linear_probe or knn", "ordinal=false")
    words = words_of(trial, unseen, prompt_set) if head == "words" else None
    if words is None and (prompt_set or places):
        raise UsageError("prompt_set or places without words", "head='words' and a model that knows words")
    parts = parts_of(trial, unseen)
    known = words.known(parts) if words else known_of(trial, parts, head, unseen)
    specs, left_out = chosen_scores(scores, BY_WORDS if words else DEFAULT, known.images)
    left_out += trial.refuse_unequal_budgets(specs)
    found = values_of(parts, known, specs)
    if words and places:
        found |= words.by_places(trial, parts)
    supervision = words.supervision if words else by_labels
    records, lines = score_records(trial, parts, known.note, found, kept, supervision)
    sizes = ", ".join(f"{len(getattr(parts, n))} {n}" for n in ("train", "val", "test", "outside"))
    notes = (
        "higher scores = more OOD; rows OOD: OOD images are positive, rows ID: known images are",
        f"images: {sizes}; by chance AP is the share of positives and FPR95 about .95",
        known.note, *left_out, *lines, *parts.notes,
    )  # fmt: skip
    return Results(tuple(records), (), notes, None, trial)
