"""Run an encoder on a CPU by the fastest way that a short measurement finds, with torch as the reference.

The network is exported once to ONNX and run by onnxruntime (or OpenVINO, where it is installed), or stays in torch;
which is faster depends on network and processor. Threads are set per runner and never globally at import. Where cores
are shared, set `OMP_WAIT_POLICY=PASSIVE` before torch is imported (the command line does): spinning OpenMP threads cost
torch a factor of five on a busy machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import platform
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from tapetum.core.errors import MissingExtraError, UsageError
from tapetum.core.store import atomic_write
from tapetum.learn.features.onnx_file import FAILURES, export, has_openvino, openvino_package
from tapetum.nets import Encoder

# In order of preference where two are equally fast. "torch" is channels-last, "torch-eager" torch's default format.
BACKENDS = ("auto", "onnxruntime", "torch", "torch-eager", "openvino")
COSINE = 0.999
_CLOSE = 1e-4  # of the largest value, or of 1: what the measured choice may change in a row
_EXPORT = 1  # raise when the export itself changes
_PROBE_IMAGES = 4
_PROBE_ROUNDS = (4, 9)  # at least, at most
_PROBE_SECONDS = 4.0  # no further round after it, once there were the fewest
_HOPELESS = 1.5  # times the best after two rounds: measured no further
_SLOW_IMAGE = 0.3  # seconds: such networks are measured by single images
_chosen: dict[str, str] = {}  # measured in this process


@dataclass(frozen=True)
class _Way:
    """One way to run the network: what must be done before it runs, and the call itself."""

    run: Callable[[Float32[np.ndarray, "b 3 h w"]], Float32[np.ndarray, "b d"]]
    prepare: Callable[[], None] = lambda: None


class Runner:
    """An encoder bound to a backend.

    Args:
        encoder: in evaluation mode.
        backend: `"auto"` measures once for this network, thread count and processor, and remembers the answer beside
            the export; or one of `"onnxruntime"`, `"torch"` (channels-last), `"torch-eager"`, `"openvino"`.
        threads: used inside one call, at least 1.
        cache: folder for exported networks and measured choices; None keeps them in memory.

    Raises:
        UsageError: unknown backend, or threads below 1. MissingExtraError: OpenVINO is asked for and not installed.
    """

    def __init__(self, encoder: Encoder, *, backend: str = "auto", threads: int = 2, cache: Path | None = None) -> None:
        if backend not in BACKENDS:
            raise UsageError(f"backend={backend!r}", f"one of {BACKENDS}", "backend='auto'")
        if threads < 1:
            raise UsageError(f"threads={threads}", "at least 1", "threads=2")
        if backend == "openvino" and not has_openvino():
            raise MissingExtraError(
                "openvino is not installed", "the package openvino", "pip install 'tapetum[openvino]'"
            )
        if not isinstance(encoder, nn.Module):
            raise UsageError(f"{type(encoder).__name__} is no torch.nn.Module", "an encoder of tapetum.nets.encoders")
        self.encoder = encoder
        self.spec = encoder.spec
        self._threads = threads
        self._wanted = backend
        self._cache = cache
        self._used = ""
        self._way: _Way | None = None

    def ready(self) -> None:
        """Open, export or measure now; else the first call does it."""
        self._ready()

    @property
    def backend(self) -> str:
        """What is really used: `"torch"` where the export was refused, which is also warned of."""
        self._ready()
        return self._used

    def __call__(self, x: Float32[np.ndarray, "b 3 h w"]) -> Float32[np.ndarray, "b d"]:
        """Pooled features of a batch of normalised images."""
        return self._ready().run(x)

    def tokens(self, x: Float32[np.ndarray, "b 3 h w"]) -> Float32[np.ndarray, "b t e"]:
        """Local features, always through torch."""
        with _torch_threads(self._threads), torch.inference_mode():
            return _numpy(self.encoder.tokens(torch.from_numpy(x)))

    def _ready(self) -> _Way:
        if self._way is None:
            self._used, self._way = self._fastest() if self._wanted == "auto" else self._open(self._wanted)
            self._way.prepare()
        return self._way

    def _open(self, backend: str) -> tuple[str, _Way]:
        """The way asked for, or torch where the export is refused."""
        if backend in {"onnxruntime", "openvino"}:
            exported = self._exported()
            if exported is not None:
                data, way = exported
                return backend, way if backend == "onnxruntime" else _openvino(data, self._threads)
            backend = "torch"
        return backend, self._torch(backend)

    def _torch(self, backend: str) -> _Way:
        # Convolutions on CPUs without AVX-512 are faster channels-last, and equal.
        layout = torch.channels_last if backend == "torch" else torch.contiguous_format
        module = cast(nn.Module, self.encoder)

        def run(x: Float32[np.ndarray, "b 3 h w"]) -> Float32[np.ndarray, "b d"]:
            with _torch_threads(self._threads), torch.inference_mode():
                return _numpy(self.encoder(torch.from_numpy(x).to(memory_format=layout)))

        def prepare() -> None:
            module.to(memory_format=layout)  # pyright: ignore[reportCallIssue]

        return _Way(run, prepare)

    def _fastest(self) -> tuple[str, _Way]:
        """The way that was measured to be fastest for this network, thread count and processor; else it is measured."""
        key = f"{self.spec.name}-{_export_key(self.encoder)}-{_machine_key(self._threads)}"
        note = None if self._cache is None else self._cache / f"{key}.json"
        known = _chosen.get(key, "") if note is None else _noted(note)
        if known in BACKENDS[1:] and (known != "openvino" or has_openvino()):
            return self._open(known)
        ways = self._candidates()
        seconds = _measured(ways, self.spec.size)
        bound = 1.05 * min(seconds.values())
        best = next(name for name in BACKENDS if seconds.get(name, math.inf) <= bound)
        if note is None:
            _chosen[key] = best
        else:
            said = {"backend": best, "processor": processor(), "threads": self._threads, "seconds_per_image": seconds}
            atomic_write(note, json.dumps(said, indent=2) + "\n")
        return best, ways[best]

    def _candidates(self) -> dict[str, _Way]:
        """Every way that gives the rows of torch."""
        ways = {name: self._torch(name) for name in ("torch", "torch-eager")}
        exported = self._exported()
        if exported is None:
            return ways
        data, way = exported
        found = {"onnxruntime": way}
        if has_openvino():
            try:
                found["openvino"] = _openvino(data, self._threads)
            except Exception as error:  # an optional library that may not know an operation, with errors of its own
                warnings.warn(f"openvino does not run {self.spec.name}: {error}", RuntimeWarning, stacklevel=6)
        return ways | {name: way for name, way in found.items() if self._distance(way) <= _CLOSE}

    def _exported(self) -> tuple[bytes, _Way] | None:
        """The cached export, made and checked first where there is none; None where that fails."""
        path = None if self._cache is None else self._cache / f"{self.spec.name}-{_export_key(self.encoder)}.onnx"
        if path is not None and path.is_file():
            try:
                data = path.read_bytes()
                return data, _session(data, self._threads)
            except Exception as error:  # onnxruntime's errors share no base class of their own
                warnings.warn(f"{path} is damaged and exported anew: {error}", RuntimeWarning, stacklevel=5)
        try:
            data = export(self.encoder)
        except FAILURES as error:
            _warn_slow(self.spec.name, f"it cannot be exported ({error})")
            return None
        way = _session(data, self._threads)
        cosine = self._agreement(way)
        if not cosine > COSINE:
            _warn_slow(self.spec.name, f"its export differs (cosine {cosine:.6f}, at least {COSINE} expected)")
            return None
        if path is not None:
            atomic_write(path, data)
        return data, way

    def _agreement(self, way: _Way) -> float:
        """Smallest cosine with torch on a random batch, block by block; NaN where a value is not finite."""
        ours, reference = self._both(way)
        if ours.shape != reference.shape:
            return float("nan")
        cosines = [_cosine(ours[:, a:b], reference[:, a:b]) for a, b in self.spec.blocks.values()]
        return float(np.min(cosines))

    def _distance(self, way: _Way) -> float:
        """Largest difference from torch on a random batch, as a part of the largest value or of 1."""
        ours, reference = self._both(way)
        return float(np.abs(ours - reference).max() / max(1.0, float(np.abs(reference).max())))

    def _both(self, way: _Way) -> tuple[Float32[np.ndarray, "b d"], Float32[np.ndarray, "b d"]]:
        x = _noise(3, self.spec.size)
        return way.run(x), self._torch("torch-eager").run(x)


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _export_key(encoder: Encoder) -> str:
    """Everything that the exported file depends on, in 16 digits."""
    import onnxruntime

    whole = [dataclasses.asdict(encoder.spec), torch.__version__, onnxruntime.__version__, _EXPORT]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def _session(data: bytes, threads: int) -> _Way:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # one plan per batch size: 300 MB at 384 px, and no faster
    session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(x: Float32[np.ndarray, "b 3 h w"]) -> Float32[np.ndarray, "b d"]:
        return session.run(None, {"x": x})[0]

    return _Way(run)


def _openvino(data: bytes, threads: int) -> _Way:
    openvino = openvino_package()
    core = openvino.Core()
    # Without this hint OpenVINO computes in bfloat16 where the processor can, and rows would differ.
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(io.BytesIO(data)), "CPU", options)

    def run(x: Float32[np.ndarray, "b 3 h w"]) -> Float32[np.ndarray, "b d"]:
        return np.array(compiled([x])[0], dtype=np.float32)  # a copy: the next call reuses the buffer

    return _Way(run)


def _measured(ways: Mapping[str, _Way], size: int) -> dict[str, float]:
    """Seconds per image of each way: the fastest of some interleaved rounds, which other load disturbs least.

    Every second round runs the other way round, so that a burst of other load does not always meet the same one.
    """

    def timed(way: _Way, x: Float32[np.ndarray, "b 3 h w"]) -> float:
        way.prepare()
        start = time.perf_counter()
        way.run(x)
        return (time.perf_counter() - start) / len(x)

    began = time.perf_counter()
    x = _noise(_PROBE_IMAGES, size)
    first = {name: timed(way, x[:1]) for name, way in ways.items()}  # also what is only done once
    batch = x[:1] if min(first.values()) > _SLOW_IMAGE else x
    seconds = dict.fromkeys(ways, math.inf)
    racing = list(ways)
    fewest, most = _PROBE_ROUNDS
    for number in range(most):
        for name in racing if number % 2 == 0 else racing[::-1]:
            seconds[name] = min(seconds[name], timed(ways[name], batch))
        if number >= 1:
            racing = [name for name in racing if seconds[name] <= _HOPELESS * min(seconds.values())]
        if len(racing) == 1 or (number + 1 >= fewest and time.perf_counter() - began > _PROBE_SECONDS):
            break
    return seconds


def _noise(count: int, size: int) -> Float32[np.ndarray, "b 3 s s"]:
    return torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(0)).numpy()


def _noted(path: Path | None) -> str:
    """The backend that an earlier measurement chose; empty where there is none."""
    if path is None or not path.is_file():
        return ""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        warnings.warn(f"{path} is damaged and measured anew: {error}", RuntimeWarning, stacklevel=6)
        return ""


def _machine_key(threads: int) -> str:
    return hashlib.sha256(f"{processor()}\n{threads}".encode()).hexdigest()[:8]


@functools.lru_cache(maxsize=1)
def processor() -> str:
    """The processor's model as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


@contextlib.contextmanager
def _torch_threads(threads: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _numpy(tensor: torch.Tensor) -> Float32[np.ndarray, "..."]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), dtype=np.float32)


def _cosine(a: Float32[np.ndarray, "b d"], b: Float32[np.ndarray, "b d"]) -> float:
    """Smallest cosine of paired rows; two rows of zeros agree."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots = (a * b).sum(axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.min(np.where(both_zero, 1.0, dots / norms)))


def _warn_slow(name: str, why: str) -> None:
    warnings.warn(f"{name} runs through torch, several times slower: {why}", RuntimeWarning, stacklevel=5)
