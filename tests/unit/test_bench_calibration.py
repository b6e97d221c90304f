"""The calibration protocol: who is fitted on whom, before against after, classes, another clinic, groups."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.pages.results import page
from tapetum.bench.trial import trial_of
from tapetum.bench.trust.calibrated import TOP, calibrators_for, probe_of, stated_by
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Split
from toys import COLOURS, ENCODER, TEXT, clinic

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, threads=1, draws=40)
LABELS = {name: name for name in COLOURS}
PLATT = "calibration(calibrators=('platt',))"
BEFORE = "logistic(), as it is"


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A large clinic in which colours overlap."""
    return clinic(tmp_path_factory.mktemp("noisy") / "noisy", patients=220, seed=3, labels=LABELS, noise=70.0)


@pytest.fixture(scope="module")
def results(noisy):
    return run_bench("calibration(calibrators=('platt', 'isotonic'))", noisy, CONFIG)


def of(results, row, finding, metric):
    return next(r for r in results.records if (r.row, r.finding, r.metric) == (row, finding, metric)).interval


def test_numbers_are_those_of_the_probabilities(results):
    shown = results.scored[0]
    assert shown.row == "platt()"
    p, y = shown.predictions.probs, shown.labels
    for j, finding in enumerate(shown.predictions.findings):
        assert of(results, "platt()", finding, "brier_error").estimate == pytest.approx(
            brier_score_loss(y[:, j], p[:, j])
        )
        raw = 1 / (1 + np.exp(-shown.predictions.logits[:, j]))
        assert of(results, BEFORE, finding, "log_loss_error").estimate == pytest.approx(log_loss(y[:, j], raw))
        apart = of(results, "platt()", finding, "brier_difference").estimate
        assert apart == pytest.approx(brier_score_loss(y[:, j], p[:, j]) - brier_score_loss(y[:, j], raw), abs=1e-9)
    single = [of(results, "platt()", f, "brier_error").estimate for f in shown.predictions.findings]
    assert of(results, "platt()", "macro", "brier_error").estimate == pytest.approx(np.mean(single))


def test_the_probe_learns_on_train_and_calibrators_on_val_alone(noisy):
    trial = trial_of(noisy, CONFIG)
    probe = probe_of(trial, "logistic")
    parts = {s: [r.image_id for r in noisy.in_split(s)] for s in (Split.TRAIN, Split.VAL, Split.TEST)}
    rows = trial.embeddings.rows(parts[Split.TRAIN])
    learned = noisy.labels(probe.findings, image_ids=parts[Split.TRAIN])
    adapter = Family("tapetum.learn.adapters").build("logistic")
    adapter.fit(rows.features, learned, np.asarray(rows.patient_ids), rows.blocks)
    np.testing.assert_allclose(probe.logits, adapter(trial.test_embeddings.features), atol=1e-6)
    first = trial.embeddings.rows(parts[Split.VAL][:1]).features
    np.testing.assert_allclose(probe.val_logits[:1], adapter(first), atol=1e-6)
    assert len(probe.val_labels) <= len(parts[Split.VAL])
    stated, _ = stated_by(probe, ["platt()"], False)
    expected = Family("tapetum.score.calibration").build("platt").fit(probe.val_logits, probe.val_labels)(probe.logits)
    np.testing.assert_array_equal(stated[1].probs, expected)


def test_exclusive_classes(noisy):
    config = dataclasses.replace(CONFIG, exclusive=True)
    spec = "calibration(calibrators=('temperature', 'dirichlet', 'vector', 'platt'))"
    results = run_bench(spec, noisy, config)
    rows = list(dict.fromkeys(r.row for r in results.records))
    assert rows[:5] == [BEFORE, "temperature(mode='softmax')", "dirichlet()", "vector(mode='softmax')", "platt()"]
    np.testing.assert_allclose(results.scored[0].predictions.probs.sum(axis=1), 1, atol=1e-9)
    kept = [of(results, row, TOP, "brier_error").estimate for row in rows[:2]]
    assert all(0 < value < 1 for value in kept)
    positives = [r.positives for r in results.records if (r.finding, r.metric) == (TOP, "brier_error")]
    # temperature does not change which class is the most probable, hence neither how often it is right
    assert positives[0] == positives[1]
    trial = trial_of(noisy, config)
    stated, _ = stated_by(probe_of(trial, "logistic"), calibrators_for(("platt", "isotonic"), True), False)
    for one in stated:
        np.testing.assert_allclose(one.probs[:, :-1].sum(axis=1), 1, atol=1e-9)


def test_another_clinic_is_told_as_shift(noisy, tmp_path_factory):
    """There the colours tell nothing: calibration that was right here is wrong there."""
    other = clinic(tmp_path_factory.mktemp("other") / "other", patients=40, seed=7, labels=LABELS, signal=False)
    results = run_bench(PLATT, noisy, CONFIG, test=other)
    assert {r.row.partition(",")[0] for r in results.records} >= {"platt() under shift"}
    assert all("under shift" in r.row for r in results.records)
    here = run_bench(PLATT, noisy, CONFIG)
    error = "debiased_calibration_error"
    assert of(results, "platt() under shift", "macro", error).low > of(here, "platt()", "macro", error).high


def test_groups_of_patients(results, noisy):
    rows = list(dict.fromkeys(r.row for r in results.records))
    assert f"{BEFORE}, laterality OD" in rows
    assert "platt(), laterality OS" in rows
    changes = {
        r.row: r.interval.estimate for r in results.records if r.metric == "brier_difference" and "laterality" in r.row
    }
    calibrators = {row.partition(",")[0] for row in rows if not row.startswith(BEFORE)}
    assert set(changes) == {f"{c}, laterality {eye}" for c in calibrators for eye in ("OD", "OS")}
    for row, change in changes.items():
        before = of(results, f"{BEFORE}, {row.partition(', ')[2]}", "macro", "brier_error").estimate
        assert change == pytest.approx(of(results, row, "macro", "brier_error").estimate - before)
    found = next(r for r in results.records if r.row == "platt(), laterality OD")
    tested = [r for r in noisy.in_split(Split.TEST) if r.laterality.value == "OD"]
    assert found.images == len(tested)
    assert "mean over" in found.interval.method
    quiet = run_bench("calibration(calibrators=('platt',), groups=False)", noisy, CONFIG)
    assert not any("laterality" in r.row for r in quiet.records)


def test_small_groups_are_too_few_to_say(toy_archive):
    results = run_bench(PLATT, toy_archive, CONFIG)
    assert not any("laterality" in r.row for r in results.records)
    assert any("too few to say: laterality OD (" in note for note in results.notes)


def test_a_finding_that_cannot_be_calibrated_is_left_out_of_all_means(noisy):
    trial = trial_of(noisy, CONFIG)
    probe = probe_of(trial, "logistic")
    blind = probe.val_labels.copy()
    blind[:, 1] = 0
    stated, notes = stated_by(dataclasses.replace(probe, val_labels=blind), ["platt()"], False)
    assert np.isnan(stated[1].probs[:, 1]).all()
    assert "labels of one class only" in notes[0]


def test_wrong_requests_are_refused(noisy):
    with pytest.raises(UsageError, match="exclusive classes"):
        run_bench("calibration(calibrators=('dirichlet',))", noisy, CONFIG)
    with pytest.raises(UsageError, match="exclusive classes"):
        run_bench("calibration(calibrators=(\"temperature(mode='softmax')\",))", noisy, CONFIG)
    with pytest.raises(UsageError, match="platt"):
        run_bench("calibration(calibrators=('plat',))", noisy, CONFIG)
    with pytest.raises(UsageError, match="no calibrators"):
        run_bench("calibration(calibrators=())", noisy, CONFIG)
    with pytest.raises(UsageError, match="words"):
        run_bench("calibration(adapter='zs_lp')", noisy, CONFIG)
    with pytest.raises(UsageError, match="ordinal"):
        run_bench(PLATT, noisy, dataclasses.replace(CONFIG, ordinal=True))
    with pytest.raises((DataError, UsageError)):
        run_bench(PLATT, noisy, dataclasses.replace(CONFIG, findings=("no_such_finding",)))


def test_table_and_page(results):
    table = results.table()
    for word in ("ECE ↓", "debiased ↓", "Brier − as it is", "slope (1)", "AUROC ↑", "isotonic()"):
        assert word in table
    text = page(results)
    assert "Minus logistic(), as it is, on the same patients" in text
    assert "calibrated on validation patients" in text
    assert text.count("Reliability of") == 4
