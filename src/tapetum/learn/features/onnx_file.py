"""A network as an ONNX file, and the optional package that may run it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from tapetum.nets import Encoder

# What torch's exporter raises where a network has no counterpart.
FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    NotImplementedError,
    ImportError,
    AttributeError,
    IndexError,
)


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
    return trace(cast(nn.Module, encoder), {"x": torch.zeros(2, 3, size, size)}, ("features",))


def trace(module: nn.Module, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str]) -> bytes:
    """A module as an ONNX model with a free batch size.

    Args:
        module: in evaluation mode.
        inputs: name → an example, in the order of the arguments; more than one row.
        outputs: their names.

    Raises:
        RuntimeError: as `export`.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        # The exporter by tracing is deprecated but ten times faster than its successor, and its result is checked
        # against torch before use. Its warnings speak of itself (deprecation) and of constants traced for this size.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # pyright: ignore[reportPrivateImportUsage]
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(path),
            dynamo=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "b"} for name in (*inputs, *outputs)},
            opset_version=18,
        )
        return path.read_bytes()


def has_openvino() -> bool:
    """Whether the optional package is installed."""
    return importlib.util.find_spec("openvino") is not None


def openvino_package() -> Any:
    """The package openvino; what would tell its makers of every import is kept out."""
    # On import openvino sends an event through this package where it is installed; without it, nothing.
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    return importlib.import_module("openvino")
