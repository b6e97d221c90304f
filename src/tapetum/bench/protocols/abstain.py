"""Leaving the doubtful to a person: what a gate and a threshold on doubt save, and whether sets keep their promise."""

from __future__ import annotations

from tapetum.bench.models.subject import subject_of
from tapetum.bench.models.tuned import tuned
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import context, records_of, score, truth_note
from tapetum.bench.trial import Trial
from tapetum.bench.trust.abstaining import coverage_records, doubt_kinds, kept_record, set_records
from tapetum.learn.gate import GateConfig, fit_gate

__all__ = ["abstain"]

SELECTION = "gate: fitted on train; its limit: val; sets and thresholds: patients the model did not learn from"


def abstain(
    trial: Trial, *, adapter: str = "linear_probe", gate: str = "knn", kept: float = 0.95, alpha: float = 0.1
) -> Results:
    """Errors against the share of answers decided, conformal sets against their promise, images let through.

    With another archive (`--test`) the same gate meets images of another clinic: where its promises break, it shows.

    Args:
        trial: what is learned on and tested; its model is the one that is gated, or an adapter where there is none.
        adapter: where no model is given, the member of `learn/adapters` that is fitted on the labels.
        gate: member of `score/ood` that reads features alone.
        kept: share of known validation images that the gate lets through.
        alpha: share of true answers that a set may miss, of present and of absent apart.

    Raises:
        UsageError: `ordinal` or `exclusive`, or a score that needs labels. DataError: no labels.

    Source: own protocol; risk and coverage after Geifman and El-Yaniv, NeurIPS 2017, arXiv 1705.08500. Differs:
    patients are resampled, doubts are compared with a blind one, and the test of another clinic is part of it.
    """
    trial.refuse_one_class_each("abstain")
    trial = tuned(trial)
    subject, config = subject_of(trial, adapter), trial.config
    settings = GateConfig(gate, kept, alpha, findings=subject.findings, seed=config.seed, threads=config.threads)
    made = fit_gate(trial.archive, subject.model, settings, embeddings=trial.embeddings)
    within = context(trial, "abstain", SELECTION, subject.model)
    scored = score(trial, subject.model, subject.row, subject.supervision, subject.findings)
    doubts = made.doubts(scored.predictions, trial.test_embeddings_of(subject.model).features)
    sets = f"sets of {subject.row}, alpha={alpha:g}"
    records = [
        *records_of(within, scored),
        *coverage_records(within, doubt_kinds(scored.predictions, doubts, within.rng()), scored),
        *set_records(within, doubts, scored, sets),
        kept_record(within, doubts.outlying < doubts.limit, scored.labels, f"gate {made.score}"),
    ]
    share = f"{1 - alpha:.0%} of true answers, of present and of absent apart"
    notes = [
        *subject.notes,
        "error at a coverage: share of wrong decisions among the least doubted answers; blind: the control",
        f"sets promise to keep {share}, for new patients of {trial.archive.name}; the gate {kept:.0%} of its images",
        truth_note(scored),
        *([f"tested on another archive: no promise is made for {trial.test_archive.name}"] if trial.external else []),
    ]
    return Results(tuple(records), (scored,), tuple(notes), None, trial)
