"""Silence the warnings of decoders, from any number of threads at once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager

_LOCK = threading.Lock()
# One entry per thread inside; the first holds the filters of before.
_inside: list[warnings.catch_warnings[None]] = []


@contextmanager
def quietly() -> Generator[None]:
    """Ignore warnings inside the block.

    `warnings.catch_warnings` alone would, from two threads, restore the filters of the wrong one: here the first thread
    in saves them and the last one out restores them.
    """
    with _LOCK:
        filters = _inside[0] if _inside else warnings.catch_warnings()
        if not _inside:
            filters.__enter__()
            warnings.simplefilter("ignore")
        _inside.append(filters)
    try:
        yield
    finally:
        with _LOCK:
            filters = _inside.pop()
            if not _inside:
                filters.__exit__(None, None, None)
