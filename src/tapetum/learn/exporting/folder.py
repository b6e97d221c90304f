"""A model as a folder that runs without Tapetum and without torch: network, labels, preprocessing, proof."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from tapetum.archive import Archive
from tapetum.core.config import digest
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.registry import nearest
from tapetum.core.store import Meta, new_artefact
from tapetum.core.types import ImageRecord, Split
from tapetum.learn.exporting import run as standalone
from tapetum.learn.exporting.card import card
from tapetum.learn.exporting.int8 import quantised
from tapetum.learn.exporting.network import OUTPUTS, Network
from tapetum.learn.exporting.parity import Parity, Reference, compared, in_batches, with_onnxruntime, with_openvino
from tapetum.learn.features.embed import decode_side
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.features.onnx_file import FAILURES, trace
from tapetum.learn.model import INTENDED_USE, Model
from tapetum.learn.predict import askable

NETWORK, INT8 = "model.onnx", "model_int8.onnx"
_PARITY_IMAGES = 16
_NOISE_SIDE = 256
Image = UInt8[np.ndarray, "_ _ 3"]
# The folder and its networks → what the card shows of them, and what `measured.json` keeps.
Judge = Callable[[Path, tuple[str, ...]], tuple[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class ExportConfig:
    """How a model is exported.

    Args:
        findings: columns of the network; all that the model can be asked if empty.
        int8: also write `model_int8.onnx`, quantised on training images; needs an archive.
        calibration_images: training images that the ranges of int8 are taken from, at least 1.
        seed: draws those images. threads: 0 = all cores.
    """

    findings: tuple[str, ...] = ()
    int8: bool = False
    calibration_images: int = 64
    seed: int = 0
    threads: int = 0


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        parity: runtime → how far it is from torch. megabytes: file → size in 10⁶ bytes.
        table: what the judge found, in words; measured: in plain values; both empty without one.
    """

    findings: tuple[str, ...]
    parity: Mapping[str, Parity]
    megabytes: Mapping[str, float]
    table: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict[str, Any])


def export_model(
    model: Model,
    out: Path,
    config: ExportConfig = ExportConfig(),
    *,
    archive: Archive | None = None,
    judge: Judge | None = None,
) -> Export:
    """Write the folder, once onnxruntime gives the numbers that torch gives.

    Args:
        model: an aligner (its prompts become fixed vectors), or an adapter that is a linear map.
        out: the folder.
        config: what is written.
        archive: images for the parity check and, from its training patients, for int8; without one, noise.
        judge: measures the networks of the folder, on patients that had no part in making them.

    Raises:
        UsageError: an adapter that is no linear map, an unknown finding, int8 without training images.
        ArtefactError: a tower cannot be exported, or what was exported gives other numbers.
    """
    findings = config.findings or askable(model)
    _refuse_findings(model, findings)
    _refuse_int8(config, archive)
    embedder = Embedder(
        model.encoders, threads=config.threads, backend="torch-eager", states=model.towers, deltas=model.deltas
    )
    data, parity = _proved(model, findings, embedder, archive, config)
    parents = {**({"archive": archive.digest} if archive else {}), "model": model.digest}
    settings = {**dataclasses.asdict(config), "config_digest": digest(config)}
    with new_artefact(out, Meta("export", parents=parents, config=settings, seed=config.seed)) as folder:
        files = {NETWORK: folder / NETWORK}
        files[NETWORK].write_bytes(data)
        if config.int8 and archive is not None:
            files[INT8] = folder / INT8
            chosen = _images(archive.in_split(Split.TRAIN), archive, embedder, config.calibration_images, config.seed)
            files[INT8].write_bytes(quantised(data, inputs_of(embedder, chosen)))
        _write(folder / "labels.json", labels_of(model, findings))
        _write(folder / "preprocessing.json", preprocessing_of(embedder))
        _write(folder / "parity.json", {name: found.as_dict() for name, found in parity.items()})
        (folder / "run.py").write_text(Path(standalone.__file__).read_text(encoding="utf-8"), encoding="utf-8")
        told, measured = judge(folder, tuple(files)) if judge else ("", {})
        if measured:
            _write(folder / "measured.json", measured)
        sizes = {name: file.stat().st_size / 1e6 for name, file in files.items()}
        text = card(model, findings, preprocessing_of(embedder), parity, sizes, told)
        (folder / "README.md").write_text(text, encoding="utf-8")
    return Export(tuple(findings), parity, sizes, told, measured)


def _proved(
    model: Model, findings: Sequence[str], embedder: Embedder, archive: Archive | None, config: ExportConfig
) -> tuple[bytes, dict[str, Parity]]:
    """The network as ONNX, and how far the runtimes are from torch; refused where they are far."""
    data = _traced(Network(model, findings, embedder).eval(), embedder)
    if archive is None:
        shape = (_PARITY_IMAGES, _NOISE_SIDE, _NOISE_SIDE, 3)
        images: list[Image] = list(np.random.default_rng(config.seed).integers(0, 256, shape, dtype=np.uint8))
    else:
        images = _images(archive.records, archive, embedder, _PARITY_IMAGES, config.seed)
    reference = Reference.of(model, embedder, findings, images, "archive" if archive else "noise")
    inputs = inputs_of(embedder, images)
    ways = {"onnxruntime": with_onnxruntime(data, threads=config.threads)}
    vino = with_openvino(data, threads=config.threads)
    if vino is not None:
        ways["openvino"] = vino
    parity = {name: compared(name, in_batches(way, inputs), reference) for name, way in ways.items()}
    for found in parity.values():
        found.refuse()
    return data, parity


def inputs_of(embedder: Embedder, images: Sequence[Image]) -> dict[str, np.ndarray]:
    """What the exported network is fed with: one array per tower."""
    return {
        f"tower_{i}": np.stack([prepare(image) for image in images]) for i, prepare in enumerate(embedder.preprocess)
    }


def labels_of(model: Model, findings: Sequence[str]) -> dict[str, Any]:
    """The columns with their thresholds, and where those come from."""
    operating = model.operating
    columns: list[dict[str, Any]] = []
    for finding in findings:
        about: dict[str, Any] = {"id": finding, "threshold": None, "positives": None, "negatives": None}
        if operating is not None and finding in operating.findings:
            j = operating.findings.index(finding)
            threshold = float(operating.thresholds[j])
            about |= {
                "threshold": None if math.isnan(threshold) else threshold,
                "positives": operating.positives[j], "negatives": operating.negatives[j],
            }  # fmt: skip
        columns.append(about)
    return {
        "findings": columns,
        "calibrator": operating.calibrator if operating else None,
        "sensitivity": operating.sensitivity if operating else None,
        "thresholds_from": f"validation patients ({operating.truth})" if operating else None,
        "model": model.digest,
        "intended_use": INTENDED_USE,
    }


def preprocessing_of(embedder: Embedder) -> dict[str, Any]:
    """How each tower's input is made."""
    towers = [{"input": f"tower_{i}", **prepare.as_dict()} for i, prepare in enumerate(embedder.preprocess)]
    return {"decode_side": max(decode_side(p.size) for p in embedder.preprocess), "towers": towers}


def _traced(network: Network, embedder: Embedder) -> bytes:
    examples = {f"tower_{i}": torch.zeros(2, 3, p.size, p.size) for i, p in enumerate(embedder.preprocess)}
    try:
        return trace(network, examples, OUTPUTS)
    except FAILURES as error:
        raise ArtefactError(
            f"{embedder.encoders} cannot be exported: {error}", "operations that ONNX knows", "another encoder"
        ) from error


def _images(records: Sequence[ImageRecord], archive: Archive, embedder: Embedder, count: int, seed: int) -> list[Image]:
    """A few of some records' images, drawn."""
    drawn = np.random.default_rng(seed).choice(len(records), min(count, len(records)), replace=False)
    side = max(decode_side(p.size) for p in embedder.preprocess)
    return [archive.pixels(records[i].image_id, min_side=side) for i in sorted(drawn.tolist())]


def _refuse_findings(model: Model, findings: Sequence[str]) -> None:
    strange = [name for name in findings if model.findings and name not in model.findings]
    if strange:
        raise UsageError(f"the model was not taught {strange[0]!r}", nearest(strange[0], model.findings))


def _refuse_int8(config: ExportConfig, archive: Archive | None) -> None:
    if not config.int8:
        return
    if archive is None or not archive.in_split(Split.TRAIN):
        raise UsageError("int8 without training images", "an archive with training patients", "--on ARCHIVE")
    if config.calibration_images < 1:
        raise UsageError(f"calibration_images={config.calibration_images}", "at least 1", "calibration_images=64")


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
