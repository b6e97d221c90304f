"""The report as written."""

from __future__ import annotations

from collections.abc import Mapping

from tapetum.core.types import ImageRecord
from tapetum.knowledge import Pack
from tapetum.learn.pairing.said import plain

__all__ = ["report"]


def report(record: ImageRecord, pack: Pack | None) -> tuple[Mapping[str, float], ...]:
    """The whole report; needs no domain pack.

    Args:
        record: of the image.
        pack: not used.

    Returns:
        One text with one wording, or none where the report is empty.

    Source: Zhang et al. (ConVIRT), MLHC 2022, arXiv 2010.00747. Differs: the whole report, no sampled sentence.
    """
    del pack
    text = plain(record.report)
    return ({text: 1.0},) if text else ()
