"""Sources that lie behind an address, such as a PACS (a family: one file, one kind of address, `NAME:ADDRESS`).

A member looks at its address and options at once and returns a `Source`, which reads in portions: each is on disk in
the archive before the next is fetched. It never writes to the other side.
"""

from __future__ import annotations

from typing import Protocol

from tapetum.archive.pacs.source import Source


class Feed(Protocol):
    """What is behind an address.

    Args:
        address: what follows `NAME:`.

    Members have options of their own, each with a default, given as in `reader="dicomweb(modality='OP,OPT')"`.

    Raises:
        UsageError: a wrong address or option. MissingExtraError: what it needs is not installed.
    """

    def __call__(self, address: str) -> Source:
        """The source; nothing is asked of the other side before it is read."""
        ...
