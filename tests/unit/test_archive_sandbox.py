"""The sandbox: what goes in and out, and what becomes of items that break their child."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapetum.archive.sandbox import Limits, Sandbox
from tapetum.archive.sandbox.child import pack, unpack
from tapetum.core.errors import DataError, MissingExtraError

HERE = "test_archive_sandbox"
LIMITS = Limits(memory_bytes=256 * 2**20, cpu_seconds=1, wall_seconds=6)


# What the children run.
def echo(value: Any) -> Any:
    return value


def double(value: int) -> int:
    time.sleep(0.02 * (value % 3))
    return 2 * value


def refuse(value: int) -> int:
    raise DataError(f"found {value}", "less", "do this")


def missing() -> None:
    raise MissingExtraError("no such codec", "it", "pip install it")


def allocate(mebibytes: int) -> int:
    return len(bytearray(mebibytes * 2**20))


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(60)


def die(number: int) -> None:
    os.kill(os.getpid(), number) if number == 0 else signal.raise_signal(number)


def connect() -> None:
    socket.socket()


def start_program() -> None:
    subprocess.run(["true"], check=True)


def write(place: str) -> None:
    Path(place).write_text("x")


def identity() -> int:
    return os.getpid()


def modules() -> list[str]:
    return sorted(sys.modules)


def environment(name: str) -> str:
    return os.environ.get(name, "")


class Odd:
    """A class that must not cross."""


def odd() -> Odd:
    return Odd()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, limits=LIMITS) as pool:
        yield pool


def test_values_come_back_as_they_were(sandbox: Sandbox) -> None:
    array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    value = {"a": (1, 2.5, None, True), "b": [b"\0\xff", "ünï"], "c": array, "d": np.float32(0.5), "nan": float("nan")}
    back = sandbox.call(f"{HERE}:echo", value)
    assert back["a"] == (1, 2.5, None, True)
    assert back["b"] == [b"\0\xff", "ünï"]
    assert back["c"].dtype == np.uint16
    assert np.array_equal(back["c"], array)
    assert back["d"] == 0.5
    assert np.isnan(back["nan"])
    for turned in (array[:, ::-1], np.zeros((0, 3), np.float32), np.asfortranarray(array[0])):
        assert np.array_equal(sandbox.call(f"{HERE}:echo", turned), turned)


def test_order_is_kept_and_look_ahead_is_bounded(sandbox: Sandbox) -> None:
    taken = []

    def items() -> Iterator[tuple[int]]:
        for value in range(40):
            taken.append(value)
            yield (value,)

    for expected, outcome in enumerate(sandbox.map(f"{HERE}:double", items())):
        assert (outcome.index, outcome.value) == (expected, 2 * expected)
        assert len(taken) <= expected + 1 + 8
    unordered = [o.value for o in sandbox.map(f"{HERE}:double", ((v,) for v in range(12)), ordered=False)]
    assert sorted(unordered) == [2 * v for v in range(12)]


def test_errors_keep_their_three_parts(sandbox: Sandbox) -> None:
    with pytest.raises(DataError) as caught:
        sandbox.call(f"{HERE}:refuse", 7)
    assert (caught.value.found, caught.value.expected, caught.value.next_step) == ("found 7", "less", "do this")
    with pytest.raises(MissingExtraError, match="no such codec"):
        sandbox.call(f"{HERE}:missing")


def test_a_fault_costs_its_own_item_only(sandbox: Sandbox) -> None:
    items = [("allocate", 10), ("allocate", 400), ("die", signal.SIGSEGV), ("die", signal.SIGKILL), ("allocate", 20)]
    seen = [next(iter(sandbox.map(f"{HERE}:{name}", [(argument,)]))) for name, argument in items]
    assert seen[0].value == 10 * 2**20
    assert "more than 256 MiB of memory" in str(seen[1].error)
    assert "SIGSEGV" in str(seen[2].error)
    assert "SIGKILL" in str(seen[3].error)
    assert seen[4].value == 20 * 2**20


def test_many_items_among_faults_are_all_accounted_for(sandbox: Sandbox) -> None:
    sizes = [1, 400, 2, 3, 4, 5]
    outcomes = list(sandbox.map(f"{HERE}:allocate", [(size,) for size in sizes]))
    assert [o.index for o in outcomes] == list(range(6))
    assert [o.error is None for o in outcomes] == [size < 100 for size in sizes]
    assert all(isinstance(o.error, DataError) for o in outcomes if o.error)


def test_time_is_limited(sandbox: Sandbox) -> None:
    start = time.monotonic()
    with pytest.raises(DataError, match="more than 1 s of processor time"):
        sandbox.call(f"{HERE}:spin")
    with Sandbox(workers=1, limits=Limits(wall_seconds=0.5)) as short, pytest.raises(DataError, match=r"than 0\.5 s"):
        short.call(f"{HERE}:sleep")
    assert time.monotonic() - start < 30


def test_processor_time_is_counted_per_item(sandbox: Sandbox) -> None:
    with Sandbox(workers=1, limits=Limits(cpu_seconds=1)) as single:
        for _ in range(5):
            single.call(f"{HERE}:burn", 0.5)


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.parametrize("name", ["connect", "start_program"])
def test_network_and_programs_are_refused(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(DataError, match="refused in the decoding sandbox"):
        sandbox.call(f"{HERE}:{name}")


def test_no_file_is_written_and_no_secret_inherited(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="refused"):
        sandbox.call(f"{HERE}:write", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    with Sandbox(workers=1) as fresh:
        assert fresh.call(f"{HERE}:environment", "AWS_SECRET_ACCESS_KEY") == ""


def test_an_answer_of_another_class_does_not_cross(sandbox: Sandbox) -> None:
    with pytest.raises(DataError, match="Odd does not leave the sandbox"):
        sandbox.call(f"{HERE}:odd")


def test_a_child_imports_no_torch() -> None:
    with Sandbox(workers=1) as fresh:
        with pytest.raises(DataError):
            fresh.call("tapetum.archive.pixels:probe", b"")
        assert not {"torch", "transformers", "onnxruntime"} & set(fresh.call(f"{HERE}:modules"))


def test_an_unknown_function_is_the_programmers_error(sandbox: Sandbox) -> None:
    with pytest.raises(ImportError, match="no_such"):
        sandbox.call(f"{HERE}:no_such")


def test_leaving_early_leaves_no_process_behind() -> None:
    with Sandbox(workers=2, limits=Limits()) as pool:
        pids = {o.value for o in pool.map(f"{HERE}:identity", [()] * 8)}
        for _ in pool.map(f"{HERE}:double", ((v,) for v in range(1000))):
            break
    assert not any(_alive(pid) for pid in pids)


@pytest.mark.skipif(sys.platform != "linux", reason="children are tied to their parent by the kernel on Linux only")
def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, threading; sys.path.insert(0, sys.argv[1])\n"
        "from tapetum.archive.sandbox.pool import Sandbox\n"
        "with Sandbox(workers=1) as s:\n"
        f"    print(s.call('{HERE}:identity'), flush=True)\n"
        f"    s.call('{HERE}:sleep')\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.3)
    assert _alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 5
    while _alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "header",
    [
        b"[]", b"{}", b"{", b'{"value": 1, "buffers": [-1]}', b'{"value": 1, "buffers": [99999999]}',
        b'{"value": {"b": 3}, "buffers": []}', b'{"value": {"a": ["O8", [1], 0]}, "buffers": [8]}',
        b'{"value": {"a": ["<f8", [5], 0]}, "buffers": [8]}', b'{"value": {"b": 0, "c": 1}, "buffers": [1]}',
        b'{"value": ' + b"[" * 5000 + b"]" * 5000 + b', "buffers": []}', b'{"value": {}, "buffers": []}',
    ],
)  # fmt: skip
def test_lying_answers_are_found(header: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        unpack(header, bytearray, 1000)


def test_the_plain_encoding_refuses_what_it_cannot_say() -> None:
    for value in (object(), {1: 2}, np.array([object()]), np.array(["a"])):
        with pytest.raises(TypeError):
            pack(value)
