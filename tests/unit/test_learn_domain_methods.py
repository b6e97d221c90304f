"""Methods that know where a row comes from: what each is for, on rows whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.domain_weights import evened
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.methods.domain_standardised import DomainStandardised
from tapetum.learn.methods.latent_domains import clusters_of
from tapetum.learn.methods.nuisance_projection import NuisanceProjection
from tapetum.learn.methods.recoloured import Recoloured
from tapetum.learn.methods.restyled import Styles
from tapetum.learn.methods.swad import window
from tapetum.score.ranking import rank

METHODS = Family("tapetum.learn.methods")
PACE = Pace(epochs=12, batch=64, learning_rate=0.01)
OF_DOMAINS = (
    "dann(weight=0.3)", "domain_standardised()", "evened_domains()", "group_dro()", "latent_domains(clusters=2)",
    "nuisance_projection()", "recoloured()", "restyled()", "swad()",
)  # fmt: skip


def world(seed: int, *, shift: float, agreement: tuple[float, float], size: int = 300, truth: float = 1.0):
    """Rows of two domains and of a third. Column 0 tells the class weakly; column 1 tells the domain.

    In domain d the share of positives is `agreement[d]`, so that the column of the domain is a shortcut; the third
    domain has half of each and lies three times as far out.
    """
    rng = np.random.default_rng(seed)

    def rows(domain: int, share: float):
        labels = (rng.random(size) < share).astype(np.int64)
        features = rng.normal(size=(size, 6))
        features[:, 0] += truth * (2 * labels - 1)
        features[:, 1] += shift * (-1, 1, 3)[domain]
        return features, labels

    parts = [rows(d, share) for d, share in enumerate((*agreement, 0.5))]
    learned = Taught(
        np.concatenate([p[0] for p in parts[:2]]), np.concatenate([p[1] for p in parts[:2]]), 2,
        np.arange(2 * size), np.repeat([0, 1], size),
    )  # fmt: skip
    return learned, parts[2]


def auroc(spec: str, taught: Taught, tested) -> float:
    logits = METHODS.build(spec).fit(taught, PACE, np.random.default_rng(0))(tested[0])
    return rank(logits[:, 1] - logits[:, 0], tested[1]).auroc


@pytest.mark.parametrize("spec", OF_DOMAINS)
def test_it_learns_what_is_there_and_equal_seeds_give_equal_numbers(spec):
    taught, tested = world(0, shift=0.5, agreement=(0.5, 0.5))
    found = auroc(spec, taught, tested)
    assert found > 0.85
    assert auroc(spec, taught, tested) == found


@pytest.mark.parametrize("spec", ["evened_domains()", "nuisance_projection(weight=100.0)", "restyled()"])
def test_a_domain_that_tells_the_class_is_not_learned_as_one(spec):
    """ERM uses the column of the domain; within the third domain it is noise, weighed as much as it misled."""
    taught, tested = world(1, shift=1.0, agreement=(0.1, 0.9), truth=0.6)
    gain = auroc(spec, taught, tested) - auroc("one_stage()", taught, tested)
    assert gain > 0.02


@pytest.mark.parametrize("spec", ["dann", "group_dro", "nuisance_projection", "restyled"])
def test_one_domain_is_refused_where_there_is_nothing_to_do(spec):
    taught, _ = world(0, shift=0.0, agreement=(0.5, 0.5))
    one = Taught(taught.features, taught.labels, 2, taught.groups)
    with pytest.raises(UsageError, match="one domain"):
        METHODS.build(spec).fit(one, PACE, np.random.default_rng(0))


@pytest.mark.parametrize(
    "spec",
    [
        "dann(weight=-1.0)", "dann(head='linear')", "domain_standardised(strength=-1.0)", "evened_domains(power=-1.0)",
        "group_dro(step=-1.0)", "latent_domains(clusters=1)", "nuisance_projection(weight=-1.0)",
        "recoloured(ridge=0.0)", "restyled(least=2.0, most=1.0)", "swad(tolerance=1.0)",
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(spec):
    taught, _ = world(0, shift=0.0, agreement=(0.5, 0.5))
    with pytest.raises(UsageError):
        METHODS.build(spec).fit(taught, PACE, np.random.default_rng(0))


def test_evened_cells_of_domain_and_class_weigh_alike():
    taught, _ = world(0, shift=0.0, agreement=(0.1, 0.8))
    weights = evened(taught, 1.0)
    cells = [weights[(taught.domains == d) & (taught.labels == c)].sum() for d in (0, 1) for c in (0, 1)]
    assert np.allclose(cells, len(weights) / 4)
    assert np.allclose(evened(taught, 0.0), 1)


def test_with_step_0_the_loss_of_group_dro_counts_domains_alike():
    """Nine times as many rows of one domain: with evened weights the logit of an empty row is the mean of two shares.

    Domain 0 is positive in 1 of 9 rows, domain 1 always: ERM's share is .2, that of domains alike 5/9.
    """
    labels = np.array([1] + [0] * 8 + [1])
    domains = np.array([0] * 9 + [1])
    taught = Taught(np.zeros((10, 1)), labels, 2, np.arange(10), domains)
    pace = Pace(epochs=400, batch=10, learning_rate=0.05)
    for spec, share in (("one_stage()", 0.2), ("group_dro(step=0.0)", 5 / 9)):
        logits = METHODS.build(spec).fit(taught, pace, np.random.default_rng(0))(np.zeros((1, 1)))[0]
        assert 1 / (1 + np.exp(logits[0] - logits[1])) == pytest.approx(share, abs=0.02)


def test_a_domain_is_standardised_by_its_own_mean_and_spread():
    taught, tested = world(0, shift=2.0, agreement=(0.5, 0.5))
    fitted = DomainStandardised(strength=1.0, as_many=0.0).fit(taught, PACE, np.random.default_rng(0))
    moved = fitted.move(tested[0])
    assert np.allclose(moved.mean(0), taught.features.mean(0))
    assert np.allclose(moved.std(0), taught.features.std(0))
    nothing = DomainStandardised(strength=0.0).fit(taught, PACE, np.random.default_rng(0))
    assert np.allclose(nothing.move(tested[0]), tested[0])


def test_recoloured_rows_have_the_covariance_learned_on():
    taught, tested = world(0, shift=2.0, agreement=(0.5, 0.5))
    rows = tested[0] @ np.random.default_rng(1).normal(size=(6, 6))
    moved = Recoloured(ridge=1e-9).fit(taught, PACE, np.random.default_rng(0)).move(rows)
    assert np.allclose(np.cov(moved.T), np.cov(taught.features.T) * 600 / 599 * 299 / 300, rtol=1e-2, atol=1e-2)
    assert np.allclose(moved.mean(0), taught.features.mean(0))
    source, own = (np.cov(x.T, bias=True) for x in (taught.features, rows))
    expected = (rows - rows.mean(0)) @ np.linalg.inv(sqrtm(own)) @ sqrtm(source) + taught.features.mean(0)
    assert np.allclose(moved, expected.real, atol=1e-4)


@pytest.mark.parametrize(("learned", "asked"), [(90, 70), (90, 6), (6, 70), (6, 6)])
def test_recolouring_is_the_product_of_powers_of_the_covariances(learned, asked):
    """Fewer rows than columns or more: as when both matrices are written out."""
    rng = np.random.default_rng(3)
    taught = Taught(rng.normal(size=(learned, 9)).astype(np.float32), np.arange(learned) % 2, 2, np.arange(learned))
    rows = (2 * rng.normal(size=(asked, 9)) + 1).astype(np.float32)
    moved = Recoloured(ridge=0.5).fit(taught, PACE, rng).move(rows)
    covariances = [np.cov(x.astype(np.float64).T, bias=True) for x in (taught.features, rows)]
    ridge = 0.5 * np.trace(covariances[0]) / 9
    powers = [np.linalg.eigh(c + ridge * np.eye(9)) for c in covariances]
    colour, whiten = ((v * w**p) @ v.T for (w, v), p in zip(powers, (0.5, -0.5), strict=True))
    expected = (rows - rows.mean(0)) @ whiten @ colour + taught.features.astype(np.float64).mean(0)
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_nuisance_directions_go_and_others_stay():
    """The class means of the two domains differ in column 1 alone, by construction."""
    taught, _ = world(0, shift=0.0, agreement=(0.3, 0.7))
    rows = taught.features.copy()
    for d in (0, 1):
        for c in (0, 1):
            cell = (taught.domains == d) & (taught.labels == c)
            rows[cell] -= rows[cell].mean(0)
            rows[cell, 0] += 4 * c
            rows[cell, 1] += 2 * d
    there = Taught(rows, taught.labels, 2, taught.groups, taught.domains)
    fitted = NuisanceProjection(weight=3.0).fit(there, PACE, np.random.default_rng(0))
    probe = np.eye(6)
    # scatter of column 1: deviations ±1 around the class mean, so a variance of 1: divided by root(1 + 3)
    assert np.allclose(fitted.move(probe), np.diag([1, 0.5, 1, 1, 1, 1]), atol=1e-6)


def test_latent_clusters_are_the_domains_that_nobody_named():
    taught, _ = world(0, shift=4.0, agreement=(0.4, 0.6))
    found = clusters_of(Taught(taught.features, taught.labels, 2, taught.groups), 2, np.random.default_rng(0))
    same = (found == taught.domains).mean()
    assert max(same, 1 - same) > 0.95


def test_a_restyled_row_has_the_mean_and_spread_of_the_other_domain():
    taught, _ = world(0, shift=2.0, agreement=(0.3, 0.7))
    styles, rng = Styles(taught), np.random.default_rng(0)
    rows = np.flatnonzero((taught.domains == 0) & (taught.labels == 1))
    other = taught.features[(taught.domains == 1) & (taught.labels == 1)]
    moved = styles.changed(rows, np.ones(len(rows)), rng)
    assert np.allclose(moved.mean(0), other.mean(0))
    assert np.allclose(moved.std(0), other.std(0))
    assert np.allclose(styles.changed(rows, np.zeros(len(rows)), rng), taught.features[rows])


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([5, 3, 1, 2, 2, 2, 2, 2], (2, 8)),  # the threshold is 1.5 · mean(1, 2) = 2.25: never above
        ([5, 3, 1, 2, 2, 9, 9, 9], (2, 5)),
        ([5, 3, 1, 2, 9, 2, 9, 9], (2, 6)),  # one above is not two in a row
        ([5, 4, 3, 2, 1], (4, 5)),  # still falling: the last one
    ],
)
def test_the_window_of_swad_begins_at_the_best_and_ends_when_the_loss_rises(losses, expected):
    assert window(losses, settled=2, patience=2, tolerance=1.5) == expected


def test_offsets_have_the_pace_that_is_asked_for_where_networks_learn_side_by_side():
    """Features that say nothing: only the offset tells that a class is rare, and at the weights' pace it is late."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1], [950, 50]))
    taught = Taught(rng.normal(size=(1000, 3)).astype(np.float32), labels, 2, np.arange(1000))
    odds = {}
    for rate in (1.0, 30.0):
        pace = Pace(30, 100, 1e-3, 0.1, rate)
        logits = METHODS.build("swad()").fit(taught, pace, np.random.default_rng(0))(np.zeros((1, 3), np.float32))[0]
        odds[rate] = 1 / (1 + np.exp(logits[0] - logits[1]))
    assert odds[1.0] > 0.3
    assert odds[30.0] == pytest.approx(0.05, abs=0.02)
