"""An archive as the rest of the package sees it: records, pixels, labels, splits; read without lock or database."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from tapetum.archive.pixels import decode
from tapetum.archive.rows import SEVERAL_COLUMNS, Refusal
from tapetum.archive.store.catalog import Catalog
from tapetum.archive.store.snapshot import KIND, read_quarantine, read_records, records_digest
from tapetum.archive.store.vault import Vault, archive_vault
from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.registry import nearest
from tapetum.core.store import read_meta
from tapetum.core.types import ImageRecord, Split


@dataclass(frozen=True)
class Archive:
    """A clinic's images with reports, checked, content-addressed and split by patient.

    Attributes:
        records: one per image, sorted by image id.
        quarantine: what was refused, with file, row and reason.
        digest: SHA-256 over the records (splits included), the pack and the label map.
        phantom: the images come from the digital phantom: numbers prove mechanisms, not medicine.
        pack: name of the domain pack, empty where there is none. label_map: label text → finding.
        deidentify: the profile under which pseudonyms were written, `none` where names stand as exported.
        vault_at: where the images lie if not inside the archive.
    """

    path: Path
    name: str
    records: tuple[ImageRecord, ...]
    quarantine: tuple[Refusal, ...]
    digest: str
    phantom: bool = False
    pack: str = ""
    label_map: Mapping[str, str] = field(default_factory=dict[str, str])
    deidentify: str = "none"
    vault_at: str = ""

    @functools.cached_property
    def vault(self) -> Vault:
        """The images by their ids."""
        return archive_vault(self.path, {"vault": self.vault_at})

    @property
    def cache(self) -> Path:
        """A folder for derived files, made on first use; not part of the digest."""
        place = self.path / ".cache"
        place.mkdir(exist_ok=True)
        return place

    def record(self, image_id: str) -> ImageRecord:
        """The record of an image.

        Raises:
            DataError: the archive has no such image.
        """
        try:
            return self._by_id[image_id]
        except KeyError:
            raise DataError(f"image {image_id[:12]!r} is not in the archive {self.name}", "an image id of it") from None

    def data(self, image_id: str) -> bytes:
        """The bytes of the image file as the clinic exported it."""
        return self.vault.read(self.record(image_id).image_id)

    def pixels(self, image_id: str, *, min_side: int, frame: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
        """The image as RGB.

        Args:
            image_id: of a record of this archive.
            min_side: wanted length of the shorter side in pixels, 0 for the full size; never enlarged.
            frame: which frame of a volume, 0-based; the middle one by default.
        """
        return decode(self.data(image_id), min_side=min_side, frame=frame)

    def in_split(self, split: Split) -> tuple[ImageRecord, ...]:
        """The records of one part of the patients."""
        return tuple(r for r in self.records if r.split == split)

    @property
    def label_names(self) -> tuple[str, ...]:
        """What the labels name: findings where the label map knows them, else the labels' own texts; sorted."""
        return tuple(sorted({self.label_map.get(text, text) for r in self.records for text in r.labels} - {""}))

    def labels(self, findings: Sequence[str], *, image_ids: Sequence[str]) -> Float64[np.ndarray, "n k"]:
        """The clinic's labels as a matrix.

        A child's label makes its ancestors positive (where the archive has a pack). An image without labels is NaN in
        every column, and so is a finding that no label of this archive can speak of. Where the labels came from several
        columns of a table (`COLUMN:TEXT`), an image is NaN in the findings of those columns that were empty.

        Args:
            findings: ids of the pack, names of `label_names`, or label texts such as `"D"`.
            image_ids: the rows wanted, in this order.

        Returns:
            1 named, 0 not named on a labelled image, NaN unknown.

        Raises:
            UsageError: a name that neither the labels nor the pack know. DataError: an unknown image.
        """
        meant = {text: self._meant(text) for text in sorted({t for r in self.records for t in r.labels})}
        spoken: dict[str, set[str]] = {}  # name → the columns whose labels speak of it
        for text, column in {(t, c) for r in self.records for t, c in zip(r.labels, label_columns(r), strict=True)}:
            for name in meant[text]:
                spoken.setdefault(name, set()).add(column)
        for name in findings:
            if name not in spoken and name not in self._known:
                raise UsageError(f"{name!r} is no label or finding of {self.name}", nearest(name, sorted(self._known)))
        matrix = np.full((len(image_ids), len(findings)), np.nan)
        for i, image_id in enumerate(image_ids):
            record = self.record(image_id)
            filled = self.filled_columns(record)
            named = frozenset(name for text in record.labels for name in meant[text])
            if filled:
                matrix[i] = [float(f in named) if filled & spoken.get(f, set()) else np.nan for f in findings]
        return matrix

    def splits_at(self, digest: str) -> Mapping[str, Split] | None:
        """In which part each patient stood when the archive, as it lies on disk, had a digest: now or before.

        Returns:
            Patient → part, `Split.NONE` where the parts were drawn anew since; None where the digest is not one of this
            archive's, or too old for the catalog to know.
        """
        with contextlib.suppress(ArtefactError):
            if digest == self.digest:  # may have been replaced on disk since it was opened
                return {r.patient_id: r.split for r in read_records(self.path, digest)}
        place = self.path / "catalog.sqlite"
        if not place.is_file():
            return None
        catalog = Catalog(place, as_it_is=True)
        try:
            return catalog.splits_of(digest)
        finally:
            catalog.close()

    @functools.cached_property
    def _by_id(self) -> dict[str, ImageRecord]:
        return {r.image_id: r for r in self.records}

    @functools.cached_property
    def _known(self) -> frozenset[str]:
        names = {*self.label_names, *self.label_map, *self.label_map.values()} - {""}
        if self.pack:
            from tapetum.knowledge import load_pack

            names |= set(load_pack(self.pack).findings)
        return frozenset(names)

    def filled_columns(self, record: ImageRecord) -> frozenset[str]:
        """The columns of the table from which this image has a label that means something; `""` for an only one."""
        pairs = zip(record.labels, label_columns(record), strict=True)
        return frozenset(column for text, column in pairs if self.label_map.get(text, text))

    def _meant(self, text: str) -> frozenset[str]:
        """All names that a label text makes positive; none where the label map says that it means no label."""
        finding = self.label_map.get(text, text)
        if not finding:
            return frozenset()
        names = {text, finding}
        if self.pack:
            from tapetum.knowledge import load_pack

            pack = load_pack(self.pack)
            names |= set(pack.closure([finding])) if finding in pack.findings else set()
        return frozenset(names)


def label_columns(record: ImageRecord) -> tuple[str, ...]:
    """The column of the table that each label came from, `""` where there was only one."""
    several = record.provenance.get("labels", "").startswith(SEVERAL_COLUMNS)
    return tuple(text.partition(":")[0] if several else "" for text in record.labels)


def open_archive(path: Path | str) -> Archive:
    """Open an archive that `ingest` wrote.

    Raises:
        ArtefactError: no archive there, an ingest that never finished, or a damaged snapshot.
    """
    place = Path(path)
    if (place / "catalog.sqlite").exists() and not (place / "meta.json").exists():
        raise ArtefactError(
            f"the ingest into {place} never finished", "a finished archive", "run the same ingest again"
        )
    meta = read_meta(place, KIND)
    records, config = read_records(place, meta.digest), meta.config
    settings = {"pack": config["pack"], "label_map": config["label_map"]}
    if records_digest(records, settings) != meta.digest:
        raise ArtefactError(f"the records of {place} do not fit their digest", "", f"tapetum verify {place}")
    return Archive(
        place, config["name"], records, read_quarantine(place), meta.digest, bool(config["phantom"]),
        config["pack"], dict(config["label_map"]), config.get("deidentify", "none"), config.get("vault", ""),
    )  # fmt: skip
