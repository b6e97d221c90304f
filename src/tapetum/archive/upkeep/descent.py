"""Which artefacts were made from given snapshots, directly or through a model."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tapetum.core.store import META


def descendants(
    digests: Iterable[str], search: Iterable[Path | str]
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:  # fmt: skip
    """Checkpoints, and artefacts of other kinds, that descend from snapshots.

    Args:
        digests: of the snapshots.
        search: folders below which `meta.json` files are read; those of archives are passed over.

    Returns:
        Folders of checkpoints, folders of other artefacts; both sorted.
    """
    artefacts: dict[Path, dict[str, Any]] = {}
    for folder in search:
        for file in sorted(Path(folder).rglob(META)):
            try:
                meta = json.loads(file.read_text(encoding="utf-8"))
                if meta["kind"] != "archive":
                    artefacts[file.parent] = {
                        "kind": str(meta["kind"]), "digest": str(meta["digest"]),
                        "parents": {str(p) for p in meta["parents"].values()},
                    }  # fmt: skip
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # another program's meta.json
    reached, found = {*digests} - {""}, set[Path]()
    grown = True
    while grown:
        new = {p for p, a in artefacts.items() if p not in found and a["parents"] & reached}
        grown = bool(new)
        found |= new
        reached |= {artefacts[p]["digest"] for p in new} - {""}
    return (
        tuple(sorted(p for p in found if artefacts[p]["kind"] == "checkpoint")),
        tuple(sorted(p for p in found if artefacts[p]["kind"] != "checkpoint")),
    )
