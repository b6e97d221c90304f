"""The seal: digests of the files beside the vault, so that a flipped bit in any of them is found and named.

`archive.sha256` is in the form that `sha256sum -c` reads, with the run that wrote it and a digest of its own lines.
Images need no line there: their names are their digests.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tapetum.core.store import atomic_write, file_digest

SEAL = "archive.sha256"
_RUN, _SELF = "# run ", "# sha256 of the lines above "


def write_seal(place: Path, run: int) -> None:
    """Note the digests of all files directly in `place`, hidden ones left out; a later run's seal is left alone.

    Raises:
        OSError: the disk is full; the old seal still stands.
    """
    later = re.search(rf"^{_RUN}(\d+)$", _text(place), re.MULTILINE)
    if later and int(later[1]) > run:
        return
    lines = "".join(f"{file_digest(place / name)}  {name}\n" for name in _files(place)) + f"{_RUN}{run}\n"
    atomic_write(place / SEAL, f"{lines}{_SELF}{hashlib.sha256(lines.encode()).hexdigest()}\n")


def broken_seal(place: Path) -> tuple[tuple[str, ...], int]:
    """Files that are not as the last finished run left them, and the number of that run.

    Returns:
        One line per file, none where there is no seal (an archive of the first version); the run, 0 without a seal.
    """
    text = _text(place)
    if not text and not (place / SEAL).exists():
        return (), 0
    lines, mark, digest = text.rpartition(_SELF)
    if not mark or hashlib.sha256(lines.encode()).hexdigest() != digest.strip():
        return (f"{SEAL} has other bytes than it was written with",), 0
    *sums, last = lines.splitlines()
    sealed = {name: value for value, _, name in (line.partition("  ") for line in sums)}
    changed = [f"{name} is missing" for name in sorted(set(sealed) - set(_files(place)))]
    changed += [
        f"{name} has other bytes than it was written with"
        for name, value in sorted(sealed.items())
        if (place / name).is_file() and file_digest(place / name) != value
    ]
    return tuple(changed), int(last.removeprefix(_RUN))


def _text(place: Path) -> str:
    try:
        return (place / SEAL).read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def _files(place: Path) -> list[str]:
    """Names of the files that the seal covers; the catalog's log and index are its own business."""
    return sorted(
        p.name
        for p in place.iterdir()
        if p.is_file() and not p.name.startswith(".") and p.name != SEAL and not p.name.endswith(("-wal", "-shm"))
    )
