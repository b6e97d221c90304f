"""Long tail × wrong labels × another clinic in one table: what happens to a method when all of them come together."""

from __future__ import annotations

from tapetum.bench.crossing import cell_records, places, run_teaching, teachings
from tapetum.bench.label_noise import at_rates
from tapetum.bench.results import Results
from tapetum.bench.trial import Trial
from tapetum.core.errors import UsageError
from tapetum.core.registry import Spec
from tapetum.learn.classifying.plan import Pace

__all__ = ["crossed"]

SELECTION = "last epoch; nothing chosen; one setting each; val not used"
COLUMNS = (
    "balanced_accuracy_score",
    "balanced_accuracy_difference",
    "balanced_accuracy_difference (p)",
    "worst_cell_score",
)
DEFAULT = (
    "one_stage()",
    "one_stage(loss='balanced_softmax')",
    "one_stage(loss='generalised_cross_entropy')",
    "one_stage(loss='balanced_softmax', mixing='mixup')",
    "class_balanced_selection()",
    "co_teaching()",
)


def crossed(
    trial: Trial,
    *,
    methods: tuple[str, ...] = DEFAULT,
    imbalances: tuple[float, ...] = (20.0,),
    largest: int = 0,
    plant: tuple[str, ...] = ("symmetric",),
    rates: tuple[float, ...] = (0.3,),
    seeds: int = 3,
    components: int = 256,
    epochs: int = 30,
    batch: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
) -> Results:
    """Methods × tails × wrong labels × places of test on frozen features of exclusive classes: balanced accuracy.

    Training images are thinned and their labels made wrong, anew for each seed and alike for all methods; the tested
    images stay as they are: those of the archive, and with `--test` those of another clinic too. A method is told
    neither what was planted nor how much. Differences are to the first method in the same cell, paired, with Holm's p.

    Args:
        trial: what is learned on (train) and tested; every image has exactly one class.
        methods: specs of `learn/methods`.
        imbalances: of the commonest class to the rarest, beside the images as they are.
        largest: images of the commonest class where they are thinned; 0 = all.
        plant: members of `score/planting`, each at each rate, beside the labels as given.
        rates: shares of flipped labels.
        seeds: runs of each method, from the seed of the run on.
        components: largest principal components of the features that are learned from; 0 = all columns.
        epochs: passes over the training rows; a method in several stages has them for each.
        batch: rows per step.
        learning_rate: peak.
        weight_decay: of matrices.

    Raises:
        UsageError: no method or seed, a rate outside 0..1, or an unknown name. DataError: images with several classes,
            or a class that is too small for an imbalance.

    Source: own protocol. Differs: four public benchmarks measure these one by one, each in code of its own.
    """
    specs = tuple(dict.fromkeys(str(Spec.parse(m)) for m in methods))
    if not specs or seeds < 1 or not all(0 < r < 1 for r in rates) or not all(i > 1 for i in imbalances):
        found = f"{len(specs)} methods, {seeds} seeds, rates={rates}, imbalances={imbalances}"
        raise UsageError(found, "a method, a seed, rates in 0..1, imbalances above 1")
    train, tested, notes = places(trial, "crossed", SELECTION)
    pace = Pace(epochs, batch, learning_rate, weight_decay)
    numbers = tuple(trial.config.seed + i for i in range(seeds))
    cells = [
        cell
        for teaching in teachings(imbalances, largest, at_rates(plant, rates))
        for cell in run_teaching(train, tested, teaching, specs, numbers, pace, components)
    ]
    notes += [
        f"{len(cells)} cells: training images (1:imbalance), labels, where it is tested; macro = mean over the cells",
        f"differences are to {specs[0]} in the same cell, paired; p after Holm over {len(specs) - 1} methods",
        f"every method: {pace}; {SELECTION}; seeds {', '.join(map(str, numbers))}",
    ]
    records = tuple(cell_records(cells))
    return Results(records, (), tuple(notes), None, trial, columns=COLUMNS, by_finding="balanced_accuracy_score")
