"""A whole verb in several processes: joined for as long as it takes, the first one going ahead where files are made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import TypeVar, cast

from torch import distributed as dist

from tapetum.learn.training.parallel import ALONE, World, launched

T = TypeVar("T")
_LONG = timedelta(days=7)  # an archive may take hours to embed, while the others wait


@contextlib.contextmanager
def together(mode: str) -> Generator[World]:
    """The processes that `torchrun` started, joined; one process alone where `mode` is empty.

    Args:
        mode: of `LoopSettings.parallel`.

    Raises:
        UsageError: an unknown mode, or not started by `torchrun`.
    """
    if not mode:
        yield ALONE
    elif dist.is_initialized():
        yield World.of(mode)
    else:
        with launched():
            yield World.of(mode)


def first_alone(world: World, work: Callable[[], T]) -> T:
    """What `work` gives, in every process; the first one does it alone, and the others then find its files.

    Example:
        >>> first_alone(ALONE, lambda: 3)
        3
    """
    if not world.mode:
        return work()
    group = _patient()
    if world.rank:
        dist.barrier(group)
    found = work()
    if not world.rank:
        dist.barrier(group)
    return found


def from_first(world: World, work: Callable[[], T]) -> T:
    """What `work` gives in the first process, sent to the others, which wait for it.

    Example:
        >>> from_first(ALONE, lambda: 3)
        3
    """
    if not world.mode:
        return work()
    group = _patient()
    told: list[T | None] = [None if world.rank else work()]
    dist.broadcast_object_list(told, 0, group=group)
    return cast(T, told[0])


def is_first() -> bool:
    """Whether this is the process that writes: alone, or the first of those that `torchrun` started."""
    return not dist.is_torchelastic_launched() or os.environ.get("RANK", "0") == "0"


def _patient() -> dist.ProcessGroup:
    """All processes, in a group that waits for days."""
    return cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=_LONG))
