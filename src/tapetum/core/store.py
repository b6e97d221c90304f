"""Artefacts on disk: written whole or not at all, each naming what it was made from.

An artefact is a folder with a `meta.json`. It is written beside its place, flushed to disk and renamed, so that a
crash leaves either the old one or the new one. `meta.json` carries the digests of the parents: any number can be
followed back to the archive it came from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import numbers
import os
import shutil
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tapetum.core.errors import ArtefactError

SCHEMA = 1
META = "meta.json"


@dataclass(frozen=True)
class Meta:
    """What an artefact is and where it came from.

    Attributes:
        kind: archive, checkpoint, embeddings, predictions, masks, measurements, records, gate
            or export.
        digest: SHA-256 over the names and contents of the artefact's files.
        parents: role → digest of each artefact that this one was made from.
        command: the command line that made it.
        config: the settings in full, and `config_digest` their SHA-256.
        version: the package's version. seed: the seed of the run, if any.
    """

    kind: str
    digest: str = ""
    parents: Mapping[str, str] = field(default_factory=dict[str, str])
    command: str = ""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    config_digest: str = ""
    version: str = ""
    seed: int | None = None
    schema: int = SCHEMA


def command_line() -> str:
    """The command as typed, with the program's folder left out."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write a file so that readers see the old content or the new, never a part; flushed to disk.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(data.encode() if isinstance(data, str) else data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def plain_json(value: Any) -> Any:
    """What any JSON reader takes: a number that is none becomes null, what JSON has no word for becomes its text.

    Example:
        >>> plain_json({"loss": (0.5, float("nan")), 1: Path("a")})
        {'loss': [0.5, None], '1': 'a'}
    """
    if isinstance(value, Mapping):
        return {str(k): plain_json(v) for k, v in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [plain_json(v) for v in cast(Sequence[Any], value)]
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return str(value)


@contextlib.contextmanager
def new_artefact(path: Path, meta: Meta) -> Generator[Path]:
    """Yield a fresh folder to fill; on a clean exit it gets its `meta.json` and takes the place of `path`.

    An exception inside leaves `path` as it was. What stood at `path` is replaced only if it is an artefact of the same
    kind, so that a slip of the keyboard cannot delete a folder of photographs or an archive. A kill between the two
    renames leaves the old one beside it as `.NAME.PID.old`.

    Raises:
        ArtefactError: `path` exists and is no artefact, or one of another kind.
    """
    _may_replace(path, meta.kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        whole = dataclasses.replace(
            meta, digest=content_digest(part), version=meta.version or package_version(),
            command=meta.command or command_line(),
        )  # fmt: skip
        _flush(part)
        atomic_write(part / META, json.dumps(dataclasses.asdict(whole), indent=1, default=str) + "\n")
        _swap(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def read_meta(path: Path, kind: str) -> Meta:
    """The `meta.json` of an artefact of the given kind.

    Raises:
        ArtefactError: no artefact there, another kind, or a schema that this version does not know.
    """
    try:
        raw = json.loads((path / META).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ArtefactError(f"{path} is no artefact (it has no {META})", f"a folder of kind {kind}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtefactError(f"{path / META} is damaged: {error}", "JSON", f"tapetum verify {path}") from None
    if not isinstance(raw, dict):
        raise ArtefactError(f"{path / META} holds a {type(raw).__name__}", "a JSON object", f"tapetum verify {path}")
    if raw.get("kind") != kind:
        raise ArtefactError(f"{path} is of kind {raw.get('kind')!r}", f"kind {kind!r}")
    if raw.get("schema") != SCHEMA:
        raise ArtefactError(f"{path} has schema {raw.get('schema')}", f"schema {SCHEMA}", "upgrade tapetum")
    unknown = set(raw) - {f.name for f in dataclasses.fields(Meta)}
    if unknown:
        raise ArtefactError(f"{path / META} has unknown keys {sorted(unknown)}", "those of this version")
    return Meta(**raw)


def content_digest(path: Path) -> str:
    """SHA-256 over the relative names and contents of all files below `path`, `meta.json` and hidden files left out."""
    whole = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p.name != META and not p.name.startswith(".")):
        whole.update(f"{file.relative_to(path).as_posix()}\0{file_digest(file)}\n".encode())
    return whole.hexdigest()


def package_version() -> str:
    """The version of the installed package, in one place."""
    from importlib.metadata import version

    return version("tapetum")


def _may_replace(path: Path, kind: str) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / META).exists():
        raise ArtefactError(f"{path} exists and is no artefact", "a new or empty folder", "choose another --out")
    read_meta(path, kind)


def _swap(part: Path, path: Path) -> None:
    """Put `part` in the place of `path`; if that fails, the old one comes back."""
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(part, path)
    except BaseException:
        if old.exists():
            os.replace(old, path)
        raise
    _sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Force every file of a folder to disk, so that no folder of empty files appears after a power cut."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    """Make a rename durable; Windows has no such call and needs none."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
