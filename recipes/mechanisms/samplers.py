"""Many photographs of each eye under the sigmoid loss, on the phantom: batches without duplicate patients.

python recipes/mechanisms/samplers.py

Every photograph of an eye has the text of the eye: two of them in a batch are negatives of each other unless a sampler
keeps them apart or a rule says that equal texts match. Numbers were chosen on the eyes of the seeds 90 and 92.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from grounds.told import told, verdict
from grounds.towers import Eyes, Ground, photographed

from tapetum.core.registry import Family
from tapetum.core.types import Embeddings, Split
from tapetum.knowledge import load_pack
from tapetum.learn import PretrainConfig, embed, pretrain
from tapetum.learn.model import prompt_vectors
from tapetum.learn.pairing.pairs import Pairs
from tapetum.learn.training.schedule import batches

PATIENTS, OFTEN, COPIES, SEED, BATCH, RUNS = 300, 0.25, (8, 16), 93, 32, 5
SIGNS = (
    "hard_exudate", "dot_blot_haemorrhage", "neovascularisation", "branch_retinal_vein_occlusion",
    "chorioretinal_atrophy", "myelinated_nerve_fibres", "laser_scar", "optic_disc_swelling",
)  # fmt: skip
ENCODER = "efficientnet_lite(size=96)"
TASK = f"contrastive(loss='siglip', batch={BATCH}, dim=64, epochs=30)"
WAYS = {
    "`shuffled`, `own` (baseline)": ("shuffled", "own"),
    "`no_duplicate_patients`, `own`": ("no_duplicate_patients", "own"),
    "`shuffled`, `same_text`": ("shuffled", "same_text"),
}


def shots(copies: int) -> Callable[[np.ndarray, np.random.Generator], list[np.ndarray]]:
    """The photograph of an eye, and more of them that are almost the same."""

    def several(image: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        return [image, *(_almost(image, rng) for _ in range(copies - 1))]

    return several


def _almost(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Up to a pixel aside, up to 3 % lighter or darker, other noise."""
    aside = np.array([[1, 0, rng.uniform(-1, 1)], [0, 1, rng.uniform(-1, 1)]], dtype=np.float32)
    moved = cv2.warpAffine(image.astype(np.float32), aside, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.clip(moved * rng.uniform(0.97, 1.03) + rng.normal(0, 1.5, moved.shape), 0, 255).astype(np.uint8)


def ground(folder: Path, copies: int) -> tuple[Ground, Embeddings]:
    """One eye of everyone; one photograph of an eye is tested."""
    eyes = Eyes(PATIENTS, SEED, SIGNS, shots(copies), often=OFTEN, both=False, fractions=(0.2, 0.8))
    at = photographed(folder, eyes)
    one = {r.patient_id: r.image_id for r in at.archive.in_split(Split.TEST)}
    at = dataclasses.replace(at, tested=tuple(one.values()), seed=SEED, draws=400)
    emb = embed(at.archive, ENCODER, threads=1, image_ids=at.taught + at.tested)
    first = slice(*next(iter(emb.blocks.values())))  # one pooled output of four: a quarter of the time
    return at, dataclasses.replace(emb, features=emb.features[:, first].copy(), blocks={})


def scores(at: Ground, emb: Embeddings, sampler: str, matching: str) -> tuple[np.ndarray, int]:
    """Cosines of the tested eyes with the names, run by run; and images that met another one of their eye."""
    found, given, pack = list[np.ndarray](), list[Pairs](), load_pack("fundus")
    for seed in range(RUNS):
        config = PretrainConfig(
            ENCODER, task=TASK, text="findings", matching=matching, sampler=sampler, prompt_set="name", threads=1,
            seed=seed,
        )  # fmt: skip
        model = pretrain(at.archive, config, embeddings=emb, rearrange=lambda pairs: given.append(pairs) or pairs)
        found.append(model.encode_image(emb.rows(list(at.tested)).features) @ prompt_vectors(
            model, at.findings, pack, "name"
        ).T)  # fmt: skip
    return np.stack(found), _met(given[0], sampler)


def _met(pairs: Pairs, sampler: str) -> int:
    """In one epoch over all pairs."""
    member, rng = Family("tapetum.learn.samplers").build(sampler), np.random.default_rng(SEED)
    order = member(np.arange(len(pairs.texts)), pairs, BATCH, rng)
    return sum(len(part) - len({pairs.patient_ids[i] for i in part}) for part in batches(order, BATCH))


def measure() -> str:
    """The section of the page on mechanisms: a table in Markdown."""
    start = time.process_time()
    rows, said, tested = list[str](), list[str](), 0
    for copies in COPIES:
        with tempfile.TemporaryDirectory() as folder:
            at, emb = ground(Path(folder), copies)
            tested = len(at.who)
            base, met = scores(at, emb, *WAYS["`shuffled`, `own` (baseline)"])
            for label, way in WAYS.items():
                found, twice = (base, met) if "baseline" in label else scores(at, emb, *way)
                gain = at.apart(found, base)
                last = "" if found is base else told(gain)
                rows.append(f"| {copies} | {label} | {twice} of {len(at.taught)} | {at.level(found)} | {last} |")
                if found is not base:
                    said.append(f"{label} {verdict(gain)} with {copies}")
    took = time.process_time() - start
    return "\n".join([
        "### Duplicate patients in a batch", "",
        f"PHANTOM: one eye each of {PATIENTS} patients, photographed 8 or 16 times with small changes; the eyes of a "
        f"fifth of them teach, each photograph with the same text (the names of the signs), the others ({tested}) "
        f"are tested by name. `{TASK}` on the frozen `{ENCODER}`, {RUNS} runs; macro AUROC, 95 % intervals over "
        "patients and runs. On the eyes of choice `no_duplicate_patients` had been better with 8 photographs of an eye "
        "and worse with 16; these are measured once.", "",
        "| photographs of an eye | sampler, matching | images that meet another one of their eye | macro AUROC by name "
        "| − baseline |",
        "|---|---|---|---|---|", *rows, "", f"{'; '.join(said)} photographs of an eye.", "",
        f"{took:.0f} s of one core: `python recipes/mechanisms/samplers.py`.",
    ])  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(measure() + "\n")
