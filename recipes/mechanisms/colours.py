"""Red and blue in each other's places, on the phantom: what it costs unseen, and how often the check sees it.

python recipes/mechanisms/colours.py

A model learns by reports from half of the patients; the others are tested by words, as they are and with red and blue
swapped. The bound of the check stands at its default; nothing is chosen on the tested patients.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from grounds.clinic import labelled_clinic

from tapetum.bench.demo import enough
from tapetum.core.errors import DataError
from tapetum.core.types import Embeddings, Split
from tapetum.learn import PretrainConfig, embed, pretrain, zero_shot
from tapetum.learn.features.colours import CHANNELS, channel_means, colours_of
from tapetum.learn.features.embedder import Embedder
from tapetum.phantom import ClinicConfig
from tapetum.score.stats import paired_runs_difference, runs_auroc_interval

ENCODER, PATIENTS, SEED, DRAWS, BATCHES = "efficientnet_lite(size=96)", 120, 0, 300, 200
SHARES = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)


def refused(images: list[np.ndarray], share: float, size: int, rng: np.random.Generator) -> bool:
    """Whether a batch of which a share is swapped is refused."""
    chosen = [images[i] for i in rng.integers(len(images), size=size)]
    count = round(share * size)
    batch = [image[..., ::-1] if i < count else image for i, image in enumerate(chosen)]
    try:
        colours_of(batch, [str(i) for i in range(size)], CHANNELS).refuse()
    except DataError:
        return True
    return False


def measure() -> str:
    """The section of the page on mechanisms: tables in Markdown."""
    start, used = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        archive = labelled_clinic(folder, ClinicConfig(patients=PATIENTS, size=64, seed=SEED), (0.45, 0.2, 0.35))
        emb, findings = embed(archive, ENCODER, threads=1), enough(archive)
        held = [r.image_id for r in archive.in_split(Split.TEST)]
        images = [archive.pixels(i, min_side=96) for i in held]
        turned = Embedder(ENCODER, threads=1).pixels([np.ascontiguousarray(x[..., ::-1]) for x in images])
        model = pretrain(archive, PretrainConfig(ENCODER, prompt_set="name", threads=1), embeddings=emb)
    rows = emb.rows(held)
    swapped = Embeddings(rows.image_ids, rows.patient_ids, turned, rows.encoder, rows.blocks)
    truth, who = archive.labels(findings, image_ids=held), np.array(rows.patient_ids)
    plain, other = (zero_shot(model, e, findings).logits[None] for e in (rows, swapped))
    apart = paired_runs_difference(other, plain, truth, who, rng=np.random.default_rng(SEED), draws=DRAWS).interval
    means = np.array([channel_means(x) for x in images])
    wrong = means[:, 2] > means[:, 0]
    lines = [
        "### Red and blue swapped, and seen", "",
        f"PHANTOM, {PATIENTS} patients at 64 px: a ridge aligner on `{ENCODER}` learns from {model.log['pairs']} "
        f"images; {len(held)} images of {len(set(who.tolist()))} other patients are tested by words on {len(findings)} "
        "findings; 95 % intervals over patients. Without the check swapped images are scored as if nothing were.", "",
        "| tested images | AUROC | − as they are |", "|---|---|---|",
    ]  # fmt: skip
    for name, found in (("as they are", plain), ("red and blue swapped", other)):
        level = runs_auroc_interval(found, truth, who, rng=np.random.default_rng(SEED), draws=DRAWS)
        difference = f"{apart.estimate:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]" if found is other else ""
        lines.append(f"| {name} | {level} | {difference} |")
    verdict = "costs" if apart.high < 0 else "does not measurably cost"
    lines += [
        "", f"A swap that nobody sees {verdict} detection. More blue than red, as they are: {int(wrong.sum())} of "
        f"{len(wrong)}. Share of {BATCHES} batches, drawn from the tested images, that the check refuses, by the share "
        "of images swapped in them (no check: 0 everywhere):", "",
        "| batch of | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |", "|---|" + "---|" * len(SHARES),
    ]  # fmt: skip
    rng = np.random.default_rng(SEED)
    for size in (20, 128):
        found = [np.mean([refused(images, share, size, rng) for _ in range(BATCHES)]) for share in SHARES]
        lines.append(f"| {size} | " + " | ".join(f"{value:.3f}" for value in found) + " |")
    lines += [
        "", f"{time.monotonic() - start:.0f} s ({time.process_time() - used:.0f} s of one core): "
        "`python recipes/mechanisms/colours.py`.",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(measure() + "\n")
