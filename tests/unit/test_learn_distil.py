"""A teacher teaches a student: the loss by hand, what is told, what is refused, and that it learns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Split
from tapetum.learn import AdaptConfig, adapt, embed, load_model, zero_shot
from tapetum.learn.distil import DistilConfig, distil
from tapetum.learn.distilling.goal import SoftAndHard, divergence, focal_loss
from tapetum.learn.distilling.told import told_by
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.tuning.tune import TuneConfig, tune
from toys import COLOURS, ENCODER, clinic

STUDENT = "tiny(size=16, dim=8, seed=1)"
QUICK = DistilConfig(encoders=STUDENT, tuning="epochs=8, batch=12, augment='', learning_rate=3e-3", threads=1)


@pytest.fixture(scope="module")
def teacher(toy_archive, toy_embeddings):
    return adapt(toy_archive, AdaptConfig(encoders=ENCODER, threads=1), embeddings=toy_embeddings)


def _train(archive):
    return list(archive.in_split(Split.TRAIN))


def test_divergence_by_hand():
    """q = 0.8 of the teacher, p = 0.5 of the student at temperature 1; the same log odds doubled at temperature 2."""
    teacher = torch.full((1, 1), float(np.log(4)))
    expected = 0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5)
    assert float(divergence(teacher, torch.zeros(1, 1), 1.0)) == pytest.approx(expected, abs=1e-6)
    assert float(divergence(2 * teacher, torch.zeros(1, 1), 2.0)) == pytest.approx(4 * expected, abs=1e-6)


def test_divergence_and_its_gradient_as_torch_has_them():
    """Against `kl_div` of two classes, value and gradient; finite where both are sure."""
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    ours = torch.randn(6, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    found = divergence(teacher, ours, 3.0)

    def both(z):
        return torch.log_softmax(torch.stack([z / 3.0, torch.zeros_like(z)], dim=-1), dim=-1)

    expected = 9 * torch.nn.functional.kl_div(both(theirs), both(teacher), reduction="none", log_target=True).sum(-1)
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    assert torch.isfinite(divergence(torch.full((1, 1), 80.0), torch.full((1, 1), -80.0), 1.0)).all()


def test_focal_by_hand():
    """A positive with p = 0.9: (0.1)^2 · −log 0.9; a negative with p = 0.9: (0.9)^2 · −log 0.1."""
    logits = torch.full((1, 2), float(np.log(9)))
    found = focal_loss(logits, torch.tensor([[1.0, 0.0]]), 2.0)
    expected = [0.01 * -np.log(0.9), 0.81 * -np.log(0.1)]
    np.testing.assert_allclose(found.numpy()[0], expected, rtol=1e-5)
    np.testing.assert_allclose(focal_loss(logits, torch.tensor([[1.0, 0.0]]), 0.0).numpy()[0], -np.log([0.9, 0.1]))


def test_soft_and_hard_are_mixed_and_unknown_labels_leave_the_soft_part():
    teacher, labels = torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0, float("nan")]])
    logits, rows = torch.tensor([[0.5, 0.5]]), np.array([0])
    found = float(SoftAndHard(teacher, labels, 0.25, 2.0, 0.0)(logits, rows))
    soft = divergence(teacher, logits, 2.0)[0]
    hard = focal_loss(logits, torch.ones(1, 2), 0.0)[0]
    assert found == pytest.approx(float((0.25 * soft[0] + 0.75 * hard[0] + 0.25 * soft[1]) / 2), abs=1e-6)
    only_soft = SoftAndHard(teacher, labels, 1.0, 2.0, 0.0)
    assert float(only_soft(teacher, rows)) == pytest.approx(0.0, abs=1e-7)


def test_the_student_learns_and_survives_storing(toy_archive, teacher, tmp_path):
    student = distil(toy_archive, teacher, QUICK)
    assert student.encoders == "tiny(dim=8, seed=1, size=16)"
    assert student.findings == teacher.findings
    assert student.parents["teacher"] == teacher.digest
    assert student.log["hard_targets"] == "labels"
    assert student.operating is not None
    assert min(student.log["held_loss"] + student.log["average_loss"]) < student.log["start_loss"]
    test = [r.image_id for r in toy_archive.in_split(Split.TEST)]
    truth = toy_archive.labels(student.findings, image_ids=test)
    found = zero_shot(student, embed(toy_archive, student.embedder(threads=1), image_ids=test), student.findings)
    assert (found.logits.argmax(1) == truth.argmax(1)).mean() > 0.7
    loaded = load_model(student.save(tmp_path / "student"))
    assert loaded.digest == student.digest


def test_tested_patients_change_nothing(toy_archive, teacher):
    records = tuple(
        dataclasses.replace(r, labels=("glaucoma",), report="glaucoma") if r.split == Split.TEST else r
        for r in toy_archive.records
    )
    other = dataclasses.replace(toy_archive, records=records)
    config = dataclasses.replace(QUICK, tuning="epochs=1, augment=''")
    assert distil(toy_archive, teacher, config).digest == distil(other, teacher, config).digest


def test_a_teacher_that_knows_words_teaches_from_reports(tmp_path, toy_model):
    archive = clinic(tmp_path / "wordy")
    student = distil(archive, toy_model, dataclasses.replace(QUICK, findings=tuple(COLOURS)))
    assert student.log["hard_targets"] == "reports"
    assert student.findings == tuple(COLOURS)
    assert student.aligner is None


def test_what_is_told(toy_archive, toy_embeddings, teacher):
    records = _train(toy_archive)
    rows = toy_embeddings.rows([r.image_id for r in records])
    told = told_by(teacher, rows, toy_archive, records)
    probs = zero_shot(teacher, rows, teacher.findings).probs
    np.testing.assert_allclose(1 / (1 + np.exp(-told.soft)), np.clip(probs, 1e-4, 1 - 1e-4), atol=1e-9)
    bare = dataclasses.replace(teacher, operating=None)
    np.testing.assert_allclose(
        told_by(bare, rows, toy_archive, records).soft, zero_shot(bare, rows, bare.findings).logits
    )


def test_cosines_become_log_odds(toy_archive, toy_embeddings, toy_model):
    """Without operating points the soft targets of an aligner have the base rate of the hard ones."""
    records = _train(toy_archive)
    rows = toy_embeddings.rows([r.image_id for r in records])
    bare = dataclasses.replace(toy_model, operating=None)
    told = told_by(bare, rows, toy_archive, records, tuple(COLOURS))
    means = (1 / (1 + np.exp(-told.soft))).mean(0)
    np.testing.assert_allclose(means, told.hard.mean(0), atol=0.03)


def test_findings_without_both_classes(tmp_path, teacher):
    reports = {name: name.replace("_", " ") for name in ("normal_fundus", "glaucoma")}
    archive = clinic(tmp_path / "two", reports=reports, labels={name: name for name in reports})
    records = _train(archive)
    rows = embed(archive, ENCODER, threads=1, image_ids=[r.image_id for r in records])
    told = told_by(teacher, rows, archive, records)
    assert told.findings == tuple(f for f in teacher.findings if f in reports)
    assert [text.partition(":")[0] for text in told.left_out] == [f for f in teacher.findings if f not in reports]
    with pytest.raises(DataError, match="one class only"):
        told_by(teacher, rows, archive, records, ("cataract",))
    with pytest.raises(UsageError, match="not taught 'glaucom'"):
        told_by(teacher, rows, archive, records, ("glaucom",))


@pytest.mark.parametrize("wrong", [{"soft": 1.1}, {"temperature": 0.0}, {"focal": -1.0}, {"ema": 1.0}])
def test_options_out_of_range(toy_archive, teacher, wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        distil(toy_archive, teacher, dataclasses.replace(QUICK, **wrong))


def test_the_average_is_judged_and_a_goal_takes_the_place_of_the_labels(toy_archive, toy_embeddings):
    ids = [r.image_id for r in _train(toy_archive)]
    rows, labels = toy_embeddings.rows(ids), toy_archive.labels(toy_archive.label_names, image_ids=ids)
    config = TuneConfig(tuner="full", epochs=2, batch=16, augment="", threads=1, ema=0.9, learning_rate=1e-3)
    tuned = tune(toy_archive, rows, labels, config)
    assert len(tuned.history.average_loss) == 2
    upside_down = SoftAndHard(torch.zeros(len(ids), 4), 1 - torch.from_numpy(labels).float(), 0.0, 1.0, 0.0)
    wide = dataclasses.replace(config, epochs=8, head_rate=0.05, ema=0.0, start="zero")
    other = tune(toy_archive, rows, labels, wide, goal=upside_down)
    assert min(other.history.held_loss) < other.log["start_loss"]
    logits = embed(toy_archive, Embedder(ENCODER, threads=1, states=other.towers), image_ids=ids).features
    logits = logits @ other.head["weight"] + other.head["bias"]
    assert logits[labels == 1].mean() < logits[labels == 0].mean() - 0.5  # it learned the goal, not the labels
