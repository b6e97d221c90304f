"""Looking at files on Ray's workers instead of this machine's children: same functions, same order, same results.

Only the looking is spread; one process still reads and writes, so the archive cannot differ. On a worker each file is
still opened by a child with limits.
"""

from __future__ import annotations

import importlib
import itertools
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

from tapetum.archive.sandbox.pool import Outcome
from tapetum.archive.sandbox.untrusted import children
from tapetum.core.errors import DataError, MissingExtraError, TapetumError

SHARD_FILES = 256  # files whose bytes are in flight at once


def map_on_ray(function: str, items: Iterable[tuple[Any, ...]]) -> Iterator[Outcome]:
    """As `Sandbox.map`, through Ray Data, shard by shard.

    Args:
        function: `"package.module:name"`.
        items: the arguments, one tuple per item.

    Yields:
        One outcome per item, in order.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        # By name: the type checker need not find what only this extra brings.
        ray: Any = importlib.import_module("ray")
        data: Any = importlib.import_module("ray.data")
    except ImportError:
        raise MissingExtraError(
            "engine=ray needs Ray Data", "the extra `ray`", "pip install 'tapetum[ray]', or leave engine= out"
        ) from None
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    context = data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    source, index = iter(items), 0
    while shard := list(itertools.islice(source, SHARD_FILES)):
        rows = [{"function": function, "asked": pickle.dumps(arguments, protocol=5)} for arguments in shard]
        for row in data.from_items(rows).map(_on_worker).iter_rows():
            value, error = pickle.loads(row["answer"])
            yield Outcome(index, value, error)
            index += 1


def _on_worker(row: dict[str, Any]) -> dict[str, Any]:
    """One item on a worker: in a child there, its answer or its error back."""
    try:
        answer: tuple[Any, TapetumError | None] = (
            children().call(row["function"], *pickle.loads(row["asked"])), None,
        )  # fmt: skip
    except DataError as error:
        answer = (None, error)
    return {"answer": pickle.dumps(answer, protocol=5)}
