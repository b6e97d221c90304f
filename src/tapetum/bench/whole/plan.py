"""Which questions a whole run asks, which of them an archive can answer, and why the others are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tapetum.archive import Archive
from tapetum.bench.refusals import refuse_names
from tapetum.bench.trial import BenchConfig
from tapetum.bench.trust.tail_methods import ONE_OF_EACH
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family, Spec
from tapetum.core.types import Split
from tapetum.learn.features.embedder import parse_encoders
from tapetum.learn.pretrain import candidates

PROTOCOLS = Family("tapetum.bench.protocols")
FEWEST = 20  # training images of a label that may be held out as unseen
OWN, OTHER, BOTH, WIDEST = "own", "other", "both", "widest"


@dataclass(frozen=True)
class Part:
    """One family of questions.

    Attributes:
        name: of its folder. title, question: for people. spec: protocol with options.
        where: `own` = asked of the archive's test patients, `other` = of the second archive, `both` = of each in a part
            of its own, `widest` = of the second archive where there is one, by a protocol that tests both.
        labels, reports: what the archive must have. one_class: each labelled image must have one label and no other.
        takes: of `exclusive` and `ordinal`, what the protocol knows; of the other one it is not told.
        tunes: whether it knows `mode=finetune`. one_tower: and then tunes one tower, not several side by side.
        main: metrics whose numbers stand in the summary, most telling first; `METRIC @ WORDS`: rows with these words.
    """

    name: str
    title: str
    question: str
    spec: str
    where: str = OWN
    labels: bool = True
    reports: bool = False
    one_class: bool = False
    takes: tuple[str, ...] = ()
    tunes: bool = True
    one_tower: bool = False
    main: tuple[str, ...] = ()


PARTS = (
    Part(
        "detection", "Detection", "How well do labels teach what is looked for?", "linear_probe", BOTH,
        takes=("exclusive", "ordinal"),
        main=("auroc_score", "average_precision_score", "sensitivity_score"),
    ),
    Part(
        "words", "Detection by words", "How far do reports alone lead, without a label?",
        "zero_shot(shuffles=0, unseen=False, compare=())", BOTH, labels=False, reports=True, tunes=False,
        main=("auroc_score", "average_precision_score", "sensitivity_score"),
    ),
    Part(
        "longtail", "Long tail", "What do methods for rare classes gain, and what do they cost the common ones?",
        f"longtail(methods={ONE_OF_EACH!r})", one_class=True, takes=("exclusive", "ordinal"), one_tower=True,
        main=("balanced_accuracy_score", "balanced_accuracy_difference", "worst_recall_score"),
    ),
    Part(
        "noise", "Label noise", "Which labels are in doubt, how many are wrong, and what would wrong ones do?", "noise",
        takes=("exclusive", "ordinal"),
        main=("noise_rate @ on labels as given", "flips_auroc_score", "auroc_difference @ minus labels as given"),
    ),
    Part(
        "robust", "Learning from wrong labels", "Which way of learning stands labels that are partly wrong?", "robust",
        one_class=True, takes=("exclusive", "ordinal"), one_tower=True,
        main=(
            "balanced_accuracy_score", "balanced_accuracy_difference @ symmetric",
            "balanced_accuracy_difference @ instance",
        ),
    ),
    Part(
        "shift", "Domain shift", "What is lost on images of another clinic, and what closes the gap?", "shift", OTHER,
        takes=("exclusive",), one_tower=True,
        main=("auroc_score", "auroc_difference", "expected_calibration_error"),
    ),
    Part(
        "ood", "Out-of-distribution detection", "Are images noticed that the model was not made for?", "ood",
        takes=("exclusive",), main=("auroc_score", "fpr_at_95_tpr_error", "sensitivity_score"),
    ),
    Part(
        "calibration", "Calibration", "Do stated probabilities come true?", "calibration", BOTH,
        takes=("exclusive",), main=(
            "expected_calibration_error @ as it is", "expected_calibration_error @ platt",
            "expected_calibration_difference @ platt",
        ),
    ),
    Part(
        "fairness", "Fairness and shortcuts",
        "Is any group served worse, and does anything but the disease tell the answer?", "fairness",
        main=("auroc_gap", "equal_opportunity_difference", "auroc_score @ border strips"),
    ),
    Part(
        "masked", "Masked images", "Is the answer still told when what should matter is hidden?", "masked(images=100)",
        main=("auroc_score", "kept_share @ hidden 1", "kept_share @ hidden 0.9"),
    ),
    Part(
        "corrupted", "Corrupted images", "What does a blurred, dark or badly stored image cost?",
        "corrupted(images=100, severities=(0.5,))",
        main=("auroc_score", "auroc_difference @ mean of all", "balanced_error @ mean of all"),
    ),
    Part(
        "crossed", "Long tail × wrong labels × clinics", "What is left of each way of learning when all come together?",
        "crossed", WIDEST, one_class=True, takes=("exclusive", "ordinal"), one_tower=True,
        main=("balanced_accuracy_score", "balanced_accuracy_difference", "worst_cell_score"),
    ),
    Part(
        "abstain", "Leaving the doubtful to a person", "Does it know when it does not know?", "abstain",
        main=(
            "aurc_error @ near the threshold", "error_at_100_coverage @ near the threshold",
            "error_at_80_coverage @ near the threshold",
        ),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Planned:
    """A part at one place, to be run, or left out for a reason.

    Attributes:
        name: of its folder. spec: as it is run. where: `own` or `other`. left_out: why, empty = to be run.
        partial: whether what is missing makes the run a partial one: without labels little is asked.
    """

    part: Part
    name: str
    spec: str
    where: str
    left_out: str = ""
    partial: bool = False

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.part.title}, other archive" if self.name != self.part.name else self.part.title


def planned(
    archive: Archive, config: BenchConfig, test: Archive | None = None, only: Sequence[str] = ()
) -> list[Planned]:
    """Every part of `PARTS`, at each place it is asked of.

    Args:
        archive: learned on.
        config: how.
        test: a second archive. Where it shares findings with the first, it is another clinic (shift); where it shares
            none, its images are what a model should notice (ood).
        only: names of parts; all if empty.

    Raises:
        UsageError: a part that nobody has declared.
    """
    refuse_names("parts", only, [part.name for part in PARTS])
    plan: list[Planned] = []
    shared = test is not None and shares_findings(archive, test, config)
    for part in PARTS:
        if only and part.name not in only:
            continue
        if part.where == BOTH:
            plan.append(_checked(Planned(part, part.name, part.spec, OWN), archive, config))
            if shared:
                plan.append(_checked(Planned(part, f"{part.name}_elsewhere", part.spec, OTHER), archive, config))
        elif part.name == "ood":
            plan.append(_checked(_outside(part, archive, test, shared), archive, config))
        elif part.where == WIDEST:
            plan.append(_checked(Planned(part, part.name, part.spec, OTHER if shared else OWN), archive, config))
        elif part.where == OTHER and not shared:
            why = "it has no finding in common with this one" if test else "--test OTHER_ARCHIVE names none"
            plan.append(
                Planned(part, part.name, part.spec, OTHER, f"needs a second archive of the same findings: {why}")
            )
        else:
            plan.append(_checked(Planned(part, part.name, part.spec, part.where), archive, config))
    return plan


def one_label_each(archive: Archive) -> bool:
    """Whether every labelled image has one label and no other."""
    known = [{archive.label_map.get(t, t) for t in r.labels} - {""} for r in archive.records]
    return all(len(names) <= 1 for names in known) and any(known)


def on_their_own() -> tuple[str, ...]:
    """Protocols that no part asks: they are run on their own."""
    asked = {Spec.parse(part.spec).name for part in PARTS}
    return tuple(name for name in PROTOCOLS.names() if name not in asked)


def shares_findings(archive: Archive, test: Archive, config: BenchConfig) -> bool:
    """Whether both archives have images with one of the findings asked for, or name a label in common.

    One may name a grade where the other names the disease: with `findings=` a child's label counts, as in any protocol.
    """
    if config.findings:
        return any(_has(archive, finding) and _has(test, finding) for finding in config.findings)
    both = set(archive.label_names) & set(test.label_names) or set(candidates(archive)) & set(candidates(test))
    return bool(both)


def _has(archive: Archive, finding: str) -> bool:
    try:
        return bool((archive.labels([finding], image_ids=[r.image_id for r in archive.records]) == 1).any())
    except UsageError:  # neither its labels nor its pack know the name
        return False


def unseen_label(archive: Archive) -> str:
    """The label to be held out: the rarest of those with enough training images; empty where there is none.

    Only training images are counted, so that the choice does not look at the test set.
    """
    names = archive.label_names
    train = archive.in_split(Split.TRAIN)
    counts = np.nansum(archive.labels(names, image_ids=[r.image_id for r in train]), axis=0) if names else np.empty(0)
    enough = [(int(n), name) for n, name in zip(counts, names, strict=True) if FEWEST <= n < len(train)]
    return min(enough)[1] if len(enough) > 1 else ""


def _outside(part: Part, archive: Archive, test: Archive | None, shared: bool) -> Planned:
    if test is not None and not shared:
        return Planned(part, part.name, part.spec, OTHER)
    label = unseen_label(archive)
    if not label:
        return Planned(
            part, part.name, part.spec, OWN, f"no label with at least {FEWEST} training images to hold out", True
        )
    return Planned(part, part.name, str(Spec(part.name, {"unseen": label})), OWN)


def _checked(one: Planned, archive: Archive, config: BenchConfig) -> Planned:
    part, reason, partial = one.part, one.left_out, one.partial
    if Spec.parse(part.spec).name not in PROTOCOLS.names():
        reason, partial = "not part of this version", False
    elif config.mode != "frozen" and not part.tunes:
        reason, partial = f"knows frozen features only, not mode={config.mode}", False
    elif config.mode != "frozen" and part.one_tower and len(parse_encoders(config.encoders)) > 1:
        reason, partial = 'several towers to tune at once: name one, as in encoders="efficientnet_lite(size=96)"', True
    elif part.labels and not archive.label_names:
        reason, partial = f"{archive.name} has no labels", True
    elif part.one_class and not one_label_each(archive):
        reason, partial = "images with several labels: it learns one class each", False
    elif part.one_class and len(config.findings or archive.label_names) < 2:
        reason, partial = "one finding is asked for: it learns two classes or more", False
    elif part.reports and not any(r.report for r in archive.records):
        reason, partial = f"{archive.name} has no reports", False
    return Planned(part, one.name, one.spec, one.where, reason, partial)
