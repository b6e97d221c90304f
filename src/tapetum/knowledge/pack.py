"""Domain packs on disk: `packs/NAME.toml`, checked in full when loaded."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any, cast

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import nearest
from tapetum.knowledge.model import LEVELS, Finding, Level, Pack, fold

MIN_DESCRIPTIONS = 3

_LANGUAGES = ("en", "es", "zh")
_KEYS = {"name", "level", "parent", "abbreviations", "descriptions", "sources", "visible", "variants", "alone", "place"}
_ABOVE: Mapping[str, tuple[str, ...]] = {
    "modality": (),
    "status": ("modality",),
    "group": ("status", "group"),
    "disease": ("group", "disease"),
    "grade": ("disease", "grade"),
    "sign": ("status", "group", "disease", "grade", "sign"),
}


@functools.lru_cache(maxsize=16)
def load_pack(name: str) -> Pack:
    """The domain pack of this name, checked; loaded once.

    Args:
        name: file name in `packs` without `.toml`, for example `"fundus"`.

    Raises:
        UsageError: no such pack; the message names the nearest.
        DataError: the file breaks a rule of packs (see `parse_pack`).

    Example:
        >>> len(load_pack("fundus").findings) > 45
        True
    """
    known = pack_names()
    if name not in known:
        raise UsageError(f"no domain pack {name!r}", nearest(name, known), "see docs/how-to/write-a-domain-pack.md")
    text = (resources.files("tapetum.knowledge") / "packs" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_pack(text, origin=f"{name}.toml")


def pack_names() -> tuple[str, ...]:
    """Names of all domain packs, sorted.

    Example:
        >>> "fundus" in pack_names()
        True
    """
    folder = resources.files("tapetum.knowledge") / "packs"
    return tuple(sorted(e.name.removesuffix(".toml") for e in folder.iterdir() if e.name.endswith(".toml")))


def findings(pack: str) -> tuple[Finding, ...]:
    """All findings of a pack by its name, each parent before its children."""
    return tuple(load_pack(pack).findings.values())


def parse_pack(text: str, *, origin: str = "pack") -> Pack:
    """Read and check a pack from TOML.

    Args:
        text: the file's content.
        origin: what errors call it.

    Raises:
        DataError: not TOML, unknown key, level, source or parent, a parent of the wrong level, a cycle, fewer than
            three descriptions for a disease, grade, sign or status, one term claimed by two findings, a code that
            stands for an unknown finding, or colours that are no order of red, green and blue; each names it.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{origin} is not TOML: {error}", "see docs/how-to/write-a-domain-pack.md") from None
    missing = [key for key in ("name", "modality", "findings") if key not in table]
    if missing:
        raise DataError(f"{origin} has no {', '.join(missing)}", "name, modality and a table [findings]")
    sources = cast(Mapping[str, str], table.get("sources", {}))
    read = {key: _finding(key, entry, sources, origin) for key, entry in table["findings"].items()}
    _check_tree(read, str(table["modality"]), origin)
    _check_terms(read, origin)
    codes = cast(Mapping[str, Mapping[str, str]], table.get("codes", {}))
    _check_codes(codes, read, origin)
    ordered = dict[str, Finding]()
    _order(str(table["modality"]), read, ordered)
    return Pack(
        str(table["name"]),
        str(table["modality"]),
        ordered,
        tuple(table.get("ignore", ())),
        str(table.get("notes", "")),
        tuple(table.get("boilerplate", ())),
        bool(table.get("paired", True)),
        bool(table.get("loose", True)),
        codes,
        _colours(table.get("colours", ()), origin),
    )


def _colours(names: Any, origin: str) -> tuple[str, ...]:
    """All three channels, each once, or none."""
    if names and sorted(names) != ["blue", "green", "red"]:
        raise DataError(
            f"{origin}: colours = {names}", "red, green and blue from the brightest to the darkest, or none"
        )
    return tuple(names)


def _finding(key: str, entry: Mapping[str, Any], sources: Mapping[str, str], origin: str) -> Finding:
    allowed = [*sorted(_KEYS), *_LANGUAGES]
    for name in entry:
        if name not in allowed:
            raise DataError(f"{origin}: unknown key {name!r} in {key}", nearest(name, allowed))
    if "name" not in entry or entry.get("level") not in LEVELS:
        raise DataError(f"{origin}: {key} has no name or a wrong level {entry.get('level')!r}", ", ".join(LEVELS))
    for source in entry.get("sources", ()):
        if source not in sources:
            raise DataError(f"{origin}: {key} names the unknown source {source!r}", nearest(source, list(sources)))
    finding = Finding(
        id=key,
        name=entry["name"],
        level=cast(Level, entry["level"]),
        parent=entry.get("parent", ""),
        synonyms={code: tuple(entry[code]) for code in _LANGUAGES if code in entry},
        abbreviations=tuple(entry.get("abbreviations", ())),
        descriptions=tuple(entry.get("descriptions", ())),
        sources=tuple(sources[source] for source in entry.get("sources", ())),
        visible=bool(entry.get("visible", True)),
        variants=tuple(entry.get("variants", ())),
        alone=tuple(entry.get("alone", ())),
        place=str(entry.get("place", "")),
    )
    if finding.level not in {"modality", "group"}:
        if len(set(finding.descriptions)) < MIN_DESCRIPTIONS:
            raise DataError(
                f"{origin}: {key} has {len(set(finding.descriptions))} different descriptions",
                f"at least {MIN_DESCRIPTIONS}",
            )
        if not finding.sources:
            raise DataError(f"{origin}: {key} names no source", "the literature that its descriptions rest on")
    return finding


def _check_tree(read: Mapping[str, Finding], modality: str, origin: str) -> None:
    if modality not in read or read[modality].level != "modality":
        raise DataError(f"{origin}: the modality {modality!r} is no finding of level modality", "[findings.MODALITY]")
    for finding in read.values():
        if (finding.level == "modality") != (finding.id == modality):
            raise DataError(f"{origin}: {finding.id} is a second modality", f"only {modality!r}")
        if finding.id != modality and finding.parent not in read:
            raise DataError(
                f"{origin}: {finding.id} has the unknown parent {finding.parent!r}", nearest(finding.parent, list(read))
            )
    for finding in read.values():
        seen, at = [finding.id], finding.parent
        while at:
            if at in seen:
                raise DataError(f"{origin}: a cycle of parents: {' → '.join([*seen, at])}", "a tree")
            seen.append(at)
            at = read[at].parent
    for finding in read.values():
        level = read[finding.parent].level if finding.parent else ""
        if finding.parent and level not in _ABOVE[finding.level]:
            raise DataError(
                f"{origin}: {finding.id} is a {finding.level} below the {level} {finding.parent}",
                f"below one of: {', '.join(_ABOVE[finding.level])}",
            )


def _check_terms(read: Mapping[str, Finding], origin: str) -> None:
    # Within one language; "DR" may be one thing in English and another in Spanish.
    owner: dict[tuple[str, str], str] = {}
    for finding in read.values():
        foreign = [(code, term) for code, terms in finding.synonyms.items() if code != "en" for term in terms]
        for code, term in [*(("en", term) for term in finding.terms(("en",))), *foreign]:
            key = (code, fold(term))
            if not key[1]:
                raise DataError(f"{origin}: {finding.id} has an empty term", "words")
            if owner.setdefault(key, finding.id) != finding.id:
                raise DataError(
                    f"{origin}: {term!r} names both {owner[key]} and {finding.id}", "one finding for each term"
                )


def _check_codes(codes: Mapping[str, Mapping[str, str]], read: Mapping[str, Finding], origin: str) -> None:
    for name in (*codes, *(found for grades in codes.values() for found in grades.values() if found)):
        if name not in read:
            raise DataError(f"{origin}: codes name the unknown finding {name!r}", nearest(name, list(read)))


def _order(at: str, read: Mapping[str, Finding], ordered: dict[str, Finding]) -> None:
    ordered[at] = read[at]
    for finding in read.values():
        if finding.parent == at:
            _order(finding.id, read, ordered)
