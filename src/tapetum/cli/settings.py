"""Settings of verbs whose library function takes plain arguments. No torch: the help page reads them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EmbedSettings:
    """How images are embedded.

    Args:
        encoders: image towers joined by `+`; the default towers if empty.
        backend: `onnxruntime` or `torch`. batch: images per call. threads: 0 = all cores.
    """

    encoders: str = ""
    backend: str = "onnxruntime"
    batch: int = 16
    threads: int = 0


@dataclass(frozen=True)
class PredictSettings:
    """What is predicted.

    Args:
        findings: ids of the model's pack, separated by commas; if empty, what the model has operating points for.
        threads: 0 = all cores.
    """

    findings: tuple[str, ...] = ()
    threads: int = 0


@dataclass(frozen=True)
class SearchSettings:
    """How images are searched.

    Args:
        threads: 0 = all cores.
    """

    threads: int = 0
