"""The sentences on this eye that an image can show."""

from __future__ import annotations

from collections.abc import Mapping

from tapetum.core.types import ImageRecord
from tapetum.knowledge import Pack
from tapetum.learn.pairing.said import need_pack, parsed, plain

__all__ = ["visible"]


def visible(record: ImageRecord, pack: Pack | None) -> tuple[Mapping[str, float], ...]:
    """As `eye`, without history, advice, acuity or pressure.

    Args:
        record: of the image.
        pack: domain pack, which reads the report.

    Returns:
        One text with one wording, or none where nothing of the kind is said.

    Raises:
        UsageError: no pack.

    Source: own reading of reports (`knowledge/sentences.py`).
    """
    text = plain(parsed(record.report, need_pack(pack, "visible")).text_for(record.laterality, visible_only=True))
    return ({text: 1.0},) if text else ()
