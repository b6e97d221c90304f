"""The child's side of the sandbox: run one function per message under limits, answer in a plain encoding.

Started as a script in a fresh interpreter, so that nothing of the parent is inherited but two pipes. Only the standard
library is imported here; the rest comes with the function that is asked for.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import pickle
import re
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

LENGTH = struct.Struct("<Q")
MAX_HEADER = 64 * 2**20
MAX_DEPTH = 40
_DTYPE = re.compile(r"[<>|=]?[biufc]\d{1,2}")
# Audit events that a decoder never needs: the network, other programs, other processes.
_REFUSED = (
    "socket.__new__", "socket.bind", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system",
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.kill",
)  # fmt: skip
# Refused too, unless the limits allow files (a vendor's library may want its input as a temporary file).
_CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def pack(value: Any) -> tuple[bytes, list[Any]]:
    """A value as JSON with its bytes and arrays beside it.

    Args:
        value: None, bool, int, float, str, bytes, numpy array or scalar, or tuples, lists and dicts of them.

    Returns:
        The header, and the buffers that it counts.

    Raises:
        TypeError: a value of another type.
    """
    buffers: list[Any] = []
    tree = _packed(value, buffers, 0)
    sizes = [memoryview(b).nbytes for b in buffers]
    return json.dumps({"value": tree, "buffers": sizes}).encode(), buffers


def _packed(value: Any, buffers: list[Any], depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise TypeError("the result is nested too deeply to leave the sandbox")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | bytearray):
        buffers.append(value)
        return {"b": len(buffers) - 1}
    if isinstance(value, tuple):
        return {"t": [_packed(item, buffers, depth + 1) for item in value]}
    if isinstance(value, list):
        return [_packed(item, buffers, depth + 1) for item in value]
    if isinstance(value, dict):
        items: list[tuple[Any, Any]] = list(value.items())
        if not all(isinstance(key, str) for key, _ in items):
            raise TypeError("a dict whose keys are no text does not leave the sandbox")
        return {"d": [[key, _packed(item, buffers, depth + 1)] for key, item in items]}
    return _packed_array(value, buffers)


def _packed_array(value: Any, buffers: list[Any]) -> Any:
    if type(value).__module__ == "numpy" and hasattr(value, "dtype") and _DTYPE.fullmatch(value.dtype.str):
        if not hasattr(value, "flags") or not value.shape:
            return value.item()
        import numpy as np

        buffers.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
        return {"a": [value.dtype.str, list(value.shape), len(buffers) - 1]}
    raise TypeError(f"a {type(value).__name__} does not leave the sandbox")


def unpack(header: bytes, read: Callable[[int], bytearray], limit: int) -> Any:
    """The value that `pack` wrote; what it claims about itself is checked, not believed.

    Args:
        header: the JSON.
        read: yields the next so many bytes.
        limit: the most bytes that the buffers may hold together.

    Raises:
        ValueError: the header is no such JSON, or claims more than `limit`.
    """
    try:
        said = json.loads(header)
        sizes, tree = said["buffers"], said["value"]
        if not all(type(size) is int and size >= 0 for size in sizes) or sum(sizes) > limit:
            raise ValueError("an answer larger than is allowed")
        buffers = [read(size) for size in sizes]
        return _unpacked(tree, buffers)
    except (TypeError, KeyError, IndexError, RecursionError) as error:
        raise ValueError(f"an answer that cannot be read ({type(error).__name__})") from None


def _unpacked(tree: Any, buffers: list[bytearray]) -> Any:
    if isinstance(tree, list):
        return [_unpacked(item, buffers) for item in tree]
    if not isinstance(tree, dict):
        return tree
    (kind, content), *rest = tree.items()
    if rest:
        raise ValueError("an answer of unknown form")
    if kind == "b":
        return bytes(buffers[content])
    if kind == "t":
        return tuple(_unpacked(item, buffers) for item in content)
    if kind == "d":
        return {str(key): _unpacked(item, buffers) for key, item in content}
    dtype, shape, index = content
    if not _DTYPE.fullmatch(dtype) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array of unknown kind")
    import numpy as np

    kind_of = np.dtype(dtype)
    if math.prod(shape) * kind_of.itemsize != len(buffers[index]):
        raise ValueError("an array whose shape does not fit its bytes")
    return np.frombuffer(buffers[index], kind_of).reshape(shape)


def read_exactly(stream: BinaryIO, count: int) -> bytearray:
    """So many bytes of a pipe.

    Raises:
        EOFError: the other side has gone.
    """
    held = bytearray(count)
    view = memoryview(held)
    while view:
        got = stream.readinto(view)  # pyright: ignore[reportAttributeAccessIssue]
        if not got:
            raise EOFError("the pipe is closed")
        view = view[got:]
    return held


def _forbid(event: str, arguments: tuple[Any, ...], files: bool) -> None:
    if event in _REFUSED or (event in _CHANGING and not files):
        raise PermissionError(f"{event} is refused in the decoding sandbox")
    if event == "open" and not files:
        _, mode, flags = arguments
        writes = any(c in mode for c in "wax+") if isinstance(mode, str) else bool((flags or 0) & _WRITING)
        if writes and arguments[0] not in (os.devnull, 0, 1, 2):
            raise PermissionError("writing a file is refused in the decoding sandbox")


def _set_limit(name: str, soft: int, *, hard: bool = True) -> None:
    try:
        import resource

        kind = getattr(resource, name)
        ceiling = resource.getrlimit(kind)[1]
        soft = ceiling if soft < 0 else soft
        wanted = soft if ceiling == resource.RLIM_INFINITY else min(soft, ceiling)
        resource.setrlimit(kind, (wanted, wanted if hard else ceiling))
    except (ImportError, AttributeError, ValueError, OSError):
        return  # not known to this system: the parent's clock is what remains


def _address_space() -> int:
    try:
        with open("/proc/self/statm", "rb") as stream:  # noqa: PTH123 - no pathlib in the child's first steps
            return int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 2**30


def _arm(limits: dict[str, Any]) -> None:
    """Give the next item its share of processor time, and an alarm that ends the child should the parent be gone."""
    try:
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        _set_limit("RLIMIT_CPU", math.ceil(usage.ru_utime + usage.ru_stime + limits["cpu_seconds"]), hard=False)
        signal.setitimer(signal.ITIMER_REAL, limits["wall_seconds"] + 5.0)
    except (ImportError, AttributeError, OSError):
        return


def _tie_to_parent(parent: int) -> None:
    """Linux: die with the parent, also in the middle of an item."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _lock(limits: dict[str, Any]) -> None:
    _set_limit("RLIMIT_CORE", 0)
    _set_limit("RLIMIT_FSIZE", limits["file_bytes"])
    _set_limit("RLIMIT_NOFILE", 64)
    files = limits["file_bytes"] > 0
    sys.addaudithook(lambda event, arguments: _forbid(event, arguments, files))
    sys.dont_write_bytecode = True


def _found(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _silence() -> None:
    """Decoders warn about odd metadata; one process, one thread: the filter is safe here and costs nothing per item."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(0)


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, bool]:
    """The function's value or the words of its error, and whether memory ran out."""
    try:
        return {"ok": function(*arguments)}, False
    except MemoryError:
        return {"memory": True}, True
    except Exception as error:  # whatever a codec raises on damaged data is that item's refusal, never the pool's end
        words = [str(getattr(error, part, "")) for part in ("found", "expected", "next_step")]
        if not hasattr(error, "found"):
            words[0] = str(error)[:500]
        return {"error": [type(error).__name__, *words]}, False


def serve() -> None:
    """Answer messages until the pipe closes."""
    source = os.fdopen(os.dup(0), "rb", buffering=0)
    sink = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):  # a library that prints must not write into the answers
        os.dup2(nothing, stream)
    start = pickle.loads(read_exactly(source, LENGTH.unpack(read_exactly(source, LENGTH.size))[0]))
    sys.path[:] = start["path"]
    limits = start["limits"]
    _tie_to_parent(start["parent"])
    functions: dict[str, Callable[..., Any]] = {}
    _lock(limits)
    idle = 0  # address space once the functions are imported; what items leave behind counts as theirs
    while True:
        try:
            size = LENGTH.unpack(read_exactly(source, LENGTH.size))[0]
            _set_limit("RLIMIT_AS", -1, hard=False)
            name, arguments = pickle.loads(read_exactly(source, size))
        except EOFError:
            return
        spoilt = False
        if arguments is None:
            _arm({"cpu_seconds": 300, "wall_seconds": 300})
            try:
                functions[name] = _found(name)
                _silence()
                answer: Any = {"ok": None}
            except Exception as error:
                answer = {"error": [type(error).__name__, str(error), "", ""]}
            idle = _address_space()
        else:
            _arm(limits)
            _set_limit("RLIMIT_AS", idle + 2 * size + limits["memory_bytes"], hard=False)
            answer, spoilt = _answer(functions[name], arguments)
        del arguments
        if _send(sink, answer) or spoilt:
            return
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0.0)


def _send(sink: BinaryIO, answer: Any) -> bool:
    """Write an answer; returns whether the child had better be replaced."""
    spoilt = False
    try:
        header, buffers = pack(answer)
    except MemoryError:
        spoilt, (header, buffers) = True, pack({"memory": True})
    except TypeError as error:
        header, buffers = pack({"error": ["TypeError", str(error), "", ""]})
    for part in (LENGTH.pack(len(header)), header, *buffers):
        view = memoryview(part)
        while view:
            view = view[sink.write(view) or 0 :]
    return spoilt


if __name__ == "__main__":
    serve()
