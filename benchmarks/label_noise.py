"""How right the estimated share of wrong labels is, and how well wrong labels are found, where both are known.

python benchmarks/label_noise.py [repetitions]

Made-up patients with two images each, 600 of them; 30 % of the patients have the finding (in the last rows 8 %). Twelve
features, one direction of which holds the finding; a logistic regression judges every image out of fold, by patient.
`clean AUROC` is what the direction itself reaches: below 1 the classes overlap, though no label is wrong. The share of
anchors (`ANCHORS`) was chosen on the seeds 0 to 5; these are the seeds from 100 on. A second table has four classes,
the commonest four times as large as the rarest. At the end, the time of the qualities and of the confident joint beside
cleanlab's, as a ratio of one run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from scipy import special
from sklearn.linear_model import LogisticRegression

from tapetum.core.registry import Family
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.noise_rate import by_anchors, by_confident_joint

MAKERS, METHODS = Family("tapetum.score.planting"), Family("tapetum.score.noise")
PATIENTS, FEATURES, FOLDS, FIRST_SEED = 600, 12, 5, 100
Sample = tuple[np.ndarray, np.ndarray, np.ndarray, float]


def sample(seed: int, shares: list[float], apart: float, kind: str, rate: float) -> Sample:
    """Out-of-fold probabilities, given labels, flips, and the AUROC that the truth allows (two classes)."""
    rng = np.random.default_rng(seed)
    who, k = np.repeat(np.arange(PATIENTS), 2), len(shares)
    truth = rng.choice(k, size=PATIENTS, p=shares)[who]
    means = apart * np.eye(k, FEATURES) / (1 if k == 2 else np.sqrt(2))
    means[0] *= k > 2
    features = means[truth] + rng.normal(size=(len(who), FEATURES))
    planted = MAKERS.build(f"{kind}(rate={rate})")(truth, features, classes=k, rng=rng)
    probs, fold = np.empty((len(who), k)), who % FOLDS
    for number in range(FOLDS):
        fitted = LogisticRegression(C=0.3, max_iter=1000).fit(features[fold != number], planted.labels[fold != number])
        probs[fold == number] = fitted.predict_proba(features[fold == number])
    clean = auroc_score(features[:, 1], truth) if k == 2 else float("nan")
    return probs, planted.labels, planted.flipped, clean


def line(head: str, repetitions: int, shares: list[float], apart: float, kind: str, rate: float) -> str:
    rows: list[list[float]] = []
    for seed in range(FIRST_SEED, FIRST_SEED + repetitions):
        probs, given, flipped, clean = sample(seed, shares, apart, kind, rate)
        found = [flipped.mean(), by_confident_joint(probs, given).rate, by_anchors(probs, given).rate, clean]
        judges = METHODS.names() if rate else ()
        found += [auroc_score(1 - METHODS.build(name)(probs, given), flipped) for name in judges]
        rows.append(found)
    mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
    cells = "".join(f" {m:.3f}±{s:.3f}" for m, s in zip(mean[1:3], spread[1:3], strict=True))
    return f"{head:<24} {kind:<10} {mean[3]:11.3f} {mean[0]:6.3f} {cells}" + "".join(f" {m:6.3f}" for m in mean[4:])


def table(title: str, shares: list[list[float]], kinds: tuple[str, ...], repetitions: int) -> None:
    names = METHODS.names()
    print(
        f"\n{title}\n{'':<24} {'planted':<10} clean AUROC  wrong     confident     anchors "
        + " ".join(f"{n[:6]:>6}" for n in names)
    )
    for share in shares:
        for apart in (1.5, 2.5, 4.0):
            head = f"rarest {min(share):.2f}, apart {apart}"
            print(line(head, repetitions, share, apart, "symmetric", 0.0))
            for kind in kinds:
                for rate in (0.1, 0.3) if kind != "confusion" else (0.05,):
                    print(line(head, repetitions, share, apart, kind, rate))


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    for _ in range(10):
        work()
    return (time.process_time() - start) / 10


def speed() -> None:
    try:
        from cleanlab import count, rank
    except ImportError:
        print("\ncleanlab is absent: no ratio")
        return
    rng = np.random.default_rng(0)
    probs, given = special.softmax(rng.normal(size=(50_000, 8)), axis=1), rng.integers(8, size=50_000)
    print("\n50,000 labels of 8 classes, CPU ms of ours, of cleanlab, ratio")
    for name, theirs in {
        "self_confidence": rank.get_self_confidence_for_each_label,
        "normalized_margin": rank.get_normalized_margin_for_each_label,
        "confidence_weighted_entropy": rank.get_confidence_weighted_entropy_for_each_label,
    }.items():
        ours, peer = seconds(lambda n=name: METHODS.build(n)(probs, given)), seconds(lambda f=theirs: f(given, probs))
        print(f"{name:<28} {ours * 1e3:7.1f} {peer * 1e3:7.1f} {peer / ours:5.2f}")
    ours, peer = seconds(lambda: by_confident_joint(probs, given)), seconds(lambda: count.estimate_joint(given, probs))
    print(f"{'confident joint':<28} {ours * 1e3:7.1f} {peer * 1e3:7.1f} {peer / ours:5.2f}")


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(
        f"Means ± standard deviation of {repetitions} samples of {2 * PATIENTS} images; last columns: AUROC of flips by"
    )
    print(", ".join(METHODS.names()))
    table("Two classes", [[0.7, 0.3], [0.92, 0.08]], ("symmetric", "confusion", "instance"), repetitions)
    table("Four classes", [[0.4, 0.3, 0.2, 0.1]], ("symmetric", "adjacent", "instance", "raters"), repetitions)
    speed()


if __name__ == "__main__":
    main()
