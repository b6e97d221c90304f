"""Numbers of groups, the gap between them, and what chance gives."""

from __future__ import annotations

import math

import numpy as np
import pandas
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score

from tapetum.core.errors import DataError, UsageError
from tapetum.score.exchanges import exchanged_groups
from tapetum.score.subgroups import Resampling, subgroup_aurocs, subgroup_shares, subgroups_at

LOOSE = Resampling(draws=60, exchanges=200, half_width=0.5)


def rng():
    return np.random.default_rng(3)


def made(seed=0, patients=200, *, harm=0.0):
    """Two eyes per patient, groups a and b by patient; the positives of b are `harm` standard deviations harder."""
    r = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), 2)
    group = np.repeat(r.integers(0, 2, patients), 2)
    truth = np.repeat(r.random(patients) < 0.4, 2).astype(float)
    shared = np.repeat(r.normal(0, 0.7, patients), 2)
    scores = truth * (1.5 - harm * group) + shared + r.normal(0, 0.7, 2 * patients)
    return scores, truth, {"a": group == 0, "b": group == 1}, who


def twenty():
    """Group a: AUROC 1. Group b: 6 of 10 positives above all negatives, 4 below: AUROC 0.6. Ten of each in each."""
    scores = np.concatenate([np.full(10, 2.0), np.full(10, 1.0), np.full(6, 2.0), np.full(4, 0.0), np.full(10, 1.0)])
    truth = np.concatenate([np.ones(10), np.zeros(10), np.ones(10), np.zeros(10)])
    b = np.arange(40) >= 20
    return scores, truth, {"a": ~b, "b": b}, np.arange(40)


def test_values_by_hand():
    found = subgroup_aurocs(*twenty(), rng=rng(), resampling=LOOSE)
    assert [g.name for g in found.groups] == ["b", "a"]
    assert found["a"].interval.estimate == 1.0
    assert found["b"].interval.estimate == pytest.approx(0.6)
    assert (found["b"].images, found["b"].patients, found["b"].positives) == (20, 20, 10)
    assert found.overall.estimate == pytest.approx(16 / 20)
    assert found.gap.interval.estimate == pytest.approx(0.4)
    assert (found.gap.worst, found.gap.best) == ("b", "a")
    # |0.8 - 1| + |0.8 - 0.6| = 0.4
    assert found.equity_scaled.estimate == pytest.approx(0.8 / 1.4)


def test_one_threshold_by_hand():
    scores, truth, groups, who = twenty()
    scores = np.where(np.arange(40) == 39, 3.0, scores)  # one false alarm among the ten negatives of b
    point = subgroups_at(scores, truth, 1.5, groups, who, rng=rng(), resampling=LOOSE)
    assert {g.name: g.interval.estimate for g in point.sensitivity.groups} == {"a": 1.0, "b": 0.6}
    assert {g.name: g.interval.estimate for g in point.false_alarms.groups} == {"a": 0.0, "b": 0.1}
    assert point.sensitivity.gap.interval.estimate == pytest.approx(0.4)  # equal opportunity
    assert point.false_alarms.gap.interval.estimate == pytest.approx(0.1)
    assert (point.false_alarms.gap.worst, point.false_alarms.gap.best) == ("b", "a")
    assert point.equalised_odds.interval.estimate == pytest.approx(0.4)
    assert point.sensitivity["b"].positives == 10
    assert math.isnan(point.sensitivity.equity_scaled.estimate)


def test_parity_with_a_table_grouped_by_pandas():
    scores, truth, groups, who = made(harm=0.8)
    found = subgroup_aurocs(scores, truth, groups, who, rng=rng(), resampling=LOOSE)
    point = subgroups_at(scores, truth, 0.9, groups, who, rng=rng(), resampling=LOOSE)
    frame = pandas.DataFrame({"s": scores, "y": truth, "g": np.where(groups["a"], "a", "b")})
    areas = {}
    for name, part in frame.groupby("g"):
        areas[name] = roc_auc_score(part.y, part.s)
        tn, fp, fn, tp = confusion_matrix(part.y, part.s >= 0.9).ravel()
        assert found[name].interval.estimate == pytest.approx(areas[name])
        assert point.sensitivity[name].interval.estimate == pytest.approx(tp / (tp + fn))
        assert point.false_alarms[name].interval.estimate == pytest.approx(fp / (fp + tn))
    whole = roc_auc_score(truth, scores)
    assert found.gap.interval.estimate == pytest.approx(max(areas.values()) - min(areas.values()))
    scaled = whole / (1 + sum(abs(whole - area) for area in areas.values()))
    assert found.equity_scaled.estimate == pytest.approx(scaled)


def test_groups_are_measured_on_the_same_draws():
    scores, truth, _, who = made()
    found = subgroup_aurocs(scores, truth, {"everyone": np.ones(len(who), bool)}, who, rng=rng(), resampling=LOOSE)
    assert found["everyone"].interval == found.overall
    # where each group has the same images but for a shift, no draw sets them apart
    shifted = np.concatenate([scores, scores + 100])
    twins = {"a": np.arange(800) < 400, "b": np.arange(800) >= 400}
    gap = subgroup_aurocs(shifted, np.tile(truth, 2), twins, np.tile(who, 2), rng=rng(), resampling=LOOSE).gap
    assert (gap.interval.low, gap.interval.estimate, gap.interval.high) == (0.0, 0.0, 0.0)
    assert gap.p_value == 1.0


def test_a_harmed_group_is_found_and_an_equal_one_is_not():
    harmed = subgroup_aurocs(*made(harm=1.2), rng=rng(), resampling=LOOSE)
    assert harmed.gap.worst == "b"
    assert harmed.gap.p_value < 0.02
    assert harmed.gap.interval.low > 0
    p_values = [
        subgroup_aurocs(*made(seed), rng=rng(), resampling=Resampling(20, 100, 0.5)).gap.p_value
        for seed in range(1, 41)
    ]
    assert np.mean(np.array(p_values) < 0.05) <= 0.15  # 2 expected of 40, at most 6
    assert 0.3 < np.mean(p_values) < 0.7


def test_chance_gives_a_gap_that_is_not_zero():
    gaps = [subgroup_aurocs(*made(seed), rng=rng(), resampling=Resampling(20, 100, 0.5)).gap for seed in range(1, 41)]
    assert np.mean([g.chance for g in gaps]) > 0.02
    assert np.mean([g.chance for g in gaps]) == pytest.approx(np.mean([g.interval.estimate for g in gaps]), rel=0.35)


def test_too_few_is_said_and_no_number_given():
    scores, truth, groups, who = made()
    few = np.zeros(len(who), bool)
    few[np.flatnonzero(truth == 1)[:6]] = True
    three = {"a": groups["a"] & ~few, "b": groups["b"] & ~few, "c": few}
    found = subgroup_aurocs(scores, truth, three, who, rng=rng(), resampling=LOOSE)
    assert found.groups[-1].name == "c"
    assert math.isnan(found["c"].interval.estimate)
    assert found["c"].interval.method.startswith("too few to say: 3 patients with, 0 without the finding")
    assert {found.gap.worst, found.gap.best} == {"a", "b"}
    two = {"a": groups["a"] & ~few, "c": few}
    alone = subgroup_aurocs(scores, truth, two, who, rng=rng(), resampling=LOOSE)
    assert all(math.isnan(x) for x in (alone.gap.interval.estimate, alone.gap.p_value, alone.gap.chance))
    assert math.isnan(alone.equity_scaled.estimate)
    assert "too few to say" in alone.gap.interval.method
    point = subgroups_at(scores, truth, 0.5, two, who, rng=rng(), resampling=LOOSE)
    assert math.isnan(point.equalised_odds.interval.estimate)


def test_unknown_is_shown_last_and_not_compared():
    scores, truth, groups, who = twenty()
    named = {"unknown": groups["b"], "x": groups["a"]}
    found = subgroup_aurocs(scores, truth, named, who, rng=rng(), resampling=LOOSE)
    assert [g.name for g in found.groups] == ["x", "unknown"]
    assert found["unknown"].interval.estimate == pytest.approx(0.6)
    assert math.isnan(found.gap.interval.estimate)


def test_without_exchanges_there_is_no_p():
    found = subgroup_aurocs(*twenty(), rng=rng(), resampling=Resampling(20, 0, 0.5))
    assert found.gap.interval.estimate == pytest.approx(0.4)
    assert math.isnan(found.gap.p_value)
    assert math.isnan(found.gap.chance)


def test_exchanges_keep_the_numbers_of_patients_with_and_without():
    _, truth, groups, who = made()
    group = groups["b"].astype(int)
    for block in exchanged_groups(group, truth, who, rng=rng(), exchanges=300):
        for dealt in block[::50]:
            assert (dealt[0::2] == dealt[1::2]).all()  # both eyes move together
            for sick in (0, 1):
                assert (dealt[truth == sick] == 1).sum() == (group[truth == sick] == 1).sum()


def test_the_two_eyes_of_a_patient_exchange_with_each_other_only():
    who, eye = np.repeat(np.arange(50), 2), np.tile([0, 1], 50)
    dealt = np.concatenate(list(exchanged_groups(eye, np.zeros(100), who, rng=rng(), exchanges=400)))
    assert dealt.shape == (400, 100)
    assert (dealt[:, 0::2] + dealt[:, 1::2] == 1).all()
    assert dealt.mean(axis=0) == pytest.approx(np.full(100, 0.5), abs=0.15)


def test_what_cannot_be_measured_is_refused():
    scores, truth, groups, who = twenty()
    with pytest.raises(DataError, match="two groups"):
        subgroup_aurocs(scores, truth, {"a": groups["a"], "b": np.ones(40, bool)}, who, rng=rng())
    with pytest.raises(DataError, match="rows of the group 'a'"):
        subgroup_aurocs(scores, truth, {"a": groups["a"][:3]}, who, rng=rng())
    with pytest.raises(DataError, match="NaN"):
        subgroup_aurocs(np.full(40, np.nan), truth, groups, who, rng=rng())
    with pytest.raises(UsageError, match="exchanges"):
        subgroup_aurocs(scores, truth, groups, who, rng=rng(), resampling=Resampling(exchanges=-1))
    with pytest.raises(UsageError, match="none was chosen"):
        subgroups_at(scores, truth, math.nan, groups, who, rng=rng())
    with pytest.raises(DataError, match="neither 0, 1 nor NaN"):
        subgroup_shares(np.full(40, 0.5), groups, who, rng=rng(), higher_is_better=True)
