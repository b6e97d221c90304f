"""What a verb would need and do, told before it does it."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapetum.cli.frame import Run
from tapetum.cli.settings import EmbedSettings
from tapetum.core.errors import UsageError

if TYPE_CHECKING:
    from tapetum.archive import Archive, IngestConfig
    from tapetum.bench.comparison import Cell
    from tapetum.core.types import Embeddings

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
    from tapetum.archive.exports.finding import find_export
    from tapetum.archive.rows import Refusal, Row

    items = [item for source in run.inputs for item in find_export(source, config).read()]
    kinds = Counter(type(item) for item in items)
    files = {item.file for item in items if isinstance(item, Row)}
    refused = [str(item) for item in items if isinstance(item, Refusal)]
    run.plan(
        out=out, config=config, mebibytes=_INGEST_MIB, rows=kinds[Row], images=len(files), refused=len(refused),
        first_refused=refused[0] if refused else None,
    )  # fmt: skip


def embedding(run: Run, archive: Archive, config: EmbedSettings, out: Path | None) -> Callable[..., Embeddings]:
    """What embeds the archive, this process or Ray's workers, once its need is told and its colours are checked.

    Raises:
        UsageError: another engine. DataError: too many photographs with swapped colours.
    """
    from tapetum.learn.features.colours import check_archive
    from tapetum.learn.features.embed import DEFAULT, embed
    from tapetum.learn.features.rayembed import embed_on_ray

    if config.engine not in ("", "ray"):
        raise UsageError(f"engine={config.engine!r}", "ray, or nothing for this process", "engine=ray")
    encoders, images = config.encoders or DEFAULT, len(archive.records)
    run.plan(out=out, config=config, images=images, mebibytes=towers(encoders, images))
    check_archive(archive, check=config.check_colours)
    options = {"threads": config.threads, "backend": config.backend, "batch": config.batch}
    return functools.partial(embed_on_ray if config.engine else embed, archive, encoders, **options)


def towers(encoders: str, images: int) -> float:
    """MiB to embed images with some towers and hold their features."""
    from tapetum.learn.features.embedder import parse_encoders

    number = len(parse_encoders(encoders))
    return RUNTIME_MIB + number * (TOWER_MIB + images * TOWER_COLUMNS * 4 / MIB)


def comparison(
    run: Run, archive: Archive, config: Any, cells: Sequence[Cell], out: Path | None, other: Archive | None = None
) -> None:
    """The cells, and the memory of the largest encoder."""
    if run.dry_run:
        images = len(archive.records) + (len(other.records) if other else 0)
        needed = max(towers(encoder, images) for encoder in {cell.encoder for cell in cells})
        run.plan(out=out, config=config, mebibytes=needed, images=images, cells=len(cells), runs=config.runs)


def training(
    run: Run, archive: Archive, config: Any, encoders: str, out: Path | None, other: Archive | None = None, **told: Any
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
        training_patients=len({r.patient_id for r in train}), labels=", ".join(archive.label_names) or None, **told,
    )  # fmt: skip
