"""The README of an exported model: what it is, how it is run, what it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tapetum.learn.exporting.parity import Parity
from tapetum.learn.model import INTENDED_USE, Model


def card(
    model: Model,
    findings: Sequence[str],
    preprocessing: Mapping[str, Any],
    parity: Mapping[str, Parity],
    megabytes: Mapping[str, float],
    measured: str = "",
) -> str:
    """Markdown.

    Args:
        model: what was exported.
        findings: its columns.
        preprocessing: as in `preprocessing.json`.
        parity: per runtime.
        megabytes: per network file.
        measured: a table of accuracy, size and speed; empty = none.
    """
    views = {tower["view"] for tower in preprocessing["towers"]}
    needs = "onnxruntime, numpy and Pillow" + (" and OpenCV (`local_contrast`)" if "local_contrast" in views else "")
    operating = model.operating
    chosen = f"validation patients ({operating.truth}), for sensitivity {operating.sensitivity:g}" if operating else ""
    lines = [
        "# Exported model",
        "",
        f"> {INTENDED_USE}",
        "",
        f"- detects: {', '.join(findings)}",
        f"- image towers: `{model.encoders}`; trained on: {model.config.get('archive', 'unknown')}",
        f"- model: `{model.digest}`",
        f"- operating points: {'chosen on ' + chosen if operating else 'none: probabilities are NaN, use the scores'}",
        "- not for images of another modality, camera field or preprocessing than those it was measured on",
        "",
        f"`python run.py IMAGE…` prints a table; it needs {needs}. DICOM files are read by `tapetum predict` only.",
        "",
        f"`{'`, `'.join(t['input'] for t in preprocessing['towers'])}`: float32 [b, 3, size, size], made as",
        "`preprocessing.json` says. Outputs: `logits` and `probabilities` [b, findings] in the order of `labels.json`,",
        "`features` [b, d].",
        "",
        "| runtime | images | largest difference of a logit | of a probability | smallest cosine | other decisions |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {p.runtime} | {p.images} ({p.source}) | {p.logits:.1e} | {p.probabilities:.1e} | {p.cosine:.7f} | "
        f"{p.decisions} |"
        for p in parity.values()
    ]
    lines += ["", "| file | MB |", "|---|---|", *(f"| {name} | {size:.2f} |" for name, size in megabytes.items())]
    if measured:
        lines += ["", measured.rstrip()]
    return "\n".join(lines) + "\n"
