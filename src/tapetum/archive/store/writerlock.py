"""Whether the process that holds the single writer's lock still lives."""

from __future__ import annotations

import os
from pathlib import Path


def this_process() -> tuple[int, str, str]:
    """Number, boot and start of this process: together they name it, even after its number is used again."""
    return os.getpid(), _boot_id(), _started(os.getpid())


def is_alive(pid: int, boot: str, started: str) -> bool:
    """Whether the process so named still runs."""
    if boot != _boot_id():
        return False
    if started or os.name != "posix":
        return bool(started) and _started(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks, so that a re-used number is not taken for the old process."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if words[0] in "ZX" else words[19]  # one that was killed and only waits to be collected is gone
    except (OSError, IndexError):
        return ""
