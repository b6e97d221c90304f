"""Towers refined by contrast on the phantom: images found again in other light.

python recipes/mechanisms/self_supervision.py

Rates and epochs were chosen on clinics of other seeds; nothing is chosen on the tested patients, who were measured in
earlier versions, too. Tasks that hide patches stand in masked.py, the choice of fewer images in fewer_images.py.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import torch
from grounds.told import told, verdict
from grounds.towers import LIGHT, Ground

from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.bench.demo import LABELLED, add_truth, enough
from tapetum.core.types import Split
from tapetum.learn.pretext.run import SelfSupervisionConfig, self_supervise
from tapetum.phantom import ClinicConfig, make_clinic

PATIENTS, SIZE, SEED = 140, 64, 2
RANDOM, IMAGENET = f"tiny(size={SIZE}, dim=64)", f"efficientnet_lite(size={SIZE})"
CONTRAST = SelfSupervisionConfig("simclr", epochs=10, batch=32, learning_rate=3e-3, augment=LIGHT, seed=SEED)
RUNS = {
    (RANDOM, "random"): (
        CONTRAST,
        dataclasses.replace(CONTRAST, objective="moco"),
        dataclasses.replace(CONTRAST, objective="dino", learning_rate=1e-3),
    ),
    (IMAGENET, "ImageNet"): (dataclasses.replace(CONTRAST, epochs=1, learning_rate=3e-4),),
}


def ground(folder: Path) -> Ground:
    """A phantom clinic."""
    make_clinic(folder / "clinic", ClinicConfig(patients=PATIENTS, size=SIZE, seed=SEED))
    add_truth(folder / "clinic")
    settings = IngestConfig(
        name="phantom clinic", labels="truth", pack="fundus", table=LABELLED, fractions=(0.5, 0.1, 0.4)
    )
    ingest([folder / "clinic"], folder / "clinic.tap", settings)
    archive = open_archive(folder / "clinic.tap")
    taught, tested = (tuple(r.image_id for r in archive.in_split(s)) for s in (Split.TRAIN, Split.TEST))
    return Ground(archive, enough(archive), taught, tested)


def measure() -> str:
    """The section of the page on mechanisms: a table in Markdown."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        lines = compared(ground(Path(folder)))
    took = time.process_time() - start
    return "\n".join([*lines, f"{took:.0f} s of one core: `python recipes/mechanisms/self_supervision.py`."])


def compared(at: Ground) -> list[str]:
    """Each task beside the tower as it was."""
    lines = [
        "### Towers refined by contrast: an image found again in other light", "",
        f"PHANTOM, {PATIENTS} patients at {SIZE} px: {len(at.taught)} images of training patients refine a tower, then "
        f"teach a linear probe {len(at.findings)} findings; {len(at.tested)} images of {len(set(at.who.tolist()))} "
        f"other patients are tested. The tasks take views in other light (`{LIGHT}`). *Found again*: share of the "
        "tested images that are nearest, by the tower's features, to a copy of themselves in other light: what the "
        "views teach. *Probe*: macro AUROC, on the images as they are and in other light. One seed; 95 % intervals "
        "over patients; settings were chosen on clinics of other seeds, while these patients were measured in earlier "
        "versions, too.", "",
        "| tower, task | loss (chance) | spread | found again | − before | probe | − before | probe, other light | "
        "− before | seconds |",
        "|" + "---|" * 10,
    ]  # fmt: skip
    shown: list[str] = []
    for (name, kind), runs in RUNS.items():
        before = at.judged(at.tower(name))
        level = f"{at.level(before.plain)} | | {at.level(before.changed)}"
        lines.append(f"| `{name}`, {kind} (baseline) | | | {before.again.mean():.2f} | | {level} | | |")
        for config in runs:
            start = time.process_time()
            refined = self_supervise(at.archive, name, config)
            seconds = time.process_time() - start
            after, log = at.judged(at.tower(name, refined)), refined.log["0"]
            again = at.more(after.again, before.again)
            plain, changed = at.apart(after.plain, before.plain), at.apart(after.changed, before.changed)
            loss = f"{log['train_loss'][0]:.2f} → {log['train_loss'][-1]:.2f} ({log['chance']:.2f})"
            lines.append(
                f"| `{config.objective}`, epochs: {config.epochs} | {loss} | {log['spread'][-1]:.2f} | "
                f"{after.again.mean():.2f} | {told(again)} | {at.level(after.plain)} | {told(plain)} | "
                f"{at.level(after.changed)} | {told(changed)} | {seconds:.0f} |"
            )
            shown.append(f"`{config.objective}` on the {kind} tower {verdict(again)}")
    return [*lines, "", f"Finding images again: {'; '.join(shown)}.", ""]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(measure() + "\n")
