"""Domain shift where the tower learns, on the phantom: what works inside a network or on pixels, and what it costs.

python recipes/mechanisms/shift_finetune.py           the section of the page
python recipes/mechanisms/shift_finetune.py choose    every setting on seed 0, by which `CHOSEN` was chosen

Two domains are learned on and a third is tested; every eye is a patient of its own, and the style of a device is laid
over rendered eyes. The setting of each method was chosen once, on seed 0, by validation eyes of the two domains learned
on, as the mean over the two worlds with a shift; it is measured on other seeds.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from grounds.told import told, verdict
from jaxtyping import Float64, UInt8

from tapetum.bench.trust.domains import Cut, Pooled, cut
from tapetum.bench.trust.shift_settings import Grid, Setting, settings_of
from tapetum.bench.trust.shifted import Learner, macro
from tapetum.core.types import ImageRecord, Interval, Laterality, Split
from tapetum.learn.classifying.pictures import Pictures
from tapetum.learn.features.embedder import Embedder
from tapetum.phantom import EyeSpec, render_eye
from tapetum.score.stats.bounds import drawn_difference, drawn_interval
from tapetum.score.stats.intervals import macro_draws

CHOSEN_ON, SEEDS, SIZE = 0, (1, 2), 64
TOWER, AUGMENT = f"tiny(size={SIZE}, dim=128)", "geometric()"
SIGN, SEVERITY = "hard_exudate", (0.1, 0.5)
LEARNED, JUDGED, TESTED = 140, 60, 400  # eyes of each domain
DRAWS = 1000
GRID = Grid((0.03,), (0.1, 1.0, 10.0), (0.1, 1.0, 10.0), 15, 32, mode="finetune")
FROZEN = "erm, frozen tower"
LOOK = "erm, light and colour changed"
ARTEFACTS = "erm, artefacts and light changed"
SPECS = {
    LOOK: "one_stage(augment='photometric()')",
    ARTEFACTS: "one_stage(augment='fundus_artefacts() + photometric()')",
}
METHODS = (
    "erm", LOOK, ARTEFACTS, "evened_domains", "mixup", "domain_mixup", "mixstyle", "mixstyle_crossdomain", "sagnet",
    "gdrnet",
)  # fmt: skip
# Which of the three settings, mildest first: what `choose` prints.
CHOSEN = {
    "erm": 1, LOOK: 0, ARTEFACTS: 1, "evened_domains": 1, "mixup": 0, "domain_mixup": 1, "mixstyle": 1,
    "mixstyle_crossdomain": 2, "sagnet": 0, "gdrnet": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """What a device makes of a picture: colours multiplied, light from one side, a tone curve."""

    gains: tuple[float, float, float]
    uneven: float
    gamma: float

    def __call__(self, picture: UInt8[np.ndarray, "h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
        """The picture as the device shows it; the light comes from anywhere."""
        across = np.linspace(-1, 1, len(picture))
        turn = rng.uniform(0, 2 * np.pi)
        light = 1 + self.uneven * (np.cos(turn) * across[None] + np.sin(turn) * across[:, None]) / np.sqrt(2)
        shown = (picture / 255.0) ** self.gamma * np.array(self.gains) * light[..., None]
        return (255 * shown.clip(0, 1)).round().astype(np.uint8)


PLAIN = Style((1.0, 1.0, 1.0), 0.1, 1.0)
WARM = Style((1.05, 0.85, 0.75), 0.2, 0.9)
COLD = Style((0.75, 0.95, 1.3), 0.6, 1.2)


@dataclass(frozen=True)
class World:
    """A planted shift.

    Args:
        name: heading. says: what it is. often: share of eyes with the sign in each domain.
        styles: of each domain; of the tested one any of those named.
    """

    name: str
    says: str
    often: tuple[float, float, float]
    styles: tuple[tuple[Style, ...], ...]


WORLDS = (
    World("no shift (negative control)", "Three domains in name only: one device, half of the eyes with the sign.",
          (0.5, 0.5, 0.5), ((PLAIN,), (PLAIN,), (PLAIN,))),
    World("a device of another style", "A plain and a warm device are learned on; the one that is tested is cold, and "
          "lit from one side. Half of the eyes of each have the sign.", (0.5, 0.5, 0.5), ((PLAIN,), (WARM,), (COLD,))),
    World("devices that tell the class", "85 % of the plain device's eyes have the sign, 15 % of the warm one's. The "
          "clinic that is tested has both, and half of the eyes of each have the sign.",
          (0.85, 0.15, 0.5), ((PLAIN,), (WARM,), (PLAIN, WARM))),
)  # fmt: skip


@dataclass(frozen=True)
class Shelf:
    """Pictures in memory, read as an archive is."""

    records: tuple[ImageRecord, ...]
    shown: dict[str, UInt8[np.ndarray, "h w 3"]]
    cache: Path

    def pixels(self, image_id: str, *, min_side: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture."""
        del min_side
        return self.shown[image_id]


def photographed(world: World, seed: int, folder: Path) -> tuple[Pooled, Shelf]:
    """Rendered eyes of three domains under their devices, with features of the untrained tower."""
    rng = np.random.default_rng([seed, WORLDS.index(world)])
    records, shown, labels, domains = list[ImageRecord](), dict[str, np.ndarray](), list[int](), list[int]()
    for domain in range(3):
        last = domain == 2
        parts = [Split.TRAIN] * LEARNED + [Split.VAL] * JUDGED + [Split.TEST] * (TESTED if last else 0)
        for i, part in enumerate(parts):
            label = int(rng.random() < world.often[domain])
            signs = {SIGN: float(rng.uniform(*SEVERITY))} if label else {}
            age, pigment = float(rng.uniform(30, 80)), float(rng.uniform(0.2, 0.9))
            eye = EyeSpec(Laterality.RIGHT, int(rng.integers(2**31)), signs, age, pigment)
            style = world.styles[domain][int(rng.integers(len(world.styles[domain])))]
            name = f"{domain}-{i}"
            shown[name] = style(render_eye(eye, size=SIZE, rng=rng).image, rng)
            records.append(ImageRecord(
                name, name, "unknown", Laterality.RIGHT, "fundus", SIZE, SIZE, 3, 8, np.nan, age, "unknown", "unknown",
                name, "", (), part,
            ))  # fmt: skip
            labels.append(label)
            domains.append(domain)
    embedder = Embedder(TOWER, threads=1)
    names = tuple(shown)
    pooled = Pooled(
        ("first", "second", "unseen"), (), "keep", (SIGN,), embedder.pixels(list(shown.values()), batch=64),
        np.array(labels, dtype=np.float64)[:, None], np.array(names), np.array(domains),
        np.array([r.split for r in records], dtype=object), names, 1, (), dict(embedder.blocks),
    )  # fmt: skip
    return pooled, Shelf(tuple(records), shown, folder)


def learned(pooled: Pooled, shelf: Shelf, where: Cut, setting: Setting, seed: int, mode: str) -> list[np.ndarray]:
    """Logits of the validation eyes of the two domains and of the tested eyes."""
    pictures = Pictures(shelf, TOWER, AUGMENT, seed) if mode == "finetune" else None
    how = Learner(0, False, seed, pictures)
    return how.logits(pooled, how.view(pooled, where.learn), where.learn, [where.val, where.tested], setting)


def chosen(method: str) -> Setting:
    """The setting of a method, as it was chosen."""
    return settings_of(SPECS.get(method, method), GRID)[CHOSEN[method]]


def choose() -> str:
    """Every setting on the seed that is for choosing: AUROC on validation eyes of the domains learned on."""
    lines = list[str]()
    grounds = [(w, *photographed(w, CHOSEN_ON, Path(tempfile.mkdtemp()))) for w in WORLDS[1:]]
    for method in METHODS:
        found = list[float]()
        for setting in settings_of(SPECS.get(method, method), GRID):
            each, own = list[float](), list[float]()
            for _, pooled, shelf in grounds:
                where = cut(pooled, 2, [0, 1], "test")
                val, tested = learned(pooled, shelf, where, setting, CHOSEN_ON, "finetune")
                of = [pooled.domains[where.val] == d for d in (0, 1)]
                each.append(float(np.mean([macro(val[m], pooled.labels[where.val[m]]) for m in of])))
                own.append(macro(tested, pooled.labels[where.tested]))
            found.append(float(np.mean(each)))
            shown = ", ".join(f"{v:.3f}" for v in each)
            beside = ", ".join(f"{v:.3f}" for v in own)
            lines.append(f"{method}: {setting}: mean {found[-1]:.3f} ({shown}); tested, not chosen by: {beside}")
            print(lines[-1], file=sys.stderr, flush=True)
        lines.append(f'    "{method}": {int(np.argmax(found))},')
    return "\n".join(lines)


@dataclass(frozen=True)
class Seen:
    """AUROC of every row in each run: on all tested eyes `[s m]`, and in every draw of eyes `[s b m]`."""

    once: Float64[np.ndarray, "s m"]
    drawn: Float64[np.ndarray, "s b m"]

    def row(self, which: int, against: int | None) -> Interval:
        """Mean over runs, drawn with the eyes; or the difference to another row, paired."""
        number = len(self.once)
        share = np.random.default_rng(0).multinomial(number, np.full(number, 1 / number), size=DRAWS) / number
        once, drawn = self.once[:, which], self.drawn[:, :, which]
        if against is not None:
            once, drawn = once - self.once[:, against], drawn - self.drawn[:, :, against]
        whole = (drawn.T * share).sum(axis=1)
        people = [f"eye{i}" for i in range(TESTED)]
        if against is None:
            return drawn_interval(float(once.mean()), whole, people, level=0.95)
        return drawn_difference(float(once.mean()), whole, people, level=0.95).interval


def seen(world: World) -> Seen:
    """Every row in every run."""
    once, drawn = list[np.ndarray](), list[np.ndarray]()
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            pooled, shelf = photographed(world, seed, Path(folder))
            where = cut(pooled, 2, [0, 1], "test")
            rows = [learned(pooled, shelf, where, chosen(m), seed, "finetune")[1] for m in METHODS]
            rows.append(learned(pooled, shelf, where, chosen("erm"), seed, "frozen")[1])
            there = np.flatnonzero((pooled.domains == 2) & (pooled.splits == Split.TRAIN))
            own = Cut(2, there, where.tuned, where.tested, where.tuned, where.own)
            rows.append(learned(pooled, shelf, own, chosen("erm"), seed, "finetune")[1])
        labels, who = pooled.labels[where.tested], pooled.patients[where.tested]
        found = macro_draws(rows, labels, who, rng=np.random.default_rng(seed), draws=DRAWS)
        once.append(found.estimates)
        drawn.append(found.drawn)
    return Seen(np.stack(once), np.stack(drawn))


def table(names: Sequence[str], found: Seen) -> tuple[list[str], dict[str, Interval]]:
    """One line per row, and the differences to ERM."""
    lines, apart = ["| method | AUROC | − ERM |", "|---|---|---|"], dict[str, Interval]()
    for i, name in enumerate(names):
        if i:
            apart[name] = found.row(i, 0)
        lines.append(f"| {name} | {found.row(i, None)} | {told(apart[name]) if i else ''} |")
    return [*lines, ""], apart


def measure() -> str:
    """The section of the page on mechanisms: tables in Markdown."""
    start = time.process_time()
    lines = [
        "### Domain shift: towers that learn", "",
        f"PHANTOM, {SIZE} px. {LEARNED} eyes of each of two domains are learned on and {TESTED} eyes of a third are "
        f"tested; one sign ({SIGN}). A small random tower of three convolutions learns with its head for {GRID.epochs} "
        f"epochs; all pictures are turned and flipped. Settings were chosen on seed {CHOSEN_ON} by validation eyes of "
        f"the domains learned on (`python recipes/mechanisms/shift_finetune.py choose`); these are runs of seeds "
        f"{', '.join(map(str, SEEDS))}, each with eyes of its own. 95 % intervals over tested eyes and runs; "
        f"differences are paired. *Learned there*: ERM on {LEARNED} eyes of the tested domain.", "",
    ]  # fmt: skip
    names = (*METHODS, FROZEN, "learned there (reference)")
    for world in WORLDS:
        found, apart = table(names, seen(world))
        said = "; ".join(f"{name} {verdict(apart[name])}" for name in METHODS[1:])
        lines += [f"**{world.name}.** {world.says}", "", *found, f"Against ERM: {said}.", ""]
    settings = "; ".join(f"{m}: `{chosen(m)}`" for m in METHODS)
    took = time.process_time() - start
    lines += [f"Settings: {settings}.", "", f"{took:.0f} s of one core: `python recipes/mechanisms/shift_finetune.py`"]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(choose() + "\n" if sys.argv[1:] == ["choose"] else measure())
