"""Domain shift: a classifier learned on some clinics or cameras, and tested on one that it has not seen."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from tapetum.bench.models.adapting import taught_findings
from tapetum.bench.tables.measures import Context
from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Trial
from tapetum.bench.trust.domains import Cut, Pooled, cut, pooled_of
from tapetum.bench.trust.select import RULES
from tapetum.bench.trust.shift_records import domain_records, held_of, overall_records
from tapetum.bench.trust.shift_settings import ERM, Grid, settings_of, told
from tapetum.bench.trust.shifted import Chosen, Learner, chosen_for, learnable
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import nearest
from tapetum.core.types import Record, Split
from tapetum.learn.classifying.pictures import AUGMENT, Pictures

__all__ = ["shift"]

COLUMNS = ("auroc_score", "auroc_difference", "expected_calibration_error", "calibration_slope")


def shift(
    trial: Trial,
    *,
    domains: tuple[str, ...] = (),
    by: str = "",
    methods: tuple[str, ...] = ("erm", "coral", "vrex"),
    held_out: tuple[str, ...] = (),
    learn_on: tuple[str, ...] = (),
    tested: str = "test",
    rules: tuple[str, ...] = tuple(RULES),
    augment: str = AUGMENT,
    rates: tuple[float, ...] = (3e-4, 3e-3),
    strengths: tuple[float, ...] = (0.1, 1.0, 10.0),
    decays: tuple[float, ...] = (0.1, 1.0, 10.0),
    components: int = 256,
    epochs: int = 30,
    batch: int = 256,
    offset_rate: float = 30.0,
) -> Results:
    """Methods × settings, each held-out domain in turn; what is kept is chosen without it.

    Differences are to ERM chosen alike, paired. Probabilities are calibrated on domains learned on.

    Args:
        trial: the archive is a domain, and so is another one (`--test`), which is only tested.
        domains: paths of further archives with the same labels; each is a domain.
        by: instead, an attribute that tells the images of one archive apart: `device`, `laterality`, …
        methods: names, or specs of `learn/methods` with `{strength}`; `erm@own`: each domain standardised by itself.
        held_out: domains to test; all of them if empty.
        learn_on: domains to learn from; all but the tested one if empty, a single one for single-source.
        tested: `test` patients of the held-out domain, or `all` but its validation patients.
        rules: by which a setting is chosen, of `training_domain`, `leave_one_domain_out` and `oracle`.
        augment: specs of `learn/augment` joined by `+` that change the pictures which a tower learns from with
            `mode=finetune`, anew in each epoch, the same for all methods.
        rates: learning rates tried.
        strengths: tried of a method's own option.
        decays: weight decays tried instead, of methods without one.
        components: principal components of the frozen features, 0 = all features.
        epochs: passes over the training rows.
        batch: rows per step.
        offset_rate: multiplies the learning rate of offsets, which alone can say how common a finding is.

    Raises:
        UsageError: not one of further archives and `by`; an unknown name; a method of the other mode.
        LeakageError: an image in two archives. DataError: too few domains, images, or validation labels.

    Source: own protocol, after DomainBed (arXiv 2007.01434) and GDRBench (arXiv 2307.04378). Differs: one grid for all,
    AUROC, patients resampled, worst domain and calibration beside the mean, tested patients never chosen on.
    """
    grid = Grid(tuple(rates), tuple(strengths), tuple(decays), epochs, batch, offset_rate, trial.config.mode)
    methods = _asked(trial, rules, methods, grid)
    findings, notes = taught_findings(trial)
    pooled = pooled_of(trial, domains, by, findings)
    cuts = _cuts(trial, pooled, held_out, learn_on, tested)
    pooled, left_out = learnable(pooled, cuts)
    how = Learner(components, trial.config.exclusive, trial.config.seed, _pictures(trial, pooled, augment))
    chosen, found = zip(*(chosen_for(pooled, where, methods, grid, rules, how) for where in cuts), strict=True)
    notes += [*pooled.notes, *left_out, *itertools.chain(*found), told(methods, grid), *_notes(pooled, cuts, chosen)]
    return Results(tuple(_records(trial, pooled, cuts, chosen)), (), tuple(notes), None, trial, columns=COLUMNS)


def _pictures(trial: Trial, pooled: Pooled, augment: str) -> Pictures | None:
    if trial.config.mode == "frozen":
        return None
    archives = tuple({a.digest: a for a in pooled.archives}.values())
    return Pictures(archives, trial.config.encoders, augment, trial.config.seed)


def _records(trial: Trial, pooled: Pooled, cuts: list[Cut], chosen: Sequence[list[Chosen]]) -> list[Record]:
    """Mean and worst domain first, then each."""
    for where, rows in zip(cuts, chosen, strict=True):
        if not rows:
            raise DataError(
                f"no rule could choose anything for {pooled.names[where.target]}",
                "a finding with both classes among the validation patients of every domain",
                "rules=… names other rules; tapetum ingest … fractions=… gives validation more patients",
            )
    within = _context(trial, pooled)
    everybody = np.concatenate([c.tested for c in cuts])
    # where domains share patients, all of them are drawn together
    joint = len(np.unique(pooled.patients[everybody])) < sum(len(np.unique(pooled.patients[c.tested])) for c in cuts)
    helds = [
        held_of(pooled, c, rows, everybody if joint else c.tested, within) for c, rows in zip(cuts, chosen, strict=True)
    ]
    names = ", ".join(dict.fromkeys(a.name for a in pooled.archives))
    found = overall_records(
        pooled, helds, dataclasses.replace(within, patients=tuple(pooled.patients[everybody]), data=names)
    )
    for held in helds:
        found += domain_records(pooled, held, _of_domain(within, pooled, held.where))
    return found


def _asked(trial: Trial, rules: tuple[str, ...], methods: tuple[str, ...], grid: Grid) -> tuple[str, ...]:
    """The methods, ERM first; what cannot be asked is refused before anything is learned."""
    if trial.config.ordinal:
        raise UsageError("ordinal=true with shift", "linear_probe or knn", "ordinal=false")
    if trial.model is not None:
        raise UsageError("shift of a model", "no --model: every row is learned anew", "encoders=… names the towers")
    for rule in rules:
        if rule not in RULES:
            raise UsageError(f"rules={rule!r}", nearest(rule, list(RULES)))
    if not rules or not methods:
        raise UsageError(f"{len(rules)} rules, {len(methods)} methods", "at least one of each")
    methods = tuple(dict.fromkeys((ERM, *methods)))
    for method in methods:
        settings_of(method, grid)
    return methods


def _cuts(trial: Trial, pooled: Pooled, held_out: tuple[str, ...], learn_on: tuple[str, ...], tested: str) -> list[Cut]:
    """One per held-out domain; `--test` is the only one that is tested, and is never learned on."""
    other = [pooled.names.index(trial.test_archive.name)] if trial.external else []
    sources = [s for s in pooled.numbers(learn_on) if s not in other]
    targets = pooled.numbers(held_out)
    if other and not held_out:
        targets = other
    elif not held_out and learn_on:
        targets = (
            [t for t in targets if [s for s in sources if s != t]]
            if len(sources) > 1
            else [t for t in targets if t not in sources]
        )
    return [cut(pooled, t, [s for s in sources if s != t], tested) for t in targets]


def _context(trial: Trial, pooled: Pooled) -> Context:
    return Context(
        "shift", (), trial.config.seed, trial.config.draws, "", pooled.reads, trial.digests(None), "",
        any(a.phantom for a in pooled.archives),
    )  # fmt: skip


def _of_domain(within: Context, pooled: Pooled, where: Cut) -> Context:
    archive = pooled.archives[where.target]
    part = {} if set(pooled.splits[where.tested]) == {Split.TEST} else {"split": "all but val"}
    return dataclasses.replace(
        within,
        patients=tuple(pooled.patients[where.tested]),
        data=archive.name,
        digests={**within.digests, "test": archive.digest, **part},
    )


def _notes(pooled: Pooled, cuts: list[Cut], chosen: Sequence[list[Chosen]]) -> list[str]:
    return [*_sizes(pooled, cuts), *_settings(pooled, cuts, chosen)]


def _sizes(pooled: Pooled, cuts: list[Cut]) -> list[str]:
    """How many images there are, and how common the findings are in what is learned and tested."""
    found: list[str] = []
    for c in cuts:
        share = [f"{np.nanmean(pooled.labels[rows]):.3f}" for rows in (c.learn, c.tested)]
        sources = ", ".join(pooled.names[s] for s in np.unique(pooled.domains[c.learn]))
        found.append(
            f"{pooled.names[c.target]}: {len(c.tested)} images tested, share of positives {share[1]}; learned on "
            f"{len(c.learn)} images of {sources}, share {share[0]}; chosen on {len(c.val)}"
        )
    return found


def _settings(pooled: Pooled, cuts: list[Cut], chosen: Sequence[list[Chosen]]) -> list[str]:
    """Which setting each rule chose, a line per domain and method."""
    found: list[str] = []
    for c, rows in zip(cuts, chosen, strict=True):
        for method in dict.fromkeys(row.method for row in rows if row.rule):
            by: dict[str, list[str]] = {}
            for row in rows:
                if row.method == method:
                    by.setdefault(str(row.run.setting), []).append(row.rule)
            told_by = "; ".join(f"{setting} by {', '.join(rules)}" for setting, rules in by.items())
            found.append(f"{pooled.names[c.target]}, {method}: {told_by}")
    return found
