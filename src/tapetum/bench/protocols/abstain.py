"""Leaving the doubtful to a person: what a gate and a threshold on doubt save, and whether sets keep their promise."""

from __future__ import annotations

from tapetum.bench.abstaining import coverage_records, doubt_kinds, kept_record, set_records
from tapetum.bench.adapting import taught_findings
from tapetum.bench.results import Results
from tapetum.bench.rows import context, records_of, score, truth_note
from tapetum.bench.trial import Trial
from tapetum.core.registry import Spec
from tapetum.learn import AdaptConfig, Model, adapt
from tapetum.learn.gate import GateConfig, fit_gate

__all__ = ["abstain"]

SELECTION = "gate: fitted on train; its limit: val; sets and thresholds: patients the model did not learn from"


def abstain(
    trial: Trial,
    *,
    adapter: str = "linear_probe",
    gate: str = "knn",
    kept: float = 0.95,
    alpha: float = 0.1,
    cross_fit: bool = False,
) -> Results:
    """Errors against the share of answers decided, conformal sets against their promise, images let through.

    With another archive (`--test`) the same gate meets images of another clinic: where its promises break, it shows.

    Args:
        trial: what is learned on and tested; its model is the one that is gated, or an adapter where there is none.
        adapter: where no model is given, the member of `learn/adapters` that is fitted on the labels.
        gate: member of `score/ood` that reads features alone.
        kept: share of known validation images that the gate lets through.
        alpha: share of true answers that a set may miss, of present and of absent apart.
        cross_fit: where no model is given, learn from val patients too; the sets then come from folds left out, whose
            fits knew fewer patients, and their promise holds nearly only.

    Raises:
        UsageError: `ordinal` or `exclusive`, or a score that needs labels. DataError: no labels.

    Source: own protocol; risk and coverage after Geifman and El-Yaniv, NeurIPS 2017, arXiv 1705.08500. Differs:
    patients are resampled, doubts are compared with a blind one, and the test of another clinic is part of it.
    """
    trial.refuse_one_class_each("abstain")
    findings, notes = taught_findings(trial)
    config, model = trial.config, trial.model or _learned(trial, adapter, findings, cross_fit)
    names = tuple(f for f in findings if f in (model.findings or findings))
    settings = GateConfig(gate, kept, alpha, findings=names, seed=config.seed, threads=config.threads)
    made = fit_gate(trial.archive, model, settings, embeddings=trial.embeddings)
    within = context(trial, "abstain", SELECTION, model)
    row = str(Spec.parse(adapter)) if trial.model is None else "model"
    scored = score(trial, model, row, "supervised", names)
    judged = made.judge(scored.predictions, trial.test_embeddings_of(model).features)
    if judged.doubts is None:
        raise AssertionError("a gate that judged without doubts")
    sets = f"sets of {row}, alpha={alpha:g}"
    records = [
        *records_of(within, scored),
        *coverage_records(within, doubt_kinds(judged, judged.doubts, within.rng()), judged, scored.labels),
        *set_records(within, judged.doubts, judged, scored.labels, sets),
        kept_record(within, judged.doubts.outlying < judged.doubts.limit, scored.labels, f"gate {made.score}"),
    ]
    share = f"{1 - alpha:.0%} of true answers, of present and of absent apart"
    notes += [
        "error at a coverage: share of wrong decisions among the least doubted answers; blind: the control",
        f"sets promise to keep {share}, for new patients of {trial.archive.name}; the gate {kept:.0%} of its images",
        truth_note(scored),
        *([f"tested on another archive: no promise is made for {trial.test_archive.name}"] if trial.external else []),
    ]
    return Results(tuple(records), (scored,), tuple(notes), None, trial)


def _learned(trial: Trial, adapter: str, findings: tuple[str, ...], cross_fit: bool) -> Model:
    config = trial.config
    told = AdaptConfig(
        adapter, config.encoders, findings, 0, config.sensitivity, config.calibrator, config.seed, config.threads,
        cross_fit,
    )  # fmt: skip
    return adapt(trial.archive, told, embeddings=trial.embeddings)
