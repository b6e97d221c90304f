"""Long-lived child processes that run named functions on untrusted bytes, under limits; a fault costs one item.

A child is a fresh interpreter (no handle, thread or database of the parent is inherited) that dies with its parent.
It may not open sockets, write files or start programs. Memory, processor time and file size are limited by the
operating system on Linux and partly on macOS; on Windows only the clock, which the parent watches, remains. A child
that dies or exceeds a limit is replaced, and its item is refused. Arguments go in pickled, since the parent is
trusted; answers come back in a plain encoding (`child.pack`), since a child that read hostile bytes is not.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapetum.archive.sandbox import child as wire
from tapetum.core import errors
from tapetum.core.errors import ArtefactError, DataError, TapetumError

AHEAD_PER_WORKER = 4
AHEAD_BYTES = 256 * 2**20
START_SECONDS = 300.0
_TICK = 0.05
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
_KNOWN_ERRORS = ("UsageError", "ArtefactError", "UndefinedError", "MissingExtraError")


@dataclass(frozen=True)
class Limits:
    """What one item may take.

    Attributes:
        memory_bytes: address space beyond what the child needs idle. cpu_seconds: processor time, at least 1.
        wall_seconds: time by the clock. file_bytes: size of a file it may write; Python code may write none.
        answer_bytes: size of the arrays and bytes that it may give back.
    """

    memory_bytes: int = 1536 * 2**20
    cpu_seconds: float = 60.0
    wall_seconds: float = 120.0
    file_bytes: int = 0
    answer_bytes: int = 1024 * 2**20


@dataclass(frozen=True)
class Outcome:
    """What became of one item: a value, or the error for which it is refused.

    Attributes:
        index: place of the item in what was given. value: what the function returned. error: None if it returned.
    """

    index: int
    value: Any = None
    error: TapetumError | None = None

    def unwrap(self) -> Any:
        """The value.

        Raises:
            TapetumError: the error, where there is one.
        """
        if self.error is not None:
            raise self.error
        return self.value


class _LostError(Exception):
    """The child has gone."""


class _Child:
    """One process and its two pipes."""

    def __init__(self, limits: Limits) -> None:
        inherited = {k: os.environ[k] for k in _ENVIRONMENT if k in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", wire.__file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            env=inherited | dict.fromkeys(_ONE_THREAD, "1") | {"OMP_WAIT_POLICY": "PASSIVE"},
        )  # fmt: skip
        self.limits, self.deadline, self.late, self.done = limits, float("inf"), False, 0
        self.functions: set[str] = set()
        path = [str(Path(entry or ".").resolve()) for entry in sys.path]
        start = {"path": path, "limits": dataclasses.asdict(limits), "parent": os.getpid()}
        self._write(pickle.dumps(start, protocol=5))

    def _write(self, message: bytes) -> None:
        assert self.process.stdin is not None
        try:
            for part in (wire.LENGTH.pack(len(message)), message):
                view = memoryview(part)
                while view:
                    view = view[self.process.stdin.write(view) or 0 :]
        except OSError:
            raise _LostError from None

    def ask(self, message: bytes, seconds: float) -> dict[str, Any]:
        """Send a message and wait for the answer.

        Raises:
            _LostError: the child died, was killed for its time, or answered nonsense.
        """
        self.deadline = time.monotonic() + seconds
        try:
            self._write(message)
            out = self.process.stdout
            assert out is not None
            size = wire.LENGTH.unpack(wire.read_exactly(out, wire.LENGTH.size))[0]  # pyright: ignore[reportArgumentType]
            if size > wire.MAX_HEADER:
                raise _LostError
            header = bytes(wire.read_exactly(out, size))  # pyright: ignore[reportArgumentType]
            answer = wire.unpack(header, lambda n: wire.read_exactly(out, n), self.limits.answer_bytes)  # pyright: ignore[reportArgumentType]
            if not isinstance(answer, dict):
                raise _LostError
            return answer
        except (EOFError, OSError, ValueError):
            raise _LostError from None
        finally:
            self.deadline = float("inf")

    def end(self, patience: float = 0.0) -> int:
        """Close the pipes, wait so long, kill; returns the exit status (negative: the signal)."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            status = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status


class Sandbox:
    """A pool of children that run functions named by import path; use as a context manager, from any thread.

    Args:
        workers: how many children.
        limits: of one item.

    Example:
        >>> with Sandbox(workers=1) as sandbox:
        ...     [outcome.value for outcome in sandbox.map("math:hypot", [(3.0, 4.0)])]
        [5.0]
    """

    def __init__(self, workers: int = 2, *, limits: Limits = Limits()) -> None:
        self.workers, self.limits = max(1, workers), limits
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        self._children: list[_Child] = []
        self._wanted: queue.Queue[Future[_Child] | None] = queue.Queue()
        self._threads: ThreadPoolExecutor | None = None
        self._keeper: threading.Thread | None = None
        self._closing = False

    def __enter__(self) -> Sandbox:
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="sandbox")
        # Children die with the thread that started them (PR_SET_PDEATHSIG), so one thread that outlives them does it.
        self._keeper = threading.Thread(target=self._keep, name="sandbox-keeper", daemon=True)
        self._keeper.start()
        for _ in range(self.workers):
            self._idle.put(None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None and self._keeper is not None:
            self._closing = True  # whoever leaves the block waits for no answer any more
            for child in list(self._children):
                child.process.kill()
            self._threads.shutdown(wait=True, cancel_futures=True)
            for child in list(self._children):
                child.end(patience=1.0)
            self._children.clear()
            self._wanted.put(None)
            self._keeper.join()
            self._threads = self._keeper = None

    def call(self, function: str, *arguments: Any) -> Any:
        """Run a function on one item.

        Args:
            function: `"package.module:name"`.
            arguments: what it is given; must pickle.

        Returns:
            What it returns: None, numbers, str, bytes, arrays, and tuples, lists and dicts of them.

        Raises:
            DataError: the item is refused: its own error, no memory, no time, or a crash of the child.
            ImportError: the child cannot import the function. ArtefactError: no child starts.
        """
        return next(iter(self.map(function, [arguments]))).unwrap()

    def map(self, function: str, items: Iterable[tuple[Any, ...]], *, ordered: bool = True) -> Iterator[Outcome]:
        """Run a function on every item; a few items are read ahead, never all.

        Args:
            function: `"package.module:name"`.
            items: the arguments, one tuple per item; read in the caller's thread.
            ordered: yield in the order of the items; otherwise as they end.

        Yields:
            One outcome per item.

        Raises:
            ImportError: the child cannot import the function. ArtefactError: no child starts.
        """
        if self._threads is None:
            raise RuntimeError("a Sandbox is used inside its `with` block")
        pending: deque[tuple[Future[Outcome], int]] = deque()
        held, source, more = 0, enumerate(items), True
        try:
            while more or pending:
                while more and len(pending) < AHEAD_PER_WORKER * self.workers and (held < AHEAD_BYTES or not pending):
                    index, arguments = next(source, (-1, ()))
                    if index < 0:
                        more = False
                        break
                    message = pickle.dumps((function, tuple(arguments)), protocol=5)
                    held += len(message)
                    pending.append((self._threads.submit(self._run, function, index, message), len(message)))
                if not pending:
                    break
                if not ordered:
                    wait([future for future, _ in pending], return_when=FIRST_COMPLETED)
                    while not pending[0][0].done():
                        pending.rotate(-1)
                future, size = pending.popleft()
                held -= size
                yield future.result()
        finally:
            for future, _ in pending:
                future.cancel()

    def _run(self, function: str, index: int, message: bytes) -> Outcome:
        child = self._idle.get()
        try:
            while True:
                child = child or self._new_child()
                fresh = child.done == 0
                outcome, again = self._try(child, function, index, message)
                if child not in self._children:
                    child = None
                # A long-lived child may have died of what earlier items left behind: a fresh one decides.
                if fresh or not again or self._closing:
                    return outcome
        finally:
            self._idle.put(child if child in self._children else None)

    def _try(self, child: _Child, function: str, index: int, message: bytes) -> tuple[Outcome, bool]:
        """One attempt, and whether another in a fresh child could end otherwise."""
        self._prepare(child, function)
        try:
            child.done += 1
            answer = child.ask(message, self.limits.wall_seconds)
        except _LostError:
            again, error = self._fault(child)
            return Outcome(index, error=error), again
        if "memory" not in answer:
            return _outcome(index, answer), False
        self._drop(child)
        mebibytes = self.limits.memory_bytes // 2**20
        text = f"reading it needs more than {mebibytes} MiB of memory"
        return Outcome(index, error=DataError(text, "a file that needs less")), True

    def _new_child(self) -> _Child:
        asked: Future[_Child] = Future()
        self._wanted.put(asked)
        return asked.result()

    def _prepare(self, child: _Child, function: str) -> None:
        if function in child.functions:
            return
        try:
            answer = child.ask(pickle.dumps((function, None)), START_SECONDS)
        except _LostError:
            status = self._drop(child)
            raise ArtefactError(
                f"the sandbox's child ended with status {status} while it imported {function}", "a child that starts"
            ) from None
        if "error" in answer:
            raise ImportError(f"{function} in the sandbox: {answer['error'][1]}")
        child.functions.add(function)

    def _drop(self, child: _Child) -> int:
        status = child.end(patience=2.0 if not child.late else 0.5)
        if child in self._children:
            self._children.remove(child)
        return status

    def _fault(self, child: _Child) -> tuple[bool, DataError]:
        """Drop a child that went; whether another try could end otherwise, and what to say of the item."""
        status = self._drop(child)
        if child.late:
            text = f"reading it took more than {self.limits.wall_seconds:g} s"
            return False, DataError(text, "a file that is read in less time")
        if -status == getattr(signal, "SIGXCPU", -1):
            text = f"reading it took more than {self.limits.cpu_seconds:g} s of processor time"
            return False, DataError(text, "a file that is read in less time")
        name = signal.Signals(-status).name if -status in signal.Signals._value2member_map_ else str(status)
        return True, DataError(f"reading it crashed the decoder ({name})", "a file that decodes")

    def _keep(self) -> None:
        """Start children as they are asked for, and kill those that are late."""
        while True:
            try:
                asked = self._wanted.get(timeout=_TICK)
                if asked is None:
                    return
                try:
                    child = _Child(self.limits)
                    self._children.append(child)
                    asked.set_result(child)
                except (_LostError, OSError) as error:
                    asked.set_exception(ArtefactError(f"the sandbox's child does not start: {error}", "a child"))
            except queue.Empty:
                pass
            now = time.monotonic()
            for child in list(self._children):
                if child.deadline < now and child.process.poll() is None:
                    child.late = True
                    child.process.kill()


def _outcome(index: int, answer: dict[str, Any]) -> Outcome:
    if "ok" in answer:
        return Outcome(index, value=answer["ok"])
    kind, found, expected, next_step = (str(part) for part in answer.get("error", ["", "no answer", "", ""]))
    if kind in _KNOWN_ERRORS:
        return Outcome(index, error=getattr(errors, kind)(found, expected, next_step))
    if kind != "DataError":
        found, expected = f"reading it failed: {kind}: {found}", "a whole, undamaged file"
    return Outcome(index, error=DataError(found, expected, next_step))
