"""The sentences of the report that speak of this eye."""

from __future__ import annotations

from collections.abc import Mapping

from tapetum.core.types import ImageRecord
from tapetum.knowledge import Pack
from tapetum.learn.pairing.said import need_pack, parsed, plain

__all__ = ["eye"]


def eye(record: ImageRecord, pack: Pack | None) -> tuple[Mapping[str, float], ...]:
    """The sentences of the report that speak of this eye or of no particular eye.

    Args:
        record: of the image.
        pack: domain pack, which reads the report.

    Returns:
        One text with one wording, or none where nothing is said of this eye.

    Raises:
        UsageError: no pack.

    Source: own reading of reports of two eyes (`knowledge/laterality.py`).
    """
    text = plain(parsed(record.report, need_pack(pack, "eye")).text_for(record.laterality))
    return ({text: 1.0},) if text else ()
