"""The snapshot: all records in one Parquet file and the quarantine as CSV, the same bytes for the same content.

`meta.json` names the snapshot by its digest and is written last: a reader finds the old snapshot whole or the new one
whole.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tapetum.archive.rows import Refusal
from tapetum.core.errors import ArtefactError
from tapetum.core.store import META, Meta, atomic_write, command_line, package_version
from tapetum.core.types import ImageRecord, Laterality, Split

KIND = "archive"
QUARANTINE = "quarantine.csv"
_TEXT = pa.string()
_SCHEMA = pa.schema(
    [
        ("image_id", _TEXT), ("patient_id", _TEXT), ("visit_id", _TEXT), ("laterality", _TEXT), ("modality", _TEXT),
        ("width", pa.int32()), ("height", pa.int32()), ("channels", pa.int32()), ("bits", pa.int32()),
        ("mm_per_pixel", pa.float64()), ("age_years", pa.float64()), ("sex", _TEXT), ("captured", _TEXT),
        ("source", _TEXT), ("report", _TEXT), ("labels", pa.list_(_TEXT)), ("split", _TEXT),
        ("frames", pa.int32()), ("device", _TEXT), ("gradable", pa.float64()), ("quality", _TEXT),
        ("provenance", _TEXT),
    ]
)  # fmt: skip
# What the first version's records did not have; a field at its default stays out of the digest, so that the digest of
# an archive of that version still stands.
_LATER: Mapping[str, Any] = {
    f.name: f.default if f.default is not dataclasses.MISSING else {}
    for f in dataclasses.fields(ImageRecord)
    if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
}


def records_digest(records: Sequence[ImageRecord], settings: Mapping[str, Any]) -> str:
    """SHA-256 over what matters: every field of every record, splits included, and how labels are read.

    Args:
        records: in the order of the archive.
        settings: `pack` and `label_map`, which change what the labels mean.
    """
    whole = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for record in records:
        fields = {k: None if _is_nan(v) else v for k, v in dataclasses.asdict(record).items() if not _is_default(k, v)}
        whole.update(b"\n" + json.dumps(fields, sort_keys=True).encode())
    return whole.hexdigest()


def write_snapshot(
    path: Path,
    records: Sequence[ImageRecord],
    quarantine: Sequence[Refusal],
    config: Mapping[str, Any],
    *,
    command: str = "",
) -> str:
    """Write records, quarantine and `meta.json`; the digest that names them is returned.

    Args:
        path: the archive's folder.
        records: in the order of the archive.
        quarantine: what was refused.
        config: the archive's settings.
        command: the command line to note; the one of this process if empty.

    Raises:
        OSError: the disk is full; the old snapshot still stands.
    """
    digest = records_digest(records, {"pack": config["pack"], "label_map": config["label_map"]})
    columns = {name: [_plain(getattr(r, name)) for r in records] for name in _SCHEMA.names}
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pydict(columns, schema=_SCHEMA), buffer, compression="zstd")
    atomic_write(snapshot_file(path, digest), buffer.getvalue().to_pybytes())
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("file", "row", "reason"))
    writer.writerows((r.file, r.row or "", r.reason) for r in quarantine)
    atomic_write(path / QUARANTINE, table.getvalue())
    text = json.dumps(dict(config), sort_keys=True)
    config_digest = hashlib.sha256(text.encode()).hexdigest()
    meta = Meta(
        KIND, digest, command=command or command_line(), config=config, config_digest=config_digest,
        version=package_version(), seed=config["seed"],
    )  # fmt: skip
    atomic_write(path / META, json.dumps(dataclasses.asdict(meta), indent=1) + "\n")
    for old in path.glob("records-*.parquet"):
        if old != snapshot_file(path, digest):
            old.unlink(missing_ok=True)
    return digest


def snapshot_file(path: Path, digest: str) -> Path:
    """Where the records of a digest lie."""
    return path / f"records-{digest[:12]}.parquet"


def read_records(path: Path, digest: str) -> tuple[ImageRecord, ...]:
    """The records of the snapshot.

    Raises:
        ArtefactError: the file is missing or no Parquet file.
    """
    file = snapshot_file(path, digest)
    try:
        rows = pq.read_table(file, schema=_SCHEMA).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ArtefactError(
            f"cannot read {file}: {error}", "the archive's records", "ingest the export again"
        ) from None
    return tuple(_record(row) for row in rows)


def read_quarantine(path: Path) -> tuple[Refusal, ...]:
    """What was refused, with file, row and reason; empty where there is no such file."""
    file = path / QUARANTINE
    if not file.is_file():
        return ()
    with file.open(encoding="utf-8", newline="") as stream:
        return tuple(Refusal(r["file"], int(r["row"] or 0), r["reason"]) for r in csv.DictReader(stream))


def _record(row: dict[str, Any]) -> ImageRecord:
    """A record from its row; columns that an archive of the first version does not have take their defaults."""
    later = {name: row.pop(name) for name in _LATER}
    later["provenance"] = json.loads(later["provenance"]) if later["provenance"] else None
    return ImageRecord(
        laterality=Laterality(row.pop("laterality")), labels=tuple(row.pop("labels")), split=Split(row.pop("split")),
        **row, **{name: value for name, value in later.items() if value is not None},
    )  # fmt: skip


def _is_default(name: str, value: Any) -> bool:
    return name in _LATER and (value == _LATER[name] or (_is_nan(value) and _is_nan(_LATER[name])))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Laterality | Split):
        return value.value
    if isinstance(value, Mapping):
        return json.dumps(dict(value), sort_keys=True, ensure_ascii=False)
    return list(value) if isinstance(value, tuple) else value
