"""What a report says of one image's eye: the one place where learning reads reports."""

from __future__ import annotations

import re
from functools import lru_cache

from tapetum.core.errors import UsageError
from tapetum.core.types import ImageRecord, Laterality
from tapetum.knowledge import Pack, ParsedReport, parse_report

_LIST_SEPARATORS = re.compile(r"\s*[，、;；]\s*")


@lru_cache(maxsize=65536)
def parsed(report: str, pack: Pack) -> ParsedReport:
    """The report taken apart, remembered."""
    return parse_report(report, pack)


def plain(text: str) -> str:
    """The text with plain commas, so that full-width ones do not split equal reports.

    Example:
        >>> plain(" drusen，cataract；glaucoma ")
        'drusen, cataract, glaucoma'
    """
    return _LIST_SEPARATORS.sub(", ", text).strip()


def need_pack(pack: Pack | None, wording: str) -> Pack:
    """The pack.

    Raises:
        UsageError: there is none.
    """
    if pack is None:
        raise UsageError(f"text={wording!r} needs a domain pack", "an archive of a known modality", "text=report")
    return pack


def report_findings(record: ImageRecord, pack: Pack) -> frozenset[str]:
    """Findings that the report affirms for this image's eye."""
    eye = record.laterality if record.laterality in (Laterality.LEFT, Laterality.RIGHT) else None
    return parsed(record.report, pack).present(eye)


def finest_findings(record: ImageRecord, pack: Pack) -> tuple[str, ...]:
    """Of the findings that the report affirms for this image's eye those with no finer one, by name."""
    present = report_findings(record, pack)
    finest = [f for f in present if not any(f in pack.ancestors(other) for other in present)]
    return tuple(sorted(finest, key=lambda f: pack.findings[f].name))


def names_of(findings: tuple[str, ...], pack: Pack) -> str:
    """Their names as one text.

    Example:
        >>> from tapetum.knowledge import load_pack
        >>> names_of(("drusen", "glaucoma"), load_pack("fundus"))
        'drusen, glaucoma'
    """
    return ", ".join(pack.findings[f].name for f in findings)
