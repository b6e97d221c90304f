"""Reading reports beside images: words as numbers, the decoder, matching, hidden and next words."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from tapetum.core.errors import UsageError
from tapetum.learn.aligner.starting import Start
from tapetum.learn.granular.local import LocalSpace
from tapetum.learn.granular.reading import MatchLoss, Reader, WordsLoss, hardest, match_loss, mean_of_words
from tapetum.nets.decoder import ReportDecoder
from tapetum.nets.pieces import END, MASK, PAD, SPECIAL, START, word_pieces
from toys import pairs

YES, NO = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))


def decoder(words=9, seed=0, **changed):
    options = {"width": 8, "layers": 2, "heads": 2, **changed}
    return ReportDecoder(words, 6, 5, **options, generator=torch.Generator().manual_seed(seed))


IDS = torch.tensor([[1, 5, 6, 2, 0, 0], [1, 7, 8, 4, 5, 2]])
SEEN = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1))


# --- words -----------------------------------------------------------------------------------------------------------


def test_words_become_numbers_with_a_start_and_an_end():
    ids, vocabulary = word_pieces(["drusen", "cataract, drusen"], most=16)
    assert vocabulary[:4] == SPECIAL
    assert list(vocabulary[4:]) == sorted(vocabulary[4:])
    assert [vocabulary[i] for i in ids[1]][:1] == ["[START]"]
    said = ["".join(vocabulary[i].removeprefix("##") for i in row if i > MASK) for row in ids]
    assert said == ["drusen", "cataract,drusen"]
    assert ids[0].tolist()[0] == START
    assert (ids == END).sum(1).tolist() == [1, 1]
    assert ids[0].tolist()[-1] == PAD


def test_long_texts_lose_what_stands_before_their_end():
    ids, vocabulary = word_pieces(["a b c d e"], most=4)
    assert [vocabulary[i] for i in ids[0]] == ["[START]", "a", "b", "[END]"]


# --- the decoder -----------------------------------------------------------------------------------------------------


def test_padding_changes_nothing_and_later_words_are_not_seen_before_their_time():
    net = decoder()
    for causal in (False, True):
        whole = net(IDS, SEEN, causal=causal)
        torch.testing.assert_close(whole[:1, :4], net(IDS[:1, :4], SEEN[:1], causal=causal))
    changed = IDS.clone()
    changed[1, 4] = 3
    for causal, equal in ((True, True), (False, False)):
        before, after = (net(ids, SEEN, causal=causal)[1, :4] for ids in (IDS, changed))
        assert torch.allclose(before, after, atol=1e-6) == equal


def test_what_is_seen_counts_whatever_its_order():
    net = decoder()
    states = net(IDS, SEEN, causal=False)
    torch.testing.assert_close(net(IDS, SEEN.flip(1), causal=False), states)
    assert not torch.allclose(net(IDS, SEEN + 1, causal=False), states, atol=1e-3)


def test_what_is_seen_starts_as_large_as_words_are_after_their_norm():
    seen = torch.nn.functional.normalize(torch.randn(500, 1, 256, generator=torch.Generator().manual_seed(2)), dim=2)
    net = ReportDecoder(9, 6, 256, width=64, layers=1, heads=2, generator=torch.Generator().manual_seed(0))
    assert float(net.into(seen).detach().square().mean()) == pytest.approx(1.0, rel=0.1)  # words: 1 by the norm


def test_one_layer_against_its_formula():
    net = decoder(layers=1, heads=1)
    layer, ids, seen = net.layers[0], IDS[1:], SEEN[1:]

    def attend(part, query, given):
        q, k, v = (x @ w.T for x, w in zip((query, given, given), part.in_proj_weight.split(8), strict=True))
        return (torch.softmax(q @ k.transpose(1, 2) / math.sqrt(8), 2) @ v) @ part.out_proj.weight.T

    def centred(x):
        return (x - x.mean(2, keepdim=True)) / (x.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()

    x = net.embedding.weight[ids] + net.positions
    x = x + attend(layer.self_attn, centred(x), centred(x))
    x = x + attend(layer.multihead_attn, centred(x), seen @ net.into.weight.T)
    hidden = torch.nn.functional.gelu(centred(x) @ layer.linear1.weight.T)
    expected = centred(x + hidden @ layer.linear2.weight.T)
    mine = net(ids, seen, causal=False)
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-5)
    leaves = [net.into.weight, net.positions]
    for a, b in zip(
        torch.autograd.grad(mine.square().mean(), leaves),
        torch.autograd.grad(expected.square().mean(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_equal_generators_give_equal_decoders_and_torchs_own_is_left_alone():
    before = torch.random.get_rng_state()
    one, two, other = decoder(), decoder(), decoder(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.positions, other.positions)
    assert (one.embedding.weight[0] == 0).all()


@pytest.mark.parametrize("changed", [{"width": 9}, {"layers": 0}, {"words": 0}])
def test_sizes_that_do_not_fit_are_refused(changed):
    with pytest.raises(UsageError):
        decoder(**changed)


# --- matching --------------------------------------------------------------------------------------------------------


def test_matching_by_hand():
    own, wrong = torch.tensor([2.0, 2.0, 2.0]), torch.tensor([2.0, 2.0, 2.0])
    has_text, has_image = torch.tensor([True, True, False]), torch.tensor([True, False, False])
    found = match_loss(own, wrong, torch.tensor([-2.0, 0.0, 0.0]), has_text, has_image)
    torch.testing.assert_close(found, torch.tensor([(YES + (NO + YES) / 2) / 2, (YES + NO) / 2, YES / 2]))


def test_matching_against_torch_with_gradients():
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(5, generator=generator).requires_grad_() for _ in range(3)]
    yes = torch.ones(5, dtype=torch.bool)
    mine = match_loss(*logits, yes, yes).mean()
    targets = [torch.ones(5), torch.zeros(5), torch.zeros(5)]
    each = [binary_cross_entropy_with_logits(x, t) for x, t in zip(logits, targets, strict=True)]
    other = each[0] / 2 + each[1] / 4 + each[2] / 4
    torch.testing.assert_close(mine, other)
    for a, b in zip(torch.autograd.grad(mine, logits), torch.autograd.grad(other, logits), strict=True):
        torch.testing.assert_close(a, b)


def test_the_likest_wrong_ones_are_taken_and_none_that_says_the_same():
    scores = torch.tensor([[9.0, 8.0, 1.0], [7.0, 9.0, 2.0], [3.0, 0.0, 9.0]])
    excluded = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    text, image = hardest(scores, excluded)
    assert text.tolist() == [2, 2, 0]
    assert image.tolist() == [2, 2, 1]
    assert hardest(scores, torch.ones(3, 3, dtype=torch.bool))[0].tolist() == [-1, -1, -1]


def reader(given, most=8, **changed):
    rng = np.random.default_rng(0)
    aligner = Start("random", 6, 0.5, 0.1).aligner(given, rng)
    local = LocalSpace(given, aligner, rank=0, rng=rng)
    return aligner, Reader.of(given, local, 6, rng, width=8, layers=1, most=most, **changed)


def called(objective, aligner, given, rows, epoch=0):
    return objective(aligner, aligner.encode_image(torch.from_numpy(given.features[rows])), rows, epoch)


def test_texts_with_the_same_findings_are_no_wrong_texts():
    given = pairs(tree=True, local=True)
    aligner, read = reader(given)
    objective = MatchLoss(read).on(given, np.random.default_rng(0))
    rows = np.flatnonzero(given.labels[:, 2] == 1)[:4]
    assert len(set(np.array(given.texts)[rows])) == 1
    excluded = objective._no_negatives(np.arange(30))
    torch.testing.assert_close(
        excluded, torch.from_numpy(np.array(given.texts)[:30, None] == np.array(given.texts)[:30])
    )
    # all the same: only the pair itself is judged
    logit = objective._logit(
        read.ids[rows],
        read.seen(
            aligner, aligner.encode_image(torch.from_numpy(given.features[rows])), torch.from_numpy(rows).numpy()
        ),
    )
    torch.testing.assert_close(called(objective, aligner, given, rows), torch.nn.functional.softplus(-logit) / 2)
    assert objective.chance(rows) == pytest.approx(math.log(2) / 2)
    assert objective.chance(np.arange(30)) == pytest.approx(math.log(2))
    with pytest.raises(UsageError, match="findings read from the reports"):
        MatchLoss(read).on(pairs(local=True), np.random.default_rng(0))
    MatchLoss(read, "same_text").on(pairs(local=True), np.random.default_rng(0))


# --- hidden and next words -------------------------------------------------------------------------------------------


def test_words_by_hand_and_against_torch_with_gradients():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids, counted = torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([[True, True, True], [True, False, False]])
    mine = mean_of_words(logits, ids, counted)
    other = torch.stack([cross_entropy(logits[0], ids[0]), cross_entropy(logits[1, :1], ids[1, :1])])
    torch.testing.assert_close(mine, other)
    torch.testing.assert_close(*(torch.autograd.grad(x.sum(), logits)[0] for x in (mine, other)))
    assert mean_of_words(logits, ids, torch.zeros(2, 3, dtype=torch.bool)).tolist() == [0, 0]


def named(given):
    """Pairs whose texts have words to hide."""
    said = {t: f"{t} of the left macula" for t in given.texts}
    return dataclasses.replace(given, texts=tuple(said[t] for t in given.texts))


def test_what_is_hidden_follows_from_row_and_epoch():
    given = named(pairs(tree=True, local=True))
    _, read = reader(given)
    objective = WordsLoss.hiding(read, 0.4).on(given, np.random.default_rng(0))
    rows = np.arange(0, 60, 2)
    hidden = objective._hidden(rows, 3)
    assert torch.equal(objective._hidden(rows[4:9], 3), hidden[4:9])
    assert not torch.equal(objective._hidden(rows, 4), hidden)
    ids = read.ids[torch.from_numpy(rows)]
    words = (ids != PAD) & (ids != START) & (ids != END)
    assert not (hidden & ~words).any()
    assert hidden.sum(1).tolist() == (words.sum(1) * 0.4).round().tolist()
    single = WordsLoss.hiding(read, 0.01).on(given, np.random.default_rng(0))._hidden(rows, 0)
    assert (single.sum(1) == 1).all()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_terms_are_those_of_the_decoder(share):
    given = named(pairs(tree=True, local=True))
    aligner, read = reader(given)
    loss = WordsLoss.hiding(read, share) if share else WordsLoss(read)
    objective, rows = loss.on(given, np.random.default_rng(0)), np.arange(12)
    image = aligner.encode_image(torch.from_numpy(given.features[rows]))
    seen = torch.cat([image[:, None], read.local(aligner, rows)], 1)
    ids = read.ids[:12]
    if share:
        hidden = objective._hidden(rows, 0)
        logits = read.decoder.word_logits(read.decoder(torch.where(hidden, MASK, ids), seen, causal=False))
        expected = [cross_entropy(x[h], t[h]) for x, t, h in zip(logits, ids, hidden, strict=True)]
    else:
        logits = read.decoder.word_logits(read.decoder(ids, seen, causal=True))
        expected = [cross_entropy(x[:-1], t[1:], ignore_index=PAD) for x, t in zip(logits, ids, strict=True)]
    torch.testing.assert_close(called(objective, aligner, given, rows), torch.stack(expected))


@pytest.mark.parametrize("name", ["match", "hidden", "next"])
def test_every_term_teaches_the_image_side_through_places_and_whole_images(name):
    given = named(pairs(tree=True, local=True))
    aligner, read = reader(given)
    losses = {"match": MatchLoss(read), "hidden": WordsLoss.hiding(read, 0.3), "next": WordsLoss(read)}
    objective, rows = losses[name].on(given, np.random.default_rng(0)), np.arange(20)
    assert objective.module is read.decoder
    for image in (aligner.encode_image(torch.from_numpy(given.features[rows])), torch.zeros(20, 6)):
        (gradient,) = torch.autograd.grad(objective(aligner, image, rows, 0).mean(), aligner.image_weight)
        assert (gradient.abs().sum(1) > 0).all()
    assert float(objective.offset(rows)) == 0


def test_chance_of_words_is_how_often_they_stand():
    given = pairs(tree=True, local=True)  # "text 3" …: two words and the end
    _, read = reader(given)
    rows = np.arange(160)
    share = np.array([given.texts.count(t) / 160 for t in given.texts])
    nothing = -np.log(share).mean()
    next_word = WordsLoss(read).on(given, np.random.default_rng(0))
    assert next_word.chance(rows) == pytest.approx((2 * math.log(3) + math.log(3) + nothing) / 3, rel=1e-5)
    hidden = WordsLoss.hiding(read, 0.5).on(given, np.random.default_rng(0))
    assert hidden.chance(rows) == pytest.approx((2 * math.log(2) + nothing) / 2, rel=1e-5)


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_a_share_of_hidden_words_must_be_one(share):
    with pytest.raises(UsageError, match="hidden="):
        WordsLoss.hiding(reader(pairs(tree=True, local=True))[1], share)
    with pytest.raises(UsageError, match="most=2"):
        reader(pairs(tree=True, local=True), most=2)
