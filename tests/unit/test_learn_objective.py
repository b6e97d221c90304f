"""Losses on the words of pairs: several texts, several wordings, levels of a tree; values and gradients by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.aligner.objective import AlignmentLoss, LevelLoss, level_cross_entropy
from tapetum.learn.pairing.texts import Alternatives, encode_all, first_text
from tapetum.nets import Aligner
from toys import pairs


def test_the_two_directions_of_convirt_weigh_as_told():
    build = Family("tapetum.learn.alignment").build
    cosines = torch.tensor([[1.0, 0.2], [0.6, 0.8]])
    image, text = cosines, torch.eye(2)
    given = {"match": torch.eye(2), "scale": torch.tensor(2.0), "bias": torch.tensor(0.0)}
    across = [math.log(1 + math.exp(-1.6)), math.log(1 + math.exp(-0.4))]
    down = [math.log(1 + math.exp(-0.8)), math.log(1 + math.exp(-1.2))]
    expected = [0.75 * a + 0.25 * d for a, d in zip(across, down, strict=True)]
    torch.testing.assert_close(build("convirt")(image, text, **given), torch.tensor(expected))
    torch.testing.assert_close(build("convirt(share=0.5)")(image, text, **given), build("clip")(image, text, **given))
    with pytest.raises(UsageError, match="share=2"):
        build("convirt(share=2)")(image, text, **given)


def test_convirt_against_torchs_cross_entropy_with_gradients():
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    image, text = (torch.nn.functional.normalize(x, dim=1).requires_grad_() for x in (image, text))
    scale = torch.tensor(7.0, dtype=torch.float64)
    mine = (
        Family("tapetum.learn.alignment")
        .build("convirt")(image, text, torch.eye(6, dtype=torch.float64), scale=scale, bias=scale)
        .mean()
    )
    logits, own = scale * image @ text.T, torch.arange(6)
    other = 0.75 * cross_entropy(logits, own) + 0.25 * cross_entropy(logits.T, own)
    torch.testing.assert_close(mine, other)
    for a, b in zip(torch.autograd.grad(mine, [image, text]), torch.autograd.grad(other, [image, text]), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["clip", "convirt", "siglip"])
def test_exactly_equal_texts_need_no_rule_under_a_softmax(name):
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(6, 4, generator=generator), dim=1) for _ in range(2))
    said = torch.tensor([0, 1, 0, 2, 0, 1])
    loss, scale, bias = Family("tapetum.learn.alignment").build(name), torch.tensor(5.0), torch.tensor(-1.0)
    hard, soft = (
        loss(image, text[said], match, scale=scale, bias=bias).sum()
        for match in (torch.eye(6), (said[:, None] == said).float())
    )
    assert (abs(hard - soft) < 1e-4) == (name != "siglip")


# --- several texts and several wordings ------------------------------------------------------------------------------

TEXTS = [
    ({"x": 0.5, "y": 0.5}, {"place": 1.0}),
    ({"y": 1.0}, {}),
    ({"z": 0.25, "x": 0.75}, {"place": 1.0}),
]
CODES = {"place": [1.0, 0, 0, 0], "x": [0, 1.0, 0, 0], "y": [0, 0, 1.0, 0], "z": [0, 0, 0, 1.0]}


def encode(texts):
    return np.array([CODES[t] for t in texts])


def test_each_wording_is_encoded_once_and_the_mean_is_what_copies_would_give():
    asked = []
    mean, found = encode_all(TEXTS, lambda texts: asked.append(list(texts)) or encode(texts))
    assert asked == [["place", "x", "y", "z"]]
    # image 0 copied: half of its texts are "place", a quarter "x", a quarter "y"
    np.testing.assert_allclose(mean, [[0.5, 0.25, 0.25, 0], [0, 0, 1, 0], [0.5, 0.375, 0, 0.125]])
    assert found is not None
    np.testing.assert_array_equal(found.draw(None), [[1, 0], [2, -1], [3, 0]])
    assert first_text(()) == first_text(({},)) == ""


def test_one_text_with_one_wording_needs_no_alternatives():
    mean, found = encode_all([({"y": 1.0},), ({"x": 1.0},)], encode)
    assert found is None
    np.testing.assert_array_equal(mean, encode(["y", "x"]))


def test_wordings_are_drawn_as_often_as_their_chance_says():
    found = encode_all(TEXTS * 400, encode)[1]
    drawn = found.draw(np.random.default_rng(0))
    assert set(drawn[1::3, 0].tolist()) == {2}
    assert set(drawn[1::3, 1].tolist()) == {-1}
    assert set(drawn[::3, 1].tolist()) == {0}
    assert (drawn[::3, 0] == 1).mean() == pytest.approx(0.5, abs=0.08)  # 3 standard errors of 400 draws
    assert (drawn[2::3, 0] == 1).mean() == pytest.approx(0.75, abs=0.07)
    np.testing.assert_array_equal(drawn, found.draw(np.random.default_rng(0)))


def test_a_sum_of_chances_below_one_by_rounding_still_draws():
    found = Alternatives(np.eye(2), np.array([[[0, 1]]]), np.array([[[0.0, 0.0]]]))
    assert found.draw(np.random.default_rng(0)).tolist() == [[1]]


def several(seed=0):
    """40 pairs with two texts each, the second one missing in every fourth."""
    base = pairs(patients=20)
    rng = np.random.default_rng(seed)
    texts = [({f"a{i % 5}": 0.5, f"b{i % 5}": 0.5}, {} if i % 4 == 0 else {f"c{i % 2}": 1.0}) for i in range(40)]
    codes = {name: rng.normal(size=10) for name in sorted({w for of in texts for t in of for w in t})}
    mean, found = encode_all(texts, lambda names: np.stack([codes[n] for n in names]))
    return dataclasses.replace(base, text_features=mean, alternatives=found), texts, codes


def test_the_loss_is_the_mean_over_the_texts_of_each_image():
    given, texts, codes = several()
    aligner = Aligner(24, 10, 6, normalise=True)
    torch.nn.init.normal_(aligner.image_weight, generator=torch.Generator().manual_seed(0))
    objective = AlignmentLoss("clip").on(given, np.random.default_rng(0))
    rows = np.arange(0, 40, 3)
    image = aligner.encode_image(torch.from_numpy(given.features[rows]))
    found = objective(aligner, image, rows, -1)

    clip = Family("tapetum.learn.alignment").build("clip")
    total, count = torch.zeros(len(rows)), torch.zeros(len(rows))
    for text in (0, 1):
        have = [k for k, row in enumerate(rows) if texts[row][text]]
        names = [next(iter(texts[rows[k]][text])) for k in have]
        words = torch.tensor(np.stack([codes[n] for n in names]), dtype=torch.float32)
        match = torch.tensor([[float(a == b) for b in names] for a in names])
        scale = aligner.logit_log_scale.exp()
        losses = clip(image[have], aligner.encode_text(words), match, scale=scale, bias=aligner.logit_bias)
        total[have] += losses
        count[have] += 1
    torch.testing.assert_close(found, total / count)
    gradients = [
        torch.autograd.grad(x.mean(), aligner.text_weight, retain_graph=True)[0] for x in (found, total / count)
    ]
    torch.testing.assert_close(*gradients)


def test_an_epoch_has_its_wordings_however_it_is_cut():
    given, _, _ = several()
    one, two = (AlignmentLoss("siglip").on(given, np.random.default_rng(3)) for _ in range(2))
    aligner = Aligner(24, 10, 6, normalise=True)
    torch.nn.init.normal_(aligner.image_weight, generator=torch.Generator().manual_seed(0))

    def values(objective, rows, epoch):
        image = aligner.encode_image(torch.from_numpy(given.features[rows]))
        return objective(aligner, image, rows, epoch).detach()

    rows = np.arange(10)
    first = values(one, rows, 0)
    values(two, rows, 7), values(two, rows[:4], 0)
    torch.testing.assert_close(values(two, rows, 0), first)
    assert not torch.equal(values(one, rows, 1), first)
    torch.testing.assert_close(values(one, rows, -1), values(two, rows, -1))


def test_chance_of_several_texts_is_the_mean_of_their_logs():
    given, texts, _ = several()
    objective = AlignmentLoss("clip").on(given, np.random.default_rng(0))
    rows = np.arange(8)
    have = sum(bool(texts[i][1]) for i in rows)
    expected = np.mean([(math.log(8) + math.log(have)) / 2 if texts[i][1] else math.log(8) for i in rows])
    assert objective.chance(rows) == pytest.approx(expected, rel=1e-5)


def test_no_generator_is_touched_where_nothing_is_drawn():
    rng = np.random.default_rng(0)
    AlignmentLoss("clip", "findings").on(pairs(tree=True), rng)
    assert rng.random() == np.random.default_rng(0).random()


def test_words_of_other_rows_bring_their_findings():
    given = dataclasses.replace(pairs(tree=True), alternatives=several()[0].alternatives.rows(np.arange(160) % 40))
    source = np.random.default_rng(0).permutation(160)
    found = given.with_texts_of(source)
    assert found.texts == tuple(given.texts[i] for i in source)
    np.testing.assert_array_equal(found.labels, given.labels[source])
    np.testing.assert_array_equal(found.text_features, given.text_features[source])
    np.testing.assert_array_equal(found.alternatives.place, given.alternatives.place[source])
    np.testing.assert_array_equal(found.features, given.features)


# --- levels of a tree ------------------------------------------------------------------------------------------------

DEPTH = torch.tensor([0, 0, 1, 1, 1])


def test_levels_by_hand():
    logits = torch.tensor([[1.0, 0.0, 2.0, 1.0, 0.0]]).repeat(4, 1)
    labels = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=torch.float32)
    upper = [-math.log(math.e / (math.e + 1)), -math.log(1 / (math.e + 1))]
    total = math.e**2 + math.e + 1
    lower = [-math.log(math.e**2 / total), -math.log(math.e / total)]
    expected = [(upper[0] + 3 * lower[0]) / 4, upper[1], (upper[0] + 3 * (lower[0] + lower[1]) / 2) / 4, 0.0]
    torch.testing.assert_close(level_cross_entropy(logits, labels, DEPTH, finest=3.0), torch.tensor(expected))


def test_levels_against_torchs_cross_entropy_with_gradients():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, 5, generator=generator, dtype=torch.float64).requires_grad_()
    fine = torch.randint(3, (12,), generator=generator)
    coarse = torch.tensor([0, 0, 1])[fine]
    one_hot = torch.nn.functional.one_hot
    labels = torch.cat([one_hot(coarse, 2), one_hot(fine, 3)], 1).double()
    mine = level_cross_entropy(logits, labels, DEPTH, finest=2.0).mean()
    other = (cross_entropy(logits[:, :2], coarse) + 2 * cross_entropy(logits[:, 2:], fine)) / 3
    torch.testing.assert_close(mine, other)
    torch.testing.assert_close(*(torch.autograd.grad(x, logits)[0] for x in (mine, other)))


def test_chance_of_the_levels_is_that_of_their_sizes():
    objective = LevelLoss(2.0).on(pairs(tree=True), np.random.default_rng(0))
    assert objective.chance(np.arange(20)) == pytest.approx((math.log(2) + 2 * math.log(6)) / 3, rel=1e-5)
    assert float(objective.offset(np.arange(20))) == 0


def test_a_weight_must_weigh():
    with pytest.raises(UsageError, match="finest=-1"):
        LevelLoss(-1)
