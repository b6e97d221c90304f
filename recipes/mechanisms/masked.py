"""Towers refined by hiding patches of phantom photographs: pixels, edges and words said, and features for a probe.

python recipes/mechanisms/masked.py

Photographs are cropped to the square inside the field and lit unevenly, each in its own way, and the tower is narrow:
what it carries of the light it cannot carry of the retina. Scene, tower, rates, epochs and weights were chosen on eyes
of another seed; nothing is chosen on the tested patients, who are measured once.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from grounds.told import told, verdict
from grounds.towers import Eyes, Ground, photographed, strangers
from safetensors.torch import load_file

from tapetum.archive import Archive
from tapetum.core.registry import Family
from tapetum.learn.features.loader import Loader
from tapetum.learn.pretext.pixels import patches_of, steepness
from tapetum.learn.pretext.run import FAMILY, SelfSupervisionConfig, self_supervise
from tapetum.learn.pretext.vocabulary import Words, words_of
from tapetum.learn.training.checkpoint import Saving

# Four signs of a few pixels each, which edges tell better than colours do; four that colour tells.
SIGNS = (
    "drusen", "dot_blot_haemorrhage", "hard_exudate", "flame_haemorrhage",
    "chorioretinal_atrophy", "myelinated_nerve_fibres", "neovascularisation", "myopic_crescent",
)  # fmt: skip
FINE, PATIENTS, SEED, FEW, FEW_DRAWS, RUNS = 4, 700, 203, 120, 3, 2
RENDERED, MARGIN, SIZE, PATCH = 128, 20, 88, 8
LIGHT, CAST = 0.25, 0.08  # spread of the logarithm of light, and of each colour besides
TOWER = f"tiny(size={SIZE}, dim=16)"
OPTIONS = "width=32, heads=2, masked=0.5, standardise=False"
# `mae` stands at the best that was tried for it: both rates, and pixels standardised or as they are.
MAE = SelfSupervisionConfig(f"mae({OPTIONS})", epochs=12, batch=32, learning_rate=1e-3, head_rate=3e-3, augment="")
EDGES = dataclasses.replace(MAE, objective=f"gradient_masked({OPTIONS}, gradient=8.0)", learning_rate=3e-3)
WORDS = dataclasses.replace(MAE, objective=f"knowledge_masked({OPTIONS}, masked_words=1.0)", learning_rate=3e-3)
CONTROL = "`knowledge_masked`, words of other patients (control)"


def uneven(image: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The square inside the field, its light and its colours stronger here and weaker there, smoothly."""
    inside = image[MARGIN : MARGIN + SIZE, MARGIN : MARGIN + SIZE]
    coarse = rng.normal(0, LIGHT, (3, 3, 1)) + rng.normal(0, CAST, (3, 3, 3))
    smooth = cv2.resize(coarse.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return [np.clip(inside * np.exp(smooth), 0, 255).astype(np.uint8)]


@dataclasses.dataclass(frozen=True)
class Trained:
    """Towers with the heads of their task, as their runs left them, and probes on the towers alone.

    Attributes:
        task: tower and heads of the first run. every: logits of the probe that all images teach, run by run. few: of
            those that few teach, all draws of the first run, then of the next.
    """

    task: Any
    every: np.ndarray
    few: np.ndarray
    seconds: float


def measure() -> str:
    """The section of the page on mechanisms: tables in Markdown."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        at = photographed(Path(folder), Eyes(PATIENTS, SEED, SIGNS, uneven, size=RENDERED))
        lines = masked(at, Path(folder))
    took = time.process_time() - start
    return "\n".join([*lines, f"{took:.0f} s of one core: `python recipes/mechanisms/masked.py`."])


def masked(at: Ground, folder: Path) -> list[str]:
    """Hidden patches, edges and words of unseen patients, and what the features are worth."""
    few = [np.random.default_rng(d).permutation(len(at.taught))[:FEW] for d in range(FEW_DRAWS)]
    before = at.tower(TOWER)
    plain = [np.concatenate([at.probed(before, some, "logistic(power=1.0)")] * RUNS) for some in ((), few)]
    arms = {
        "`mae`": (at.archive, MAE), "`gradient_masked`": (at.archive, EDGES),
        "`knowledge_masked`": (at.archive, WORDS), CONTROL: (strangers(at.archive, SEED), WORDS),
    }  # fmt: skip
    found = {
        name: trained(at, archive, config, few, folder / f"arm{number}")
        for number, (name, (archive, config)) in enumerate(arms.items())
    }
    mae, edges, words, control = (of.task for of in found.values())
    loader = [Loader(at.archive, before.preprocess[0], ids) for ids in (at.tested, at.taught)]
    images, taught = (load(np.arange(len(load.image_ids))) for load in loader)
    return [
        *_head(at), *_table(at, Trained(None, plain[0], plain[1], 0.0), found), *_hidden(at, mae, images, taught),
        *_edges(at, mae, edges, images), *_words(at, words, control, images),
    ]  # fmt: skip


def trained(
    at: Ground, archive: Archive, config: SelfSupervisionConfig, few: list[np.ndarray], folder: Path
) -> Trained:
    """Refine the tower in several runs, and ask it."""
    tasks, every, some, seconds = list[Any](), list[np.ndarray](), list[np.ndarray](), 0.0
    for run in range(RUNS):
        start, own = time.process_time(), dataclasses.replace(config, seed=run)
        refined = self_supervise(archive, TOWER, own, saving=Saving(folder / f"run{run}", every_seconds=0))
        seconds += time.process_time() - start
        through = at.tower(TOWER, refined)
        tasks.append(with_heads(at, archive, through.runners[0].encoder, own, folder / f"run{run}"))
        every.append(at.probed(through, (), "logistic(power=1.0)"))
        some.append(at.probed(through, few, "logistic(power=1.0)"))
    return Trained(tasks[0], np.concatenate(every), np.concatenate(some), seconds / RUNS)


def with_heads(at: Ground, archive: Archive, encoder: Any, config: SelfSupervisionConfig, folder: Path) -> Any:
    """The task, its heads read back from the run's checkpoint; it reads the words of the tested images."""
    known = words_of(_said(archive, at.taught)).vocabulary
    number = {word: i + 1 for i, word in enumerate(known)}
    asked = words_of(_said(at.archive, at.tested))
    numbers = np.array([0, *(number.get(word, 0) for word in asked.vocabulary)])
    words = Words(numbers[asked.tokens], known)
    objective = Family(FAMILY).build(config.objective)
    task: Any = objective.on(encoder, torch.Generator().manual_seed(config.seed), words)
    state = load_file(sorted((folder / "tower-0").glob("step-*"))[-1] / "state.safetensors")
    prefix = "module.task."
    task.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    return task


def _said(archive: Archive, ids: Sequence[str]) -> list[str]:
    """What `text=findings` makes of these reports, which are lists of names."""
    return [archive.record(i).report for i in ids]


def _head(at: Ground) -> list[str]:
    return [
        "### Towers refined by hiding patches", "",
        f"PHANTOM. {PATIENTS} patients, both eyes, each of {len(SIGNS)} signs in every fifth eye, as the {SIZE} px "
        f"inside a field of {RENDERED} px, each photograph under uneven light of its own (standard deviation of its "
        f"logarithm {LIGHT:g}, of each colour {CAST:g} besides). {len(at.taught)} images refine `{TOWER}` (random "
        f"weights, patches of {PATCH} px, 8 numbers a patch) in {MAE.epochs} epochs, equally many "
        f"steps for each task, {RUNS} runs; {len(at.tested)} images of {len(set(at.who.tolist()))} other patients are "
        f"tested. Options: `{MAE.objective}`, `{EDGES.objective}`, `{WORDS.objective}`: pixels as they are, so that "
        "pictures can be drawn from them, and all words hidden, so that the image alone can say them. The words are "
        f"the names of the signs. Scene, tower, epochs, weights and the tower's peak rate ({MAE.learning_rate:g} for "
        f"`mae`, which did worse at {EDGES.learning_rate:g}, the others' rate, with pixels standardised or not) were "
        "chosen on eyes of another seed. *Probe*: "
        f"macro AUROC of a linear probe on the frozen tower that all training images teach, or {FEW} of them "
        f"({FEW_DRAWS} draws); *fine signs*: {', '.join(SIGNS[:FINE])}. 95 % intervals over patients and runs.", "",
    ]  # fmt: skip


def _table(at: Ground, first: Trained, found: dict[str, Trained]) -> list[str]:
    """Probes on the towers."""
    fine, mae = slice(0, FINE), found["`mae`"]
    lines = [
        f"| tower | fine signs | − random | − `mae` | all signs | − random | − `mae` | all signs, {FEW} labels | "
        "− random | − `mae` | seconds |",
        "|" + "---|" * 11,
        f"| random (baseline) | {at.level(first.every, fine)} | | | {at.level(first.every)} | | | "
        f"{at.level(first.few)} | | | |",
    ]  # fmt: skip
    for name, of in found.items():
        cells: list[str] = []
        for a, b, c, some in (
            (of.every, first.every, mae.every, fine), (of.every, first.every, mae.every, slice(None)),
            (of.few, first.few, mae.few, slice(None)),
        ):  # fmt: skip
            cells += [at.level(a, some), told(at.apart(a, b, some)), "" if of is mae else told(at.apart(a, c, some))]
        lines.append(f"| {name} | {' | '.join(cells)} | {of.seconds:.0f} |")
    others = [(name, of) for name, of in found.items() if of is not mae]
    said = [
        f"{n} {verdict(at.apart(of.every, mae.every, fine))} in fine signs, {verdict(at.apart(of.every, mae.every))} "
        f"in all, {verdict(at.apart(of.few, mae.few))} with {FEW} labels"
        for n, of in others
    ]
    return [
        *lines, "", f"Features for a probe, against `mae`: {'; '.join(said)}. On the eyes where settings were chosen, "
        "`gradient_masked` had been +0.112 above `mae` in fine signs, in one run: too much was read into it.", "",
    ]  # fmt: skip


def _pictures(images: torch.Tensor, seen: torch.Tensor, masked: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
    """Seen patches as they are, masked ones as they were said to be."""
    patches = patches_of(images, PATCH)
    patches = patches.scatter(1, masked[..., None].expand(-1, -1, patches.shape[2]), said)
    side = SIZE // PATCH
    cut = patches.view(len(images), side, side, PATCH, PATCH, 3).permute(0, 5, 1, 3, 2, 4)
    return cut.reshape(images.shape)


def _glance(task: Any, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens of the seen patches; numbers of the seen and of the masked ones: the same draw for each task."""
    return task.glance(task.encoder, images, np.arange(len(images)), 0)


@torch.no_grad()
def _hidden(at: Ground, mae: Any, images: torch.Tensor, taught: torch.Tensor) -> list[str]:
    """Pixels of hidden patches, against guesses without a network."""
    tokens, seen, masked = _glance(mae, images)
    there = mae.glance.pixels(images, masked)
    patches = patches_of(taught, PATCH)
    mean = patches.mean(0)
    places = torch.stack([torch.arange(len(mean)) // (SIZE // PATCH), torch.arange(len(mean)) % (SIZE // PATCH)], 1)
    far = (places[masked][:, :, None] - places[seen][:, None]).square().sum(3)
    nearest = seen.gather(1, far.argmin(2))
    guesses = {
        "`mae`": mae.decoder(tokens, seen, masked), "the mean patch": patches.mean((0, 1)).expand_as(there),
        "the nearest seen patch": mae.glance.pixels(images, nearest),
        "the mean patch of that very place": mean[masked],
    }  # fmt: skip
    error = {k: (v - there).square().mean((1, 2)).numpy() for k, v in guesses.items()}
    lines = [
        "**`mae`: pixels of hidden patches** of the tested images, mean squared error (pixels run from −1 to 1).", "",
        "| said by | error | `mae` − it |", "|---|---|---|",
    ]  # fmt: skip
    apart = {k: at.more(error["`mae`"], v) for k, v in error.items() if k != "`mae`"}
    for name, values in error.items():
        lines.append(f"| {name} | {at.more(values)!s} | {told(apart[name], 4) if name in apart else ''} |")
    better = [name for name, found in apart.items() if found.high < 0]
    worse = [name for name, found in apart.items() if found.low > 0]
    return [
        *lines, "",
        f"`mae` says clearly more than {', '.join(better) or 'none of them'}; clearly less than "
        f"{', '.join(worse) or 'none of them'}.", "",
    ]  # fmt: skip


@torch.no_grad()
def _edges(at: Ground, mae: Any, edges: Any, images: torch.Tensor) -> list[str]:
    """How steep hidden patches are: said by a decoder of its own, or taken from the picture that `mae` draws."""
    steep = steepness(images)
    mean, scale = steep.mean((1, 2, 3), keepdim=True), steep.std((1, 2, 3), keepdim=True, correction=0)
    tokens, seen, masked = _glance(edges, images)
    there = edges.glance.pixels((steep - mean) / scale, masked)
    own = edges.edges(tokens, seen, masked)
    drawn_by = {"its own pixels": (edges, edges.pixels), "`mae`": (mae, mae.decoder)}
    guesses = {"`gradient_masked`, the decoder of edges": own}
    for name, (task, decoder) in drawn_by.items():
        tokens, seen, masked = _glance(task, images)
        picture = _pictures(images, seen, masked, decoder(tokens, seen, masked))
        guesses[f"the picture drawn by {name}"] = edges.glance.pixels((steepness(picture) - mean) / scale, masked)
    error = {k: (v - there).square().mean((1, 2)).numpy() for k, v in guesses.items()}
    agree = {k: _correlation(v, there) for k, v in guesses.items()}
    first = next(iter(guesses))
    lines = [
        "**`gradient_masked`: edges of hidden patches**, as vessels and lesions have them, in the tested images: error "
        "of the gradient image (standardised per image; a picture is given the true mean and scale) and correlation "
        "with it.", "",
        "| said by | error | decoder of edges − it | correlation | decoder of edges − it |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name in guesses:
        apart = ("", "") if name == first else tuple(told(at.more(of[first], of[name])) for of in (error, agree))
        lines.append(f"| {name} | {at.more(error[name])!s} | {apart[0]} | {at.more(agree[name])!s} | {apart[1]} |")
    last = list(guesses)[-1]
    less, more = at.more(error[first], error[last]), at.more(agree[first], agree[last])
    return [
        *lines, "", f"The decoder of edges {verdict(more)} against `mae` by correlation; by error its difference is "
        f"{'below' if less.high < 0 else 'not below'} 0.", "",
    ]  # fmt: skip


def _correlation(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    a, b = (x.flatten(1) - x.flatten(1).mean(1, keepdim=True) for x in (a, b))
    return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp_min(1e-9)).numpy()


@torch.no_grad()
def _words(at: Ground, true: Any, control: Any, images: torch.Tensor) -> list[str]:
    """Names of an unseen patient's signs, said from that image and from another patient's."""
    rows = np.arange(len(images))
    other = np.roll(rows, len(rows) // 2)  # in the order of ids, which are digests: another patient's in all but a few
    lines = [
        "**`knowledge_masked`: words said from an image.** Cross-entropy, in nats per word, of the words of the tested "
        "images, of which the tower sees the unmasked patches: of the image itself, or of another.", "",
        "| trained with | own image | another's | another's − own |", "|---|---|---|---|",
    ]  # fmt: skip
    gains: list[np.ndarray] = []
    for name, task in (("words of its own images", true), ("words of other patients (control)", control)):
        tokens, _, _ = _glance(task, images)
        own, wrong = (task.reader(tokens.mean(1)[some], rows, 0)[0].numpy() for some in (rows, other))
        gains.append(wrong - own)
        lines.append(f"| {name} | {at.more(own)!s} | {at.more(wrong)!s} | {told(at.more(wrong, own))} |")
    apart = at.more(*gains)
    return [
        *lines, "",
        f"Looking at the image {verdict(at.more(gains[0]))}; more than in the control: {told(apart)}.", "",
    ]  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(measure() + "\n")
