"""What an archive keeps to for its whole life: name, pack, label map, split, the key of its pseudonyms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapetum.archive.config import IngestConfig
from tapetum.archive.exports.finding import Export
from tapetum.archive.intake.split import assign_splits
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.store.catalog import Catalog
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.registry import nearest

if TYPE_CHECKING:
    from tapetum.archive.deidentify import Key

PROFILES = ("longitudinal", "basic", "none")
# What an archive of the first version does not say.
_EARLIER: dict[str, Any] = {"public": False, "deidentify": "none", "key_id": "", "vault": "", "modality": ""}


def settle(
    catalog: Catalog, exports: Sequence[Export], config: IngestConfig, place: Path, *, named: bool
) -> tuple[dict[str, Any], Key | None]:
    """The archive's settings: fixed by its first ingest; a later one may leave them out but not change them.

    Args:
        catalog: open for writing.
        exports: what is to be taken.
        config: as asked for.
        place: the archive's folder.
        named: whether the exports tell who their patients are (see `tells_who`).

    Returns:
        The settings, and the key where pseudonyms are written (made, if there was none).

    Raises:
        UsageError: a setting is wrong or contradicts the archive. ArtefactError: the archive's key is not there.
    """
    card = next((e.card for e in exports if e.card), None)
    label_map = (dict(card.label_map) if card else {}) | parse_label_map(config.label_map)
    pack = config.pack or (card.pack if card else "")
    asked: dict[str, Any] = {
        "name": config.name or place.name.removesuffix(".tap"),
        "pack": pack,
        "label_map": label_map,
        "fractions": list(config.fractions),
        "seed": config.seed,
        "phantom": any(e.phantom for e in exports),
        "public": all(e.card for e in exports),
        "deidentify": _profile(config, exports, named),
        "vault": config.vault,
        "modality": config.modality,
    }
    assign_splits({}, given={}, fractions=config.fractions, seed=config.seed)
    stored = json.loads(catalog.setting("archive", "null"))
    if stored is None:
        check_labels(pack, label_map)
        asked["modality"] = config.modality or _pack_modality(pack)
        key = _key(asked, config, exports, place, "")
        asked["key_id"] = key.id if key else ""
        catalog.set_settings({"archive": json.dumps(asked, sort_keys=True)})
        return asked, key
    settings = {**_EARLIER, **stored}
    if asked["phantom"] != settings["phantom"]:
        raise UsageError("phantom and real images in one archive", "an archive for each", "--out OTHER")
    for name, given in (
        ("name", config.name), ("pack", config.pack), ("label_map", label_map),
        ("fractions", asked["fractions"] if config.fractions != type(config).fractions else None),
        ("seed", config.seed or None), ("deidentify", config.deidentify), ("vault", config.vault),
    ):  # fmt: skip
        if given and asked[name] != settings[name]:
            raise UsageError(
                f"{name}={asked[name]!r}, but this archive has {settings[name]!r}", "the same", "--out OTHER"
            )
    if settings["deidentify"] == "none" and asked["deidentify"] != "none":
        raise UsageError(
            "the export tells who its patients are, and this archive writes names and numbers down as they stand",
            "an archive with pseudonyms, or deidentify=none said in so many words", "--out OTHER",
        )  # fmt: skip
    return settings, _key(settings, config, exports, place, settings["key_id"])


def tells_who(items: Iterable[Row | Refusal | Note]) -> bool:
    """Whether an export tells who its patients are: DICOM headers, or a table with names, birth dates or phones."""
    rows = (item for item in items if isinstance(item, Row))
    return any(row.identifiers or any("DICOM" in source for source in row.provenance.values()) for row in rows)


def parse_label_map(text: str) -> dict[str, str]:
    """Read `"D=diabetic_retinopathy,G=glaucoma"`.

    Raises:
        UsageError: a part has no `=`.

    Example:
        >>> parse_label_map("1=glaucoma, -=")
        {'1': 'glaucoma', '-': ''}
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    for label, equals, _ in pairs:
        if not equals:
            raise UsageError(
                f"cannot read {label!r} in label_map", "LABEL=finding", 'label_map="D=diabetic_retinopathy"'
            )
    return {label.strip(): finding.strip() for label, _, finding in pairs}


def check_labels(pack: str, label_map: dict[str, str]) -> None:
    """Refuse a label map that names a finding which the pack does not know.

    Raises:
        UsageError: an unknown pack or finding; the nearest is named.
    """
    if pack:
        from tapetum.knowledge import load_pack

        known = load_pack(pack)
        for finding in label_map.values():
            if finding:
                known.resolve(finding)


def key_path(config: IngestConfig, place: Path) -> Path:
    """Where an archive's key lies unless `key=` says otherwise: in the user's data folder, named after the archive."""
    from tapetum.archive.deidentify import default_key_path

    if config.key:
        return Path(config.key)
    # Two archives of one name must not share a key by accident.
    which = hashlib.sha256(str(place.resolve()).encode()).hexdigest()[:8]
    return default_key_path(f"{place.name.removesuffix('.tap')}-{which}")


def _profile(config: IngestConfig, exports: Sequence[Export], named: bool) -> str:
    if config.deidentify:
        if config.deidentify not in PROFILES:
            raise UsageError(f"deidentify={config.deidentify!r}", nearest(config.deidentify, list(PROFILES)))
        if config.deidentify == "none" and config.key:
            raise UsageError("a key, and deidentify=none", "one of them", "deidentify=longitudinal")
        return config.deidentify
    # Public sets and the phantom name nobody real.
    harmless = all(e.phantom or e.card for e in exports)
    return "longitudinal" if config.key or (named and not harmless) else "none"


def _pack_modality(pack: str) -> str:
    if not pack:
        return ""
    from tapetum.knowledge import load_pack

    return load_pack(pack).modality


def _key(
    settings: dict[str, Any], config: IngestConfig, exports: Sequence[Export], place: Path, key_id: str
) -> Key | None:
    if settings["deidentify"] == "none":
        return None
    from tapetum.archive.deidentify import Key

    path, apart = key_path(config, place), [place, *(e.root for e in exports)]
    if not key_id and not path.exists():
        return Key.create(path, away_from=apart)
    key = Key.load(path, away_from=apart)
    if key_id and key.id != key_id:
        raise ArtefactError(f"the key {path} is {key.id}", f"key {key_id}, the archive's own", "key=PATH")
    return key
