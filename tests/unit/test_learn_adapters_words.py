"""Adapters that start from the words of the findings: hand-computed values, and options out of range."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.fitting.anchors import Anchors

ADAPTERS = Family("tapetum.learn.adapters")
ROWS = np.array([[1.0, 0.0], [0.0, 1.0]])
LABELS = np.array([[1.0], [0.0]])
HEAD = Anchors(np.array([[2.0], [0.0]]), np.array([-0.5]))


def fitted(spec, rows=ROWS, labels=LABELS, head=HEAD):
    return ADAPTERS.build(spec).fit(rows, labels, anchors=head)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_zero_shot_is_the_anchors():
    np.testing.assert_allclose(fitted("zero_shot")(np.array([[3.0, 7.0], [0.0, 0.0]])), [[5.5], [-0.5]])


def test_zs_lp_takes_one_step_by_hand():
    """Weights ½: Σ ½·(x, 1)(x, 1)ᵀ has the largest eigenvalue 3/2, so the step is 4/(3/2)·½."""
    found = fitted("zs_lp(steps=1, rate=0.5)")
    up, down = 0.5 * sigmoid(-1.5), 0.5 * sigmoid(-0.5)  # ½·σ(−sign·logit) at logits 1.5 and −0.5
    length = 0.5 * 4 / 1.5
    np.testing.assert_allclose(found.head_[:, 0], [2 + length * up, -length * down])
    np.testing.assert_allclose(found.bias_, [-0.5 + length * (up - down)])


def test_task_res_moves_each_coordinate_by_the_rate_at_first():
    found = fitted("task_res(steps=1, rate=0.01, alpha=0.5, decay=0.0)")
    # The prompt has length 2, so that a residual of ±0.01 moves the weight by ½·2·0.01.
    np.testing.assert_allclose(found.head_[:, 0], [2.01, -0.01], atol=1e-6)
    np.testing.assert_allclose(found.bias_, [-0.51], atol=1e-6)  # the image without it is the more wrong


def test_claps_multiplier_is_the_probability_of_the_right_side():
    found = fitted("clap")
    assert found.multiplier_ == pytest.approx([(sigmoid(1.5) + sigmoid(0.5)) / 2])


def clap_by_hand(multiplier):
    """(u₁, u₂, b) of the same two images, minimised by somebody else's method."""

    def value(m):
        logits = np.array([1.5 + 2 * m[0] + m[2], -0.5 + 2 * m[1] + m[2]])
        return float(np.logaddexp(0, -logits * [1, -1]).mean() + multiplier * (m[:2] ** 2).sum())

    return optimize.minimize(value, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}).x


def test_clap_solves_its_problem():
    found = fitted("clap")
    moved = clap_by_hand(found.multiplier_[0])
    np.testing.assert_allclose(found.head_[:, 0], [2 + 2 * moved[0], 2 * moved[1]], atol=1e-6)
    np.testing.assert_allclose(found.bias_, [-0.5 + moved[2]], atol=1e-6)


def test_claps_outer_steps_are_those_of_the_augmented_lagrangian():
    """The first leaves λ (ρ is 0 then); the second adds the first violation times the second."""
    start = fitted("clap").multiplier_[0]
    violation = (clap_by_hand(start)[:2] ** 2).sum()
    assert fitted("clap(outer=1)").multiplier_[0] == pytest.approx(start)
    assert fitted("clap(outer=2)").multiplier_[0] == pytest.approx(start + violation**2, rel=1e-5)
    apart = [np.linalg.norm(fitted(f"clap(outer={n})").head_ - HEAD.weight) for n in (0, 2, 50)]
    assert apart[0] > apart[1] > apart[2]


def test_clap_holds_firmer_where_the_words_are_right():
    wrong = Anchors(-HEAD.weight, -HEAD.bias)
    right, left = fitted("clap"), fitted("clap", head=wrong)
    assert left.multiplier_ < right.multiplier_
    assert np.linalg.norm(left.head_ - wrong.weight) > np.linalg.norm(right.head_ - HEAD.weight)


def test_tip_adapters_cache_by_hand():
    query = np.array([[1.0, 0.0], [math.sqrt(0.5), math.sqrt(0.5)]])
    near, far = 1.0, math.exp(-5.5)
    np.testing.assert_allclose(fitted("tip_adapter(alpha=3.0)")(query)[0], [1.5 + 3 * (near - far)])
    np.testing.assert_allclose(fitted("tip_adapter")(query)[1], [2 * math.sqrt(0.5) - 0.5])  # as near to either


def test_tip_adapters_votes_balance_whatever_the_numbers():
    labels = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 1.0], [np.nan, np.nan]])
    rows = np.random.default_rng(0).normal(size=(5, 2))
    found = fitted("tip_adapter", rows, labels, Anchors(np.eye(2), np.zeros(2)))
    assert found.keys_.shape == (4, 2)
    np.testing.assert_allclose(found.values_[:, 0], [1, -1 / 3, -1 / 3, -1 / 3])
    np.testing.assert_allclose(found.values_[:, 1], [-1, -1, 1, 1])


def test_tip_adapters_keys_do_not_vote_for_themselves_while_learned():
    """Two images at a right angle: each feels the other only, whose vote is against it, and so drives it away."""
    found = fitted("tip_adapter(finetune=True, steps=1, rate=0.01)")
    assert found.keys_[0, 1] < 0
    assert found.keys_[1, 0] < 0
    np.testing.assert_array_equal(np.diag(found.keys_), 1)


def test_clip_adapter_by_hand():
    adapter = ADAPTERS.build("clip_adapter(ratio=0.5)").restore(
        {
            "weight": HEAD.weight,
            "bias": HEAD.bias,
            "down": np.array([[1.0], [-1.0]]),
            "up": np.array([[2.0, -1.0]]),
        }
    )
    # (3, 1) → relu(2) = 2 → relu(4, −2) = (4, 0); half of either is (3.5, 0.5), brought back to the length √10.
    expected = 2 * 3.5 * math.sqrt(10) / math.sqrt(3.5**2 + 0.5**2) - 0.5
    np.testing.assert_allclose(adapter(np.array([[3.0, 1.0]])), [[expected]])


def test_lp_plus_plus_starts_one_step_from_nothing():
    found = fitted("lp_plus_plus(steps=0)")
    words = np.array([1.5, -0.5])
    share = 0.25 * (words[0] - words[1]) / (0.5 * (words**2).sum() / 4)
    length = 4 / 1.5
    assert found.share_ == pytest.approx([share])
    np.testing.assert_allclose(found.head_[:, 0], [length / 4 + 2 * share, -length / 4])
    np.testing.assert_allclose(found.bias_, [-0.5 * share])


def test_lp_plus_plus_drops_words_that_mislead():
    for steps in (0, 50):
        found = fitted(f"lp_plus_plus(steps={steps})", head=Anchors(-HEAD.weight, -HEAD.bias))
        assert found.share_.tolist() == [0]
        assert np.diff(found(ROWS)[:, 0]) < 0


def test_the_words_count_as_an_image_in_cross_modal():
    """From a head of length 0.001 one step shows the slope: images and words weigh alike, here a quarter each."""
    head = Anchors(np.array([[1e-9], [0.0]]), np.zeros(1))
    found = fitted("cross_modal(steps=1)", np.array([[0.0, 1.0], [0.0, -1.0]]), LABELS, head)
    # Rows (0, 1) for, (0, −1) against, and the words (1, 0) for; slopes −⅛, +⅛, −⅛ at logit 0.
    step = found.head_[1, 0] / 0.25
    np.testing.assert_allclose(found.head_[0, 0], step * 0.125, rtol=1e-6)
    assert found.head_[1, 0] > 0


@pytest.mark.parametrize("name", ["zs_lp", "clap", "task_res", "tip_adapter", "lp_plus_plus", "cross_modal"])
def test_one_finding_alone_is_learned(name):
    found = fitted(name)(ROWS)[:, 0]
    assert found[0] - found[1] > 2.0  # which the words alone give


@pytest.mark.parametrize(
    "spec",
    [
        "zs_lp(steps=0)",
        "zs_lp(rate=2.0)",
        "cross_modal(rate=-1.0)",
        "clap(outer=-1)",
        "task_res(alpha=0.0)",
        "task_res(decay=-0.1)",
        "task_res(steps=0)",
        "tip_adapter(alpha=0.0)",
        "tip_adapter(beta=-1.0)",
        "tip_adapter(finetune=True, rate=0.0)",
        "clip_adapter(ratio=1.0)",
        "clip_adapter(reduction=0)",
        "clip_adapter(steps=0)",
        "lp_plus_plus(steps=-1)",
    ],
)
def test_options_out_of_range_are_refused_on_fitting(spec):
    with pytest.raises(UsageError) as caught:
        fitted(spec)
    option = spec.partition("(")[2].rpartition("=")[0].rpartition(" ")[2]
    assert option in caught.value.found


def test_zero_rows_and_one_row_per_kind_stay_finite():
    rows = np.zeros((2, 2))
    for name in ADAPTERS.names():
        if "anchors" in ADAPTERS.member(name).NEEDS:
            assert np.isfinite(fitted(name, rows)(np.vstack([rows, ROWS]))).all(), name


def test_separated_images_do_not_run_away_in_clap():
    rows = np.vstack([np.tile([1.0, 0.0], (50, 1)), np.tile([0.0, 1.0], (50, 1))])
    found = fitted("clap", rows, np.repeat([[1.0], [0.0]], 50, axis=0))
    assert np.abs(found.head_).max() < 10
    assert 2 < found(rows)[0, 0] - found(rows)[-1, 0] < 10  # 2 by the words alone
