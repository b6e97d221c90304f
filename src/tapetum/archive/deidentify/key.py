"""The key from which all pseudonyms follow: a small file that is never kept beside the data it protects."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tapetum.core.errors import ArtefactError, UsageError

KEY_VERSION = 1
SECRET_BYTES = 32
ROLES = ("data manager",)


@dataclass(frozen=True)
class Key:
    """A secret with a name; two archives made with the same key give one person the same pseudonym.

    Attributes:
        secret: 32 random bytes or more; never shown, logged or stored in an archive.
        id: the first digits of a digest of the secret: tells keys apart and betrays nothing.
        created: when, ISO date and time, UTC. path: where it was read from.
        roles: who may ask whom a pseudonym stands for.
    """

    secret: bytes = field(repr=False)
    created: str = ""
    path: Path | None = None
    roles: tuple[str, ...] = ROLES

    def __post_init__(self) -> None:
        if len(self.secret) < SECRET_BYTES:
            raise ArtefactError(f"a secret of {len(self.secret)} bytes", f"at least {SECRET_BYTES}", "make a new key")

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that name the key."""
        return hashlib.sha256(b"tapetum key id\0" + self.secret).hexdigest()[:8]

    @classmethod
    def create(cls, path: Path | str, *, away_from: Sequence[Path | str] = (), roles: Sequence[str] = ROLES) -> Key:
        """Make a new key and write it to a new file that only its owner can read.

        Args:
            path: the new file.
            away_from: folders it must not lie in: the archive and the export.
            roles: who may ask whom a pseudonym stands for.

        Returns:
            The key.

        Raises:
            UsageError: the file would lie inside an archive or one of `away_from`. ArtefactError: the file exists.
        """
        place = Path(path)
        check_apart(place, away_from)
        key = cls(
            secrets.token_bytes(SECRET_BYTES), datetime.now(UTC).isoformat(timespec="seconds"), place, tuple(roles)
        )
        said = {
            "tapetum_key": KEY_VERSION,
            "id": key.id,
            "created": key.created,
            "roles": list(key.roles),
            "secret": base64.b64encode(key.secret).decode("ascii"),
        }
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ArtefactError(f"the key {place} exists", "a new file", "use it, or name another file") from None
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(json.dumps(said, indent=1) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        return key

    @classmethod
    def load(cls, path: Path | str, *, away_from: Sequence[Path | str] = ()) -> Key:
        """Read a key.

        Args:
            path: the key's file.
            away_from: folders it must not lie in: the archive and the export.

        Returns:
            The key.

        Raises:
            UsageError: the file lies inside an archive or one of `away_from`.
            ArtefactError: no such file, others may read it, or it is no key or a damaged one.
        """
        place = Path(path)
        check_apart(place, away_from)
        try:
            mode, text = place.stat().st_mode, place.read_text(encoding="ascii")
        except FileNotFoundError:
            raise ArtefactError(f"there is no key {place}", "the file of a key", "tapetum key create") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ArtefactError(f"the key {place} cannot be read: {error.__class__.__name__}", "a key file") from None
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ArtefactError(f"others than its owner may read the key {place}", "mode 0600", f"chmod 600 {place}")
        try:
            said = json.loads(text)
            if said["tapetum_key"] != KEY_VERSION:
                raise ArtefactError(f"{place} is a key of version {said['tapetum_key']}", f"version {KEY_VERSION}")
            key = cls(
                base64.b64decode(said["secret"], validate=True),
                str(said["created"]),
                place,
                tuple(map(str, said["roles"])),
            )
            whole = key.id == said["id"]
        except (ValueError, KeyError, TypeError, binascii.Error):
            whole, key = False, None
        if not whole or key is None:
            raise ArtefactError(f"{place} is no key, or a damaged one", "the file that was made", "restore its copy")
        return key


def default_key_path(archive_name: str) -> Path:
    """Where a key lies unless told otherwise: the user's data folder, outside every archive.

    Example:
        >>> default_key_path("clinic.tap").name
        'clinic.key.json'
    """
    name = Path(archive_name).name.removesuffix(".tap") or "archive"
    base = os.environ.get("XDG_DATA_HOME", "") or str(Path.home() / ".local" / "share")
    return Path(base) / "tapetum" / "keys" / f"{name}.key.json"


def check_apart(path: Path, away_from: Sequence[Path | str] = ()) -> None:
    """Refuse a place for a key that lies inside an archive or another folder named.

    Raises:
        UsageError: it does.
    """
    place = path.resolve()
    next_step = f"--key {default_key_path('archive')}"
    for folder in away_from:
        if place.is_relative_to(Path(folder).resolve()):
            raise UsageError(f"the key {path} would lie inside {folder}", "a place apart from the data", next_step)
    for folder in place.parents:
        if (folder / "catalog.sqlite").exists():
            raise UsageError(f"the key {path} would lie inside the archive {folder.name}", "a place apart", next_step)
