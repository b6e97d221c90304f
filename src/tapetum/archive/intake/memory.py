"""What an archive remembers of a source that is read in portions: in its catalog, beside the images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tapetum.archive.intake.sight import VERSION
from tapetum.archive.intake.taking import Place


class CatalogMemory:
    """Remembers in the archive's catalog; under keyed digests where the archive holds pseudonyms.

    Args:
        place: the archive that is written to.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def folder(self) -> Path | None:
        """The archive's folder."""
        return self._place.catalog.path.parent

    def has(self, uid: str) -> bool:
        """Whether the object's image is stored and was seen as it is seen today."""
        image = self._place.catalog.was_seen(self._digest("instance", uid))
        if not image or image not in self._place.vault:
            return False
        sight = self._place.catalog.sight(image)
        return sight is not None and sight.facts["version"] == VERSION

    def remember(self, uids: Mapping[str, str]) -> None:
        """Objects with a stored image stand for it; report objects, which have none, for the first of their study."""
        stored, documents = dict[str, str](), list[str]()
        for file, uid in uids.items():
            said = self._place.catalog.connection.execute(
                "SELECT state, image_id FROM statements WHERE source = ? ORDER BY run DESC, state DESC",
                (self._place.veil.file(file),),
            ).fetchone()
            if said is None:
                documents.append(uid)
            elif said[0] == "stored":
                stored[uid] = said[1]
        if stored:
            stored |= dict.fromkeys(documents, next(iter(stored.values())))
        seen = {self._digest("instance", uid): image for uid, image in stored.items()}
        self._place.catalog.write([], self._place.run, seen=seen)

    def refused(self, files: Iterable[str]) -> set[str]:
        """Those with a refusal of this run."""
        return {
            file
            for file in files
            if self._place.catalog.connection.execute(
                "SELECT 1 FROM statements WHERE source = ? AND run = ? AND state = 'refused'",
                (self._place.veil.file(file), self._place.run),
            ).fetchone()
        }

    def cursor(self, name: str) -> str:
        """As it was left."""
        return self._place.catalog.cursor(self._digest("cursor", name)) or ""

    def set_cursor(self, name: str, value: str) -> None:
        """Only after what was read is on disk."""
        self._place.catalog.set_cursor(self._digest("cursor", name), value)

    def _digest(self, kind: str, value: str) -> str:
        return self._place.veil.source_digest(f"{kind} {value}".encode())
