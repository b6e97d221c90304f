"""What a verb would need and do, told before it does it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapetum.cli.frame import Run

if TYPE_CHECKING:
    from tapetum.archive import Archive, IngestConfig

MIB = 2**20
# Resident memory of torch, onnxruntime and one exported tower at 224 px (measured); each further tower adds the second.
RUNTIME_MIB = 450
TOWER_MIB = 90
TOWER_COLUMNS = 4096
DEMO_MIB = 1500
_INGEST_MIB = 250


def ingest(run: Run, config: IngestConfig, out: Path) -> None:
    """Read the tables, not the images, and say how much there is."""
    if not run.dry_run:
        return
    from tapetum.archive.exports import find_export
    from tapetum.archive.rows import Refusal, Row

    items = [item for source in run.inputs for item in find_export(source, config).read()]
    kinds = Counter(type(item) for item in items)
    files = {item.file for item in items if isinstance(item, Row)}
    refused = [str(item) for item in items if isinstance(item, Refusal)]
    run.plan(
        out=out, config=config, mebibytes=_INGEST_MIB, rows=kinds[Row], images=len(files), refused=len(refused),
        first_refused=refused[0] if refused else None,
    )  # fmt: skip


def towers(encoders: str, images: int) -> float:
    """MiB to embed images with some towers and hold their features."""
    from tapetum.learn.embedder import parse_encoders

    number = len(parse_encoders(encoders))
    return RUNTIME_MIB + number * (TOWER_MIB + images * TOWER_COLUMNS * 4 / MIB)


def training(
    run: Run, archive: Archive, config: Any, encoders: str, out: Path | None, other: Archive | None = None
) -> None:
    """Images, patients and memory of a verb that learns on an archive's training patients."""
    if not run.dry_run:
        return
    from tapetum.core.types import Split

    images = len(archive.records) + (len(other.records) if other else 0)
    train = archive.in_split(Split.TRAIN)
    # kernel matrix, its eigenvectors and work space of the solver, in float64; standardised rows twice in float32
    solver = 4 * 8 * len(train) ** 2 / MIB
    needed = towers(encoders, images)
    needed += 2 * (needed - RUNTIME_MIB) + solver
    run.plan(
        out=out, config=config, mebibytes=needed, images=images, training_images=len(train),
        training_patients=len({r.patient_id for r in train}), labels=", ".join(archive.label_names) or None,
    )  # fmt: skip
