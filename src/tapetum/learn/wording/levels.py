"""One text per level of the tree of findings, from coarse to fine."""

from __future__ import annotations

from collections.abc import Mapping

from tapetum.core.errors import UsageError
from tapetum.core.types import ImageRecord
from tapetum.knowledge import Pack
from tapetum.learn.pairing.said import finest_findings, names_of, need_pack

__all__ = ["levels"]


def levels(record: ImageRecord, pack: Pack | None, *, deepest: int = 5) -> tuple[Mapping[str, float], ...]:
    """The names of the findings in full detail, then what they are one step below the modality, two steps, and so on.

    Args:
        record: of the image.
        pack: domain pack, which reads the report and holds the tree.
        deepest: number of steps below the modality that get a text, at least 1.

    Returns:
        The text of `findings`, then one text per step; a step that no finding of the image reaches stays empty.

    Raises:
        UsageError: no pack, or deepest below 1.

    Source: after Xia et al. (HGCLIP), COLING 2025, arXiv 2311.14064. Differs: the levels are texts of the image; no
    graph network.
    """
    if deepest < 1:
        raise UsageError(f"deepest={deepest}", "at least 1", "levels(deepest=5)")
    known = need_pack(pack, "levels")
    finest = finest_findings(record, known)
    if not finest:
        return ()
    steps: list[set[str]] = [set() for _ in range(deepest)]
    for finding in finest:
        way = [finding, *known.ancestors(finding)][::-1][1:]
        for step, above in zip(steps, way, strict=False):
            step.add(above)
    texts = [tuple(sorted(step, key=lambda f: known.findings[f].name)) for step in steps]
    return ({names_of(finest, known): 1.0}, *({names_of(t, known): 1.0} if t else {} for t in texts))
