"""Images of several domains side by side: archives of the same labels, or groups of images inside one archive."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from tapetum.archive import Archive, open_archive
from tapetum.archive.duplicates import copies
from tapetum.bench.groups import groups_of
from tapetum.bench.readings import count_reading
from tapetum.bench.refusals import refuse_copies, refuse_crossing_patients, refuse_shared
from tapetum.bench.trial import Trial, trial_of
from tapetum.core.config import digest
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import nearest
from tapetum.core.types import UNKNOWN, ImageRecord, Split
from tapetum.learn import embed

FEWEST = 10  # labelled images below which a group is no domain


@dataclass(frozen=True)
class Pooled:
    """Labelled images of all domains, row by row.

    Attributes:
        names: of the domains. copies: what becomes of tested images that look like learned ones, see `BenchConfig`.
        features: as the towers give them. labels: 1, 0, NaN unknown; every row has one that is known.
        patients: unique across archives. domains: number of each row's. splits: values of `Split`. images: their ids.
        archives: of each domain. crossing: digests of two → images of the second that look like one of the first.
        reads: how often the most read of the test sets has been read. notes: what was left out or not checked.
        blocks: columns of each pooled output.
    """

    names: tuple[str, ...]
    archives: tuple[Archive, ...]
    copies: str
    findings: tuple[str, ...]
    features: Float32[np.ndarray, "n d"]
    labels: Float[np.ndarray, "n k"]
    patients: np.ndarray
    domains: Int[np.ndarray, "n"]
    splits: np.ndarray
    images: tuple[str, ...]
    reads: int
    notes: tuple[str, ...]
    blocks: dict[str, tuple[int, int]]
    crossing: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict[tuple[str, str], frozenset[str]])

    def numbers(self, names: Sequence[str]) -> list[int]:
        """Numbers of domains by name, all if there are none.

        Raises:
            UsageError: an unknown name.
        """
        for name in names:
            if name not in self.names:
                raise UsageError(f"no domain {name!r}", nearest(name, list(self.names)))
        return [self.names.index(n) for n in names or self.names]


@dataclass(frozen=True)
class Cut:
    """Who is learned on and who is tested for one held-out domain; no patient stands in two of them.

    Attributes:
        target: number of the tested domain. learn: rows of train patients. val: of val patients of the same domains.
        tested: rows of the target. tuned: val patients of the target, for the oracle alone. own: all of the target.
    """

    target: int
    learn: Int[np.ndarray, "l"]
    val: Int[np.ndarray, "v"]
    tested: Int[np.ndarray, "t"]
    tuned: Int[np.ndarray, "o"]
    own: Int[np.ndarray, "w"]


def pooled_of(trial: Trial, domains: Sequence[str], by: str, findings: Sequence[str]) -> Pooled:
    """Everything that is learned on or tested; reading the test sets is counted here.

    Args:
        trial: whose archive, and the other one if there is one, are domains; `--test` archives are only tested.
        domains: paths of further archives.
        by: instead, an attribute of `groups_of`: its groups are the domains.
        findings: columns of the labels.

    Raises:
        UsageError: neither or both of further archives and `by`, an archive twice, or an unknown attribute.
        LeakageError: an image or a patient stands in two archives. DataError: fewer than two domains.
    """
    # with test_split=val, the other archives too are tested on their validation patients
    others = [trial_of(open_archive(d), trial.config).archive for d in domains]
    archives = [trial.archive, *others, *([trial.test_archive] if trial.external else [])]
    if (len(archives) > 1) == bool(by):
        raise UsageError(
            f"{len(archives)} archives, by={by!r}", "several archives, or one whose images are told apart by something",
            "shift(domains=('OTHER_ARCHIVE',)), --test OTHER_ARCHIVE, or shift(by='device')",
        )  # fmt: skip
    notes = _refused(archives)
    parts = [_part(trial, archive, findings) for archive in archives]
    names = tuple(a.name for a in archives)
    if len(set(names)) < len(names):
        raise UsageError(f"two archives are called {names[0]}", "names that tell them apart", "tapetum ingest … name=")
    numbers = np.repeat(np.arange(len(parts)), [len(p.records) for p in parts])
    if by:
        numbers, names, left = _groups(parts[0].records, by)
        notes += left
        parts = [_some(parts[0], np.flatnonzero(numbers >= 0))]
        numbers = numbers[numbers >= 0]
    if len(names) < 2:
        raise DataError("one domain only", "two or more", "see `tapetum audit ARCHIVE` for what tells images apart")
    owners = archives if len(archives) > 1 else [trial.archive] * len(names)
    return Pooled(
        names, tuple(owners), trial.config.copies, tuple(findings),
        np.concatenate([p.features for p in parts]), np.concatenate([p.labels for p in parts]),
        np.concatenate([_people(p, several=len(archives) > 1) for p in parts]), numbers,
        np.array([r.split.value for p in parts for r in p.records], dtype=object),
        tuple(r.image_id for p in parts for r in p.records), _counted(trial, archives), tuple(notes),
        dict(trial.embeddings.blocks), {} if trial.config.copies == "keep" else _crossing(archives),
    )  # fmt: skip


def cut(pooled: Pooled, target: int, sources: Sequence[int], tested: str) -> Cut:
    """Divide the rows for one held-out domain.

    Args:
        pooled: all rows.
        target: number of the tested domain.
        sources: numbers of the domains learned on.
        tested: `test` = test patients of the target, or all but its val patients where it has none; `all` = the latter.

    Raises:
        UsageError: another `tested`, or the target among the sources. DataError: nothing to learn on, choose on or
            test.
    """
    if tested not in ("test", "all") or target in sources:
        raise UsageError(f"tested={tested!r}, target {pooled.names[target]}", "test or all, of a domain not learned on")
    own = pooled.domains == target
    asked = own & (pooled.splits == Split.TEST)
    if tested == "all" or not asked.any():
        asked = own & (pooled.splits != Split.VAL)
    others = np.isin(pooled.domains, sources)
    # a patient may have images in two domains of one archive
    free = others & ~np.isin(pooled.patients, pooled.patients[asked])
    learn, val = free & (pooled.splits == Split.TRAIN), free & (pooled.splits == Split.VAL)
    tuned = own & (pooled.splits == Split.VAL)
    asked = asked & ~_alike(pooled, target, learn | val, asked)
    for name, mask in (("learn on", learn), ("choose on", val), ("test", asked)):
        if not mask.any():
            raise DataError(f"no image to {name}, {pooled.names[target]} held out", "patients in every part")
    return Cut(target, *(np.flatnonzero(m) for m in (learn, val, asked, tuned, own)))


def _alike(
    pooled: Pooled, target: int, learned: Bool[np.ndarray, "n"], asked: Bool[np.ndarray, "n"]
) -> Bool[np.ndarray, "n"]:
    """Rows that look like one that is learned on.

    Raises:
        LeakageError: the setting `copies` refuses them.
    """
    if pooled.copies == "keep":
        return np.zeros(len(asked), bool)
    wanted = {pooled.images[i] for i in np.flatnonzero(asked)}
    found: set[str] = set()
    for archive in {a.digest: a for a in pooled.archives}.values():
        here = np.isin(pooled.domains, [i for i, a in enumerate(pooled.archives) if a.digest == archive.digest])
        ids = [pooled.images[i] for i in np.flatnonzero(learned & here)]
        if ids:
            tested = pooled.archives[target]
            known = pooled.crossing.get((archive.digest, tested.digest))
            alike = (copies(archive, ids, tested) if known is None else known) & wanted
            refuse_copies(pooled.copies, alike, len(wanted), ids, archive, tested)
            found |= alike
    return np.array([image in found for image in pooled.images])


@dataclass(frozen=True)
class _Part:
    archive: Archive
    records: tuple[ImageRecord, ...]
    features: Float32[np.ndarray, "n d"]
    labels: Float[np.ndarray, "n k"]


def _part(trial: Trial, archive: Archive, findings: Sequence[str]) -> _Part:
    """The labelled images of an archive; those of no part of the patients stay out."""
    records = [r for r in archive.records if r.split != Split.NONE]
    labels = archive.labels(findings, image_ids=[r.image_id for r in records])
    known = np.flatnonzero(~np.isnan(labels).all(axis=1))
    kept = tuple(records[i] for i in known)
    if not kept:
        raise DataError(f"no image of {archive.name} has a label", "the same labels in every domain", "label_map=…")
    if archive.digest == trial.archive.digest:
        whole = trial.embeddings
    elif trial.external and archive.digest == trial.test_archive.digest:
        whole = trial.test_embeddings
        kept = tuple(r for r in kept if r.image_id in set(whole.image_ids))
        known = np.flatnonzero(np.isin([r.image_id for r in records], [r.image_id for r in kept]))
    else:
        whole = embed(archive, trial.config.encoders, threads=trial.config.threads, progress=trial.progress)
    return _Part(archive, kept, whole.rows([r.image_id for r in kept]).features, labels[known])


def _some(part: _Part, rows: Int[np.ndarray, "m"]) -> _Part:
    return dataclasses.replace(
        part, records=tuple(part.records[i] for i in rows), features=part.features[rows], labels=part.labels[rows]
    )


def _people(part: _Part, *, several: bool) -> np.ndarray:
    return np.array([f"{part.archive.name}: {r.patient_id}" if several else r.patient_id for r in part.records])


def _refused(archives: Sequence[Archive]) -> list[str]:
    found: list[str] = []
    for archive in archives:
        refuse_crossing_patients(archive)
    for one, other in itertools.combinations(archives, 2):
        if one.digest == other.digest:
            raise UsageError(f"{one.name} twice", "different archives")
        found += refuse_shared(one, other)
    return found


def _crossing(archives: Sequence[Archive]) -> dict[tuple[str, str], frozenset[str]]:
    """Of every two archives, searched once: whom the search finds no pair of has none in the other direction either."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for one, other in itertools.combinations(archives, 2):
        there = copies(one, [r.image_id for r in one.records], other)
        back = copies(other, [r.image_id for r in other.records], one) if there else frozenset[str]()
        found[one.digest, other.digest], found[other.digest, one.digest] = there, back
    return found


def _groups(records: Sequence[ImageRecord], by: str) -> tuple[Int[np.ndarray, "n"], tuple[str, ...], list[str]]:
    """Number of each image's group, -1 where it is unknown or of a group that is too small."""
    found = groups_of(records)
    if by not in found:
        raise UsageError(f"by={by!r}", nearest(by, sorted(found)), "what all images share tells none of them apart")
    kept = {n: m for n, m in found[by].items() if n != UNKNOWN and m.sum() >= FEWEST}
    numbers = np.full(len(records), -1)
    for i, mask in enumerate(kept.values()):
        numbers[mask] = i
    gone = int((numbers < 0).sum())
    why = f"{gone} images left out: {by} is unknown, or shared by fewer than {FEWEST}"
    return numbers, tuple(kept), [why] if gone else []


def _counted(trial: Trial, archives: Sequence[Archive]) -> int:
    """How often the most read of the test sets has been read."""
    others = [a for a in archives[1:] if a.digest != trial.test_archive.digest]
    part, how = trial.config.test_split, digest(trial.config)
    return max(trial.test_reads, *(count_reading(a, part, how, trial.protocol) for a in others), 0)
