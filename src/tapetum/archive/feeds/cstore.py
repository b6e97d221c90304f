"""A PACS or device that sends: a C-STORE receiver whose inbox is read as a folder of DICOM files.

The source is `cstore:TITLE@HOST:PORT`. Each object is on disk before it is acknowledged and stays in the inbox until
the archive has it; what the archive refuses stays there.

Source: DICOM PS3.4 annex B, PS3.7 9.1.1, PS3.8. Differs: acknowledged after the flush to disk, as written bytes and not
    as a decoded data set; names of files are checked, sizes are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapetum.archive.pacs.inbox import Listener, application_entity, receive
from tapetum.archive.pacs.source import Item, Memory, Portion, Source

__all__ = ["cstore"]


def cstore(
    address: str,
    *,
    allow: str = "",
    idle_seconds: float = 60.0,
    settle_seconds: float = 2.0,
    inbox: str = "",
) -> Source:
    """Everything that is sent until nobody sends any more.

    Args:
        address: `TITLE@HOST:PORT` to listen at.
        allow: AE titles of callers, separated by commas; may be empty on the loopback address only.
        idle_seconds: the receiver ends after so long without an association.
        settle_seconds: what has come is taken in after so long without an association.
        inbox: folder of what has come and is not in the archive yet; in the user's state folder if empty.

    Returns:
        The source.

    Raises:
        UsageError: a wrong address. MissingExtraError: the extra `pacs` is not installed.
        ArtefactError: when it is read, the port is taken.
    """
    allowed = tuple(part.strip() for part in allow.split(",") if part.strip())
    listener = Listener.of(
        address, allow=allowed, idle_seconds=float(idle_seconds), settle_seconds=float(settle_seconds)
    )
    folder = Path(inbox) if inbox else listener.inbox

    def asked() -> Iterator[Item]:
        application_entity(listener)
        return iter(())

    def portions(memory: Memory) -> Iterator[Portion]:
        return receive(listener, memory=memory, inbox=folder)

    return Source(folder, listener.title, asked, portions)
