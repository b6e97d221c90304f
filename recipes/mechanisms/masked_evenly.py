"""Features of towers refined by hiding patches of evenly lit phantom photographs, beside those of the random tower.

python recipes/mechanisms/masked_evenly.py

Every photograph is lit alike, and the tower is a transformer with room enough: what pixels have to say is worth
learning. Where light differs and the tower is narrow it is not: `masked.py`. Rates, epochs, signs and what is compared
were chosen on clinics of other seeds; these patients are measured a second time, and came out the same.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from grounds.told import told, verdict
from grounds.towers import Eyes, Ground, photographed, strangers, transformer

from tapetum.learn.pretext.run import SelfSupervisionConfig, self_supervise

# Four signs of a few pixels, four that cover more; at this size the phantom's other small ones cannot be seen.
SIGNS = (
    "hard_exudate", "dot_blot_haemorrhage", "neovascularisation", "branch_retinal_vein_occlusion",
    "chorioretinal_atrophy", "myelinated_nerve_fibres", "laser_scar", "optic_disc_swelling",
)  # fmt: skip
PATIENTS, SEED, SIZE, PATCH, FEW, FEW_DRAWS = 450, 31, 64, 8, 80, 3
SHAPE: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256, "image_size": SIZE,
    "patch_size": PATCH,
}  # fmt: skip
OPTIONS = "width=64, masked=0.4, standardise=False"
MAE = SelfSupervisionConfig(f"mae({OPTIONS})", epochs=20, batch=32, learning_rate=2e-3, seed=2)
EDGES = dataclasses.replace(MAE, objective=f"gradient_masked({OPTIONS})")
WORDS = dataclasses.replace(MAE, objective=f"knowledge_masked({OPTIONS}, masked_words=1.0)")


def measure() -> str:
    """The section of the page on mechanisms: a table in Markdown."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        eyes = Eyes(PATIENTS, SEED, SIGNS, lambda image, _: [image], size=SIZE)
        lines = features(photographed(Path(folder), eyes), transformer(Path(folder) / "vit", SHAPE))
    took = time.process_time() - start
    return "\n".join([*lines, f"{took:.0f} s of one core: `python recipes/mechanisms/masked_evenly.py`."])


def features(at: Ground, encoder: str) -> list[str]:
    """What a probe finds in each tower."""
    some = [np.random.default_rng(d).permutation(len(at.taught))[:FEW] for d in range(FEW_DRAWS)]
    plain = probes(at, encoder, some)
    lines = [
        "### Towers refined by hiding patches, in even light", "",
        f"PHANTOM. {PATIENTS} patients, both eyes at {SIZE} px, each of {len(SIGNS)} signs in every fifth eye: "
        f"{len(at.taught)} images refine a transformer of {SHAPE['num_hidden_layers']} blocks (random weights, patches "
        f"of {PATCH} px), {MAE.epochs} epochs each, so equally many steps; {len(at.tested)} images of "
        f"{len(set(at.who.tolist()))} other patients are tested. Options: `{MAE.objective}`, `{EDGES.objective}`, "
        f"`{WORDS.objective}`; the words are the names of the signs. Macro AUROC of a linear probe on the frozen tower "
        f"that all training images teach, or {FEW} of them ({FEW_DRAWS} draws); 95 % intervals over patients and "
        "draws. Settings were chosen on clinics of other seeds.", "",
        f"| tower | probe | − random | − `mae` | probe, {FEW} labels | − random | − `mae` | seconds |",
        "|" + "---|" * 8,
        f"| random (baseline) | {at.level(plain[0])} | | | {at.level(plain[1])} | | | |",
    ]  # fmt: skip
    shown: list[str] = []
    found = {
        "`mae`": (MAE, at.archive), "`gradient_masked`": (EDGES, at.archive), "`knowledge_masked`": (WORDS, at.archive),
        "`knowledge_masked`, words of other patients (control)": (WORDS, strangers(at.archive, MAE.seed)),
    }  # fmt: skip
    mae: list[np.ndarray] = []
    for name, (config, archive) in found.items():
        start = time.process_time()
        refined = self_supervise(archive, encoder, config)
        seconds = time.process_time() - start
        of = probes(at, encoder, some, refined)
        cells: list[str] = []
        for k in range(2):
            than = told(at.apart(of[k], mae[k])) if mae else ""
            cells += [at.level(of[k]), told(at.apart(of[k], plain[k])), than]
        mae = mae or of
        shown.append(f"{name} {verdict(at.apart(of[0], plain[0]))}")
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.0f} |")
    return [*lines, "", f"Against the random tower: {'; '.join(shown)}.", ""]


def probes(at: Ground, encoder: str, some: list[np.ndarray], refined: Any = None) -> list[np.ndarray]:
    """Logits of probes that all images teach, and of those that some teach."""
    return [at.probed(at.tower(encoder, refined), rows, "logistic(power=1.0)") for rows in ((), some)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(measure())
