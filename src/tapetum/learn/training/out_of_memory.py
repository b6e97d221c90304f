"""Memory that ran out, told by what to change."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

from tapetum.core.errors import UsageError

_SIGNS = ("can't allocate memory", "not enough memory", "out of memory")


@contextmanager
def out_of_memory_told(what: str, advice: str) -> Generator[None]:
    """Turn the allocator's errors into one that says what to change.

    Args:
        what: was running, with its batch and size.
        advice: which options take less.

    Raises:
        UsageError: memory ran out inside.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UsageError(f"out of memory: {what}", "less memory", advice) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is the allocator's: Python's, torch's on the processor, or torch's on an accelerator."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(sign in str(error).lower() for sign in _SIGNS)
