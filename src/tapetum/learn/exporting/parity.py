"""Whether an exported network says what the model says: on images, finding by finding."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from tapetum.core.errors import ArtefactError
from tapetum.core.types import Embeddings
from tapetum.learn.exporting.network import OUTPUTS
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.features.onnx_file import has_openvino, openvino_package
from tapetum.learn.model import Model, zero_shot

COSINE = 0.9999
CLOSE = 1e-3
Inputs = Mapping[str, Float[np.ndarray, "b 3 _ _"]]
Outputs = Mapping[str, Float[np.ndarray, "b _"]]


@dataclass(frozen=True)
class Reference:
    """What the model itself says of some images.

    Attributes:
        images: how many. source: `archive` or `noise`.
        probs: NaN without calibration. decisions: 1 present, 0 absent, NaN where there is no operating point.
    """

    source: str
    logits: Float[np.ndarray, "n k"]
    probs: Float[np.ndarray, "n k"]
    features: Float[np.ndarray, "n d"]
    thresholds: Float[np.ndarray, "k"]

    @staticmethod
    def of(
        model: Model,
        embedder: Embedder,
        findings: Sequence[str],
        images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        source: str,
    ) -> Reference:
        """Through torch and `zero_shot`, the way of `tapetum predict`."""
        names = tuple(map(str, range(len(images))))
        rows = embedder.pixels(images)
        found = zero_shot(model, Embeddings(names, names, rows, embedder.encoders, embedder.blocks), findings)
        return Reference(source, found.logits, found.probs, rows, found.thresholds)


@dataclass(frozen=True)
class Parity:
    """How far a runtime is from the model.

    Attributes:
        logits: largest difference of a logit. logits_relative: the same, as a part of the largest logit or of 1.
        probabilities: largest difference, 0 where nothing is calibrated. cosine: smallest of the feature rows.
        decisions: how many of the images × findings fall on the other side of their threshold.
    """

    runtime: str
    images: int
    source: str
    logits: float
    logits_relative: float
    probabilities: float
    cosine: float
    decisions: int

    @property
    def holds(self) -> bool:
        """Whether the differences are those of rounding."""
        return self.cosine >= COSINE and self.logits_relative <= CLOSE

    def refuse(self) -> None:
        """Nothing where it holds.

        Raises:
            ArtefactError: it does not.
        """
        if not self.holds:
            raise ArtefactError(
                f"{self.runtime} gives other numbers than torch: logits differ by {self.logits:.2g} "
                f"({self.logits_relative:.2g} of the largest), features have a cosine of {self.cosine:.6f}",
                f"at most {CLOSE:g} of the largest logit, a cosine of at least {COSINE:g}",
                "another encoder; nothing was written",
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**dataclasses.asdict(self), "holds": self.holds}


def compared(runtime: str, outputs: Outputs, reference: Reference) -> Parity:
    """A runtime's outputs beside what the model says.

    Args:
        runtime: its name.
        outputs: `logits`, `probabilities` and `features` of the same images.
        reference: of the model.
    """
    logits, probs = (np.asarray(outputs[name], dtype=np.float64) for name in OUTPUTS[:2])
    apart = float(np.abs(logits - reference.logits).max())
    if np.isnan(logits).any() or (np.isnan(probs) != np.isnan(reference.probs)).any():
        apart = float("inf")
    known = ~np.isnan(reference.probs)
    decided = ~np.isnan(reference.thresholds) & known
    turned = (probs >= reference.thresholds) != (reference.probs >= reference.thresholds)
    return Parity(
        runtime, len(logits), reference.source, apart,
        apart / max(1.0, float(np.abs(reference.logits).max())),
        float(np.abs(probs - reference.probs)[known].max(initial=0.0)),
        _cosine(np.asarray(outputs["features"], dtype=np.float64), reference.features.astype(np.float64)),
        int((turned & decided).sum()),
    )  # fmt: skip


def in_batches(run: Callable[[Inputs], Outputs], inputs: Inputs, *, batch: int = 8) -> dict[str, np.ndarray]:
    """Outputs of many images, a few at a time."""
    count = len(next(iter(inputs.values())))
    parts = [run({k: v[start : start + batch] for k, v in inputs.items()}) for start in range(0, count, batch)]
    return {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}


def with_onnxruntime(data: bytes, *, threads: int = 0) -> Callable[[Inputs], Outputs]:
    """A way to run the file, by onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda inputs: dict(zip(OUTPUTS, session.run(list(OUTPUTS), dict(inputs)), strict=True))


def with_openvino(data: bytes, *, threads: int = 0) -> Callable[[Inputs], Outputs] | None:
    """A way to run the file, by OpenVINO; None where it is not installed."""
    if not has_openvino():
        return None
    core = openvino_package().Core()
    # Without this hint OpenVINO computes in bfloat16 where the processor can.
    options = {"INFERENCE_PRECISION_HINT": "f32", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
    compiled = core.compile_model(core.read_model(io.BytesIO(data)), "CPU", options)

    def run(inputs: Inputs) -> Outputs:
        found = compiled(dict(inputs))
        return {name: np.array(found[name]) for name in OUTPUTS}

    return run


def _cosine(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> float:
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / np.maximum(norms, 1e-30)).min())
