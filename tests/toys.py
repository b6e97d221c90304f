"""Small made-up data that several test files share: a clinic of coloured squares, pairs with a planted relation."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.learn.pairing.pairs import Pairs
from tapetum.learn.pairing.texts import Groups
from tapetum.learn.pairing.tokens import Tokens
from tapetum.learn.pairing.tree import Tree

ENCODER = "tiny(size=32, dim=16)"
TEXT = "tiny(dim=32)"
COLOURS = {
    "normal_fundus": (180, 100, 90),  # all have more red than blue, as fundus photographs have
    "glaucoma": (100, 230, 0),
    "cataract": (210, 10, 60),
    "macular_hole": (230, 230, 20),
}
REPORTS = {
    "normal_fundus": "normal fundus",
    "glaucoma": "glaucoma",
    "cataract": "cataract",
    "macular_hole": "macular hole",
}


def clinic(
    folder: Path,
    *,
    patients: int = 60,
    seed: int = 0,
    reports: Mapping[str, str] = REPORTS,
    labels: Mapping[str, str] | None = None,
    noise: float = 25.0,
    signal: bool = True,
    pack: str = "fundus",
    extra: Sequence[tuple[str, str, str]] = (),
) -> Archive:
    """Two 32 px images per patient whose colour is the finding that the report names.

    Args:
        labels: finding → label text, None for an archive without labels. signal: False = the colour means nothing.
        extra: further rows (patient, report, label) of the normal colour.
    """
    rng = np.random.default_rng(seed)
    export = folder / "export"
    export.mkdir(parents=True)
    names = list(reports)
    rows = [(f"p{p:03d}", names[p % len(names)], eye) for p in range(patients) for eye in ("OD", "OS")]
    lines: list[dict[str, str]] = []
    for i, (patient, finding, eye) in enumerate(rows):
        seen = finding if signal else names[int(rng.integers(len(names)))]
        _write(export / f"{i}.png", COLOURS[seen], noise, rng)
        label = "" if labels is None else labels[finding]
        lines.append({"image": f"{i}.png", "patient": patient, "eye": eye, "report": reports[finding], "label": label})
    for i, (patient, report, label) in enumerate(extra):
        _write(export / f"x{i}.png", COLOURS["normal_fundus"], noise, rng)
        lines.append({"image": f"x{i}.png", "patient": patient, "eye": "OD", "report": report, "label": label})
    with (export / "clinic.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["image", "patient", "eye", "report", "label"])
        writer.writeheader()
        writer.writerows(lines)
    config = IngestConfig(
        map="image=image,patient=patient,eye=eye,report=report", labels="" if labels is None else "label", pack=pack,
        modality="fundus", name=folder.name, fractions=(0.5, 0.25, 0.25), report_required=False,
    )  # fmt: skip
    ingest(export, folder / "archive", config)
    return open_archive(folder / "archive")


def _write(path: Path, colour: tuple[int, int, int], noise: float, rng: np.random.Generator) -> None:
    pixels = np.asarray(colour) + rng.normal(0, noise, 3) + rng.normal(0, 12, (32, 32, 3))
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)


def pairs(
    *,
    patients: int = 80,
    texts: int = 6,
    dim: int = 24,
    words: int = 10,
    noise: float = 0.3,
    real: bool = True,
    seed: int = 0,
    tree: bool = False,
    local: bool = False,
) -> Pairs:
    """Two images per patient; features are a linear map of the text's features and noise, or noise alone.

    Args:
        tree: every text is also a finding below one of two groups.
        local: images have four tokens whose mean are their features, and the first word of a text is a piece of it.
    """
    rng = np.random.default_rng(seed)
    vocabulary = rng.normal(size=(texts, words))
    vocabulary /= np.linalg.norm(vocabulary, axis=1, keepdims=True)
    said = np.repeat(rng.integers(texts, size=patients), 2)
    said[: 2 * texts : 2] = said[1 : 2 * texts : 2] = np.arange(texts)
    clean = vocabulary[said] @ rng.normal(size=(words, dim))
    features = clean * real + noise * rng.normal(size=clean.shape)
    known = {}
    if tree:
        group = np.arange(texts) % 2
        labels = np.concatenate([np.eye(2)[group], np.eye(texts)], 1)[said]
        names = np.concatenate([[vocabulary[group == g].mean(0) for g in (0, 1)], vocabulary])
        found = Tree(("even", "odd", *(f"finding {i}" for i in range(texts))), np.concatenate([[-1, -1], group]))
        known = {"tree": found, "labels": labels, "names": names}
    if local:
        spread = rng.normal(size=(len(said), 4, dim))
        tokens = features[:, None] + 0.2 * (spread - spread.mean(1, keepdims=True))
        known["tokens"] = Tokens((tokens.astype(np.float16),), ((0, dim),), ((2, 2),))
        known["groups"] = Groups(
            np.vstack([vocabulary, np.ones(words)]), np.stack([said, np.full(len(said), texts)], 1)
        )
    return Pairs(
        features.astype(np.float32),
        tuple(f"text {i}" for i in said),
        vocabulary[said],
        tuple(f"p{i // 2:03d}" for i in range(2 * patients)),
        tuple(f"image{i:04d}" for i in range(2 * patients)),
        **known,
    )
