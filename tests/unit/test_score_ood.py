"""Out-of-distribution scores by hand, against slow formulas, and at the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Head
from tapetum.score.in_distribution import InDistribution, principal_dims, shrinkage_of
from tapetum.score.metrics.auroc_score import auroc_score

SCORES = Family("tapetum.score.ood")
IDENTITY = Head(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
LOG3 = math.log(3)  # softmax of (log 3, 0) is (3/4, 1/4), sigmoid of log 3 is 3/4, of 0 is 1/2

THREE_TO_ONE = 0.25 * math.log(4) + 0.75 * math.log(4 / 3)  # entropy


def logits_only(spec, mode="softmax", known=((0.0, 0.0), (1.0, 0.0)), query=((LOG3, 0.0),)):
    """The score of features that are logits themselves."""
    return SCORES.build(spec).fit(InDistribution(np.array(known), head=IDENTITY, mode=mode))(np.array(query))[0]


@pytest.mark.parametrize(
    ("spec", "softmax", "sigmoid"),
    [
        ("msp", -0.75, -0.75),
        ("msp(temperature=0.5)", -0.9, -0.9),  # odds 9 to 1
        ("max_logit", -LOG3, -LOG3),
        ("energy", -math.log(4), -math.log(4) - math.log(2)),
        ("energy(temperature=0.5)", -0.5 * math.log(10), -0.5 * math.log(10) - 0.5 * math.log(2)),
        ("entropy", THREE_TO_ONE, THREE_TO_ONE + math.log(2)),
        ("gen(gamma=0.5)", 2 * math.sqrt(3) / 4, math.sqrt(3) / 4 + 0.5),
        ("gen(gamma=0.5, top=1)", math.sqrt(3) / 4, math.sqrt(3) / 4),
        ("gradnorm", -LOG3 * 0.5, -LOG3 * 0.25 / 2),  # |x| is log 3; |p - u| is 1/4 + 1/4, or 1/4 + 0 over two
    ],
)  # fmt: skip
def test_scores_of_logits_by_hand(spec, softmax, sigmoid):
    assert logits_only(spec) == pytest.approx(softmax)
    assert logits_only(spec, "sigmoid") == pytest.approx(sigmoid)


def test_kl_matching_by_hand():
    known = ((LOG3, 0.0), (LOG3, 0.0), (0.0, LOG3))
    assert logits_only("kl_matching", known=known) == pytest.approx(0, abs=1e-12)
    against_first = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert logits_only("kl_matching", known=known, query=((0.0, 0.0),)) == pytest.approx(against_first)
    one = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)  # the only group: no finding called
    assert logits_only("kl_matching", "sigmoid", known=((0.0, 0.0), (0.0, 0.0))) == pytest.approx(one)


def test_knn_by_hand():
    score = SCORES.build("knn(k=2)").fit(InDistribution(np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])))
    assert score(np.array([[5.0, 0.0]]))[0] == pytest.approx(math.sqrt(2), abs=1e-6)  # nearest 0, then at a right angle


def test_neighbours_are_the_same_over_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    known, query = rng.normal(size=(50, 5)), rng.normal(size=(23, 5))
    unit, others = known / np.linalg.norm(known, axis=1)[:, None], query / np.linalg.norm(query, axis=1)[:, None]
    slow = np.sort(np.linalg.norm(others[:, None] - unit[None], axis=2), axis=1)[:, 6]
    monkeypatch.setattr("tapetum.score.query.BLOCK", 4)
    found = SCORES.build("knn(k=7)").fit(InDistribution(known))(query)
    np.testing.assert_allclose(found, slow, atol=1e-5)


def test_mahalanobis_by_hand():
    # two classes of two images, means (0, 1) and (4, 1), covariance within diag(1, 1)
    features = np.array([[-1.0, 0.0], [1.0, 2.0], [3.0, 2.0], [5.0, 0.0]])
    known = InDistribution(features, labels=np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(known.within, np.eye(2))
    np.testing.assert_allclose(known.covariance, np.diag([5.0, 1.0]))
    query = np.array([[0.0, 3.0], [5.0, 1.0]])
    np.testing.assert_allclose(SCORES.build("mahalanobis(shrinkage=0)").fit(known)(query), [4, 1])
    relative = SCORES.build("relative_mahalanobis(shrinkage=0)").fit(known)
    np.testing.assert_allclose(relative(query), [4 - (4 / 5 + 4), 1 - 9 / 5])


def test_groups_of_findings_that_occur_together():
    features = np.arange(8.0).reshape(4, 2)
    labels = np.array([[1, 0], [1, 1], [0, np.nan], [0, 1]])
    known = InDistribution(features, labels=labels, mode="sigmoid")
    np.testing.assert_allclose(known.membership, [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_allclose(known.group_means[0], (features[0] + features[1] / 2) / 1.5)
    slow = sum(
        known.membership[i, g] * np.outer(features[i] - known.group_means[g], features[i] - known.group_means[g])
        for i in range(4) for g in range(3)
    ) / 4  # fmt: skip
    np.testing.assert_allclose(known.within, slow, atol=1e-12)


@pytest.mark.parametrize("images", [40, 12])
def test_shrinkage_is_that_of_scikit_learn(images):
    rows = np.random.default_rng(1).normal(size=(images, 20)) * np.linspace(0.2, 2, 20)
    rows -= rows.mean(axis=0)
    theirs = ledoit_wolf(rows, assume_centered=True)[1]
    ours = shrinkage_of(rows.T @ rows / images, float(((rows**2).sum(axis=1) ** 2).mean()), images, 20)
    assert 0 < ours < 1
    assert ours == pytest.approx(theirs)


def test_far_outside_stays_far_with_fewer_images_than_features():
    """Shrunk each by its own, the covariance of all can be the smaller one, and distance turn into likeness."""
    rng = np.random.default_rng(0)
    classes = np.arange(60) % 4
    features = np.hstack([6 * np.eye(4)[classes] + rng.normal(size=(60, 4)), 0.1 * rng.normal(size=(60, 96))])
    outside = np.hstack([rng.normal(size=(30, 4)), rng.normal(size=(30, 96))])
    score = SCORES.build("relative_mahalanobis").fit(InDistribution(features[:40], labels=classes[:40]))
    assert auroc_score(np.concatenate([score(features[40:]), score(outside)]), np.repeat([0, 1], [20, 30])) > 0.95


def test_a_covariance_without_inverse_is_refused_unless_shrunk():
    known = InDistribution(np.random.default_rng(0).normal(size=(4, 6)), labels=np.array([0, 0, 1, 1]))
    with pytest.raises(DataError, match="without inverse"):
        SCORES.build("mahalanobis(shrinkage=0)").fit(known)
    assert np.isfinite(SCORES.build("mahalanobis").fit(known)(np.ones((1, 6)))).all()


@pytest.mark.parametrize("name", ["mahalanobis", "relative_mahalanobis"])
@pytest.mark.parametrize("images", [15, 30, 31, 80])
def test_distances_are_those_of_the_whole_covariance_however_few_the_images(name, images):
    rng = np.random.default_rng(images)
    labels = np.arange(images) % 3
    features, query = rng.normal(size=(images, 30)) + labels[:, None], 2 * rng.normal(size=(9, 30))
    known = InDistribution(features, labels=labels)
    means = np.stack([features[labels == c].mean(axis=0) for c in range(3)])
    apart, whole = features - means[labels], features - features.mean(axis=0)
    weight = ledoit_wolf(apart, assume_centered=True)[1]
    ridge = weight * (apart**2).mean() * np.eye(30)

    def distance(rows, mean, deviations):
        inverse = np.linalg.inv((1 - weight) * deviations.T @ deviations / images + ridge)
        return np.einsum("ij,jk,ik->i", rows - mean, inverse, rows - mean)

    slow = np.min([distance(query, mean, apart) for mean in means], axis=0)
    if name == "relative_mahalanobis":
        slow -= distance(query, features.mean(axis=0), whole)
    np.testing.assert_allclose(SCORES.build(name).fit(known)(query), slow, rtol=1e-7)


@pytest.mark.parametrize("images", [8, 12, 40])
def test_residual_and_vim_are_those_of_the_whole_decomposition(images):
    rng = np.random.default_rng(images)
    features, query = rng.normal(size=(images, 12)) + 1, rng.normal(size=(5, 12))
    head = Head(rng.normal(size=(3, 12)).astype(np.float32), rng.normal(size=3).astype(np.float32))
    for name, origin in (("residual", features.mean(axis=0)), ("vim", -np.linalg.pinv(head.weight) @ head.bias)):
        basis = np.linalg.svd(features - origin, full_matrices=False)[2][:4]
        away = query - origin
        left = np.linalg.norm(away - away @ basis.T @ basis, axis=1)
        score = SCORES.build(f"{name}(dims=4)").fit(InDistribution(features, head=head))
        found = score(query)
        if name == "vim":
            logits = query @ head.weight.T + head.bias
            found = (found + np.log(np.exp(logits).sum(axis=1))) / score.scale_
        np.testing.assert_allclose(found, left, rtol=1e-5)


def test_residual_and_vim_by_hand():
    # variance along the first axis only; what lies along the second is left over
    features = np.array([[-2.0, 1.0], [2.0, 1.0], [-1.0, 1.0], [1.0, 1.0]])
    residual = SCORES.build("residual(dims=1)").fit(InDistribution(features))
    np.testing.assert_allclose(residual(np.array([[7.0, 1.0], [0.0, 4.0]])), [0, 3], atol=1e-12)
    # the head's origin is (0, 0): left over are 1 for each known image; the largest logits are 1, 2, 1, 1
    vim = SCORES.build("vim(dims=1)").fit(InDistribution(features, head=IDENTITY))
    assert vim(np.array([[0.0, 4.0]]))[0] == pytest.approx(4 * 1.25 - math.log(1 + math.exp(4)))


def test_a_head_whose_rows_add_up_to_zero_has_its_origin_near_by():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 8))
    weight -= weight.mean(axis=0)
    known = InDistribution(rng.normal(size=(60, 8)), head=Head(weight.astype(np.float32), np.ones(3, np.float32)))
    assert np.linalg.norm(SCORES.build("vim").fit(known).origin_) < 10  # 1e7 where rounding counts as a direction


def test_how_many_directions_are_principal():
    assert [principal_dims(0, d, 10_000) for d in (10, 800, 2048)] == [5, 512, 1000]
    assert principal_dims(0, 2048, 100) == 50
    assert principal_dims(7, 10, 4) == 7
    with pytest.raises(UsageError, match="dims=10"):
        principal_dims(10, 10, 100)


def test_clipping_pruning_and_scaling_by_hand():
    known = np.array([[0.0, 1.0], [2.0, 3.0]])
    assert logits_only("react(quantile=0.5)", known=known, query=((9.0, 0.0),)) == pytest.approx(
        -math.log(math.exp(1.5) + 1)
    )
    query = ((3.0, 1.0),)
    kept = {"p": 3.0, "b": 4.0, "s": 3 * math.exp(4 / 3)}
    for variant, value in kept.items():
        found = logits_only(f"ash(variant={variant!r}, drop=0.5)", query=query)
        assert found == pytest.approx(-np.logaddexp(value, 0))
    scaled = np.array([3.0, 1.0]) * math.exp(4 / 3)
    assert logits_only("scale(drop=0.5)", query=query) == pytest.approx(-np.logaddexp(*scaled))
    flipped = np.array([-3.0, 1.0]) * math.exp(4 / 3)  # signed features count by their size
    assert logits_only("scale(drop=0.5)", query=((-3.0, 1.0),)) == pytest.approx(-np.logaddexp(*flipped))


def test_she_dice_prototype_and_fdbd_by_hand():
    features = np.array([[2.0, 0.0], [4.0, 0.0], [0.0, 2.0], [3.0, 1.0]])  # the last is called 0 and is 1
    known = InDistribution(features, labels=np.array([0, 0, 1, 1]), head=IDENTITY)
    query = np.array([[1.0, 0.5]])
    assert SCORES.build("she").fit(known)(query)[0] == pytest.approx(-3.0)
    # contributions of mean (2.25, 0.75): 2.25 and 0.75 on the diagonal, 0 beside it: half of the weights go
    assert SCORES.build("dice(sparsity=0.7)").fit(known)(query)[0] == pytest.approx(-math.log(math.e + 1))
    cosines = [1 / math.sqrt(1.25), (1.5 + 0.75) / math.sqrt(1.25 * 4.5)]
    assert SCORES.build("prototype").fit(known)(query)[0] == pytest.approx(1 - max(cosines), abs=1e-6)
    away = math.hypot(1.25, 0.25)
    assert SCORES.build("fdbd").fit(known)(query)[0] == pytest.approx(-0.5 / math.sqrt(2) / away)
    findings = InDistribution(features, head=IDENTITY, mode="sigmoid")
    assert SCORES.build("fdbd").fit(findings)(query)[0] == pytest.approx(-(1 + 0.5) / 2 / away)


def test_nnguide_by_hand_and_below_zero():
    features = np.array([[1.0, 0.0], [0.0, 2.0]])
    energies = np.log(np.exp(features).sum(axis=1))
    found = SCORES.build("nnguide(k=1)").fit(InDistribution(features, head=IDENTITY))(np.array([[3.0, 0.0]]))[0]
    assert found == pytest.approx(-energies[0] * math.log(math.exp(3) + 1), rel=1e-6)
    low = Head(np.eye(2, dtype=np.float32), np.full(2, -9, np.float32))
    score = SCORES.build("nnguide(k=1)").fit(InDistribution(features, head=low))
    near, far = score(np.array([[1.0, 1.5], [0.1, -0.1]]))
    assert near < far  # unshifted, the product of two negative energies would say the opposite


@pytest.mark.parametrize(
    "spec",
    ["msp(temperature=0)", "energy(temperature=-1)", "gen(gamma=1)", "gen(top=-1)", "react(quantile=1)", "ash(drop=0)",
     "ash(variant='x')", "scale(drop=2)", "dice(sparsity=0)"],
)  # fmt: skip
def test_options_out_of_range_are_refused(spec):
    with pytest.raises(UsageError):
        SCORES.build(spec)


def test_options_that_the_data_forbid():
    known = InDistribution(np.eye(3), labels=np.array([0, 1, 1]))
    for spec in ("knn(k=4)", "knn(k=0)"):
        with pytest.raises(DataError, match="3 known images"):
            SCORES.build(spec).fit(known)
    with pytest.raises(UsageError, match="shrinkage=2"):
        SCORES.build("mahalanobis(shrinkage=2)").fit(known)
    one = InDistribution(np.eye(2), head=Head(np.ones((1, 2), np.float32), np.zeros(1, np.float32)))
    with pytest.raises(UsageError, match="one class"):
        SCORES.build("fdbd").fit(one)


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"features": np.ones((1, 3))}, "at least 2"),
        ({"features": np.full((3, 2), np.inf)}, "infinite"),
        ({"labels": np.array([0, 1])}, "2 labels"),
        ({"labels": np.array([0.0, 0.5, 1])}, "no class"),
        ({"labels": np.eye(3)}, "in mode softmax"),
        ({"labels": np.array([0, 1, 2]), "head": IDENTITY}, "no class"),
        ({"labels": np.full((3, 2), 2.0), "mode": "sigmoid"}, "neither 0, 1 nor NaN"),
        ({"labels": np.eye(3), "mode": "sigmoid", "head": IDENTITY}, "3 findings"),
        ({"head": Head(np.ones((2, 5), np.float32), np.zeros(2, np.float32))}, "weights"),
    ],
)
def test_known_images_that_do_not_fit(told, match):
    with pytest.raises(DataError, match=match):
        InDistribution(**{"features": np.arange(6.0).reshape(3, 2)} | told)


def test_an_unknown_mode_is_refused():
    with pytest.raises(UsageError, match="mode='both'"):
        InDistribution(np.eye(2), mode="both")


def test_dice_refuses_standardised_features():
    """Mean contributions are rounding errors there: which weights are kept would be chance."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(60, 6)) + 3
    head = Head(rng.normal(size=(2, 6)).astype(np.float32), np.zeros(2, np.float32))
    SCORES.build("dice").fit(InDistribution(raw, head=head, mode="softmax"))
    standardised = ((raw - raw.mean(0)) / raw.std(0)).astype(np.float32)
    with pytest.raises(UsageError, match="rounding errors"):
        SCORES.build("dice").fit(InDistribution(standardised, head=head, mode="softmax"))
