"""Losses of image-text alignment on the phantom, and which texts of a batch are no negatives: each beside its baseline.

python recipes/mechanisms/losses.py

Half of the patients teach the aligner by their reports; the others are tested on the phantom's truth, by words alone.
Numbers of patients and runs were chosen on a clinic of another seed; every option stands at its default. The text that
repeats and how often it does were set on the clinic of seed 206; that of seed 61 is measured, once.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from grounds.told import told, verdict
from grounds.words import ENCODER, PATIENTS, RUNS, SEED, SMALL, Ground, Rearrange, ground

from tapetum.core.types import Split
from tapetum.learn.pairing.pairs import Pairs
from tapetum.learn.pairing.words import encode_words

LOSSES = ("clip", "convirt", "siglip")
RULES = ("same_text", "findings", "category")
TEMPLATE, SHARES, OTHER_SEED = "Normal fundus. No abnormality detected in this eye.", (0.6, 0.8), 61


def measure() -> str:
    """The section of the page on mechanisms: tables in Markdown."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        at = ground(Path(folder))
        made = time.process_time() - start
        pairs = at.pairs("eye")
        known = len({tuple(row) for row in pairs.labels.tolist()}) if pairs.labels is not None else 0
        own = {loss: scored(at, loss, "own") for loss in LOSSES}
        lines = [
            "### Losses of image-text alignment, and false negatives", "",
            f"PHANTOM, {PATIENTS} patients at 64 px: {len(at.archive.in_split(Split.TRAIN))} images teach by the "
            f"sentences about each eye (`text=eye`; {len(set(pairs.texts))} different texts, {known} different sets of "
            f"findings), {len(at.who)} images of {len(set(at.who.tolist()))} other patients are tested on "
            f"{len(at.findings)} findings, by their names alone. Frozen `{ENCODER}`, two linear maps ({SMALL}), "
            f"{RUNS} runs; macro AUROC, 95 % intervals over patients and runs. The numbers of patients and runs were "
            "chosen on a clinic of another seed; this one is measured once.", "",
            *_pairs(at, own), *_matching(at, own),
        ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        other = ground(Path(folder), OTHER_SEED)
        made += time.process_time() - before
        lines += _boilerplate(other)
    took = time.process_time() - start
    return "\n".join(
        [*lines, f"{took:.0f} s of one core, of which {made:.0f} s make and embed the clinics: "
         "`python recipes/mechanisms/losses.py`."]
    )  # fmt: skip


def scored(at: Ground, loss: str, matching: str, rearrange: Rearrange | None = None) -> np.ndarray:
    """Cosines of the tested images with the names, run by run."""
    task = f"contrastive(loss={loss!r}, {SMALL})"
    return at.scores(at.models(rearrange, text="eye", matching=matching, task=task))


def strangers(rng: np.random.Generator) -> Rearrange:
    """The same images and the same reports, each report with an image of another patient; anew in every run."""

    def rearranged(pairs: Pairs) -> Pairs:
        who = np.asarray(pairs.patient_ids)
        source = rng.permutation(len(who))
        while (same := np.flatnonzero(who == who[source])).size:
            for row in same:
                other = rng.integers(len(who))
                source[[row, other]] = source[[other, row]]
        return pairs.with_texts_of(source)

    return rearranged


def _pairs(at: Ground, own: dict[str, np.ndarray]) -> list[str]:
    """What each loss exists for: it learns from what belongs together."""
    lines = [
        "**Each loss learns from pairs.** Control: the same images with the reports of other patients.", "",
        "| loss | macro AUROC | reports of other patients | own − others' | − clip |", "|---|---|---|---|---|",
    ]  # fmt: skip
    shown: list[str] = []
    for loss, found in own.items():
        control = scored(at, loss, "own", strangers(np.random.default_rng(SEED)))
        gain = at.apart(found, control)
        against = "" if loss == "clip" else told(at.apart(found, own["clip"]))
        lines.append(f"| `{loss}` | {at.level(found)} | {at.level(control)} | {told(gain)} | {against} |")
        shown.append(f"`{loss}` {verdict(gain)}")
    return [*lines, "", f"Learning from pairs: {', '.join(shown)}.", ""]


def _matching(at: Ground, own: dict[str, np.ndarray]) -> list[str]:
    """On sentences as they were written, since equal texts alone make no difference to a softmax."""
    lines = [
        "**False negatives.** A rule says which other texts of a batch are matches too. Exactly equal texts need no "
        "rule under the softmax losses: they share one row of logits; hard and soft targets sum to the same loss.", "",
        "| loss, matching | macro AUROC | − `own` |", "|---|---|---|",
    ]  # fmt: skip
    shown: list[str] = []
    for loss, base in own.items():
        lines.append(f"| `{loss}`, `own` (baseline) | {at.level(base)} | |")
        for rule in RULES:
            found = scored(at, loss, rule)
            gain = at.apart(found, base)
            lines.append(f"| `{loss}`, `{rule}` | {at.level(found)} | {told(gain)} |")
            shown.append(f"`{rule}` under `{loss}` {verdict(gain)}")
    return [*lines, "", f"{'; '.join(shown)}.", ""]


def boilerplate(share: float) -> Rearrange:
    """Every eye that is read as normal gets one and the same text; of the others as few are kept as make its share."""

    def rearranged(pairs: Pairs) -> Pairs:
        assert pairs.tree is not None
        assert pairs.labels is not None
        normal = pairs.labels[:, pairs.tree.names.index("normal_fundus")] > 0
        fewer = round(normal.sum() * (1 - share) / share)
        kept = np.random.default_rng(SEED).permutation(np.flatnonzero(~normal))[:fewer]
        rows = np.sort(np.concatenate([np.flatnonzero(normal), kept]))
        texts = [TEMPLATE if normal[i] else pairs.texts[i] for i in rows]
        return dataclasses.replace(
            pairs.with_texts_of(rows), features=pairs.features[rows], texts=tuple(texts),
            text_features=np.asarray(encode_words("minilm", texts), dtype=np.float64),
            patient_ids=tuple(pairs.patient_ids[i] for i in rows), image_ids=tuple(pairs.image_ids[i] for i in rows),
            visits=tuple(pairs.visits[i] for i in rows),
        )  # fmt: skip

    return rearranged


def _boilerplate(at: Ground) -> list[str]:
    """What `same_text` exists for: texts that repeat word for word are no negatives of one another."""
    whole = at.pairs("eye")
    lines = [
        f"**One text in most eyes.** In another clinic ({len(whole.texts)} images teach, {len(at.who)} are tested) "
        f"every eye read as normal has the same text, “{TEMPLATE}”; eyes with findings keep their own and are "
        "left out until that text has the share given. Under the sigmoid loss each copy is then a negative of every "
        "other; under the softmax loss (control) equal texts make no difference.", "",
        "| share of the text | eyes that teach | loss | `own` (baseline) | `same_text` | difference |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    shown: list[str] = []
    for share in SHARES:
        rearrange = boilerplate(share)
        count = len(rearrange(whole).texts)
        for loss in ("siglip", "clip"):
            base, found = (scored(at, loss, rule, rearrange) for rule in ("own", "same_text"))
            gain = at.apart(found, base)
            lines.append(f"| {share:.0%} | {count} | `{loss}` | {at.level(base)} | {at.level(found)} | {told(gain)} |")
            shown.append(f"under `{loss}` at {share:.0%} it {verdict(gain)}")
    return [*lines, "", f"`same_text` against `own`: {'; '.join(shown)}.", ""]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(measure() + "\n")
