"""What is held against a model: the clinic's labels, or what its reports affirm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tapetum.archive import Archive
from tapetum.core.errors import DataError
from tapetum.core.types import ImageRecord
from tapetum.learn.pairing.pairs import pack_of, report_labels


def targets(
    archive: Archive, records: Sequence[ImageRecord], findings: Sequence[str]
) -> tuple[Float[np.ndarray, "n k"], str]:
    """Truth for validation and test: the clinic's labels where they speak of the findings, else what reports affirm.

    Args:
        archive: decides for all its records alike which of the two it is.
        records: the rows.
        findings: the columns.

    Returns:
        Labels 0, 1, NaN; and `labels` or `reports`.

    Raises:
        DataError: neither labels nor a pack to read reports with.
    """
    pack = pack_of(archive)
    if archive.label_names and (pack is None or _spoken_of(archive, findings)):
        return archive.labels(findings, image_ids=[r.image_id for r in records]), "labels"
    if pack is None:
        raise DataError(
            f"{archive.name} has no labels and no domain pack", "labels, or reports of a known modality",
            "tapetum ingest … --labels COLUMN",
        )  # fmt: skip
    return report_labels(records, pack, findings), "reports"


def candidates(archive: Archive) -> tuple[str, ...]:
    """Findings worth asking for: what the labels name and the pack knows, else every disease and sign of the pack."""
    pack = pack_of(archive)
    if pack is None:
        return archive.label_names
    named = tuple(name for name in archive.label_names if name in pack.findings)
    return named or tuple(f.id for f in pack.findings.values() if f.level in ("disease", "grade", "sign"))


def _spoken_of(archive: Archive, findings: Sequence[str]) -> bool:
    return bool((~np.isnan(archive.labels(findings, image_ids=[r.image_id for r in archive.records]))).any())
