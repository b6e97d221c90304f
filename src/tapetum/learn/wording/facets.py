"""Several descriptions of an image, each a text of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest
from tapetum.core.types import ImageRecord
from tapetum.knowledge import Pack
from tapetum.knowledge.prompts import place, shelf
from tapetum.learn.pairing.said import finest_findings, names_of, need_pack

__all__ = ["facets"]


def facets(
    record: ImageRecord,
    pack: Pack | None,
    *,
    parts: tuple[str, ...] = ("name", "description", "group", "place"),
) -> tuple[Mapping[str, float], ...]:
    """Name, look, group and place of the findings that the report affirms; the image is aligned with each of them.

    Args:
        record: of the image.
        pack: domain pack, which reads the report and knows the rest.
        parts: of `name`, `description` (one of the pack's, drawn anew in every epoch), `group` (the shelf of the tree)
            and `place` (where in the image), in this order; a part of which the pack knows nothing stays empty.

    Returns:
        One text per part.

    Raises:
        UsageError: no pack, no part, or an unknown one.

    Source: after Luo et al. (DeViDe), 2024, arXiv 2404.03618. Differs: facets come from the domain pack and not from
    the open web; each is contrasted with its own kind on pooled features, without a fusion network.
    """
    unknown = [part for part in parts if part not in _PARTS]
    if unknown or not parts:
        found = repr(unknown[0]) if unknown else "no part"
        raise UsageError(f"facets: {found}", nearest(found, list(_PARTS)), "facets(parts=('name', 'description'))")
    known = need_pack(pack, "facets")
    finest = finest_findings(record, known)
    return tuple(_PARTS[part](finest, known) for part in parts) if finest else ()


def _name(finest: tuple[str, ...], pack: Pack) -> dict[str, float]:
    return {names_of(finest, pack): 1.0}


def _description(finest: tuple[str, ...], pack: Pack) -> dict[str, float]:
    seen = [of for f in finest if (of := pack.findings[f].descriptions)]
    count = max(map(len, seen), default=0)
    return _equally([" ".join(of[i % len(of)] for of in seen) for i in range(count)])


def _group(finest: tuple[str, ...], pack: Pack) -> dict[str, float]:
    return _joined([shelf(pack, f) for f in finest])


def _place(finest: tuple[str, ...], pack: Pack) -> dict[str, float]:
    return _joined([place(pack, f) for f in finest])


def _joined(names: Sequence[str]) -> dict[str, float]:
    known = sorted({name for name in names if name})
    return {", ".join(known): 1.0} if known else {}


def _equally(texts: Sequence[str]) -> dict[str, float]:
    return {text: texts.count(text) / len(texts) for text in texts}


_PARTS: Mapping[str, Callable[[tuple[str, ...], Pack], dict[str, float]]] = {
    "name": _name,
    "description": _description,
    "group": _group,
    "place": _place,
}
