"""Names of the findings, some of the time replaced by what an expert sees."""

from __future__ import annotations

from collections.abc import Mapping

from tapetum.core.errors import UsageError
from tapetum.core.types import ImageRecord
from tapetum.knowledge import Pack
from tapetum.learn.pairing.said import finest_findings, names_of, need_pack

__all__ = ["descriptions"]


def descriptions(record: ImageRecord, pack: Pack | None, *, share: float = 0.5) -> tuple[Mapping[str, float], ...]:
    """As `findings`, but with a chance of `share` the names give way to one of the pack's descriptions of each finding.

    Args:
        record: of the image.
        pack: domain pack, which reads the report and holds the descriptions.
        share: chance of a description instead of the name, 0..1, drawn anew for each image and epoch.

    Returns:
        One text whose wordings are the names and, equally likely, the first, second, … description of every finding.

    Raises:
        UsageError: no pack, or share outside 0..1.

    Source: Silva-Rodríguez et al. (FLAIR), MedIA 2025, arXiv 2308.07898, the domain-knowledge prompts. Differs: of
    several findings the descriptions of one number stand together, so that all texts are encoded once.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share={share}", "a probability, 0 to 1", "descriptions(share=0.5)")
    known = need_pack(pack, "descriptions")
    finest = finest_findings(record, known)
    if not finest:
        return ()
    seen = [known.findings[f].descriptions or (known.findings[f].name,) for f in finest]
    count = max(map(len, seen))
    found = {names_of(finest, known): 1.0 - share}
    for i in range(count):
        text = " ".join(of[i % len(of)] for of in seen)
        found[text] = found.get(text, 0.0) + share / count
    return (found,)
