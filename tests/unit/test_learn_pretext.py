"""What tasks without labels share, by hand: contrast, masks, pixels, words, the slow copy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tapetum.core.registry import Family
from tapetum.learn.pretext.contrast import info_nce, nt_xent, self_distillation
from tapetum.learn.pretext.decoder import Decoder, wave_positions
from tapetum.learn.pretext.heads import Block, Projection, linear
from tapetum.learn.pretext.masks import SeenTokens, drawn, picked
from tapetum.learn.pretext.objective import spread_of
from tapetum.learn.pretext.pixels import masked_error, patches_of, standardised, steepness
from tapetum.learn.pretext.reader import Reader, masked_words
from tapetum.learn.pretext.teacher import Teacher, momentum_at
from tapetum.learn.pretext.vocabulary import words_of
from tapetum.nets import build_encoder
from toy_nets import network


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- contrast ---------------------------------------------------------------------------------------------------------


def test_nt_xent_of_two_pairs():
    """a = (1, 0), (0, 1); b = (1, 0), (1, 0); τ = 0.5: cosines over τ are 2 or 0."""
    first, second = torch.tensor([[3.0, 0.0], [0.0, 0.5]]), torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    # a1: partner b1 (2), others a2 (0), b2 (2). b1: partner a1 (2), others a2 (0), b2 (2).
    one = -math.log(math.exp(2) / (2 * math.exp(2) + 1))
    # a2: partner b2 (0), others a1 (0), b1 (0). b2: partner a2 (0), others a1 (2), b1 (2).
    two = (math.log(3) + math.log(1 + 2 * math.exp(2))) / 2
    torch.testing.assert_close(nt_xent(first, second, temperature=0.5), torch.tensor([one, two]))


def test_info_nce_leaves_out_the_image_itself():
    query, key = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    queue = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    whole = info_nce(query, key, queue, temperature=1.0)
    torch.testing.assert_close(whole, torch.tensor([-math.log(math.e / (2 * math.e + 1))]))
    fewer = info_nce(query, key, queue, temperature=1.0, same=torch.tensor([[True, False]]))
    torch.testing.assert_close(fewer, torch.tensor([-math.log(math.e / (math.e + 1))]))


def test_self_distillation_with_a_centre():
    """Teacher (2, 0) − centre (1, 0) = (1, 0), over τ = 1; student (0, 0) over τ = 2, then (2, 0)."""
    teacher, centre = torch.tensor([[2.0, 0.0]]), torch.tensor([1.0, 0.0])
    even = self_distillation(torch.zeros(1, 2), teacher, centre, student=2.0, teacher=1.0)
    torch.testing.assert_close(even, torch.tensor([math.log(2)]))
    p = math.e / (math.e + 1)
    said = self_distillation(torch.tensor([[2.0, 0.0]]), teacher, centre, student=2.0, teacher=1.0)
    torch.testing.assert_close(said, torch.tensor([-(p * math.log(p) + (1 - p) * math.log(1 - p))]))


def test_the_centre_follows_the_teachers_mean():
    task = Family("tapetum.learn.self_supervision").build("dino(hidden=8, dim=4, prototypes=3, centring=0.75)")
    pretext = task.on(build_encoder("tiny(size=32, dim=8)"), seeded())
    views = tuple(torch.randn((2, 3, 32, 32), generator=seeded(i)) for i in range(2))
    with torch.no_grad():
        mean = torch.cat([pretext.teacher(view) for view in views]).mean(0)
    pretext.loss(views, np.arange(2), 0)
    assert torch.equal(pretext.centre, torch.zeros(3))
    pretext.settle(0, 4)
    torch.testing.assert_close(pretext.centre, 0.25 * mean)


def test_moco_replaces_the_oldest_keys_and_knows_whose_they_are():
    task = Family("tapetum.learn.self_supervision").build("moco(hidden=8, dim=4, queue=3)")
    pretext = task.on(build_encoder("tiny(size=32, dim=8)"), seeded())
    first = pretext.queue.clone()
    for step, rows in enumerate(([5, 9], [7, 5])):
        views = tuple(torch.randn((2, 3, 32, 32), generator=seeded(10 * step + i)) for i in range(2))
        pretext.loss(views, np.array(rows), 0)
        pretext.settle(step, 2)
    assert pretext.shown.tolist() == [5, 9, 7]
    assert int(pretext.place) == 1
    assert not torch.equal(pretext.queue[0], first[0])
    torch.testing.assert_close(pretext.queue.norm(dim=1), torch.ones(3))


def test_spread_of_points_that_are_alike_opposite_or_half_way():
    assert spread_of(torch.tensor([[1.0, 1.0], [5.0, 5.0]])) == pytest.approx(0, abs=1e-6)
    assert spread_of(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(1)
    assert spread_of(torch.eye(2)) == pytest.approx(math.sqrt(0.5))


# --- the slow copy ----------------------------------------------------------------------------------------------------


def test_momentum_rises_from_its_start_to_one():
    found = [momentum_at(step, 3, 0.8) for step in range(3)]
    assert found == pytest.approx([0.8, 0.9, 1.0])
    assert momentum_at(0, 1, 0.8) == pytest.approx(0.8)


def test_the_slow_copy_moves_by_its_momentum_and_gets_no_gradient():
    tower, head = nn.Linear(2, 2), nn.Linear(2, 1)
    teacher = Teacher(tower, head)
    start = [p.clone() for p in teacher.parameters()]
    with torch.no_grad():
        for parameter in (*tower.parameters(), *head.parameters()):
            parameter.add_(1.0)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert len(dict(teacher.named_parameters())) == 4, "the student is no part of it"
    teacher.follow(0.75)
    for before, now in zip(start, teacher.parameters(), strict=True):
        torch.testing.assert_close(now, before + 0.25)
    assert not teacher(torch.ones(1, 2)).requires_grad


# --- pixels -----------------------------------------------------------------------------------------------------------


def test_patches_in_rows_with_their_channels_last():
    image = torch.arange(2 * 4 * 4.0).view(1, 2, 4, 4)
    cut = patches_of(image, 2)
    assert cut.shape == (1, 4, 8)
    assert cut[0, 2].tolist() == [8, 24, 9, 25, 12, 28, 13, 29]


def test_masked_error_on_two_by_two_patches_with_standardised_pixels():
    """One channel, patches of one row of two pixels each; the masked ones are (1, 3) and (10, 4)."""
    image = torch.tensor([[[[0.0, 0.0], [1.0, 3.0], [10.0, 4.0], [2.0, 2.0]]]])
    patches = image.reshape(1, 4, 2)
    target = standardised(picked(patches, torch.tensor([[1, 2]])))
    torch.testing.assert_close(target, torch.tensor([[[-1.0, 1.0], [1.0, -1.0]]]), atol=1e-4, rtol=0)
    said = torch.tensor([[[-1.0, 1.0], [1.0, 0.0]]])
    error, nothing = masked_error(said, target)
    assert error.tolist() == pytest.approx([0.25], abs=1e-3)
    assert nothing == pytest.approx(1.0, abs=1e-3)


def test_a_flat_patch_is_nothing_to_say():
    noise = 0.5 / 255 * torch.randn(1, 1, 64, generator=seeded())
    assert float(standardised(torch.full((1, 1, 64), 0.3)).abs().max()) < 1e-3
    assert float(standardised(noise).square().mean()) < 0.1


def test_steepness_of_a_step():
    """A vertical step from 0 to 8: Sobel's column sums are 1 + 2 + 1, over 8."""
    image = torch.cat([torch.zeros(1, 3, 3, 2), torch.full((1, 3, 3, 2), 8.0)], dim=3)
    expected = torch.tensor([0.0, 4.0, 4.0, 0.0]).expand(1, 1, 3, 4)
    torch.testing.assert_close(steepness(image), expected)
    torch.testing.assert_close(steepness(image.transpose(2, 3)), expected.transpose(2, 3))
    torch.testing.assert_close(steepness(torch.ones(1, 3, 4, 4)), torch.zeros(1, 1, 4, 4))


# --- masks ------------------------------------------------------------------------------------------------------------


def test_masks_follow_from_seed_epoch_and_row_alone():
    seen, masked = drawn(np.array([4, 9]), 2, 0, 16, 0.75)
    assert seen.shape == (2, 4)
    assert masked.shape == (2, 12)
    assert all(sorted([*s, *m]) == list(range(16)) for s, m in zip(seen.tolist(), masked.tolist(), strict=True))
    assert torch.equal(drawn(np.array([9]), 2, 0, 16, 0.75)[0][0], seen[1])
    others = [drawn(np.array([9]), e, s, 16, 0.75)[0][0] for e, s in ((3, 0), (2, 1))]
    assert not any(torch.equal(o, seen[1]) for o in others)
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize(("share", "hidden"), [(0.01, 1), (0.5, 2), (0.99, 3)])
def test_one_patch_at_least_is_masked_and_one_is_seen(share, hidden):
    assert drawn(np.array([0]), 0, 0, 4, share)[1].shape == (1, hidden)


DROPPING = ("vit", "dinov2", "siglip_vision_model", "clip_vision_model")


@pytest.fixture(scope="module", params=[*DROPPING, "dinov3_vit", "swinv2", "tiny"])
def tower(request, tmp_path_factory):
    if request.param == "tiny":
        return request.param, build_encoder("tiny(size=32, dim=8)")
    return request.param, build_encoder(network(tmp_path_factory.mktemp("net"), request.param))


def test_only_transformers_with_one_plain_sequence_drop_patches(tower):
    name, encoder = tower
    assert SeenTokens(encoder).drops == (name in DROPPING)


@torch.no_grad()
def test_what_is_masked_cannot_be_read(tower):
    _, encoder = tower
    tokens_of = SeenTokens(encoder)
    x = torch.randn((2, 3, 32, 32), generator=seeded())
    seen, masked = drawn(np.arange(2), 0, 0, tokens_of.count, 0.5)
    other = x.clone()
    side = tokens_of.side
    for image, numbers in zip(other, masked.tolist(), strict=True):
        for number in numbers:
            row, column = divmod(number, 32 // side)
            image[:, row * side : (row + 1) * side, column * side : (column + 1) * side] = 9.0
    assert torch.equal(tokens_of(encoder, x, seen), tokens_of(encoder, other, seen))
    assert not torch.equal(picked(encoder.tokens(x), seen), picked(encoder.tokens(other), seen))


@torch.no_grad()
def test_with_all_patches_seen_the_tokens_are_those_of_the_whole_image(tower):
    _, encoder = tower
    tokens_of = SeenTokens(encoder)
    x = torch.randn((2, 3, 32, 32), generator=seeded())
    every = torch.arange(tokens_of.count).expand(2, -1)
    torch.testing.assert_close(tokens_of(encoder, x, every), encoder.tokens(x), atol=1e-5, rtol=1e-5)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in encoder.modules())


@torch.no_grad()
def test_a_seen_patch_keeps_its_own_place(tmp_path):
    """Two images with two patches exchanged, both seen: the tokens differ, since positions do."""
    encoder = build_encoder(network(tmp_path, "vit"))
    tokens_of = SeenTokens(encoder)
    x = torch.randn((1, 3, 32, 32), generator=seeded())
    moved = x.clone()
    moved[..., :8, :8], moved[..., :8, 8:16] = x[..., :8, 8:16], x[..., :8, :8]
    seen = torch.tensor([[0, 1]])
    found = tokens_of(encoder, x, seen), tokens_of(encoder, moved, seen)
    assert not torch.allclose(found[0], found[1].flip(1), atol=1e-4)


# --- decoder and heads ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_decoder_puts_every_token_at_its_place():
    decoder = Decoder(3, 8, 1, 2, 2, 5, seeded())
    tokens, seen, masked = torch.randn(1, 2, 3, generator=seeded()), torch.tensor([[0, 3]]), torch.tensor([[1, 2]])
    said = decoder(tokens, seen, masked)
    assert said.shape == (1, 2, 5)
    torch.testing.assert_close(decoder(tokens.flip(1), seen.flip(1), masked), said)
    torch.testing.assert_close(decoder(tokens, seen, masked.flip(1)), said.flip(1))
    assert not torch.allclose(decoder(tokens.flip(1), seen, masked), said)


def test_positions_differ_from_each_other():
    places = wave_positions(4, 8)
    assert places.shape == (16, 8)
    assert len({tuple(row) for row in places.tolist()}) == 16


def test_a_block_is_the_one_of_torch():
    block, peer = (
        Block(8, 2, seeded()),
        nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True),
    )
    pairs = {
        peer.self_attn.in_proj_weight: block.qkv.weight, peer.self_attn.in_proj_bias: block.qkv.bias,
        peer.self_attn.out_proj.weight: block.out.weight, peer.self_attn.out_proj.bias: block.out.bias,
        peer.linear1.weight: block.up.weight, peer.linear1.bias: block.up.bias,
        peer.linear2.weight: block.down.weight, peer.linear2.bias: block.down.bias,
    }  # fmt: skip
    with torch.no_grad():
        for i, (theirs, ours) in enumerate(pairs.items()):
            ours.add_(0.1 * torch.randn(ours.shape, generator=seeded(i)))
            theirs.copy_(ours)
    x, seen = torch.randn(3, 5, 8, generator=seeded(1)), torch.ones(3, 5, dtype=torch.bool)
    seen[0, 3:] = False
    torch.testing.assert_close(block(x), peer(x), atol=1e-5, rtol=1e-5)
    hidden = peer(x, src_key_padding_mask=~seen)
    torch.testing.assert_close(block(x, seen)[seen], hidden[seen], atol=1e-5, rtol=1e-5)


def test_heads_draw_from_the_given_generator():
    state = torch.random.get_rng_state()
    one, two = Projection((4, 8, 2), seeded()), Projection((4, 8, 2), seeded())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    weight = linear(300, 100, seeded()).weight
    assert float(weight.detach().var()) == pytest.approx(2 / 400, rel=0.05)


@torch.no_grad()
def test_the_head_takes_off_what_all_images_share():
    head = Projection((3, 4), seeded())
    features = torch.tensor([[10.0, 0.0, 5.0], [14.0, 0.5, 5.0]])
    head.fit(features)
    # deviations 2, 0.25 and 0; the last column is divided by a hundredth of their mean and stays 0
    expected = head.layers[0](torch.tensor([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]]))
    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(head.scale, torch.tensor([2.0, 0.25, 0.0075]))
    assert not {"mean", "scale"} & {name for name, _ in head.named_parameters()}


def test_the_slow_copys_head_is_told_too():
    task = Family("tapetum.learn.self_supervision").build("dino(hidden=8, dim=4, prototypes=3)")
    pretext = task.on(build_encoder("tiny(size=32, dim=8)"), seeded())
    pretext.start(torch.arange(16.0).view(2, 8))
    means = [m.mean.tolist() for m in pretext.modules() if isinstance(m, Projection)]
    assert means == [[4.0 + i for i in range(8)]] * 2


# --- words ------------------------------------------------------------------------------------------------------------


def test_words_are_numbered_by_frequency_and_texts_cut():
    words = words_of(["Hard exudate, hard.", "", "drusen 硬性 hard exudate"], most=3, length=3)
    assert words.vocabulary == ("hard", "exudate", "drusen")
    assert words.tokens.tolist() == [[1, 2, 1], [0, 0, 0], [3, 1, 2]]
    assert words_of(["", ""]).vocabulary == ()


def test_masked_words_are_words_and_at_least_one():
    tokens = torch.tensor([[1, 2, 3, 4], [5, 0, 0, 0], [0, 0, 0, 0]])
    found = masked_words(tokens, np.array([8, 3, 1]), 0, 0, 0.5)
    assert found.sum(1).tolist() == [2, 1, 0]
    assert not found[tokens == 0].any()
    again = masked_words(tokens[:1], np.array([8]), 0, 0, 0.5)
    assert torch.equal(again[0], found[0])


def test_what_knowing_frequencies_alone_costs():
    """Words a, a, a, b: the masked word of row 1 is b, of frequency 1/4."""
    words = words_of(["a a a", "b"])
    reader = Reader(words, 4, 8, 1, 2, 1.0, 0, seeded())
    _, plain = reader(torch.zeros(1, 4), np.array([1]), 0)
    assert plain == pytest.approx(math.log(4))
    loss, plain = reader(torch.zeros(2, 4), np.array([0, 1]), 0)
    assert plain == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert loss.shape == (2,)


def test_a_masked_word_is_not_read_but_the_others_and_the_image_are():
    words = words_of(["a b", "c b", "a c"])
    reader = Reader(words, 4, 8, 1, 2, 0.5, 0, seeded())
    with torch.no_grad():
        reader.leave.weight.normal_(generator=seeded(1))
    rows = np.zeros(1, dtype=int)
    place = int(masked_words(reader.tokens[:1], rows, 0, 0, 0.5)[0].nonzero())

    def logits(text, image):
        reader.tokens[0] = torch.tensor(text)
        found: list[torch.Tensor] = []
        handle = reader.leave.register_forward_hook(lambda layer, args, output: found.append(output[0, place]))
        reader(image, rows, 0)
        handle.remove()
        return found[0]

    image, other = torch.randn((2, 1, 4), generator=seeded(2))
    text = [1, 1]
    swapped = [1, 1]
    swapped[place] = 2
    beside = [1, 1]
    beside[1 - place] = 2
    assert torch.equal(logits(text, image), logits(swapped, image))
    assert not torch.equal(logits(text, image), logits(beside, image))
    assert not torch.equal(logits(text, image), logits(text, other))


def test_an_image_without_a_text_learns_from_its_patches_alone():
    words = words_of(["", "drusen"])
    reader = Reader(words, 4, 8, 1, 2, 0.5, 0, seeded())
    image = torch.randn((1, 4), generator=seeded(), requires_grad=True)
    loss, _ = reader(image, np.array([0]), 0)
    assert loss.tolist() == [0.0]
    loss.sum().backward()
    assert image.grad is not None
    assert not image.grad.any()
