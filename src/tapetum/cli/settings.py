"""Settings of verbs whose library function takes plain arguments. No torch: the help page reads them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EmbedSettings:
    """How images are embedded.

    Args:
        encoders: image towers joined by `+`; the default towers if empty.
        backend: `auto` (measured once), `onnxruntime`, `torch`, `torch-eager` or `openvino`. batch: images per call.
        threads: 0 = all cores.
        engine: `ray` shares the images out to Ray's workers (extra `ray`), with so many threads each, 0 = one; this
            process embeds them if empty.
        check_colours: refuse photographs whose red and blue look swapped, as the pack states them; False = only warn.
    """

    encoders: str = ""
    backend: str = "auto"
    batch: int = 16
    threads: int = 0
    engine: str = ""
    check_colours: bool = True


@dataclass(frozen=True)
class PredictSettings:
    """What is predicted.

    Args:
        findings: ids of the model's pack, separated by commas; if empty, what the model has operating points for.
        agree: make probabilities agree with the tree of findings: none is above that of what it is a form of.
        check_colours: refuse photographs whose red and blue look swapped, as the pack states them; False = only warn.
        gate: folder that `tapetum abstain` wrote for this model; columns of their own say what to leave to a person.
        threads: 0 = all cores.
    """

    findings: tuple[str, ...] = ()
    agree: bool = False
    check_colours: bool = True
    gate: str = ""
    threads: int = 0


@dataclass(frozen=True)
class SearchSettings:
    """How images are searched.

    Args:
        threads: 0 = all cores.
    """

    threads: int = 0
