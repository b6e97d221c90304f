"""Methods for labels that may be wrong: their rules by hand, what they are told, invalid use."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.doubt import doubt, out_of_fold
from tapetum.learn.classifying.pair import Batch, apart, exchanged, kept_share, smallest
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import row_mean
from tapetum.learn.classifying.trained import Committee
from tapetum.learn.classifying.transition import given_probs
from tapetum.learn.classifying.views import Views, blended, sharpened, soft_loss
from tapetum.learn.methods import cdr, disc, divide_mix, t_revision, vol_min_net
from tapetum.learn.methods.co_dis import CoDis
from tapetum.learn.methods.co_teaching_plus import CoTeachingPlus
from tapetum.learn.methods.jo_cor import JoCoR

METHODS = Family("tapetum.learn.methods")
NOISY = (
    "backward_correction", "cdr", "class_balanced_selection", "co_dis", "co_teaching", "co_teaching_plus", "disc",
    "divide_mix", "down_weighted", "forward_correction", "jo_cor", "left_out", "t_revision", "vol_min_net",
)  # fmt: skip
SELECTING = (
    "class_balanced_selection", "co_dis", "co_teaching", "disc", "divide_mix", "down_weighted", "jo_cor", "left_out",
)  # fmt: skip
PACE = Pace(epochs=10, batch=64, learning_rate=5e-3)


def toy(rate=0.3, n=360, seed=0):
    """Three classes, well apart; two rows a patient; symmetric flips."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    rows = rng.normal(size=(n, 8)).astype(np.float32)
    rows[np.arange(n), truth] += 3
    made = Family("tapetum.score.planting").build(f"symmetric(rate={rate})")(truth, None, classes=3, rng=rng)
    return Taught(rows, made.labels, 3, np.arange(n) // 2), truth, made.flipped


@functools.cache
def judged():
    """The same, with what a network out of fold makes of it: once for all methods."""
    taught, truth, flipped = toy(n=300)
    held_out = out_of_fold(taught, PACE, np.random.default_rng(0))
    return dataclasses.replace(taught, held_out=held_out), truth, flipped


def batch(first, second, labels, keep, done=1.0):
    return Batch(torch.tensor(first).log(), torch.tensor(second).log(), torch.tensor(labels), keep, done)


TWO = [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]]  # of label 0 with 0.9, 0.6, 0.3, 0.2
OTHER = [[0.1, 0.9], [0.7, 0.3], [0.8, 0.2], [0.4, 0.6]]  # 0.1, 0.7, 0.8, 0.4


# --- rules of pairs --------------------------------------------------------------------------------------------------


def test_the_share_kept_falls_to_what_is_thought_right():
    assert [kept_share(e, 50, 0.2, 0.2) for e in (0, 5, 10, 49)] == pytest.approx([1.0, 0.9, 0.8, 0.8])
    assert kept_share(0, 50, 0.2, 0.0) == 1.0
    assert kept_share(1, 50, 0.2, 0.0) == 0.8
    assert kept_share(30, 50, 0.0, 0.2) == 1.0


def test_co_teaching_learns_what_the_other_finds_easy():
    given = batch(TWO, OTHER, [0, 0, 0, 0], 0.5)
    made = exchanged(given, *given.losses())
    assert made.first.tolist() == [2, 1]  # the second network's smallest losses
    assert made.second.tolist() == [0, 1]  # the first one's
    first = [0.0, -math.log(0.6), -math.log(0.3), 0.0]
    second = [-math.log(0.1), -math.log(0.7), 0.0, 0.0]
    assert made.losses.tolist() == pytest.approx([2 * (a + b) for a, b in zip(first, second, strict=True)], rel=1e-4)
    assert made.losses.mean().item() == pytest.approx(sum(first) / 2 + sum(second) / 2, rel=1e-4)


def test_no_gradient_goes_to_a_label_left_out():
    first, second = (torch.tensor(x).log().requires_grad_() for x in (TWO, OTHER))
    given = Batch(first, second, torch.zeros(4, dtype=torch.long), 0.5, 1.0)
    exchanged(given, *given.losses()).losses.mean().backward()
    assert first.grad.abs().sum(dim=1).bool().tolist() == [False, True, True, False]
    assert second.grad.abs().sum(dim=1).bool().tolist() == [True, True, False, False]


def test_smallest_rounds_down_and_keeps_one():
    losses = torch.tensor([3.0, 1.0, 2.0])
    assert smallest(losses, 0.99).tolist() == [1, 2]
    assert smallest(losses, 1.0).tolist() == [1, 2, 0]
    assert smallest(losses, 0.01).tolist() == [1]


def test_co_teaching_plus_looks_where_they_disagree():
    rule = CoTeachingPlus(warm=0.5)._rule
    given = batch(TWO, OTHER, [0, 0, 0, 0], 0.5, done=0.6)
    made = rule(given)  # called apart: rows 0 and 2
    assert made.first.tolist() == [2]
    assert made.second.tolist() == [0]
    early = rule(dataclasses.replace(given, done=0.4))
    assert early.first.tolist() == [2, 1]
    alike = rule(batch(TWO, TWO, [0, 0, 0, 0], 0.5, done=0.6))
    assert alike.first.tolist() == [0, 1]


def test_divergence_by_hand():
    p, q = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.1, 0.9]])
    by_hand = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)  # alike for both
    assert apart(p.log(), q.log()).item() == pytest.approx(by_hand, rel=1e-5)
    assert apart(p.log(), p.log()).item() == pytest.approx(0, abs=1e-6)


def test_co_dis_prefers_images_on_which_the_networks_differ():
    """Losses of 0.51 and 0.36 by the first network; a large weight of the divergence turns the order round."""
    given = batch([[0.6, 0.4], [0.7, 0.3]], [[0.05, 0.95], [0.7, 0.3]], [0, 0], 0.5)
    assert CoDis(discrepancy=0.0)._rule(given).second.tolist() == [1]
    assert CoDis(discrepancy=0.1)._rule(given).second.tolist() == [1]  # 0.511 - 0.1 · 0.197 > 0.357
    assert CoDis(discrepancy=1.0)._rule(given).second.tolist() == [0]  # 0.511 - 0.197 < 0.357


def test_jo_cor_by_hand():
    given = batch(TWO, OTHER, [0, 0, 0, 0], 0.25)
    made = JoCoR(agreement=0.5)._rule(given)

    def joint(p, q):
        both = (p - q) * (math.log(p) - math.log(q)) + (q - p) * (math.log(1 - p) - math.log(1 - q))
        return 0.5 * (-math.log(p) - math.log(q)) + 0.5 * both

    values = [joint(p[0], q[0]) for p, q in zip(TWO, OTHER, strict=True)]
    assert made.first.tolist() == made.second.tolist() == [int(np.argmin(values))] == [1]
    assert made.losses.tolist() == pytest.approx([0, 4 * values[1], 0, 0], rel=1e-4)


def test_rows_of_a_batch_as_a_whole_one():
    spread = row_mean(torch.tensor([2.0, 4.0]), torch.tensor([3, 0]), 4)
    assert spread.tolist() == [8.0, 0.0, 0.0, 4.0]
    assert spread.mean().item() == 3.0


# --- transitions -----------------------------------------------------------------------------------------------------


def test_transitions_by_hand():
    through = torch.tensor([[0.8, 0.2], [0.1, 0.9]])
    logits = torch.tensor([[0.75, 0.25]]).log()
    assert given_probs(logits, through)[0].tolist() == pytest.approx([0.625, 0.375])
    weight = t_revision.reweighted(logits, torch.tensor([1]), through)
    assert weight.item() == pytest.approx(0.25 / 0.375)
    made = vol_min_net.Transition(2, 0.0)().detach()  # a sigmoid of 0 beside 1
    assert made.tolist() == [pytest.approx([2 / 3, 1 / 3]), pytest.approx([1 / 3, 2 / 3])]


def test_backward_losses_have_the_clean_loss_as_their_mean():
    """Theorem 1 of Patrini et al.: over the labels given to a class, the corrected loss is that of the class."""
    through = np.array([[0.8, 0.2], [0.3, 0.7]])
    losses = np.array([0.2, 1.7])
    corrected = np.linalg.pinv(through) @ losses
    assert through @ corrected == pytest.approx(losses)


def test_backward_may_fall_below_zero_and_still_learns():
    taught, truth, _ = judged()
    fitted = METHODS.build("backward_correction").fit(taught, PACE, np.random.default_rng(0))
    assert (fitted(taught.features).argmax(axis=1) == truth).mean() > 0.8


def test_vol_min_net_moves_towards_the_transition(monkeypatch):
    """Pair noise of 30 %, classes far apart: each class is found to be given for the next one, if not as often.

    Any transition nearer to none explains the labels as well, with a network less sure; only the volume decides.
    """
    rng = np.random.default_rng(1)
    truth = rng.integers(3, size=900)
    rows = rng.normal(size=(900, 6)).astype(np.float32)
    rows[np.arange(900), truth] += 6
    given = np.where(rng.random(900) < 0.3, (truth + 1) % 3, truth)
    made = []
    own = vol_min_net.Transition
    monkeypatch.setattr(vol_min_net, "Transition", lambda *a: made.append(own(*a)) or made[-1])
    taught = Taught(rows, given, 3, np.arange(900))
    for volume in (0.0, 0.03):
        spec = f"vol_min_net(head='linear', transition_rate=20.0, volume={volume})"
        METHODS.build(spec).fit(taught, Pace(40, 128, 1e-2), np.random.default_rng(0))
    loose, tight = (m().detach().numpy() for m in made)
    following = np.roll(np.eye(3), 1, axis=1) == 1
    for found in (loose, tight):
        assert found[following].min() > 5 * found[~following & ~np.eye(3, dtype=bool)].max()
    assert np.linalg.det(tight) < np.linalg.det(loose)


# --- CDR, DISC, DivideMix --------------------------------------------------------------------------------------------


def test_only_critical_weights_follow_the_gradient():
    slope, weight = torch.tensor([[1.0, -2.0], [0.5, 0.1]]), torch.tensor([[0.1, 1.0], [-4.0, 1.0]])
    # |slope · weight| is 0.1, 2, 2, 0.1
    assert cdr.critical(slope, weight, 0.5).tolist() == [[0.0, -1.0], [0.25, 0.0]]
    assert cdr.critical(slope, weight, 1.0).tolist() == slope.tolist()
    at_first = cdr.critical(slope, torch.zeros(2, 2), 0.5)  # where weights begin at 0 all matter alike
    assert (at_first != 0).all()


def test_thresholds_of_disc_over_two_epochs():
    nothing = torch.full((2, 2), float("nan"))
    first = disc.moved(nothing, torch.tensor([[0.5, 0.9], [0.4, 0.8]]), 0.9)
    assert first.tolist() == [pytest.approx([0.5, 0.9]), pytest.approx([0.4, 0.8])]
    second = disc.moved(first, torch.tensor([[0.7, 0.5], [0.6, 1.0]]), 0.9)
    assert second.tolist() == [pytest.approx([0.52, 0.86]), pytest.approx([0.42, 0.82])]


def test_disc_sorts_labels_by_both_views():
    weak = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [0.02, 0.98], [0.3, 0.7]])
    strong = torch.tensor([[0.7, 0.3], [0.3, 0.7], [0.7, 0.3], [0.04, 0.96], [0.4, 0.6]])
    labels, limits = torch.zeros(5, dtype=torch.long), torch.full((2, 5), 0.5)
    clean, hard, anew = disc.parts(weak, strong, labels, limits, 0.3)
    assert clean.tolist() == [True, False, False, False, False]
    assert hard.tolist() == [False, True, True, False, False]
    assert anew.tolist() == [False, False, False, True, False]  # 0.97 > 0.5 + 0.3; 0.65 is not
    assert not disc.parts(weak, strong, labels, limits, 0.6)[2].any()  # the limit is at most 0.99


def test_targets_of_divide_mix():
    labels, mine, both = (torch.tensor(x) for x in ([[1.0, 0.0]] * 2, [[0.6, 0.4]] * 2, [[0.2, 0.8]] * 2))
    made = divide_mix.targets_of(labels, mine, both, torch.tensor([0.75, 0.4]), 1.0)
    assert made.tolist() == [pytest.approx([0.9, 0.1]), pytest.approx([0.2, 0.8])]
    sharp = divide_mix.targets_of(labels, mine, both, torch.tensor([0.75, 0.4]), 0.5)
    assert sharp[1].tolist() == pytest.approx([0.04 / 0.68, 0.64 / 0.68])


def test_each_network_of_divide_mix_gets_the_split_of_the_other(monkeypatch):
    taught, _, _ = toy(n=60)
    learning = divide_mix._Learning(divide_mix.DivideMix(warm=0.1), taught, Pace(epochs=10), np.random.default_rng(0))
    learning.fits = [np.zeros(60), np.ones(60)]
    seen = []
    own = divide_mix.targets_of
    monkeypatch.setattr(divide_mix, "targets_of", lambda a, b, c, fits, t: seen.append(fits) or own(a, b, c, fits, t))
    learning.losses(np.arange(60), 5)
    assert [f.unique().tolist() for f in seen] == [[1.0], [0.0]]


def test_views_and_blends():
    taught, _, _ = toy(n=60)
    views = Views(taught, 0.0, 0.0, np.random.default_rng(0))
    assert torch.equal(views.weak(np.arange(5), 0), views.strong(np.arange(5), 0))
    views = Views(taught, 0.5, 0.0, np.random.default_rng(0))
    strong, weak = views.strong(np.arange(60), 0), views.weak(np.arange(60), 0)
    gone = (strong == 0).float().mean().item()
    assert 0.4 < gone < 0.6
    assert torch.allclose(strong[strong != 0], 2 * weak[strong != 0])
    mixed, shares = blended(weak, torch.eye(3)[torch.arange(60) % 3], 4.0, np.random.default_rng(0))
    assert shares.sum(dim=1).tolist() == pytest.approx([1.0] * 60)
    assert (shares[torch.arange(60), torch.arange(60) % 3] >= 0.5).all()
    assert mixed.shape == weak.shape
    assert soft_loss(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.3, 0.7]])).item() == pytest.approx(math.log(2))
    assert sharpened(torch.tensor([[0.5, 0.25, 0.25]]), 0.5)[0].tolist() == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_images_are_augmented_apart():
    asked = []

    def inputs(rows, epoch):
        asked.append(epoch)
        return torch.zeros(len(rows), 8)

    taught = dataclasses.replace(toy(n=60)[0], inputs=inputs)
    views = Views(taught, 0.3, 0.1, np.random.default_rng(0))
    views.weak(np.arange(4), 3), views.strong(np.arange(4), 3), views.strong(np.arange(4), 3, 2)
    assert len(set(asked)) == 3


# --- doubt: no rate is handed in -------------------------------------------------------------------------------------


def test_the_rate_is_estimated_from_the_labels_alone():
    pace = Pace(epochs=20, batch=64, learning_rate=5e-3)
    for rate in (0.0, 0.3):
        taught, _, flipped = toy(rate, n=900)
        found = doubt(taught, pace, np.random.default_rng(0))
        assert abs(found.rate - flipped.mean()) < 0.08
        assert found.transition.sum(axis=1) == pytest.approx([1, 1, 1])
    with pytest.raises(UsageError):
        doubt(taught, pace, np.random.default_rng(0), "oracle")


def test_out_of_fold_takes_what_was_made_and_sees_no_patient_twice():
    taught, _, _ = toy(n=90)
    made = np.full((90, 3), 1 / 3)
    assert out_of_fold(dataclasses.replace(taught, held_out=made), PACE, np.random.default_rng(0)) is made
    assert dataclasses.replace(taught, held_out=made).only(np.arange(4)).held_out.shape == (4, 3)
    # Rows of a patient are equal and labelled alike by chance: a network that saw the other row would know the label.
    rng = np.random.default_rng(0)
    twice = np.repeat(rng.normal(size=(60, 40)), 2, axis=0).astype(np.float32)
    labels = np.repeat(rng.integers(2, size=60), 2)
    probs = out_of_fold(Taught(twice, labels, 2, np.arange(120) // 2), PACE, np.random.default_rng(1))
    assert abs((probs.argmax(axis=1) == labels).mean() - 0.5) < 0.2
    with pytest.raises(UsageError):
        out_of_fold(Taught(twice, labels, 2, np.zeros(120)), PACE, rng)


def test_an_unknown_class_is_taken_to_be_given_rightly():
    taught, _, _ = toy(n=90)
    wide = dataclasses.replace(taught, classes=4)
    found = doubt(wide, PACE, np.random.default_rng(0))
    assert found.transition[3].tolist() == [0, 0, 0, 1]
    assert found.rate == 0  # a class that nobody was given leaves the estimate undefined


# --- what every one of them promises ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOISY)
def test_it_learns_through_wrong_labels(name):
    taught, truth, flipped = judged()
    fitted = METHODS.build(name).fit(taught, PACE, np.random.default_rng(0))
    called = fitted(taught.features).argmax(axis=1)
    assert (called == truth).mean() > 0.75
    if name in SELECTING:
        assert isinstance(fitted, Committee)
        assert fitted.trust.shape == (300,)
        assert fitted.trust[~flipped].mean() > 2 * fitted.trust[flipped].mean()


@pytest.mark.parametrize("name", NOISY)
def test_a_tower_learns_too_and_the_one_handed_in_stays(name):
    taught, _, _ = toy(n=90)
    tower = torch.nn.Linear(8, 8)
    before = tower.weight.detach().clone()
    rows = torch.from_numpy(taught.features)
    seeing = dataclasses.replace(taught, tower=tower, inputs=lambda asked, epoch: rows[torch.from_numpy(asked)])
    fitted = METHODS.build(name).fit(seeing, Pace(epochs=3, batch=32, learning_rate=0.02), np.random.default_rng(0))
    assert fitted(rows).shape == (90, 3)
    assert torch.equal(tower.weight, before)
    networks = fitted.networks if isinstance(fitted, Committee) else (fitted,)
    assert all(not torch.equal(n.tower.weight, before) for n in networks)


@pytest.mark.parametrize("name", NOISY)
def test_findings_are_refused(name):
    taught = Taught(np.zeros((6, 2), np.float32), np.eye(3)[[0, 1, 2, 0, 1, 2]], 3, np.arange(6))
    with pytest.raises(UsageError):
        METHODS.build(name).fit(taught, PACE, np.random.default_rng(0))


@pytest.mark.parametrize(
    "spec",
    [
        "co_teaching(ramp=2.0)",
        "co_teaching(by='oracle')",
        "co_teaching_plus(warm=-1.0)",
        "co_dis(discrepancy=-0.1)",
        "jo_cor(agreement=1.0)",
        "cdr(ramp=-0.1)",
        "disc(momentum=1.0)",
        "disc(dropped=1.0)",
        "divide_mix(temperature=0.0)",
        "divide_mix(noise=-1.0)",
        "class_balanced_selection(least=0.0)",
        "class_balanced_selection(neighbours=-1)",
        "backward_correction(smallest=1.0)",
        "forward_correction(by='truth')",
        "t_revision(slack_rate=-1.0)",
        "vol_min_net(transition_rate=0.0)",
        "down_weighted(judge='nobody')",
        "left_out(judge='nobody')",
    ],
)
def test_invalid_use(spec):
    with pytest.raises(UsageError):
        METHODS.build(spec).fit(judged()[0], PACE, np.random.default_rng(0))


@pytest.mark.parametrize("name", NOISY)
def test_no_method_can_be_handed_a_rate(name):
    """The published code of several of them takes the planted rate as an option: an oracle."""
    options = {f.name for f in dataclasses.fields(type(METHODS.build(name)))}
    assert not {o for o in options if "noise_rate" in o or o in ("rate", "forget_rate", "tau_noise")}
    with pytest.raises(UsageError, match="unknown option"):
        METHODS.build(f"{name}(rate=0.3)")


def test_a_committee_votes_with_probabilities():
    class Says:
        def __init__(self, probs):
            self.probs = probs

        def __call__(self, rows):
            return np.log([self.probs])

    made = Committee((Says([0.9, 0.1]), Says([0.3, 0.7])))(np.zeros((1, 2)))
    assert np.exp(made[0]) == pytest.approx([0.6, 0.4])


def test_a_rare_class_keeps_its_quota():
    """Rows of the rare class fit worst of all; a global choice would lose them, a quota does not."""
    from tapetum.learn.methods.class_balanced_selection import by_quota

    labels = np.array([0] * 8 + [1] * 2)
    fits = np.array([0.9] * 8 + [0.2, 0.1])
    assert by_quota(fits, labels, np.array([0.25, 0.5]))[8:].tolist() == [True, False]
    assert by_quota(fits, labels, np.array([0.25, 0.5])).sum() == 7
