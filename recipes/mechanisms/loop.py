"""Augmentation and a moving average of the weights, each against none, on a small network trained on the phantom.

python recipes/mechanisms/loop.py

Augmentation is there for what the few training images do not show: they all stand upright, in one light and with
nothing in the way, and the tested ones come in other light, turned and shifted, or partly covered. The moving average
is there for the noise of large steps: it is set beside the weights of the same run, while the rate is high and when it
has fallen to 0. Every arm runs with the same seeds, that is, with the same start and the same batches. Settings were
chosen on clinics of the seeds 100, 102 and 1100; those of `TESTED` and `JUDGED` are measured. The average was measured
before on the clinic of seed 200, with 8 runs: too few to tell its gain from 0 half way, so that their number was raised
and fresh patients taken. Negative control: a flip turns one side into the other, so that nothing can be learned.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from tapetum.core.types import ImageRecord, Interval, Laterality, Split
from tapetum.learn.features.loader import Loader
from tapetum.learn.features.preprocess import Preprocess
from tapetum.learn.training.history import LoopSettings
from tapetum.learn.training.loop import HELD_OUT, LossOf, run_loop
from tapetum.phantom import EyeSpec, render_eye
from tapetum.score.stats import paired_runs_difference, runs_auroc_interval

TESTED, JUDGED = 200, 300  # seeds of the clinics that are measured: for augmentation, for the average
TAUGHT, OTHERS, SIDE = 8, 60, 64  # patients, two eyes each; side of the images in pixels
SEEDS = 5
SETTINGS = LoopSettings(epochs=40, batch=4, learning_rate=2e-3, weight_decay=0.05, patience=0)
# Large steps on few images at a time, and some wrong labels: what the average is to even out.
LEARNERS, WRONG, RUNS = 24, 0.2, 24
NOISY = LoopSettings(epochs=16, batch=4, learning_rate=8e-3, weight_decay=0.05, patience=0, ema=0.98)
PLAIN = "none"
ARMS = ("photometric()", "geometric(flip=0.0)", "erase()", "geometric(flip=0.0) + photometric() + erase()")
MEANT_FOR = {"photometric()": "other light", "geometric(flip=0.0)": "turned and shifted", "erase()": "covered"}
CONTROL, CHANCE = "geometric(flip=0.5)", 0.6
Picture = UInt8[np.ndarray, "s s 3"]
Runs = Float[np.ndarray, "s n k"]


class Album:
    """Photographs of both eyes of phantom patients, in one light and upright."""

    def __init__(self, cache: Path, patients: int, seed: int) -> None:
        self.cache, self.images, found = cache, dict[str, Picture](), list[ImageRecord]()
        for n in range(patients):
            rng = np.random.default_rng([seed, n])
            pigment, age = float(rng.beta(2.2, 2.2)), float(rng.uniform(30, 85))
            for side in (Laterality.RIGHT, Laterality.LEFT):
                eye = EyeSpec(side, int(rng.integers(2**40)), {}, age, pigment, float(rng.uniform(0.2, 0.5)))
                name = f"{seed}-{n:03d}-{side}"
                self.images[name] = render_eye(eye, size=SIDE, rng=rng).image
                found.append(
                    ImageRecord(
                        name, f"{seed}-{n:03d}", "unknown", side, "fundus", SIDE, SIDE, 3, 8, float("nan"), age,
                        "unknown", "unknown", name, "", (), Split.NONE,
                    )
                )  # fmt: skip
        self.records = tuple(found)
        self.truth = np.array([float(r.laterality is Laterality.RIGHT) for r in found])[:, None]
        self.who = np.array([r.patient_id for r in found])

    @classmethod
    def of(cls, first: Album, second: Album) -> Album:
        """Both, one after the other."""
        both = cls(first.cache.with_name(f"{first.cache.name}-{second.cache.name}"), 0, 0)
        both.images, both.records = first.images | second.images, first.records + second.records
        both.truth, both.who = np.concatenate([first.truth, second.truth]), np.concatenate([first.who, second.who])
        return both

    def pixels(self, image_id: str, *, min_side: int) -> Picture:
        """As it was taken."""
        del min_side
        return self.images[image_id]


class Network(nn.Module):
    """Three convolutions, then one linear layer on what stands where."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 16, 5, 2, 2), nn.GELU(), nn.Conv2d(16, 32, 3, 2, 1), nn.GELU(),
                nn.Conv2d(32, 32, 3, 2, 1), nn.GELU(), nn.Flatten(), nn.Linear(32 * (SIDE // 8) ** 2, 1),
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.layers(x)


def other_light(image: Picture, rng: np.random.Generator) -> Picture:
    """A weaker or stronger lamp of another colour, and another tone curve."""
    gain, bend = np.exp(rng.uniform(-0.5, 0.5)), np.exp(rng.uniform(-0.4, 0.4))
    tint = np.exp(rng.uniform(-0.25, 0.25, 3))
    return np.clip(np.rint(255 * (image / 255) ** bend * gain * tint), 0, 255).astype(np.uint8)


def moved(image: Picture, rng: np.random.Generator) -> Picture:
    """Turned by up to 25 degrees and shifted by up to a sixth of the side, with black coming in."""
    middle = (SIDE - 1) / 2
    change = cv2.getRotationMatrix2D((middle, middle), float(rng.uniform(-25, 25)), 1.0)
    change[:, 2] += rng.uniform(-SIDE / 6, SIDE / 6, 2)
    return np.asarray(cv2.warpAffine(image, change, (SIDE, SIDE)), dtype=np.uint8)


def covered(image: Picture, rng: np.random.Generator) -> Picture:
    """A grey square over a fifth of the image, anywhere."""
    side = round(SIDE * 0.2**0.5)
    top, left = rng.integers(0, SIDE - side + 1, 2)
    changed = image.copy()
    changed[top : top + side, left : left + side] = 90
    return changed


def _same(image: Picture, rng: np.random.Generator) -> Picture:
    del rng
    return image


TESTS: Mapping[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "as they are": _same, "other light": other_light, "turned and shifted": moved, "covered": covered,
}  # fmt: skip


def ways(others: Album, seed: int) -> dict[str, Tensor]:
    """The tested images, way by way, as the network takes them."""
    prepare = Preprocess(SIDE)
    return {
        name: torch.from_numpy(
            np.stack([
                prepare(change(image, np.random.default_rng([seed, n])))
                for n, image in enumerate(others.images.values())
            ])
        )
        for name, change in TESTS.items()
    }  # fmt: skip


def augmented(taught: Album, tested: Mapping[str, Tensor], augment: str) -> dict[str, Runs]:
    """Logits of the tested images, way by way and seed by seed, of networks trained with this augmentation."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in tested}
    rows = np.arange(len(taught.records))
    for seed in range(SEEDS):
        network = Network(seed)
        load = Loader(taught, Preprocess(SIDE), list(taught.images), augment=augment, seed=seed)
        run_loop(network, loss_of(network, load, taught.truth), rows, rows[:0], SETTINGS, np.random.default_rng(seed))
        with torch.no_grad():
            for name, x in tested.items():
                found[name].append(network(x).numpy())
    return {name: np.stack(runs) for name, runs in found.items()}


def loss_of(network: Network, load: Loader, truth: np.ndarray, kept: list[np.ndarray] | None = None) -> LossOf:
    """The loss of some rows; the logits of held-out ones are also put into `kept`."""
    known = torch.from_numpy(truth.astype(np.float32))

    def loss(rows: np.ndarray, epoch: int) -> Tensor:
        logits = network(load(rows, epoch))
        if epoch == HELD_OUT and kept is not None:
            kept.append(logits.numpy().copy())
        return nn.functional.binary_cross_entropy_with_logits(
            logits, known[torch.from_numpy(rows)], reduction="none"
        ).mean(1)

    return loss


def averaged(taught: Album, others: Album) -> tuple[Runs, Runs]:
    """Logits of the tested images after each epoch, run by run: of the weights, and of their moving average.

    The tested images stand where held-out ones do: the loop judges them twice after each epoch, and what it would keep
    is not looked at.
    """
    both = Album.of(taught, others)
    rows = np.arange(len(taught.records))
    tested = np.arange(len(rows), len(both.records))
    found: list[np.ndarray] = []
    for seed in range(RUNS):
        rng = np.random.default_rng([seed, 1])
        truth = both.truth.copy()
        wrong = rng.permutation(len(rows))[: round(WRONG * len(rows))]
        truth[wrong] = 1 - truth[wrong]
        kept: list[np.ndarray] = []
        network, load = Network(seed), Loader(both, Preprocess(SIDE), list(both.images), seed=seed)
        run_loop(network, loss_of(network, load, truth, kept), rows, tested, NOISY, np.random.default_rng(seed))
        found.append(np.concatenate(kept).reshape(NOISY.epochs, 2, len(tested), 1))
    logits = np.stack(found)
    return logits[:, :, 0], logits[:, :, 1]


def told(a: Interval) -> str:
    """A difference with its interval."""
    return f"{a.estimate:+.3f} [{a.low:+.3f}, {a.high:+.3f}]"


def apart(a: Runs, b: Runs, of: Album) -> Interval:
    """AUROC of a minus that of b, over patients and runs."""
    return paired_runs_difference(a, b, of.truth, of.who, rng=np.random.default_rng(0), draws=1000).interval


def level(a: Runs, of: Album) -> str:
    """AUROC, over patients and runs."""
    return str(runs_auroc_interval(a, of.truth, of.who, rng=np.random.default_rng(0), draws=1000))


def each(a: Runs, of: Album) -> np.ndarray:
    """AUROC of every run by itself."""
    rng = np.random.default_rng(0)
    return np.array([runs_auroc_interval(r[None], of.truth, of.who, rng=rng, draws=1).estimate for r in a])


def augmentation(folder: Path, taught_seed: int, seed: int) -> list[str]:
    """The table of augmentations, and what it says."""
    taught, others = Album(folder / "taught", TAUGHT, taught_seed), Album(folder / "others", OTHERS, seed)
    tested = ways(others, seed)
    runs = {arm: augmented(taught, tested, arm) for arm in ("", *ARMS, CONTROL)}
    lines = [
        f"PHANTOM, {SIDE} px. Left or right eye, by three convolutions and one linear layer from scratch: "
        f"{len(taught.records)} images of {TAUGHT} patients to learn from, all upright, in one light and with nothing "
        f"in the way; {len(others.records)} of {OTHERS} others are tested, as they are and changed: "
        f"{_doc(other_light)}; {_doc(moved)}; {_doc(covered)}. {SEEDS} seeds, the same for every arm, "
        f"{SETTINGS.epochs} epochs. Settings were chosen on patients of other clinics; these are measured once. AUROC "
        "without augmentation, then the difference of each arm to it; 95 % intervals over "
        "patients and seeds.", "",
        f"| trained with | {' | '.join(tested)} |", "|---|" + "---|" * len(tested),
        f"| {PLAIN} | {' | '.join(level(runs[''][way], others) for way in tested)} |",
    ]  # fmt: skip
    differences = {(arm, way): apart(runs[arm][way], runs[""][way], others) for arm in ARMS for way in tested}
    lines += [f"| `{arm}` | {' | '.join(told(differences[arm, way]) for way in tested)} |" for arm in ARMS]
    clear = [f"`{arm}` ({way})" for arm, way in MEANT_FOR.items() if differences[arm, way].low > 0]
    costs = [f"`{a}` ({w}, {told(d)})" for (a, w), d in differences.items() if d.high < 0]
    flipped = runs[CONTROL]["as they are"]
    unclear = [f"`{arm}` ({way})" for arm, way in MEANT_FOR.items() if differences[arm, way].low <= 0]
    return [
        *lines, "",
        f"Better than none with an interval above 0, where it is meant to help: {', '.join(clear) or 'none of them'}."
        + (f" Not clearly: {', '.join(unclear)}." if unclear else "")
        + f" Clearly worse than none: {'; '.join(costs) or 'nothing'}.", "",
        f"Negative control, `{CONTROL}`, on the images as they are: {level(flipped, others)}, "
        f"{'not better than chance' if each(flipped, others).mean() < CHANCE else 'LEARNED: something is wrong'}.", "",
    ]  # fmt: skip


def average(folder: Path, taught_seed: int, seed: int) -> list[str]:
    """The table of the moving average, and what it says."""
    taught, others = Album(folder / "learners", LEARNERS, taught_seed), Album(folder / "judged", OTHERS, seed)
    own, mean = averaged(taught, others)
    lines = [
        f"**Moving average of the weights**, ema={NOISY.ema:g}, beside the weights of the same run: "
        f"{len(taught.records)} images of {LEARNERS} patients, {WRONG:.0%} of the labels wrong, batches of "
        f"{NOISY.batch}, peak rate {NOISY.learning_rate:g}, {RUNS} runs; {len(others.records)} images of {OTHERS} "
        "others are tested. The rate falls to 0 by a cosine, so that the last steps average themselves: the average is "
        "there for the time before, when a run is stopped early. Half of the run was named beforehand as the place to "
        "look at. An earlier measurement on other patients, with 8 runs, could not tell the gain there from 0; the "
        "runs were then made more, and these patients are fresh.", "",
        "| share of the run | AUROC of the weights | of their average | difference | spread over runs |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    found: dict[float, Interval] = {}
    for share in (0.25, 0.5, 0.75, 1.0):
        a, b = mean[:, round(share * NOISY.epochs) - 1], own[:, round(share * NOISY.epochs) - 1]
        found[share] = apart(a, b, others)
        spread = f"{each(b, others).std(ddof=1):.3f} → {each(a, others).std(ddof=1):.3f}"
        lines.append(f"| {share:.0%} | {level(b, others)} | {level(a, others)} | {told(found[share])} | {spread} |")
    steps = [np.abs(np.diff([each(kind[:, e], others) for e in range(NOISY.epochs)], axis=0)) for kind in (own, mean)]
    return [
        *lines, "",
        f"{verdict(found)} From one epoch to the next the AUROC of the weights moves by {steps[0].mean():.3f} on "
        f"average, that of their average by {steps[1].mean():.3f}.", "",
    ]  # fmt: skip


def verdict(found: Mapping[float, Interval]) -> str:
    """Where the average is clearly better than the weights, the place named beforehand first."""
    named = "shows" if found[0.5].low > 0 else "is not clear"
    above = ", ".join(f"{share:.0%}" for share, gain in found.items() if gain.low > 0) or "none of them"
    under = ", ".join(f"{share:.0%}" for share, gain in found.items() if gain.high < 0) or "none of them"
    return (
        f"Half way, the place named beforehand, the effect {named}. The interval of the difference is above 0 at "
        f"{above} of the run, below 0 at {under}."
    )


def _doc(change: Callable[..., Picture]) -> str:
    """What a change does, from its first line."""
    text = (change.__doc__ or "").split("\n")[0].rstrip(".")
    return text[0].lower() + text[1:]


def measure() -> str:
    """The section of the page on mechanisms: two tables; those who teach are other patients than those tested."""
    torch.set_num_threads(1)
    start, used = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as place:
        parts = [
            "### Augmentation and moving average in the training loop", "",
            *augmentation(Path(place), TESTED + 1, TESTED), *average(Path(place), JUDGED + 2, JUDGED),
        ]  # fmt: skip
    took = f"{time.monotonic() - start:.0f} s ({time.process_time() - used:.0f} s of one core)"
    return "\n".join([*parts, f"{took}: `python recipes/mechanisms/loop.py`."])


if __name__ == "__main__":
    sys.stdout.write(measure() + "\n")
