"""The names of the findings that the report affirms."""

from __future__ import annotations

from collections.abc import Mapping

from tapetum.core.types import ImageRecord
from tapetum.knowledge import Pack
from tapetum.learn.pairing.said import finest_findings, names_of, need_pack

__all__ = ["findings"]


def findings(record: ImageRecord, pack: Pack | None) -> tuple[Mapping[str, float], ...]:
    """The names of the findings affirmed for this eye, most specific only, in one text.

    Args:
        record: of the image.
        pack: domain pack, which reads the report.

    Returns:
        One text with one wording, or none where nothing is affirmed.

    Raises:
        UsageError: no pack.

    Source: after the category names of Silva-Rodríguez et al. (FLAIR), MedIA 2025, arXiv 2308.07898. Differs: read
    from reports, several per image.
    """
    known = need_pack(pack, "findings")
    text = names_of(finest_findings(record, known), known)
    return ({text: 1.0},) if text else ()
