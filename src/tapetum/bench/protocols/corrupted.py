"""Corrupted images: what a blurred, hazy, dark or badly stored photograph costs a model that learned on clean ones."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tapetum.bench.altered.changed import Change, as_it_is, embed_changed, embedder_of, rng_of
from tapetum.bench.altered.suites import CORRUPTIONS, suite_of
from tapetum.bench.models.subject import Asked, asked_of, some_of, subject_of
from tapetum.bench.models.tuned import tuned
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import records_of, truth_note
from tapetum.bench.trial import Scored, Trial
from tapetum.bench.trust.corrupting import clean_records, corrupted_records, measure, relative_records
from tapetum.core.errors import UsageError
from tapetum.core.types import UNKNOWN

__all__ = ["corrupted"]

COLUMNS = (
    "auroc_score", "auroc_difference", "auroc_difference (p)", "sensitivity_difference", "specificity_difference",
    "balanced_error", "expected_calibration_error", "relative_balanced_error", "relative_increase_error",
)  # fmt: skip


def corrupted(
    trial: Trial,
    *,
    adapter: str = "logistic",
    corruptions: tuple[str, ...] = (),
    modality: str = "",
    severities: tuple[float, ...] = (0.25, 0.5, 0.75),
    images: int = 200,
    baseline: str = "",
) -> Results:
    """A model learned on clean images, tested on spoilt ones: each corruption of a modality at several severities.

    The images are read once, brought to a shorter side of 256 pixels, spoilt and embedded anew. Rows are corruptions,
    the worst first: means over the severities, and paired differences to the same images unspoilt. Thresholds and
    calibration stay those of the clean validation patients.

    Args:
        trial: what is learned on and tested; a checkpoint is tested as it is, else `adapter` is fitted.
        adapter: spec of a linear adapter on frozen features.
        corruptions: names of `bench/corruptions`; by default the suite of the modality, see `bench/altered/suites.py`.
        modality: whose suite; by default what most tested images say of themselves.
        severities: 0 (nothing) to 1 (hardly anybody could read it).
        images: tested at least, of patients drawn by the seed, each with all images; 0 = all.
        baseline: the folder of another run on the same images, in whose errors these are then told as well.

    Raises:
        UsageError: `ordinal` or `exclusive`, an unknown corruption, no severity or one out of range. DataError: no
            finding with both classes, an image that cannot be decoded, or a baseline of other images.

    Source: after MedMNIST-C (Di Salvo et al., arXiv 2406.17536): suites by modality, balanced error, errors relative to
    a named baseline. Differs: own corruptions with continuous severity; AUROC, intervals over patients and paired
    differences; no error relative to a model that is not named.
    """
    trial.refuse_one_class_each("corrupted")
    levels = tuple(sorted(set(severities)))
    if not levels or not all(0 < s <= 1 for s in levels) or images < 0:
        raise UsageError(f"severities={severities}, images={images}", "severities above 0, up to 1; images ≥ 0")
    records = some_of(trial.test_records, images, np.random.default_rng([trial.config.seed, 6]))
    kind = modality or Counter(r.modality for r in records).most_common(1)[0][0]
    suite, names = suite_of(kind, corruptions)
    trial = tuned(trial)
    subject = subject_of(trial, adapter)
    asked = asked_of(trial, "corrupted", subject, records)
    clean, spoilt = _asked(trial, asked, names, levels)
    within = asked.within
    measured = measure(clean, spoilt, within)
    found = [*records_of(within, clean), *clean_records(within, clean, measured)]
    found += corrupted_records(within, clean, measured, levels)
    if baseline:
        found += relative_records(within, found, clean.labels, Path(baseline))
    unknown = " (the modality is unknown)" if kind == UNKNOWN and not corruptions else ""
    notes = [
        truth_note(clean), *subject.notes, f"{len(records)} of {len(trial.test_records)} test images, whole patients",
        f"suite: {suite}{unknown}; severities {', '.join(f'{s:g}' for s in levels)}; rows are means over them, "
        f"differences are to {subject.row}, paired",
    ]  # fmt: skip
    columns = (*COLUMNS, *(f"auroc_at_{severity:g}_score" for severity in levels))
    return Results(tuple(found), (clean,), tuple(notes), None, trial, columns=columns, by_finding="auroc_score")


def _asked(
    trial: Trial, asked: Asked, names: Sequence[str], levels: Sequence[float]
) -> tuple[Scored, dict[str, list[Scored]]]:
    """Scores on the clean images, and of each corruption at every severity."""
    changes: list[Change] = [as_it_is]
    changes += [_change(name, severity, trial.config.seed) for name in names for severity in levels]
    embedder = embedder_of(trial, asked.subject.model)
    features = embed_changed(trial.test_archive, asked.records, embedder, changes, trial.progress)
    each = [features[i : i + len(levels)] for i in range(1, len(features), len(levels))]
    spoilt = {name: [asked.scored(one, name) for one in part] for name, part in zip(names, each, strict=True)}
    return asked.scored(features[0], asked.subject.row), spoilt


def _change(name: str, severity: float, seed: int) -> Change:
    """A corruption with a generator of its own for each image, equal at all severities."""
    spoil = functools.partial(CORRUPTIONS.build(name), severity=severity)
    return lambda image, record: spoil(image, rng=rng_of(seed, name, record))
