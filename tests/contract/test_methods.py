"""What every way to learn a classifier promises; a new file in the family is tested by being there."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.methods import Method
from toy_pictures import striped

METHODS = Family("tapetum.learn.methods")
PACE = Pace(epochs=15, batch=32, learning_rate=0.01)
each_method = pytest.mark.parametrize("name", METHODS.names())


@functools.cache
def toy(seed: int = 0) -> tuple[Taught, np.ndarray, np.ndarray]:
    """Three classes, 6 to 1, in two domains of one patient per two rows; and as many rows of others to ask about."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(3, 10))

    def rows() -> tuple[np.ndarray, np.ndarray]:
        labels = rng.permutation(np.repeat([0, 1, 2], [120, 60, 20]))
        return (1.5 * centres[labels] + 0.7 * rng.normal(size=(200, 10))).astype(np.float32), labels

    features, labels = rows()
    taught = Taught(features, labels, 3, np.arange(200) // 2, np.arange(200) // 2 % 2)
    return taught, *rows()


@functools.cache
def given(name: str):
    """Rows to learn from, and others to ask about: pictures where the method needs them."""
    return striped() if "pictures" in METHODS.member(name).NEEDS else toy()


@functools.cache
def learned(name: str, time: int = 0):
    """A classifier, learned anew each time, and its logits."""
    del time
    taught, query, _ = given(name)
    method: Method = METHODS.build(name)
    found = method.fit(taught, PACE, np.random.default_rng(0))
    return found, found(query)


@each_method
def test_it_beats_chance_on_every_class_of_a_separable_toy(name):
    _, _, labels = given(name)
    found = learned(name)[1]
    assert found.shape == (len(labels), 3)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    recall = [(found[labels == c].argmax(axis=1) == c).mean() for c in range(3)]
    assert np.mean(recall) > 0.8, recall


@each_method
def test_the_generator_alone_decides_and_the_rows_stay(name):
    taught, _, _ = given(name)
    before, labels = taught.features.copy(), taught.labels.copy()
    assert np.array_equal(learned(name, 1)[1], learned(name)[1])
    assert np.array_equal(taught.features, before)
    assert np.array_equal(taught.labels, labels)


@each_method
def test_a_row_is_read_by_itself_or_the_method_says_that_it_is_not(name):
    _, query, _ = given(name)
    found, whole = learned(name)
    alone = np.allclose(found(query[5:9]), whole[5:9], rtol=1e-4, atol=1e-4)
    assert alone != getattr(METHODS.member(name), "TRANSDUCTIVE", False)


@each_method
def test_it_says_what_it_needs(name):
    needs = METHODS.member(name).NEEDS
    assert set(needs) <= {"classes", "findings", "domains", "pictures", "features"}
    assert not {"classes", "findings"} <= set(needs)
    assert not {"pictures", "features"} <= set(needs)


@each_method
def test_it_refuses_what_it_is_not_for(name):
    needs, method = METHODS.member(name).NEEDS, METHODS.build(name)
    for need, rows, told in (("pictures", toy()[0], "mode=finetune"), ("features", striped()[0], "mode=frozen")):
        if need in needs:
            with pytest.raises(UsageError, match=told):
                method.fit(rows, PACE, np.random.default_rng(0))


@pytest.mark.parametrize("spec", ["one_stag", "one_stage(los='focal')", "ONE_STAGE", "gcl", "one_stage_gcl", "cr"])
def test_an_unknown_method_is_an_error_and_never_cross_entropy(spec):
    with pytest.raises(UsageError, match="unknown"):
        METHODS.build(spec)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "focall"}, {"loss": "ce"}, {"loss": "gaussian"}, {"late_loss": "ldamm"}, {"sampler": "balanced"},
        {"mixing": "mix"}, {"compactness": "center", "head": "hidden"}, {"head": "linea"}, {"loss": "focal(gama=2)"},
    ],
)  # fmt: skip
def test_an_unknown_part_is_an_error_and_never_left_out(options):
    taught, _, _ = toy()
    with pytest.raises(UsageError, match="unknown"):
        METHODS.build("one_stage", **options).fit(taught, PACE, np.random.default_rng(0))


def test_a_loss_of_findings_is_refused_for_classes_and_the_other_way_round():
    taught, _, _ = toy()
    findings = Taught(taught.features, np.eye(3)[taught.labels], 3, taught.groups)
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="one class each"):
        METHODS.build("one_stage", loss="asymmetric").fit(taught, PACE, rng)
    with pytest.raises(UsageError, match="findings"):
        METHODS.build("one_stage").fit(findings, PACE, rng)


def test_what_cannot_move_cannot_be_drawn_together():
    taught, _, _ = toy()
    with pytest.raises(UsageError, match="cannot be moved"):
        METHODS.build("one_stage", compactness="centre").fit(taught, PACE, np.random.default_rng(0))
