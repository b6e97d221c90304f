"""Domain shift on the phantom: which method closes which planted shift, and what each costs where there is none.

python recipes/mechanisms/shift.py            the section of the page
python recipes/mechanisms/shift.py offsets    on the other seed: offsets as fast as weights, or thirty times as fast

Two domains are learned on and a third is tested, which differs from both as the section says; every eye is a patient of
its own. Settings are chosen by validation eyes of the two domains, and by the oracle beside it. Nothing else is chosen.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tapetum.bench.trust.domains import Cut, Pooled, cut
from tapetum.bench.trust.shift_settings import ERM, Grid
from tapetum.bench.trust.shifted import Chosen, Learner, chosen_for, macro
from tapetum.core.types import Interval, Laterality, Split
from tapetum.learn.features.embedder import Embedder
from tapetum.phantom import EyeSpec, render_eye
from tapetum.score.stats.bounds import drawn_difference, drawn_interval
from tapetum.score.stats.intervals import macro_draws

SEED, SIZE = 1, 96
CHOOSING = 0  # the seed that was looked at while this was made
SIGN, SEVERITY = "microaneurysm", (0.05, 0.2)
LEARNED, JUDGED, TESTED = 200, 80, 400  # eyes of each domain
DRAWS = 1000
GRID = Grid((3e-3,), (0.1, 1.0, 10.0), (0.1, 1.0, 10.0), 30, 128)
METHODS = (
    ERM, "erm_hidden", "coral", "coral_within", "mmd", "dann", "irm", "vrex", "fishr", "group_dro", "mixup", "swad",
    "ema", "evened_domains", "nuisance_projection", "restyled", "latent_domains", "domain_standardised", "recoloured",
    "erm@own",
)  # fmt: skip
RULES = ("training_domain", "oracle")
Draw = Callable[[int, int, np.random.Generator], tuple[str, str]]


@dataclass(frozen=True)
class World:
    """A planted shift.

    Args:
        name: heading. says: what it is. often: share of eyes with the sign in each domain.
        looks: domain, class and generator → camera and marker.
    """

    name: str
    says: str
    often: tuple[float, float, float]
    looks: Draw


def plain(domain: int, label: int, rng: np.random.Generator) -> tuple[str, str]:
    """No shift: one camera."""
    del domain, label, rng
    return "cam_a", "none"


def cameras(domain: int, label: int, rng: np.random.Generator) -> tuple[str, str]:
    """A camera each."""
    del label, rng
    return ("cam_a", "cam_b", "cam_c")[domain], "none"


def merged(domain: int, label: int, rng: np.random.Generator) -> tuple[str, str]:
    """A camera each where it is learned; both of them in the clinic that is tested."""
    del label
    return ("cam_a", "cam_b")[domain if domain < 2 else int(rng.random() < 0.5)], "none"


def marked(domain: int, label: int, rng: np.random.Generator) -> tuple[str, str]:
    """A tint that agrees with the finding in 95 % and 80 % of the eyes learned on, and in 10 % of those tested."""
    agrees = rng.random() < (0.95, 0.80, 0.10)[domain]
    return "cam_a", "cast" if bool(label) == bool(agrees) else "none"


WORLDS = (
    World("no shift (negative control)", "Three domains in name only: one camera, half of the eyes with the sign.",
          (0.5, 0.5, 0.5), plain),
    World("cameras", "Three cameras, half of the eyes with the sign in each.", (0.5, 0.5, 0.5), cameras),
    World("cameras that tell the class", "Two cameras; 85 % of one's eyes have the sign, 15 % of the other's. The "
          "clinic that is tested has both, and half of the eyes of each have the sign.", (0.85, 0.15, 0.5), merged),
    World("a marker that turns", "One camera; a tint agrees with the sign in 95 % and 80 % of the eyes learned on, and "
          "in 10 % of those tested.", (0.5, 0.5, 0.5), marked),
)  # fmt: skip


def photographed(world: World, embedder: Embedder, seed: int = SEED) -> Pooled:
    """Rendered and embedded eyes of three domains."""
    rng = np.random.default_rng([seed, WORLDS.index(world)])
    pictures: list[np.ndarray] = []
    labels: list[int] = []
    domains: list[int] = []
    splits: list[Split] = []
    for domain in range(3):
        parts = [Split.TRAIN] * LEARNED + [Split.VAL] * JUDGED
        parts = [Split.TEST] * TESTED + [Split.VAL] * JUDGED if domain == 2 else parts
        for part in parts:
            label = int(rng.random() < world.often[domain])
            camera, marker = world.looks(domain, label, rng)
            signs = {SIGN: float(rng.uniform(*SEVERITY))} if label else {}
            identity = int(rng.integers(2**31))
            age, pigment = float(rng.uniform(30, 80)), float(rng.uniform(0.2, 0.9))
            eye = EyeSpec(Laterality.RIGHT, identity, signs, age, pigment, camera=camera, marker=marker)
            pictures.append(render_eye(eye, size=SIZE, rng=rng).image)
            labels.append(label)
            domains.append(domain)
            splits.append(part)
    names = tuple(f"eye{i}" for i in range(len(labels)))
    return Pooled(
        ("first", "second", "unseen"), (), "keep", (SIGN,), embedder.pixels(pictures, batch=16),
        np.array(labels, dtype=np.float64)[:, None], np.array(names), np.array(domains),
        np.array(splits, dtype=object), names, 1, (), dict(embedder.blocks),
    )  # fmt: skip


def rows(pooled: Pooled, where: Cut, chosen: Sequence[Chosen]) -> list[str]:
    """One line per method: AUROC by either rule, and the difference to ERM chosen alike."""
    labels, who = pooled.labels[where.tested], pooled.patients[where.tested]
    found = macro_draws([c.run.tested for c in chosen], labels, who, rng=np.random.default_rng(SEED), draws=DRAWS)
    place = {(c.method, c.rule): i for i, c in enumerate(chosen)}

    def level(i: int) -> str:
        return _shown(drawn_interval(float(found.estimates[i]), found.drawn[:, i], who, level=0.95), "")

    def apart(i: int, j: int) -> str:
        value, drawn = float(found.estimates[i] - found.estimates[j]), found.drawn[:, i] - found.drawn[:, j]
        return _shown(drawn_difference(value, drawn, who, level=0.95).interval, "+")

    lines = ["| method | AUROC | − ERM | AUROC, oracle | − ERM, oracle |", "|---|---|---|---|---|"]
    for method in METHODS:
        mine = [place[method, rule] for rule in RULES]
        base = [place[ERM, rule] for rule in RULES]
        cells = [cell for i, j in zip(mine, base, strict=True) for cell in (level(i), "" if i == j else apart(i, j))]
        reads = " (reads test images)" if chosen[mine[0]].reads else ""
        lines.append(f"| {method}{reads} | {' | '.join(cells)} |")
    last = place["reference", ""]
    return [*lines, f"| learned there (reference) | {level(last)} | {apart(last, place[ERM, RULES[0]])} | | |", ""]


def _shown(interval: Interval, sign: str) -> str:
    x = interval
    return f"{x.estimate:{sign}.3f} [{x.low:{sign}.3f}, {x.high:{sign}.3f}]"


def measure() -> str:
    """The section of the page on mechanisms: tables in Markdown."""
    start = time.monotonic()
    embedder = Embedder(f"efficientnet_lite(size={SIZE})", threads=1)
    lines = [
        "### Domain shift: what closes which", "",
        f"PHANTOM. {LEARNED} eyes of each of two domains are learned on, {JUDGED} of each choose among three settings "
        f"per method, {TESTED} eyes of a third domain are tested; the oracle chooses on {JUDGED} others of the third. "
        f"One faint sign ({SIGN}), frozen features at {SIZE} px. 95 % intervals over eyes, of one drawing of the eyes "
        "learned on.", "",
    ]  # fmt: skip
    for world in WORLDS:
        pooled = photographed(world, embedder)
        where = cut(pooled, 2, [0, 1], "test")
        chosen, _ = chosen_for(pooled, where, METHODS, GRID, RULES, Learner(128, False, SEED))
        lines += [f"**{world.name}.** {world.says}", "", *rows(pooled, where, chosen)]
    lines += [f"`python recipes/mechanisms/shift.py`: {time.monotonic() - start:.0f} s", ""]
    return "\n".join(lines)


def offsets() -> str:
    """AUROC with offsets as fast as the weights, and what changes where they are thirty times as fast."""
    embedder, lines = Embedder(f"efficientnet_lite(size={SIZE})", threads=1), list[str]()
    for world in WORLDS:
        pooled = photographed(world, embedder, CHOOSING)
        where = cut(pooled, 2, [0, 1], "test")
        found = list[dict[str, float]]()
        for rate in (1.0, 30.0):
            grid = dataclasses.replace(GRID, offset_rate=rate)
            chosen, _ = chosen_for(pooled, where, METHODS, grid, RULES[:1], Learner(128, False, CHOOSING))
            found.append({c.method: macro(c.run.tested, pooled.labels[where.tested]) for c in chosen})
        lines += [f"{world.name}, {m}: {v:.3f}, {found[1][m] - v:+.3f}" for m, v in found[0].items()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    sys.stdout.write(offsets() if sys.argv[1:] == ["offsets"] else measure())
