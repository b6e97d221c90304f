"""Expected half-widths by hand and against what is then measured; verdicts that count patients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from tapetum.core.errors import DataError, UsageError
from tapetum.score.stats.delong import delong_covariance
from tapetum.score.stats.proportions import wilson_interval
from tapetum.score.stats.sample_size import (
    auroc_half_width,
    auroc_verdict,
    positives_for_auroc,
    sensitivity_verdict,
    share_half_width,
    subjects_for_share,
)


def test_hanley_and_mcneil_by_hand():
    # A = .8: Q1 = .8 / 1.2, Q2 = 1.28 / 1.8
    variance = 0.16 + 19 * (2 / 3 - 0.64) + 79 * (1.28 / 1.8 - 0.64)
    assert auroc_half_width(0.8, 20, 80) == pytest.approx(1.959964 * math.sqrt(variance / 1600), rel=1e-6)
    assert math.isnan(auroc_half_width(0.8, 0, 80))
    assert auroc_half_width(0.8, 20, 80, level=0.9) < auroc_half_width(0.8, 20, 80)


@pytest.mark.parametrize(("area", "wider"), [(0.75, (0.95, 1.15)), (0.9, (1.0, 1.3))])
def test_the_expected_half_width_is_near_to_the_measured_one_and_rather_wider(area, wider):
    rng = np.random.default_rng(0)
    labels = np.repeat([1.0, 0.0], [60, 200])
    shift = math.sqrt(2) * special.ndtri(area)
    measured = [
        1.959964 * math.sqrt(delong_covariance((shift * labels + rng.normal(size=260))[:, None], labels)[1][0, 0])
        for _ in range(100)
    ]
    assert wider[0] < auroc_half_width(area, 60, 200) / np.mean(measured) < wider[1]


def test_a_share_has_the_half_width_of_wilson():
    interval = wilson_interval(45, 50)
    assert share_half_width(0.9, 50) == pytest.approx((interval.high - interval.low) / 2)
    assert math.isnan(share_half_width(0.9, 0))


@pytest.mark.parametrize("wanted", [0.15, 0.05, 0.02])
def test_the_number_needed_is_the_smallest_that_is_enough(wanted):
    needed = positives_for_auroc(0.8, half_width=wanted, negatives_per_positive=4)
    assert auroc_half_width(0.8, needed, 4 * needed) <= wanted < auroc_half_width(0.8, needed - 1, 4 * (needed - 1))
    subjects = subjects_for_share(0.9, half_width=wanted)
    assert share_half_width(0.9, subjects) <= wanted < share_half_width(0.9, subjects - 1)


def test_verdict_counts_patients_and_not_images():
    labels = np.array([1.0] * 40 + [0.0] * 400)
    images = auroc_verdict(labels, range(440))
    assert images.enough
    assert images.text.startswith("enough: 40 patients with, 400 without")
    pairs = auroc_verdict(labels, np.repeat(np.arange(220), 2))
    assert pairs.positives == 20
    assert pairs.half_width == pytest.approx(auroc_half_width(0.8, 20, 200))
    assert not pairs.enough
    assert "too few to say: 20 patients with, 200 without" in str(pairs)
    assert f"about {pairs.needed} with" in pairs.text
    assert auroc_half_width(0.8, pairs.needed, 10 * pairs.needed) <= 0.1


def test_few_positives_are_too_few_however_wide_an_interval_is_wanted():
    labels = np.array([1.0] * 9 + [0.0] * 1000)
    found = auroc_verdict(labels, range(1009), half_width=0.4)
    assert found.half_width < 0.4
    assert not found.enough
    assert found.text == "too few to say: 9 patients with, 1000 without the finding; at least 10 with are needed"
    sensitivity = sensitivity_verdict(labels, range(1009), half_width=0.4)
    assert not sensitivity.enough
    assert sensitivity.needed == 10
    assert sensitivity_verdict(1 - labels, range(1009), half_width=0.02).enough


def test_an_absent_class_is_nan_and_too_few():
    none = auroc_verdict(np.array([0.0, 0, np.nan]), list("abc"))
    assert math.isnan(none.half_width)
    assert not none.enough
    assert none.text.startswith("too few to say: 0 patients with, 2 without")
    assert math.isnan(sensitivity_verdict(np.zeros(3), list("abc")).half_width)


def test_refusals():
    with pytest.raises(UsageError, match="AUROC"):
        auroc_half_width(80, 10, 10)
    with pytest.raises(UsageError, match="share"):
        share_half_width(1.2, 10)
    with pytest.raises(UsageError, match="half_width"):
        positives_for_auroc(0.8, half_width=0)
    with pytest.raises(UsageError, match="fewer than"):
        subjects_for_share(0.5, half_width=1e-9)
    with pytest.raises(UsageError, match="negatives_per_positive"):
        positives_for_auroc(0.8, half_width=0.1, negatives_per_positive=0)
    with pytest.raises(DataError, match="clusters"):
        auroc_verdict(np.ones(3), list("ab"))
    with pytest.raises(DataError, match="0, 1"):
        auroc_verdict(np.full(3, 2.0), list("abc"))
