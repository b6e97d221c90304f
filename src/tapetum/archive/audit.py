"""`audit`: what in the data would make a later number wrong. Leakage first, then labels, eyes, reports and sizes."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tapetum.archive.duplicates import Pair, duplicate_pairs, groups
from tapetum.archive.opened import Archive
from tapetum.archive.quality import ADVICE
from tapetum.core.types import UNKNOWN, Embeddings, ImageRecord, Laterality, Split
from tapetum.knowledge.copies import copied_forward

INTENDED_USE = "Research and second-reader support, not a cleared device."
FEW_PATIENTS = 10
_SHOWN = 10


@dataclass(frozen=True)
class LabelCount:
    """How often a finding is labelled, in images and patients, and in images per split."""

    finding: str
    images: int
    patients: int
    per_split: Mapping[str, int]


@dataclass(frozen=True)
class AuditReport:
    """What the audit found.

    Attributes:
        problems: sentences, most serious first; empty where nothing was found.
        pairs: images that look like one. across_patients, across_splits: those of two patients, of two splits.
        groups: images that are one picture, the medoid first. crossing_groups: those of several splits.
        method: how near duplicates were judged, `hash only` or with embeddings.
        sizes: (width, height, channels, bits) → images, as text.
        judged: images whose quality was judged. ungradable: reason → images that probably cannot be graded.
        copied_sentences: of all reports, those that stood already in the same patient's report before.
    """

    archive: str
    digest: str
    phantom: bool
    images: int
    patients: int
    quarantined: int
    split_images: Mapping[str, int]
    split_patients: Mapping[str, int]
    split_breakers: tuple[str, ...]
    pairs: tuple[Pair, ...]
    across_patients: tuple[Pair, ...]
    across_splits: tuple[Pair, ...]
    groups: tuple[tuple[str, ...], ...]
    crossing_groups: tuple[tuple[str, ...], ...]
    method: str
    labels: tuple[LabelCount, ...]
    unlabelled: int
    lateralities: Mapping[str, int]
    empty_reports: int
    sizes: Mapping[str, int]
    judged: int
    ungradable: Mapping[str, int]
    copied_sentences: int
    problems: tuple[str, ...]

    @property
    def fails(self) -> bool:
        """Whether a number measured on this archive would leak: a patient, a pair or a group crosses splits."""
        return bool(self.split_breakers or self.across_splits or self.crossing_groups)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain dictionaries and lists, for JSON (a missing cosine is null)."""
        plain = dataclasses.asdict(self)
        for key in ("pairs", "across_patients", "across_splits"):
            for pair in plain[key]:
                pair["cosine"] = None if pair["cosine"] != pair["cosine"] else pair["cosine"]
        return {**plain, "fails": self.fails, "intended_use": INTENDED_USE}

    def text(self) -> str:
        """The report for people."""
        origin = " (digital phantom: numbers prove mechanisms, not medicine)" if self.phantom else ""
        lines = [f"{self.archive}{origin}: {self.images} images of {self.patients} patients, digest {self.digest[:12]}"]
        lines += [f"  quarantined: {self.quarantined} (quarantine.csv says why)"] if self.quarantined else []
        lines.append("problems" if self.problems else "no problem found")
        lines += [f"  ! {problem}" for problem in self.problems]
        lines.append("splits (images / patients)")
        lines += [f"  {s}: {n} / {self.split_patients[s]}" for s, n in self.split_images.items()]
        kinds = Counter(pair.kind for pair in self.pairs)
        told = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())) or "none"
        lines.append(f"duplicates, {self.method}: {told}; {len(self.groups)} groups")
        if self.fails:
            lines.append("FAILS as a benchmark: what is tested was, in part, learned on")
        if self.labels:
            lines.append("labels (images / patients; images per split)")
        for row in self.labels:
            parts = ", ".join(f"{s} {n}" for s, n in row.per_split.items())
            lines.append(f"  {row.finding}: {row.images} / {row.patients}; {parts}")
        lines.append(f"  without a label: {self.unlabelled}; without a report: {self.empty_reports}")
        lines.append("eyes: " + ", ".join(f"{k} {n}" for k, n in self.lateralities.items()))
        lines.append("sizes: " + ", ".join(f"{k} {n}" for k, n in list(self.sizes.items())[:_SHOWN]))
        lines += self._quality()
        if self.copied_sentences:
            lines.append(f"sentences copied from the visit before: {self.copied_sentences}")
        return "\n".join([*lines, INTENDED_USE])

    def _quality(self) -> list[str]:
        """How many photographs cannot be graded, why, and what to do about it."""
        if not self.judged:
            return []
        bad = sum(self.ungradable.values())
        lines = [f"quality: {bad} of {self.judged} photographs are probably not gradable" + (":" if bad else "")]
        return lines + [f"  {reason} {n}: {ADVICE[reason]}" for reason, n in self.ungradable.items()]


def audit(archive: Archive, embeddings: Embeddings | None = None) -> AuditReport:
    """Look for what would make a later number wrong.

    Args:
        archive: any archive.
        embeddings: of its images; near duplicates then need the agreement of both. Without, the report says `hash
            only`.

    Returns:
        A report; `.problems` is empty where nothing was found.
    """
    records = archive.records
    of = {r.image_id: r for r in records}
    pairs = duplicate_pairs(archive, embeddings)
    across_patients = tuple(p for p in pairs if of[p.first].patient_id != of[p.second].patient_id)
    across_splits = tuple(p for p in pairs if of[p.first].split != of[p.second].split)
    grouped = groups(pairs)
    splits_of: dict[str, set[Split]] = defaultdict(set)
    for r in records:
        splits_of[r.patient_id].add(r.split)
    labels = label_counts(archive)
    report = AuditReport(
        archive=archive.name,
        digest=archive.digest,
        phantom=archive.phantom,
        images=len(records),
        patients=len(splits_of),
        quarantined=len(archive.quarantine),
        split_images=_ordered(Counter(r.split.value for r in records)),
        split_patients=_ordered(Counter(s.value for splits in splits_of.values() for s in splits)),
        split_breakers=tuple(sorted(p for p, splits in splits_of.items() if len(splits) > 1)),
        pairs=pairs,
        across_patients=across_patients,
        across_splits=across_splits,
        groups=grouped,
        crossing_groups=tuple(g for g in grouped if len({of[i].split for i in g}) > 1),
        method="hash only" if embeddings is None else f"hash and embeddings of {embeddings.encoder}",
        labels=labels,
        unlabelled=sum(not r.labels for r in records),
        lateralities=_ordered(Counter(r.laterality.value for r in records)),
        empty_reports=sum(not r.report for r in records),
        sizes=_by_count(Counter(f"{r.width}×{r.height} {r.channels}×{r.bits} bit" for r in records)),
        judged=sum(not math.isnan(r.gradable) for r in records),
        ungradable=_by_count(Counter(r.quality for r in records if r.quality)),
        copied_sentences=_copied(records),
        problems=(),
    )
    return dataclasses.replace(report, problems=_problems(report))


def _copied(records: Sequence[ImageRecord]) -> int:
    """Sentences that a patient's report takes over from the dated visit before; equal reports of one day count once."""
    dated: dict[str, dict[str, str]] = defaultdict(dict)
    for r in records:
        if r.report and r.captured != UNKNOWN:
            dated[r.patient_id].setdefault(r.captured, r.report)
    series = [[visits[day] for day in sorted(visits)] for visits in dated.values() if len(visits) > 1]
    return sum(sum(flags) for reports in series for flags in copied_forward(reports))


def label_counts(archive: Archive) -> tuple[LabelCount, ...]:
    """Per name of `label_names`: images, patients, and images per split."""
    ids = [r.image_id for r in archive.records]
    names = archive.label_names
    matrix = archive.labels(names, image_ids=ids)
    rows: list[LabelCount] = []
    for k, name in enumerate(names):
        named = [r for r, value in zip(archive.records, matrix[:, k], strict=True) if value == 1]
        per_split = {s.value: sum(r.split == s for r in named) for s in (Split.TRAIN, Split.VAL, Split.TEST)}
        rows.append(LabelCount(name, len(named), len({r.patient_id for r in named}), per_split))
    return tuple(rows)


def _problems(report: AuditReport) -> tuple[str, ...]:
    found: list[str] = []
    if report.split_breakers:
        first = ", ".join(report.split_breakers[:3])
        found.append(f"{len(report.split_breakers)} patients are in two splits: {first}")
    if report.crossing_groups:
        found.append(f"{len(report.crossing_groups)} groups of one picture cross splits: a benchmark on it would leak")
    found.extend(
        f"{len(pairs)} pairs of {kind} stand on both sides of a split" for kind, pairs in _by_kind(report.across_splits)
    )
    found.extend(
        f"{len(pairs)} pairs of {kind} belong to two patients: look at them"
        for kind, pairs in _by_kind(report.across_patients)
    )
    if len(report.labels) == 1:
        found.append(f"one class only: every label is {report.labels[0].finding}")
    for row in report.labels:
        absent = [s for s, n in row.per_split.items() if not n and report.split_images.get(s)]
        if absent:
            found.append(f"{row.finding} never occurs in {' and '.join(absent)}: nothing can be measured there")
        elif row.patients < FEW_PATIENTS:
            found.append(f"{row.finding} has {row.patients} patients: intervals will be wide")
    missing = [s for s in ("train", "val", "test") if not report.split_images.get(s)]
    if report.images and missing:
        found.append(f"no image is in {' and '.join(missing)}")
    if not report.images:
        found.append("the archive has no image")
    if unknown := report.lateralities.get(Laterality.UNKNOWN.value, 0):
        found.append(f"{unknown} of {report.images} images do not say which eye")
    return tuple(found)


def _by_kind(pairs: tuple[Pair, ...]) -> list[tuple[str, list[Pair]]]:
    groups = {
        "images with equal pixels": [p for p in pairs if p.kind == "exact"],
        "near duplicates": [p for p in pairs if p.kind != "exact"],
    }
    return [(kind, members) for kind, members in groups.items() if members]


def _ordered(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _by_count(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
