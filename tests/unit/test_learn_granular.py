"""Terms on the parts of images and texts: values by hand, parity with loops and with torch, gradients, wrong use."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.objective import AlignmentLoss
from tapetum.learn.aligner.starting import Start
from tapetum.learn.granular.levels import ConceptLoss, PieceLoss, PrototypeLoss
from tapetum.learn.granular.local import LocalSpace
from tapetum.learn.granular.terms import (
    attended,
    both_kinds_alike,
    concept_loss,
    concept_scores,
    pieces_seen,
    sinkhorn,
    swapped,
    tokens_told,
)
from tapetum.learn.granular.weighted import Weighted
from tapetum.learn.pairing.texts import encode_groups, word_groups
from tapetum.learn.pairing.tokens import Tokens
from tapetum.nets import Aligner
from toys import pairs

TASKS = Family("tapetum.learn.tasks")
UP, RIGHT = [0.0, 1.0], [1.0, 0.0]


def unit(*shape, seed=0, grad=False):
    generator = torch.Generator().manual_seed(seed)
    found = normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)
    return found.requires_grad_() if grad else found


def same_with_gradients(mine, other, leaves):
    torch.testing.assert_close(mine, other)
    for a, b in zip(torch.autograd.grad(mine.sum(), leaves), torch.autograd.grad(other.sum(), leaves), strict=True):
        torch.testing.assert_close(a, b)


# --- attention and pieces --------------------------------------------------------------------------------------------


def test_attention_by_hand():
    query, given = torch.tensor([[RIGHT]]), torch.tensor([[RIGHT, UP, RIGHT]])
    present = torch.tensor([[True, True, False]])
    seen = attended(query, given, present, math.log(3))  # weights 3/4 and 1/4
    torch.testing.assert_close(seen, torch.tensor([[[3.0, 1.0]]]) / math.sqrt(10))


def test_what_a_piece_sees_by_hand():
    tokens = torch.tensor([[RIGHT, RIGHT], [UP, UP]])
    pieces = torch.tensor([RIGHT, UP])
    place = torch.tensor([[0, 1], [1, -1]])
    found = pieces_seen(tokens, pieces, place, scale=torch.tensor(2.0), sharpness=5.0)
    own, other = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    torch.testing.assert_close(found, torch.tensor([(own + other) / 2, own]))


def test_what_a_token_reads_by_hand():
    tokens = torch.tensor([[RIGHT, UP], [RIGHT, UP]])
    pieces = torch.tensor([RIGHT, UP])
    place = torch.tensor([[0, 1], [1, -1]])  # very sharp: each token of the first image reads the piece that it is
    found = tokens_told(tokens, pieces, place, scale=torch.tensor(3.0), sharpness=1e3)
    torch.testing.assert_close(found, torch.tensor([math.log(1 + math.exp(-3)), 0.0]))


PLACE = torch.tensor([[0, 2, -1], [1, -1, -1], [3, 0, 2]])


def read(query, given, sharpness):
    share = torch.softmax(sharpness * given @ query, 0)
    return normalize((share[:, None] * given).sum(0), dim=0)


def test_pieces_against_loops_with_gradients():
    tokens, pieces = unit(3, 5, 4, grad=True), unit(4, 4, seed=1, grad=True)
    scale = torch.tensor(6.0, dtype=torch.float64)
    mine = pieces_seen(tokens, pieces, PLACE, scale=scale, sharpness=3.0)
    loops = []
    for i, row in enumerate(PLACE.tolist()):
        own = [p for p in row if p >= 0]
        seen = torch.stack([read(pieces[p], tokens[i], 3.0) for p in own])
        loops.append(cross_entropy(scale * seen @ pieces.T, torch.tensor(own)))
    same_with_gradients(mine, torch.stack(loops), [tokens, pieces])


def test_tokens_against_loops_with_gradients():
    tokens, pieces = unit(3, 5, 4, grad=True), unit(4, 4, seed=1, grad=True)
    scale = torch.tensor(6.0, dtype=torch.float64)
    mine = tokens_told(tokens, pieces, PLACE, scale=scale, sharpness=3.0)
    loops = []
    for i, row in enumerate(PLACE.tolist()):
        own = pieces[[p for p in row if p >= 0]]
        seen = torch.stack([read(token, own, 3.0) for token in tokens[i]])
        logits, target = scale * tokens[i] @ seen.T, torch.arange(5)
        both = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
        loops.append(both if len(own) > 1 else both * 0)
    same_with_gradients(mine, torch.stack(loops), [tokens, pieces])


# --- prototypes ------------------------------------------------------------------------------------------------------


def test_one_round_of_sinkhorn_by_hand():
    found = sinkhorn(torch.log(torch.tensor([[1.0, 1.0], [3.0, 1.0]])), sharpness=1.0, rounds=1)
    # columns to sum 1: (1/4 1/2), (3/4 1/2); then rows: (1/3 2/3), (3/5 2/5)
    torch.testing.assert_close(found, torch.tensor([[1 / 3, 2 / 3], [0.6, 0.4]]))


def test_sinkhorn_uses_all_prototypes_alike_and_is_the_textbook_iteration():
    scores = unit(40, 6) @ unit(6, 6, seed=1)
    found = sinkhorn(scores, sharpness=8.0, rounds=200)
    torch.testing.assert_close(found.sum(1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(found.sum(0), torch.full((6,), 40 / 6, dtype=torch.float64), rtol=1e-4, atol=0)
    q = np.exp(8.0 * scores.numpy())
    for _ in range(3):
        q = q / q.sum(0, keepdims=True)
        q = q / q.sum(1, keepdims=True)
    np.testing.assert_allclose(sinkhorn(scores, sharpness=8.0, rounds=3), q)


def test_swapped_assignment_against_torch_with_gradients():
    image, text = unit(8, 4, grad=True), unit(8, 4, seed=1, grad=True)
    prototypes = torch.randn(3, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    mine = swapped(image, text, prototypes, scale=5.0, sharpness=20.0, rounds=3)
    towards = prototypes / prototypes.norm(dim=1, keepdim=True)
    to_image = sinkhorn((text @ towards.T).detach(), sharpness=20.0, rounds=3)
    to_text = sinkhorn((image @ towards.T).detach(), sharpness=20.0, rounds=3)
    each = [
        cross_entropy(5.0 * side @ towards.T, target, reduction="none")
        for side, target in ((image, to_image), (text, to_text))
    ]
    same_with_gradients(mine, (each[0] + each[1]) / 2, [image, text, prototypes])


# --- concepts --------------------------------------------------------------------------------------------------------


def test_concepts_by_hand():
    tokens, concepts = torch.tensor([[RIGHT, UP, UP]]), torch.tensor([RIGHT])
    torch.testing.assert_close(concept_scores(tokens, concepts, pool="max", sharpness=1.0), torch.tensor([[1.0]]))
    soft = concept_scores(tokens, concepts, pool="soft", sharpness=math.log(4))
    torch.testing.assert_close(soft, torch.tensor([[4 / 6]]))
    loss = concept_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 1.0]]))
    torch.testing.assert_close(loss, torch.tensor([2 * math.log(2)]))


def test_concepts_against_torch_with_gradients():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 1, 1], [0, 0, 1], [0, 1, 1], [0, 0, 1]], dtype=torch.float64)
    have, lack = both_kinds_alike(labels)
    torch.testing.assert_close(have, torch.tensor([3.0, 1.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(lack, torch.tensor([0.6, 0.75, 0.0], dtype=torch.float64))
    mine = concept_loss(logits, labels, labels * have + (1 - labels) * lack)
    pos = have[:2] / lack[:2]
    other = binary_cross_entropy_with_logits(logits[:, :2], labels[:, :2], lack[:2], pos_weight=pos, reduction="none")
    same_with_gradients(mine, other.sum(1) / 3, [logits])


# --- local features in the common space ------------------------------------------------------------------------------


def space(given, rank=0):
    aligner = Start("random", 6, 0.5, 0.1).aligner(given, np.random.default_rng(0))
    return aligner, LocalSpace(given, aligner, rank=rank, rng=np.random.default_rng(0))


def test_a_token_is_an_image_that_looks_like_it():
    given = pairs(local=True)
    wide = np.concatenate([given.features, given.features[:, :5]], 1)  # five more columns that no token has
    given = dataclasses.replace(given, features=wide)
    aligner, local = space(given)
    with torch.no_grad():
        aligner.image_bias.normal_(generator=torch.Generator().manual_seed(1))
    rows = np.array([3, 7])
    tokens = given.tokens.maps[0][rows].astype(np.float32)
    mean = aligner.image_mean.numpy()
    image = np.broadcast_to(np.sign(mean) * mean**2, (2, 4, 29)).copy()
    image[:, :, :24] = tokens
    expected = aligner.encode_image(torch.from_numpy(image).reshape(8, 29)).reshape(2, 4, 6)
    torch.testing.assert_close(local(aligner, rows), expected, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(local(aligner, rows)[:, :, 0].sum(), aligner.image_weight)
    assert (gradient[:24].abs().sum(1) > 0).all()
    assert (gradient[24:] == 0).all()


def test_main_directions_keep_what_lies_in_them():
    given = pairs(local=True)
    aligner, whole = space(given)
    rows = np.arange(20)
    torch.testing.assert_close(space(given, rank=24)[1](aligner, rows), whole(aligner, rows))
    few = space(given, rank=16)[1](aligner, rows)
    assert 0.7 < (few * whole(aligner, rows)).sum(2).mean().item() < 1 - 1e-4
    flat = torch.from_numpy(given.features) @ torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    low = (flat @ torch.randn(3, 24, generator=torch.Generator().manual_seed(1))).numpy()
    tokens = Tokens((np.repeat(low[:, None], 2, 1).astype(np.float16),), ((0, 24),), ((1, 2),))
    plain = Aligner(24, 10, 6, normalise=True)  # power 1, mean 0: three directions hold everything
    torch.nn.init.normal_(plain.image_weight, generator=torch.Generator().manual_seed(2))
    three, full = (
        LocalSpace(dataclasses.replace(given, tokens=tokens), plain, rank=r, rng=np.random.default_rng(0))(plain, rows)
        for r in (3, 0)
    )
    torch.testing.assert_close(three, full, rtol=1e-2, atol=1e-2)


def test_two_encoders_have_their_own_columns():
    given = pairs(local=True)
    halves = tuple(given.tokens.maps[0][:, :, part] for part in (slice(0, 10), slice(10, 24)))
    two = dataclasses.replace(given, tokens=Tokens(halves, ((0, 10), (10, 24)), ((2, 2), (2, 2))))
    aligner, local = space(two)
    assert local.count == 8
    assert local(aligner, np.arange(3)).shape == (3, 8, 6)
    (gradient,) = torch.autograd.grad(local(aligner, np.arange(3))[:, 4:, 0].sum(), aligner.image_weight)
    assert (gradient[:10] == 0).all()


def test_wrong_tokens_are_refused():
    given = pairs(local=True)
    aligner, _ = space(given)
    with pytest.raises(UsageError, match="without local features"):
        LocalSpace(pairs(), aligner, rank=0, rng=np.random.default_rng(0))
    with pytest.raises(UsageError, match="rank=-1"):
        LocalSpace(given, aligner, rank=-1, rng=np.random.default_rng(0))
    with pytest.raises(UsageError, match="at most 5 columns"):
        LocalSpace(given, Aligner(5, 10, 6), rank=0, rng=np.random.default_rng(0))
    with pytest.raises(UsageError, match="one token per place"):
        Tokens(given.tokens.maps, ((0, 24),), ((3, 2),))
    with pytest.raises(DataError, match="1 images without tokens"):
        dataclasses.replace(given.tokens, image_ids=tuple(given.image_ids)).of(["x", given.image_ids[0]])


# --- sums, and what is switched off ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        "multi_granular(tokens=0, prototypes=0, {})",
        "patch_concept(patches=0, {})",
        "refiner(match=0, masked=0, causal=0, {})",
    ],
)
def test_a_weight_of_0_leaves_a_term_out_exactly(spec):
    options = "epochs=4, batch=32, dim=16, start='random'"
    mine = TASKS.build(spec.format(options)).fit(pairs(), np.random.default_rng(0))  # needs no tokens either
    plain = TASKS.build(f"contrastive({options})").fit(pairs(), np.random.default_rng(0))
    for name, tensor in plain.aligner.state_dict().items():
        torch.testing.assert_close(mine.aligner.state_dict()[name], tensor, rtol=0, atol=0)
    assert mine.log["train_loss"] == plain.log["train_loss"]


def terms(given):
    aligner, local = space(given)
    return aligner, {
        "pieces": PieceLoss(local),
        "seen": PieceLoss(local, "text"),
        "read": PieceLoss(local, "image"),
        "prototypes": PrototypeLoss(5, 6),
        "concepts": ConceptLoss(local),
    }


def test_a_sum_is_the_weighted_sum_of_its_terms_with_gradients():
    given = pairs(tree=True, local=True)
    aligner, known = terms(given)
    parts = {"image": AlignmentLoss("clip"), **known}
    weights = dict(zip(parts, (1.0, 0.5, 2.0, 0.0, 0.25, 3.0), strict=True))
    rows = np.arange(0, 60, 3)
    image = aligner.encode_image(torch.from_numpy(given.features[rows]))

    def values(loss):
        return loss.on(given, np.random.default_rng(1))(aligner, image, rows, 0)

    together = values(Weighted.of({name: (weights[name], parts[name]) for name in parts}))
    apart = sum(weights[name] * values(part) for name, part in parts.items() if weights[name])
    torch.testing.assert_close(together, apart)
    gradients = [torch.autograd.grad(x.mean(), aligner.image_weight, retain_graph=True)[0] for x in (together, apart)]
    torch.testing.assert_close(*gradients)
    both = values(parts["pieces"])
    torch.testing.assert_close(both, (values(parts["seen"]) + values(parts["read"])) / 2)


@pytest.mark.parametrize("name", ["pieces", "seen", "read", "concepts"])
def test_chance_is_the_loss_of_equal_logits(name):
    given = pairs(tree=True, local=True)
    aligner, known = terms(given)
    objective, rows = known[name].on(given, np.random.default_rng(0)), np.arange(0, 90, 4)
    with torch.no_grad():
        aligner.logit_log_scale.fill_(-50)
        if objective.module is not None:
            objective.module[1].fill_(-50)
        image = aligner.encode_image(torch.from_numpy(given.features[rows]))
        assert float(objective(aligner, image, rows, -1).mean()) == pytest.approx(objective.chance(rows), rel=1e-4)


def test_kinds_of_image_are_weighed_by_what_may_be_learned_from():
    given = pairs(tree=True, local=True)
    _, known = terms(given)
    objective = known["concepts"].on(given, np.random.default_rng(0))
    train = np.arange(100)
    objective.taught_by(train)
    labels = torch.from_numpy(given.labels[train]).float()
    torch.testing.assert_close(objective.weights[0], both_kinds_alike(labels)[0])


def test_the_pieces_of_a_batch_are_numbered_by_the_batch():
    given = pairs(local=True)
    _, known = terms(given)
    objective = known["seen"].on(given, np.random.default_rng(0))
    rows = np.flatnonzero(given.groups.place[:, 0] == 3)[:2]
    assert objective.chance(rows) == pytest.approx(math.log(2))  # one text and the piece that all share


def shuffled(seed=0):
    given = pairs(tree=True, local=True, patients=120)
    order = np.repeat(np.random.default_rng(seed).permutation(120), 2) * 2
    return given.with_texts_of(order)


@pytest.mark.parametrize(
    "spec",
    [
        "multi_granular(epochs=6, batch=40, dim=32, count=8)",
        "patch_concept(epochs=6, batch=40, dim=32)",
        "refiner(epochs=2, warm_up=2, batch=80, dim=32, width=16)",
        "hierarchy_graph(epochs=6, batch=40, dim=32)",
    ],
)
def test_shuffled_texts_teach_nothing(spec):
    given = shuffled()
    train, test = np.arange(160), np.arange(160, 240)

    def part(rows):
        return dataclasses.replace(
            given.with_texts_of(rows),
            features=given.features[rows],
            patient_ids=tuple(given.patient_ids[i] for i in rows),
            image_ids=tuple(given.image_ids[i] for i in rows),
            tokens=given.tokens.rows(rows),
        )

    aligner = TASKS.build(spec).fit(part(train), np.random.default_rng(0)).aligner
    held = part(test)
    _, first, own = np.unique(held.texts, return_index=True, return_inverse=True)
    with torch.no_grad():
        words = torch.from_numpy(held.text_features[first].astype(np.float32))
        scores = (aligner.encode_image(torch.from_numpy(held.features)) @ aligner.encode_text(words).T).numpy()
    found = np.mean([roc_auc_score(own == t, scores[:, t]) for t in range(len(first))])
    assert 0.3 < found < 0.7


def test_wrong_weights_and_options_are_refused():
    _, local = space(pairs(local=True))
    for weights in ((-1.0, 1.0), (0.0, 0.0), (math.nan, 1.0)):
        with pytest.raises(UsageError, match="weights of at least 0"):
            Weighted(("a", "b"), weights, (AlignmentLoss("clip"), AlignmentLoss("clip")))
    for build in (
        lambda: PieceLoss(local, "left"),
        lambda: PieceLoss(local, sharpness=0),
        lambda: PrototypeLoss(1, 4),
        lambda: PrototypeLoss(4, 4, rounds=0),
        lambda: ConceptLoss(local, "mean"),
    ):
        with pytest.raises(UsageError):
            build()
    with pytest.raises(UsageError, match="pieces of their texts"):
        PieceLoss(local).on(pairs(), np.random.default_rng(0))
    with pytest.raises(UsageError, match="tree of findings"):
        ConceptLoss(local).on(pairs(local=True), np.random.default_rng(0))
    for task in ("multi_granular", "patch_concept", "refiner(sees='places')"):
        with pytest.raises(UsageError, match="without local features"):
            TASKS.build(task).fit(pairs(tree=True), np.random.default_rng(0))


# --- what the words of a report look at, and when --------------------------------------------------------------------

READS = "refiner(epochs=2, warm_up={}, batch=80, dim=8, width=8, held_out={}, sees={!r})"


def refined(warm_up=0, sees="image", held_out=0, given=None):
    task = TASKS.build(READS.format(warm_up, held_out, sees))
    return task, task.fit(given or pairs(tree=True, local=True), np.random.default_rng(0))


@pytest.mark.parametrize("sees", ["image", "places"])
def test_words_look_at_the_whole_image_or_at_its_places_too(sees):
    given = pairs(tree=True, local=True)
    turned = dataclasses.replace(given, tokens=given.tokens.rows(np.arange(len(given.texts))[::-1]))
    (task, own), (_, other) = (refined(sees=sees, given=of) for of in (given, turned))
    assert (("tokens",) if sees == "places" else ()) == task.NEEDS
    assert torch.equal(own.aligner.image_weight, other.aligner.image_weight) == (sees == "image")


def test_the_aligner_stands_still_while_the_decoder_learns_to_read(monkeypatch):
    calls = []

    def spy(aligner, pairs, loss, settings, rng, **others):
        before = {name: p.detach().clone() for name, p in aligner.named_parameters()}
        fitted = train_aligner(aligner, pairs, loss, settings, rng, **others)
        changed = [name for name, p in aligner.named_parameters() if not torch.equal(p, before[name])]
        calls.append((settings.epochs, set(changed), fitted.log))
        return fitted

    monkeypatch.setattr("tapetum.learn.tasks.refiner.train_aligner", spy)
    _, fitted = refined(warm_up=3, held_out=0.2)
    (alone, still, first), (together, moved, second) = calls
    assert (alone, together) == (3, 2)
    assert still <= {"logit_log_scale", "logit_bias"}  # they are set, not learned
    assert {"image_weight", "text_weight"} <= moved
    # what was learned is not lost, and the same patients stay held out
    assert second["held_loss"][0] < first["held_loss"][-1] < first["held_loss"][0]
    assert second["held_chance"] == pytest.approx(first["held_chance"])
    assert all(p.requires_grad for p in fitted.aligner.parameters())


@pytest.mark.parametrize("wrong", ["sees='both'", "warm_up=-1"])
def test_what_cannot_be_looked_at_is_refused(wrong):
    with pytest.raises(UsageError, match=wrong.partition("=")[0]):
        TASKS.build(f"refiner({wrong})")


# --- pieces of texts -------------------------------------------------------------------------------------------------


def test_pieces_of_texts():
    assert word_groups("Drusen, cataract. Drusen; C/D 0.5\nflat") == ("Drusen", "cataract", "C/D 0.5", "flat")
    assert word_groups("黄斑水肿，出血。") == ("黄斑水肿", "出血")
    assert word_groups(". ;") == ()
    assert len(word_groups(", ".join(map(str, range(40))))) == 12


def test_every_piece_is_encoded_once():
    asked = []
    found = encode_groups(["b, a", "a", "."], lambda texts: asked.append(list(texts)) or np.eye(len(texts)))
    assert asked == [[".", "a", "b"]]
    assert found.place.tolist() == [[2, 1], [1, -1], [0, -1]]
    assert found.rows(np.array([1])).place.tolist() == [[1, -1]]


def test_words_of_other_rows_bring_their_pieces():
    given = pairs(local=True)
    source = np.random.default_rng(0).permutation(160)
    found = given.with_texts_of(source)
    np.testing.assert_array_equal(found.groups.place, given.groups.place[source])
    np.testing.assert_array_equal(found.tokens.maps[0], given.tokens.maps[0])
