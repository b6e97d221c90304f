"""Whom a pseudonym stands for: told to a named role, with the key, and written down each time beside the key."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tapetum.archive.deidentify.key import Key
from tapetum.archive.deidentify.pseudonyms import Pseudonyms
from tapetum.core.errors import ArtefactError, UsageError


@dataclass(frozen=True)
class Reidentified:
    """A pseudonym of an archive and what it stands for."""

    pseudonym: str
    kind: str
    original: str


def reidentify(
    archive_path: Path | str, pseudonyms: Sequence[str], *, key: Key | Path, role: str, reason: str
) -> tuple[Reidentified, ...]:
    """Open the sealed identities of some pseudonyms; the request is on disk before anything is opened.

    Args:
        archive_path: the archive's folder.
        pseudonyms: of patients or files, as in the archive.
        key: the archive's key, or its file.
        role: who asks; one of the roles that the key's file names.
        reason: why, in a few words; written down.

    Returns:
        One row for each pseudonym, in their order.

    Raises:
        UsageError: a role that the key does not name, no reason, no pseudonym, or a key that has no file.
        ArtefactError: no archive, a pseudonym it does not know, another key, or the log cannot be written.
    """
    key = key if isinstance(key, Key) else Key.load(key, away_from=[archive_path])
    if role not in key.roles:
        raise UsageError(f"role {role!r} may not ask", f"one of: {', '.join(key.roles)}", "--role")
    if len(reason.strip()) < 3 or not pseudonyms:
        raise UsageError("no reason or no pseudonym", "at least one of each", "--reason TEXT")
    place = Path(archive_path) / "catalog.sqlite"
    if not place.is_file():
        raise ArtefactError(f"{archive_path} is no archive", "a folder with catalog.sqlite")
    from tapetum.archive.store.catalog import Catalog

    names = Pseudonyms(key)
    catalog = Catalog(place, as_it_is=True)
    try:
        known = {identity.pseudonym: identity for identity in catalog.identities()}
    finally:
        catalog.close()
    asked = [known.get(pseudonym) for pseudonym in pseudonyms]
    result = "asked" if None not in asked else "unknown pseudonym"
    write_log(key, {"archive": Path(archive_path).name, "pseudonyms": list(pseudonyms), "role": role,
                    "reason": reason.strip(), "result": result})  # fmt: skip
    rows: list[Reidentified] = []
    for pseudonym, identity in zip(pseudonyms, asked, strict=True):
        if identity is None:
            raise ArtefactError(f"the archive knows no pseudonym {pseudonym!r}", "one of its patients or files")
        rows.append(Reidentified(pseudonym, identity.kind, names.unseal(identity.sealed)))
    return tuple(rows)


def log_path(key: Key) -> Path:
    """Where a key's requests are written down: beside the key, never in an archive.

    Raises:
        UsageError: the key was not read from a file.
    """
    if key.path is None:
        raise UsageError("the key has no file beside which requests are written down", "a key that was loaded", "--key")
    return key.path.with_name(key.path.name + ".log")


def write_log(key: Key, entry: dict[str, object]) -> None:
    """Append one line, chained to the one before it by its digest, and flush it to disk.

    Raises:
        ArtefactError: it cannot be written, or an earlier line was changed.
    """
    place = log_path(key)
    before = check_log(place)
    said = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "user": _user(), "key": key.id, **entry}
    line = json.dumps({**said, "before": before}, sort_keys=True, ensure_ascii=False)
    try:
        handle = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(handle, "ab") as stream:
            stream.write(line.encode("utf-8") + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise ArtefactError(f"the log {place} cannot be written: {error.strerror}", "a file beside the key") from None


def check_log(place: Path) -> str:
    """The digest of the last line, empty where there is none.

    Raises:
        ArtefactError: a line was changed, taken out or cut.
    """
    digest = ""
    for number, line in enumerate(place.read_bytes().splitlines() if place.exists() else (), start=1):
        try:
            whole = json.loads(line)["before"] == digest
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise ArtefactError(f"the log {place} was changed before or in line {number}", "lines as written")
        digest = hashlib.sha256(line).hexdigest()
    return digest


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
