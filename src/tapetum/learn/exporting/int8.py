"""Whole numbers of 8 bits in the place of float32: the towers of an exported network, quantised on training images."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np

from tapetum.core.errors import ArtefactError
from tapetum.learn.exporting.parity import Inputs

_KINDS = ("Conv", "MatMul", "Gemm")
_TOWERS = "/towers"  # the scope of the towers in the names of the traced nodes


def quantised(data: bytes, inputs: Inputs) -> bytes:
    """The same network with the convolutions and matrix products of its towers in 8 bits.

    Weights get one scale per channel, activations one per tensor, from the range they take on `inputs`. Everything
    behind the towers stays in float32: there a rounded weight would cost most and save nothing.

    Args:
        data: an exported network.
        inputs: of training images, normalised; nothing else is looked at to choose the ranges.

    Returns:
        An ONNX model with the same inputs and outputs.

    Raises:
        ArtefactError: onnxruntime cannot quantise it.

    Source: Jacob et al., CVPR 2018, arXiv 1712.05877 (affine 8-bit integers). Differs: after training, by onnxruntime's
    static quantisation (QDQ nodes, ranges from minimum and maximum).
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    rows = _one_by_one(inputs)

    def next_of(_: object) -> dict[str, np.ndarray] | None:
        return next(rows, None)

    reader = type("Rows", (CalibrationDataReader,), {"get_next": next_of})()
    with tempfile.TemporaryDirectory(prefix="tapetum-int8-") as folder, _quiet():
        plain, prepared, done = (Path(folder) / name for name in ("plain.onnx", "prepared.onnx", "done.onnx"))
        plain.write_bytes(data)
        try:
            quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(done),
                reader,
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                calibrate_method=CalibrationMethod.MinMax,
                op_types_to_quantize=list(_KINDS),
                nodes_to_exclude=_behind_the_towers(prepared),
            )
        except Exception as error:  # onnxruntime's quantiser raises errors without a common class
            raise ArtefactError(f"the network cannot be quantised: {error}", "int8=false") from error
        return done.read_bytes()


def _one_by_one(inputs: Inputs) -> Iterator[dict[str, np.ndarray]]:
    for row in range(len(next(iter(inputs.values())))):
        yield {name: np.ascontiguousarray(values[row : row + 1]) for name, values in inputs.items()}


def _behind_the_towers(path: Path) -> list[str]:
    import onnx

    nodes = onnx.load(str(path)).graph.node
    return [node.name for node in nodes if node.op_type in _KINDS and not node.name.startswith(_TOWERS)]


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Without the advice that onnxruntime logs on preparing a model, which was prepared."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
