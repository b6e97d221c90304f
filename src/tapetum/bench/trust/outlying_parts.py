"""The images of an OOD test: known ones, outliers, outliers to choose on, and known ones that only look different."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tapetum.archive import Archive, open_archive
from tapetum.archive.duplicates import copies
from tapetum.bench.altered.changed import Change, Image, embed_changed, read, rng_of, side_of
from tapetum.bench.altered.suites import CORRUPTIONS, suite_of
from tapetum.bench.refusals import refuse_shared
from tapetum.bench.trial import Trial
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import nearest
from tapetum.core.types import Embeddings, ImageRecord, Split
from tapetum.learn.features.embed import decode_side
from tapetum.learn.features.embedder import Embedder

CORRUPTED = "corrupted"


@dataclass(frozen=True)
class Shown:
    """Images of one kind, their features, and how to see them again.

    Args:
        archive: that holds them.
        records: which ones.
        features: of the towers, in the same order.
        change: what is done to each before it is shown.
        patients: whose they are, told apart from those of other archives.
    """

    archive: Archive
    records: Sequence[ImageRecord]
    features: Float[np.ndarray, "n d"]
    patients: tuple[str, ...]
    change: Change | None = None

    def some(self, count: int) -> Shown:
        """So many of them, evenly spread; all where there are fewer."""
        rows = np.unique(np.linspace(0, len(self.records) - 1, min(count, len(self.records))).astype(int))
        return dataclasses.replace(
            self, records=[self.records[i] for i in rows], features=self.features[rows],
            patients=tuple(self.patients[i] for i in rows),
        )  # fmt: skip

    def images(self, embedder: Embedder) -> Iterator[Image]:
        """One after the other, as the towers were shown them."""
        side = max(decode_side(p.size) for p in embedder.preprocess)
        for record in self.records:
            if self.change is None:
                yield self.archive.pixels(record.image_id, min_side=side)
            else:
                yield self.change(read(self.archive, record, side_of(embedder)), record)


@dataclass(frozen=True)
class Parts:
    """The images of an OOD test.

    Args:
        train, val: in distribution, to fit on and to choose the threshold on.
        test: in distribution, of other patients. outside: OOD.
        archive: of the known images. outside_archive: of the OOD images.
        embeddings: of the archive learned on. outside_embeddings: of the OOD images.
        reads: how often the most read of the test sets has been read. notes: what was left out.
        choosing: OOD images that serve for choosing and are not tested. shifted: known findings that look different.
    """

    train: Sequence[ImageRecord]
    val: Sequence[ImageRecord]
    test: Sequence[ImageRecord]
    outside: Sequence[ImageRecord]
    archive: Archive
    outside_archive: Archive
    embeddings: Embeddings
    outside_embeddings: Embeddings
    reads: int
    notes: tuple[str, ...] = ()
    choosing: Shown | None = None
    shifted: Shown | None = None

    def features(self, records: Sequence[ImageRecord]) -> Float[np.ndarray, "n d"]:
        """Raw features of images of the archive learned on."""
        return self.embeddings.rows([r.image_id for r in records]).features

    def patients(self, external: bool) -> tuple[str, ...]:
        """Whose the known and the OOD test images are; patients of another archive are others."""
        known, outside = [r.patient_id for r in self.test], [r.patient_id for r in self.outside]
        return (*known, *(f"other archive: {p}" if external else p for p in outside))

    @property
    def further(self) -> tuple[Shown | None, Shown | None]:
        """The OOD images to choose on, and the shifted ones."""
        return self.choosing, self.shifted

    def shown(self, name: str) -> Shown:
        """The images of `val`, `test` or `outside`, to be seen again."""
        records: Sequence[ImageRecord] = getattr(self, name)
        people = tuple(r.patient_id for r in records)
        if name == "outside":
            return Shown(self.outside_archive, records, self.outside_embeddings.features, people)
        return Shown(self.archive, records, self.features(records), people)


def parts_of(trial: Trial, unseen: str, *, choose: str = "", shifted: str = "", severity: float = 0.5) -> Parts:
    """Sort the images: another archive is OOD as a whole, or the images of a finding that nothing is fitted on.

    Args:
        trial: what is learned on and tested.
        unseen: a label whose images are OOD; empty with another archive.
        choose: OOD images that serve for choosing: the path of an archive, or a label, whose training and validation
            images they are; empty = none.
        shifted: images of known findings that look different: the path of an archive, or `corrupted`: the tested known
            ones, each with one corruption of its modality's suite; empty = none.
        severity: of these corruptions, 0..1.

    Raises:
        UsageError: neither or both of another archive and `unseen` were asked for. DataError: a part is empty.
        LeakageError: an image or a patient stands in two of the archives.
    """
    _refuse_both(trial, unseen)
    here = trial if unseen else trial.beside(None, trial.protocol)
    val, without = here.validation()
    held = choose if choose in trial.archive.label_names else ""
    if unseen:
        parts = _held_out(here, unseen, here.archive.in_split(Split.TRAIN), val)
    else:
        parts = Parts(
            here.archive.in_split(Split.TRAIN), val, here.test_records, trial.test_records, here.archive,
            trial.test_archive, here.embeddings, trial.test_embeddings, max(here.test_reads, trial.test_reads),
            here.notes,
        )  # fmt: skip
    parts = dataclasses.replace(parts, notes=(*without, *parts.notes))
    if held:
        parts = _chosen_on_finding(parts, held, unseen)
    elif choose:
        parts = _chosen_on_archive(trial, parts, choose)
    if shifted:
        parts = _with_shifted(trial, parts, shifted, severity, [f for f in (unseen, held) if f])
    for name in ("train", "val", "test", "outside", "choosing", "shifted"):
        part = getattr(parts, name)
        if part is not None and not (part.records if isinstance(part, Shown) else part):
            raise DataError(f"no image in the part {name!r}", "known images to fit, choose and test on, and OOD images")
    return parts


def learned_from(trial: Trial, unseen: str, choose: str) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """The training and validation images of `parts_of`; no test set is read.

    Args:
        trial: what is learned on and tested.
        unseen: see `parts_of`.
        choose: see `parts_of`.

    Raises:
        UsageError: as `parts_of` does.
    """
    _refuse_both(trial, unseen)
    here = trial if unseen else trial.beside(None)
    parts = [list(here.archive.in_split(Split.TRAIN)), here.validation()[0]]
    for finding in (unseen, choose if choose in trial.archive.label_names else ""):
        parts = [_having(here.archive, finding, part, 0) if finding else part for part in parts]
    return parts[0], parts[1]


def _refuse_both(trial: Trial, unseen: str) -> None:
    if trial.external == bool(unseen):
        raise UsageError(
            "another archive and an unseen finding" if unseen else "no OOD images",
            "either another archive, or a finding of this one that is held out",
            "--test OTHER_ARCHIVE, or ood(unseen='FINDING')",
        )
    if unseen and unseen not in trial.archive.label_names:
        names = list(trial.archive.label_names)
        raise UsageError(f"unseen={unseen!r} is no label of {trial.archive.name}", nearest(unseen, names))


def _held_out(trial: Trial, unseen: str, train: Sequence[ImageRecord], val: Sequence[ImageRecord]) -> Parts:
    having = functools.partial(_having, trial.archive, unseen)
    known, outside = having(trial.test_records, 0), having(trial.test_records, 1)
    silent = len(trial.test_records) - len(known) - len(outside)
    gone = len(train) + len(val) - len(having(train, 0)) - len(having(val, 0))
    notes = (f"{gone} training and validation images with {unseen!r}, or without a label, left out",)
    if silent:
        notes += (f"{silent} test images without a label left out",)
    return Parts(
        having(train, 0), having(val, 0), known, outside, trial.archive, trial.archive, trial.embeddings,
        trial.embeddings.rows([r.image_id for r in outside]), trial.test_reads, notes,
    )  # fmt: skip


def _having(archive: Archive, finding: str, records: Sequence[ImageRecord], value: int) -> list[ImageRecord]:
    found = archive.labels((finding,), image_ids=[r.image_id for r in records])[:, 0]
    return [r for r, label in zip(records, found, strict=True) if label == value]


def _chosen_on_finding(parts: Parts, finding: str, unseen: str) -> Parts:
    """Training and validation images with a finding serve for choosing; tested ones with it are left out."""
    if finding == unseen:
        raise UsageError(f"choose={finding!r} is what is tested", "another finding, or another archive")
    having = functools.partial(_having, parts.archive, finding)
    train, val, test = (having(r, 0) for r in (parts.train, parts.val, parts.test))
    records = [*having(parts.train, 1), *having(parts.val, 1)]
    outside, rows = list(parts.outside), np.arange(len(parts.outside))
    if unseen:
        both = {r.image_id for r in having(parts.outside, 1)}
        rows = np.array([i for i, r in enumerate(outside) if r.image_id not in both], dtype=int)
        outside = [outside[i] for i in rows]
    left = len(parts.test) - len(test) + len(parts.outside) - len(outside)
    people = tuple(r.patient_id for r in records)
    return dataclasses.replace(
        parts, train=train, val=val, test=test, outside=outside,
        outside_embeddings=parts.outside_embeddings.rows([r.image_id for r in outside]),
        choosing=Shown(parts.archive, records, parts.features(records), people),
        notes=(*parts.notes, f"{left} test images with {finding!r}, or without a label, left out: it serves choosing"),
    )  # fmt: skip


def _opened(path: str, what: str) -> Archive:
    if not Path(path).is_dir():
        raise UsageError(f"{what}={path!r} is neither a label nor an archive", "the path of an archive, or a label")
    return open_archive(path)


def _chosen_on_archive(trial: Trial, parts: Parts, path: str) -> Parts:
    other = _opened(path, "choose")
    notes = refuse_shared(trial.test_archive, other) if trial.external else ()
    side = trial.beside(other)
    tested = [r.image_id for r in parts.outside]
    alike = copies(trial.test_archive, tested, other) if trial.config.copies != "keep" else frozenset[str]()
    records = [r for r in side.test_records if r.image_id not in alike]
    if alike:
        notes += (f"{len(alike)} images to choose on left out: they look like tested outliers",)
    features = side.test_embeddings.rows([r.image_id for r in records]).features
    shown = Shown(other, records, features, tuple(r.patient_id for r in records))
    return dataclasses.replace(parts, choosing=shown, notes=(*parts.notes, *notes))


def _with_shifted(trial: Trial, parts: Parts, shifted: str, severity: float, held: Sequence[str]) -> Parts:
    if shifted == CORRUPTED:
        note = f"shifted: the tested known images, each with one corruption of severity {severity:g}"
        return dataclasses.replace(parts, shifted=_corrupted(trial, parts, severity), notes=(*parts.notes, note))
    other = _opened(shifted, "shifted")
    chosen_on = [parts.choosing.archive] if parts.choosing and parts.choosing.archive is not parts.archive else []
    for archive in [trial.test_archive] * trial.external + chosen_on:
        refuse_shared(archive, other)
    side = trial.beside(other, trial.protocol)
    records = list(side.test_records)
    for finding in held:
        if finding in other.label_names:
            records = _having(other, finding, records, 0)
    features = side.test_embeddings.rows([r.image_id for r in records]).features
    people = tuple(f"shifted archive: {r.patient_id}" for r in records)
    gone = len(side.test_records) - len(records)
    notes = (f"{gone} shifted images with a finding that is held out, or without a label, left out",) if gone else ()
    return dataclasses.replace(
        parts, shifted=Shown(other, records, features, people), reads=max(parts.reads, side.test_reads),
        notes=(*parts.notes, *notes),
    )  # fmt: skip


def _corrupted(trial: Trial, parts: Parts, severity: float) -> Shown:
    """Every tested known image once, with a corruption drawn from the suite of the most frequent modality."""
    kind = Counter(r.modality for r in parts.test).most_common(1)[0][0]
    names = suite_of(kind, ())[1]
    seed = trial.config.seed

    def change(image: Image, record: ImageRecord) -> Image:
        rng = rng_of(seed, CORRUPTED, record)
        return CORRUPTIONS.build(names[int(rng.integers(len(names)))])(image, severity=severity, rng=rng)

    embedder = embedder_of(trial)
    features = embed_changed(parts.archive, parts.test, embedder, [change], trial.progress)[0].features
    return Shown(parts.archive, parts.test, features, tuple(r.patient_id for r in parts.test), change)


def embedder_of(trial: Trial) -> Embedder:
    """The towers that made the trial's features."""
    cache = trial.archive.cache / "onnx"
    if trial.model is not None:
        return trial.model.embedder(threads=trial.config.threads, cache=cache)
    return Embedder(trial.config.encoders, threads=trial.config.threads, cache=cache)
