"""Run an encoder on a CPU: exported once to ONNX and run by onnxruntime, with torch as the reference.

Threads are set per runner and never globally at import. Where cores are shared, set `OMP_WAIT_POLICY=PASSIVE` before
torch is imported (the command line does): spinning OpenMP threads cost torch a factor of five on a busy machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import nn

from tapetum.core.errors import UsageError
from tapetum.core.store import atomic_write
from tapetum.nets import Encoder

BACKENDS = ("onnxruntime", "torch")
COSINE = 0.999
_EXPORT = 1  # raise when the export itself changes
_ONNX_EXPORT_FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    NotImplementedError,
    ImportError,
    AttributeError,
    IndexError,
)


class Runner:
    """An encoder bound to a backend.

    Args:
        encoder: in evaluation mode.
        backend: `"onnxruntime"` or `"torch"`.
        threads: used inside one call, at least 1.
        cache: folder for exported networks; None keeps the export in memory.

    Raises:
        UsageError: unknown backend, or threads below 1.
    """

    def __init__(
        self, encoder: Encoder, *, backend: str = "onnxruntime", threads: int = 2, cache: Path | None = None
    ) -> None:
        if backend not in BACKENDS:
            raise UsageError(f"backend={backend!r}", f"one of {BACKENDS}", "backend='onnxruntime'")
        if threads < 1:
            raise UsageError(f"threads={threads}", "at least 1", "threads=2")
        if not isinstance(encoder, nn.Module):
            raise UsageError(f"{type(encoder).__name__} is no torch.nn.Module", "an encoder of tapetum.nets.encoders")
        self.encoder = encoder
        self.spec = encoder.spec
        self._threads = threads
        self._wanted = backend
        self._cache = cache
        self._session: Any = None
        self._is_ready = False

    def ready(self) -> None:
        """Open or export the network now; else the first call does it."""
        if self._is_ready:
            return
        if self._wanted == "onnxruntime":
            self._session = self._open_session(self._cache)
        if self._session is None:
            # Convolutions on CPUs without AVX-512 are faster so, and equal.
            cast(nn.Module, self.encoder).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._is_ready = True

    @property
    def backend(self) -> str:
        """What is really used: `"torch"` where the export was refused, which is also warned of."""
        self.ready()
        return "torch" if self._session is None else "onnxruntime"

    def __call__(self, x: Float32[np.ndarray, "b 3 h w"]) -> Float32[np.ndarray, "b d"]:
        """Pooled features of a batch of normalised images."""
        self.ready()
        if self._session is not None:
            return self._session.run(None, {"x": x})[0]
        return _numpy(self._torch(x))

    def tokens(self, x: Float32[np.ndarray, "b 3 h w"]) -> Float32[np.ndarray, "b t e"]:
        """Local features, always through torch."""
        with _torch_threads(self._threads), torch.inference_mode():
            return _numpy(self.encoder.tokens(torch.from_numpy(x)))

    def _torch(self, x: Float32[np.ndarray, "b 3 h w"]) -> Float[torch.Tensor, "b d"]:
        with _torch_threads(self._threads), torch.inference_mode():
            return self.encoder(torch.from_numpy(x).to(memory_format=torch.channels_last))

    def _open_session(self, cache: Path | None) -> Any:
        """A session on the cached export, made and checked first where there is none; None where that fails."""
        path = None if cache is None else cache / f"{self.spec.name}-{_export_key(self.encoder)}.onnx"
        if path is not None and path.is_file():
            try:
                return _session(path.read_bytes(), self._threads)
            except Exception as error:  # onnxruntime's errors share no base class of their own
                warnings.warn(f"{path} is damaged and exported anew: {error}", RuntimeWarning, stacklevel=4)
        try:
            data = export(self.encoder)
        except _ONNX_EXPORT_FAILURES as error:
            _warn_slow(self.spec.name, f"it cannot be exported ({error})")
            return None
        session = _session(data, self._threads)
        cosine = self._agreement(session)
        if not cosine > COSINE:
            _warn_slow(self.spec.name, f"its export differs (cosine {cosine:.6f}, at least {COSINE} expected)")
            return None
        if path is not None:
            atomic_write(path, data)
        return session

    def _agreement(self, session: Any) -> float:
        """Smallest cosine between both backends on a random batch, block by block; NaN where a value is not finite."""
        shape = (3, 3, self.spec.size, self.spec.size)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).numpy()
        ours, reference = session.run(None, {"x": x})[0], _numpy(self._torch(x))
        if ours.shape != reference.shape:
            return float("nan")
        cosines = [_cosine(ours[:, a:b], reference[:, a:b]) for a, b in self.spec.blocks.values()]
        return float(np.min(cosines))


def export(encoder: Encoder) -> bytes:
    """The encoder's pooled output as an ONNX model with a free batch size.

    Args:
        encoder: in evaluation mode.

    Returns:
        The serialised model; input `x`, output `features`.

    Raises:
        RuntimeError: an operation has no ONNX counterpart (torch raises some kindred errors too).
    """
    size = encoder.spec.size
    example = torch.zeros(2, 3, size, size)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        # The exporter by tracing is deprecated but ten times faster than its successor, and its result is checked
        # against torch before use. Its warnings speak of itself (deprecation) and of constants traced for this size.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # pyright: ignore[reportPrivateImportUsage]
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            cast(nn.Module, encoder),
            (example,),
            str(path),
            dynamo=False,
            input_names=["x"],
            output_names=["features"],
            dynamic_axes={"x": {0: "b"}, "features": {0: "b"}},
            opset_version=18,
        )
        return path.read_bytes()


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _export_key(encoder: Encoder) -> str:
    """Everything that the exported file depends on, in 16 digits."""
    import onnxruntime

    whole = [dataclasses.asdict(encoder.spec), torch.__version__, onnxruntime.__version__, _EXPORT]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def _session(data: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = False  # one plan per batch size: 300 MB at 384 px, and no faster
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


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
