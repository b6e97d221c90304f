"""What comes from outside is parsed apart from this process: one pool of limited children for the whole process."""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

from tapetum.archive.sandbox.pool import Limits, Sandbox

# A volume of a few hundred B-scans is copied twice on its way; no document takes a minute.
_LIMITS = Limits(memory_bytes=2048 * 2**20, cpu_seconds=60.0, wall_seconds=120.0)
_MOST_CHILDREN = 8
_lock = threading.Lock()
_box: list[Sandbox] = []


def children() -> Sandbox:
    """The process's pool, one child per processor, at most eight; ends with the process."""
    with _lock:
        if not _box:
            box = Sandbox(workers=min(_MOST_CHILDREN, _processors()), limits=_LIMITS)
            box.__enter__()
            atexit.register(box.__exit__, None, None, None)
            _box.append(box)
    return _box[0]


def apart(function: str, *arguments: Any) -> Any:
    """Run one function in a child.

    Args:
        function: `"package.module:name"`.
        *arguments: bytes, texts and numbers.

    Returns:
        What the function returns.

    Raises:
        DataError: the item is refused by the function, or the child died or exceeded a limit.
        TapetumError: what else the function raises, for example a missing extra.
    """
    return children().call(function, *arguments)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
