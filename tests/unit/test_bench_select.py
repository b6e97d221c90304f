"""The three rules by which a setting is chosen, and the traps that they must not fall into."""

from __future__ import annotations

import math

import pytest

from tapetum.bench.trust.select import RULES, Candidate, leave_one_domain_out, oracle, training_domain
from tapetum.core.errors import DataError

A = Candidate("a", {"x": 0.9, "y": 0.7}, {"x": 0.5, "y": 0.6}, 0.55)  # means .80, .55
B = Candidate("b", {"x": 0.8, "y": 0.76}, {"x": 0.7, "y": 0.6}, 0.50)  # means .78, .65
C = Candidate("c", {"x": 0.6, "y": 0.6}, {"x": 0.5, "y": 0.5}, 0.90)  # means .60, .50


def test_each_rule_reads_its_own_values():
    assert training_domain([A, B, C]) is A
    assert leave_one_domain_out([A, B, C]) is B
    assert oracle([A, B, C]) is C


@pytest.mark.parametrize("rule", ["training_domain", "leave_one_domain_out"])
def test_the_tested_domain_changes_nothing_but_the_oracle(rule):
    moved = [Candidate(c.setting, c.trained, c.left_out, 1 - c.target) for c in (A, B, C)]
    assert RULES[rule](moved).setting == RULES[rule]([A, B, C]).setting
    assert oracle(moved).setting != oracle([A, B, C]).setting


def test_training_values_change_nothing_for_the_other_rules():
    moved = [Candidate(c.setting, {"x": 1 - c.trained["x"]}, c.left_out, c.target) for c in (A, B, C)]
    assert leave_one_domain_out(moved).setting == "b"
    assert oracle(moved).setting == "c"


def test_domains_count_alike_and_not_by_their_images():
    """A mean over domains: .5·(1.0 + .5) = .75 loses against .5·(.8 + .8), however large x is."""
    assert training_domain([Candidate("a", {"x": 1.0, "y": 0.5}), Candidate("b", {"x": 0.8, "y": 0.8})]).setting == "b"


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_of_equals_the_first_wins_and_the_order_of_others_plays_no_part(rule):
    first = Candidate("first", A.trained, A.left_out, C.target)
    again = Candidate("again", A.trained, B.left_out, C.target)
    best = Candidate("best", {"x": 0.95, "y": 0.95}, {"x": 0.9, "y": 0.9}, 0.99)
    assert rule([first, Candidate("same", first.trained, first.left_out, first.target)]) is first
    assert rule([first, best, again]) is best
    assert rule([again, first, best]) is best


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_what_could_not_be_judged_never_wins(rule):
    unknown = Candidate("unknown", {"x": math.nan}, {}, math.nan)
    assert rule([unknown, C]) is C
    with pytest.raises(DataError):
        rule([unknown])
    with pytest.raises(DataError):
        rule([])


def test_candidates_are_compared_on_domains_that_all_of_them_have():
    """Without this, a run that could not be judged on the hard domain would win by missing it."""
    easy = Candidate("easy only", {"easy": 0.90, "hard": math.nan})
    both = Candidate("both", {"easy": 0.91, "hard": 0.50})
    assert training_domain([easy, both]) is both
