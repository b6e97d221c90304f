"""Out-of-distribution detection: does the model notice images that it was not made for."""

from __future__ import annotations

from collections.abc import Sequence

from tapetum.bench.models.tuned import tuned
from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Trial
from tapetum.bench.trust.outlying import (
    Known,
    Values,
    by_labels,
    chosen_scores,
    known_of,
    learnable,
    score_records,
    values_of,
)
from tapetum.bench.trust.outlying_choice import chosen_settings, limit_rule, odin_values
from tapetum.bench.trust.outlying_parts import Parts, learned_from, parts_of
from tapetum.bench.trust.outlying_words import Words, words_of
from tapetum.core.errors import DataError, UsageError

__all__ = ["ood"]

DEFAULT = ("knn", "mahalanobis", "energy")
BY_WORDS = ("msp(temperature=0.01)", "max_logit", "energy(temperature=0.01)", "neg_label", "knn")

POLICIES = (
    "shifted accepted: shifted images count as known ones. Rows OOD: AUROC and AP up, FPR95 down = OOD images score "
    "higher than known and shifted ones; FPR95 is the share of known and shifted images refused where 95 % of the OOD "
    "images are. Rows ID: known and shifted images are positive; FPR95 is the share of OOD images accepted where 95 % "
    "of these are",
    "shifted refused: shifted images are to be refused and stand against the known ones in a row of their own, never "
    "pooled with the OOD images, whose rows are then OOD and ID as they are. AUROC and AP up, FPR95 down = shifted "
    "images score higher than known ones: good under this policy, and what the other one does not want",
)


def ood(
    trial: Trial,
    *,
    scores: tuple[str, ...] = (),
    head: str = "logistic",
    unseen: str = "",
    kept: float = 0.95,
    choose: str = "",
    limit: str = "kept",
    shifted: str = "",
    severity: float = 0.5,
    odin: bool = False,
    prompt_set: str = "",
    places: bool = False,
) -> Results:
    """Tell images of another archive, or of a finding held out, from test images of the kind learned on.

    Scores are fitted on the training patients and get their thresholds from the validation patients; no tested OOD
    image is seen before the test, and without `choose` none at all. Higher = more OOD. In rows `OOD` the OOD images are
    the positive class, in rows `ID` the known ones: average precision and FPR95 differ between them, AUROC does not.
    Sensitivity and specificity are shares refused and kept at the threshold (kept and refused in rows `ID`).

    Args:
        trial: the archive learned on; with another archive (`--test`), all of that one is OOD.
        scores: members of `score/ood` with options; one of features, one of classes and one of logits if empty.
        head: the linear adapter that the labels are learned with, for scores that need a head. It is read as findings
            that occur together (sigmoid), with `exclusive=true` as classes (softmax); with `mode=finetune` it is the
            tuned one. `words`: no labels; the words of the findings in the space of the given model, read as classes
            (`msp` with a temperature is then MCM).
        unseen: instead of another archive, a label: its images are OOD, and none of them is fitted or chosen on.
        kept: share of the validation images that the threshold keeps.
        choose: OOD images that serve for choosing settings and are never tested: the path of another archive, or a
            label of this one, which is then held out from all else. A score without options is tried in six settings.
        limit: `kept`; with `choose`, also `balanced`: the threshold at which the shares of known images kept and of
            OOD images refused, both of those to choose on, add up to most.
        shifted: full spectrum: images of known findings that look different, counted under both policies: the path of
            another archive, or `corrupted`: the tested known images, each corrupted once.
        severity: of these corruptions, 0..1.
        odin: also ODIN, which needs the head and looks at every image again; its step is chosen like a setting.
        prompt_set: with `words`, what stands for a finding: `name`, `grades` or `descriptions` (hierarchical prompts);
            the model's own if empty.
        places: with `words`, also the most confident place of each image (GL-MCM); every image is read again.

    Raises:
        UsageError: neither or both of another archive and `unseen`, `ordinal`, a head that is not linear, a score that
            needs labels where there are none, or scores with unequal numbers of settings. DataError: too few images.
        LeakageError: an image or a patient stands in two of the archives.

    Source: own protocol; measures as in OpenOOD v1.5, arXiv 2306.09301. Differs: patients are resampled; a threshold
    that is used; both conventions of FPR95 and both policies for shifted images.
    """
    words = _words(trial, head, (unseen, choose), prompt_set, places)
    trial, parts = _parts(trial, unseen, choose, shifted=shifted, severity=severity)
    limit_of = limit_rule(limit, kept, parts)
    known = words.known(parts) if words else known_of(trial, parts, head, unseen)
    specs, left_out = chosen_scores(scores, BY_WORDS if words else DEFAULT, known.images)
    found, chosen = _asked(trial, parts, known, specs, words if places else None, odin)
    records, lines = score_records(trial, parts, known.note, found, limit_of, words.supervision if words else by_labels)
    notes = (*_told(parts), known.note, *left_out, *chosen, *lines, *parts.notes)
    return Results(tuple(records), (), notes, None, trial)


def _parts(trial: Trial, unseen: str, choose: str, *, shifted: str, severity: float) -> tuple[Trial, Parts]:
    """The images, with `mode=finetune` as a tower sees them that learned from the known training images alone."""
    if trial.config.mode != "frozen":
        train, val = learned_from(trial, unseen, choose)
        names = learnable(trial, train, unseen)[0]
        if not names:
            raise DataError(f"{trial.archive.name} has no label to tune a tower by", "labels", "mode=frozen")
        trial = tuned(trial, names, train=train, val=val)
    return trial, parts_of(trial, unseen, choose=choose, shifted=shifted, severity=severity)


def _words(trial: Trial, head: str, unseen: Sequence[str], prompt_set: str, places: bool) -> Words | None:
    """The words in the place of a head, where they are asked for."""
    if trial.config.ordinal:
        raise UsageError("ordinal=true with ood", "linear_probe or knn", "ordinal=false")
    if head == "words":
        trial.refuse_finetune("head='words'")
        return words_of(trial, unseen, prompt_set)
    if prompt_set or places:
        raise UsageError("prompt_set or places without words", "head='words' and a model that knows words")
    return None


def _asked(
    trial: Trial, parts: Parts, known: Known, specs: Sequence[str], places: Words | None, odin: bool
) -> tuple[dict[str, Values], list[str]]:
    """All scores of all images in their chosen settings, and how these were chosen."""
    notes = list(trial.refuse_unequal_budgets(specs))
    specs, chosen = chosen_settings(parts, known, specs)
    found = values_of(parts, known, specs)
    if odin:
        more, told = odin_values(trial, parts, known)
        found, chosen = found | more, chosen + told
    if places:
        found |= places.by_places(trial, parts)
    return found, notes + chosen


def _told(parts: Parts) -> list[str]:
    """How the rows are read, and of how many images."""
    sizes = ", ".join(f"{len(getattr(parts, n))} {n}" for n in ("train", "val", "test", "outside"))
    more = zip(("to choose on", "shifted"), parts.further, strict=True)
    sizes += "".join(f", {len(part.records)} {name}" for name, part in more if part)
    return [
        "higher scores = more OOD; rows OOD: OOD images are positive, rows ID: known images are",
        f"images: {sizes}; by chance AP is the share of positives and FPR95 about .95",
        *(POLICIES if parts.shifted else ()),
    ]
