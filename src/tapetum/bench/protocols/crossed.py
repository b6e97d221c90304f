"""Long tail × wrong labels × another clinic in one table: what happens to a method when all of them come together."""

from __future__ import annotations

from collections.abc import Sequence

from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Trial
from tapetum.bench.trust.crossing import Teaching, cell_records, places, run_cells, teachings
from tapetum.bench.trust.label_noise import at_rates
from tapetum.bench.trust.tail_rows import Rows, pictures_of
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
    offset_rate: float = 30.0,
) -> Results:
    """Methods × tails × wrong labels × places of test on exclusive classes: balanced accuracy.

    With `mode=finetune` a tower learns with each method, seed and cell, and with each fold that judges labels.
    Training images are thinned and their labels made wrong, anew for each seed and alike for all methods; the tested
    images stay as they are: those of the archive, and with `--test` another clinic's too. No method is told what was
    planted. Differences are to the first method in the same cell, paired, with Holm's p.

    Args:
        trial: what is learned on (train) and tested; every image has exactly one class.
        methods: specs of `learn/methods`.
        imbalances: of the commonest class to the rarest, beside the images as they are.
        largest: images of the commonest class where they are thinned; 0 = as many as all classes have enough for.
        plant: members of `score/planting`, each at each rate, beside the labels as given.
        rates: shares of flipped labels.
        seeds: runs of each method, from the seed of the run on.
        components: largest principal components of frozen features that are learned from; 0 = all columns.
        epochs: passes over the training rows; a method in several stages has them for each.
        batch: rows per step.
        learning_rate: peak.
        weight_decay: of matrices.
        offset_rate: multiplies the learning rate of offsets, which alone can say how common a class is.

    Raises:
        UsageError: no method or seed, an unknown name, a rate outside 0..1. DataError: several classes, or too few.

    Source: own protocol. Differs: four public benchmarks measure these one by one, each in code of its own.
    """
    specs = _checked(methods, seeds, rates, imbalances)
    train, tested, notes = places(trial, "crossed", SELECTION)
    pace = Pace(epochs, batch, learning_rate, weight_decay, offset_rate)
    numbers = [trial.config.seed + i for i in range(seeds)]
    planned = teachings(imbalances, largest, at_rates(plant, rates))
    pictures = pictures_of(trial)
    cells = run_cells(
        train, tested, planned, specs, numbers, pace, components, pictures[0] if pictures else None
    )  # fmt: skip
    notes += [
        *_thinned(planned, train),
        f"{len(cells)} cells: training images (1:imbalance), labels, where it is tested; macro = mean over the cells",
        f"differences are to {specs[0]} in the same cell, paired; p after Holm over {len(specs) - 1} methods",
        f"every method: {pace}, {trial.config.mode}; {SELECTION}; seeds {', '.join(map(str, numbers))}",
    ]
    return Results(tuple(cell_records(cells)), (), tuple(notes), None, trial, columns=COLUMNS, by_finding=COLUMNS[0])


def _checked(
    methods: Sequence[str], seeds: int, rates: Sequence[float], imbalances: Sequence[float]
) -> tuple[str, ...]:
    """Every method once, by its canonical spec."""
    specs = tuple(dict.fromkeys(str(Spec.parse(m)) for m in methods))
    if not specs or seeds < 1 or not all(0 < r < 1 for r in rates) or min(imbalances, default=2) <= 1:
        asked = f"{len(specs)} methods, {seeds} seeds, rates={tuple(rates)}, imbalances={tuple(imbalances)}"
        raise UsageError(asked, "a method, a seed, rates in 0..1, imbalances above 1")
    return specs


def _thinned(planned: Sequence[Teaching], train: Rows) -> list[str]:
    """How many training images of each class stay, a line per tail."""
    tails = dict.fromkeys(teaching.tail for teaching in planned if teaching.tail.imbalance)
    each = {tail: zip(train.classes, tail.wanted(train).tolist(), strict=True) for tail in tails}
    return [f"1:{t.imbalance:g}: {', '.join(f'{name} {n}' for name, n in of)}" for t, of in each.items()]
