"""A C-STORE receiver: objects are on disk before they are acknowledged, and leave the inbox when the archive has them.

Listens on the loopback address unless told otherwise; then only to named callers. DICOM's association is neither
encrypted nor authenticated: an AE title is a name, not a proof.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapetum.archive.dicom.values import read_header
from tapetum.archive.pacs.source import Memory, NoMemory, Portion, held_folder, is_uid, items_of, state_folder
from tapetum.archive.rows import Note
from tapetum.core.errors import ArtefactError, DataError, MissingExtraError, UsageError

MAX_OBJECT_BYTES = 2**30
MAX_ASSOCIATIONS = 8
LARGEST_PDU = 131_072
_SUCCESS, _OUT_OF_RESOURCES, _NOT_MATCHING, _CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Listener:
    """Where to listen, and to whom.

    Attributes:
        title: own AE title. host, port: address. allow: AE titles of callers; empty for any, on loopback only.
        idle_seconds: without an association, after which the receiver ends.
        settle_seconds: without an association, after which what has come is taken in.
    """

    title: str
    host: str
    port: int
    allow: tuple[str, ...] = ()
    idle_seconds: float = 60.0
    settle_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < len(self.title) <= 16 or "\\" in self.title or not self.title.isprintable():
            raise UsageError(f"AE title {self.title!r}", "1 to 16 characters")
        if not 0 < self.port < 65536:
            raise UsageError(f"port {self.port}", "1 to 65535")
        if self.host not in _LOOPBACK and not self.allow:
            raise UsageError(
                f"listening on {self.host} to everybody", "callers by name", "reader=\"cstore(allow='THEIR_TITLE')\""
            )
        if self.idle_seconds <= 0 or self.settle_seconds <= 0:
            raise UsageError("a time that is not positive", "seconds")

    @staticmethod
    def of(address: str, **options: Any) -> Listener:
        """From `TITLE@HOST:PORT`.

        Raises:
            UsageError: another text.

        Example:
            >>> Listener.of("TAPETUM@127.0.0.1:11112").port
            11112
        """
        title, at, place = address.partition("@")
        host, colon, port = place.rpartition(":")
        if not (at and colon and host and port.isdigit()):
            raise UsageError(f"{address!r} is no address to listen at", "cstore:TITLE@HOST:PORT", "")
        return Listener(title, host.strip("[]"), int(port), **options)

    @property
    def inbox(self) -> Path:
        """Where objects wait unless told otherwise."""
        return state_folder("inbox", f"{self.title}-{self.port}")


def receive(listener: Listener, *, memory: Memory | None = None, inbox: Path | None = None) -> Iterator[Portion]:
    """What others send, and what a killed run left in the inbox.

    Args:
        listener: where to listen.
        memory: of the archive.
        inbox: folder of the waiting objects.

    Yields:
        Portions; `done()` removes from the inbox what the archive has.

    Raises:
        MissingExtraError: pynetdicom is not installed. ArtefactError: the port is taken.
    """
    remembered = memory if memory is not None else NoMemory()
    with held_folder(inbox or listener.inbox, remembered.folder) as folder:
        for left in folder.glob(".*.part"):  # never acknowledged
            left.unlink(missing_ok=True)
        tried: dict[str, int] = {}
        with _serving(listener, folder) as server:
            for _ in _quiet_moments(listener, server, lambda: _fresh(folder, tried)):
                tried.update(_waiting(folder))
                yield _portion(folder, _waiting(folder), remembered)
        if _fresh(folder, tried):  # came between the last look and the end
            yield _portion(folder, _waiting(folder), remembered)
        rest = len(_waiting(folder))
        if rest:
            yield Portion((Note(f"{rest} objects that the archive did not take stay in the inbox"),))


def _quiet_moments(listener: Listener, server: _Receiving, news: Callable[[], bool]) -> Generator[None, None, None]:
    """Once for each pause in which there is something to take; ends after a long one, or with Ctrl-C."""
    last, arrived = time.monotonic(), server.arrived
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            if server.busy() or server.arrived != arrived:
                last, arrived = time.monotonic(), server.arrived
            quiet = time.monotonic() - last
            if quiet >= min(listener.settle_seconds, listener.idle_seconds) and news():
                yield
                continue
            if quiet >= listener.idle_seconds:
                return
            time.sleep(0.05)


def _fresh(folder: Path, tried: dict[str, int]) -> bool:
    """Whether something waits that was not tried yet."""
    return not _waiting(folder).items() <= tried.items()


def _waiting(folder: Path) -> dict[str, int]:
    """The objects in the inbox, each with its inode: one that is sent again is another file."""
    found = dict[str, int]()
    for path in sorted(folder.glob("*.dcm")):
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.stat().st_ino
    return found


def _portion(folder: Path, files: dict[str, int], memory: Memory) -> Portion:
    def done() -> None:
        refused = memory.refused(files)
        for name, inode in files.items():
            path = folder / name
            # One that was sent again in the meantime is another file, and is taken next.
            if name not in refused and path.stat().st_ino == inode:
                path.unlink()

    return Portion(items_of({name: folder / name for name in files}), done)


@dataclass
class _Receiving:
    """A running receiver."""

    ae: Any
    folder: Path
    arrived: int = 0
    _sizes: dict[int, int] = field(default_factory=dict[int, int])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def busy(self) -> bool:
        """Whether somebody is connected."""
        return bool(self.ae.active_associations)

    def stored(self, event: Any) -> int:
        """Write one object and flush it; only then is it acknowledged."""
        self._sizes.pop(id(event.assoc), None)
        uid = str(event.request.AffectedSOPInstanceUID or "")
        if not is_uid(uid):
            return _CANNOT_UNDERSTAND
        part = self.folder / f".{uid}.{threading.get_ident()}.part"
        try:
            self._write(part, event.encoded_dataset())
            ds = read_header(part, ("SOPInstanceUID", "SOPClassUID"))
            if str(ds.get("SOPInstanceUID", "")) != uid:
                return _NOT_MATCHING
            part.replace(self.folder / f"{uid}.dcm")
            _flush(self.folder)
        except DataError:
            return _CANNOT_UNDERSTAND
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            return _OUT_OF_RESOURCES if full else _CANNOT_UNDERSTAND
        finally:
            part.unlink(missing_ok=True)
        with self._lock:
            self.arrived += 1
        return _SUCCESS

    def _write(self, path: Path, data: bytes) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    def met_pdu(self, event: Any) -> None:
        """Count the bytes of the object under way: one beyond all measure ends the association."""
        values = getattr(event.pdu, "presentation_data_value_items", None)
        if not values:
            return
        key = id(event.assoc)
        self._sizes[key] = self._sizes.get(key, 0) + sum(len(v.presentation_data_value) for v in values)
        if self._sizes[key] > MAX_OBJECT_BYTES:
            self._sizes.pop(key)
            event.assoc.abort()


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _serving(listener: Listener, folder: Path) -> Generator[_Receiving, None, None]:
    ae = application_entity(listener)
    from pynetdicom import evt

    server = _Receiving(ae, folder)
    handlers = [(evt.EVT_C_STORE, server.stored), (evt.EVT_PDU_RECV, server.met_pdu)]
    try:
        ae.start_server((listener.host, listener.port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise ArtefactError(
            f"cannot listen at {listener.host}:{listener.port}: {error.strerror or type(error).__name__}",
            "a free port", "another port",
        ) from None  # fmt: skip
    try:
        yield server
    finally:
        ae.shutdown()


def application_entity(listener: Listener) -> Any:
    """An application entity that accepts every storage class in every transfer syntax, and verification.

    Raises:
        MissingExtraError: pynetdicom is not installed.
    """
    try:
        import pynetdicom
    except ImportError:
        raise MissingExtraError(
            "pynetdicom is not installed", "the extra pacs", "pip install 'tapetum[pacs]'"
        ) from None
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it quotes what was sent
    ae: Any = pynetdicom.AE(ae_title=listener.title)
    for context in pynetdicom.AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, pynetdicom.ALL_TRANSFER_SYNTAXES)
    ae.add_supported_context(Verification)
    ae.require_called_aet = True
    ae.require_calling_aet = list(listener.allow)
    ae.maximum_associations = MAX_ASSOCIATIONS
    ae.maximum_pdu_size = LARGEST_PDU
    ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 15, 60, 60
    return ae
