"""What every tuner promises of every kind of network; a new file in the family is tested by being there."""

from __future__ import annotations

import copy

import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.features.runtime import export
from tapetum.learn.tuning.attach import CEILING, trainable
from tapetum.learn.tuning.delta import attach_delta, taken
from tapetum.nets import build_encoder
from toy_nets import network

TUNERS = Family("tapetum.learn.tuners")
SPECS = {"prompts": "prompts(count=2)", "dynamic_prompts": "dynamic_prompts(count=2, width=1)"}  # small networks
TOKENS_ONLY = {"prompts", "dynamic_prompts"}
STARTS_AS_IT_WAS = {"lora", "full", "last"}
TRANSFORMERS = ("vit", "dinov3_vit", "siglip_vision_model")  # class token; rotary positions; pooling by attention
OTHERS = ("efficientnet_lite",)
CASES = [(t, n) for t in TUNERS.names() for n in (*TRANSFORMERS, *OTHERS) if t not in TOKENS_ONLY or n in TRANSFORMERS]
each_tuner = pytest.mark.parametrize("name", TUNERS.names())
each_case = pytest.mark.parametrize(("name", "net"), CASES, ids=[f"{t}-{n}" for t, n in CASES])


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Each network, built once; tests take copies."""
    folder = tmp_path_factory.mktemp("nets")
    specs = {n: network(folder / n, n) for n in (*TRANSFORMERS, "swinv2", "convnextv2")}
    specs["efficientnet_lite"] = "efficientnet_lite(size=64)"
    built = {n: build_encoder(spec) for n, spec in specs.items()}
    return lambda n: copy.deepcopy(built[n])


def tuner_of(name, **options):
    spec = SPECS.get(name, name)
    return TUNERS.build(spec, **options)


def images(encoder, count=1, seed=0):
    size = encoder.spec.size
    return torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(seed))


def moved(encoder, seed=1):
    """A training that went somewhere: noise on every parameter that would be trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainable(encoder).values():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
    return encoder


@each_case
def test_only_what_is_declared_is_trained(name, net, plain):
    encoder = plain(net)
    unused = {n for n, p in _gradients(plain(net)).items() if p is None}
    groups = tuner_of(name).attach(encoder)
    declared = [id(p) for group in groups for p in group.parameters]
    own = trainable(encoder)
    assert own
    assert sorted(declared) == sorted(map(id, own.values()))
    assert all(group.rate > 0 for group in groups)
    encoder(images(encoder)).square().mean().backward()
    reached = {n for n, p in encoder.named_parameters() if p.grad is not None}
    assert reached <= set(own)
    assert set(own) - reached <= unused
    assert all(any(p.grad is not None and p.grad.any() for p in group.parameters) for group in groups)


def _gradients(encoder):
    encoder.requires_grad_(True)
    encoder(images(encoder)).square().mean().backward()
    return {n: p.grad for n, p in encoder.named_parameters()}


@each_case
def test_the_start_is_the_frozen_network_where_that_is_promised(name, net, plain):
    encoder = plain(net)
    x = images(encoder)
    with torch.no_grad():
        before = encoder(x), encoder.tokens(x)
        tuner_of(name).attach(encoder)
        after = encoder(x), encoder.tokens(x)
    assert after[0].shape == before[0].shape
    assert after[1].shape == before[1].shape
    # not bit for bit: torch's fused attention (SigLIP's pooling) is taken or not by what requires a gradient
    assert torch.allclose(after[0], before[0], atol=1e-6) == (name in STARTS_AS_IT_WAS)
    a, b = encoder.spec.blocks[encoder.spec.token_block]
    torch.testing.assert_close(after[1].mean(1), after[0][:, a:b], atol=1e-5, rtol=1e-5)


@each_case
def test_a_step_changes_the_output_and_nothing_that_is_frozen(name, net, plain):
    encoder = plain(net)
    tuner = tuner_of(name)
    groups = tuner.attach(encoder)
    own = set(trainable(encoder))
    frozen = {n: v.clone() for n, v in encoder.state_dict().items() if n not in own}
    x = images(encoder)
    first = encoder(x)
    first.square().mean().backward()
    torch.optim.SGD([p for g in groups for p in g.parameters if p.grad is not None], lr=0.1).step()
    assert not torch.equal(encoder(x), first)
    assert not encoder.training
    state = encoder.state_dict()
    assert all(torch.equal(state[n], v) for n, v in frozen.items()), "frozen weights or batch statistics moved"


@each_case
def test_a_small_tuner_adds_at_most_one_percent(name, net, plain):
    encoder = plain(net)
    before = {n for n, _ in encoder.named_parameters()}
    whole = sum(p.numel() for p in encoder.parameters())
    tuner = tuner_of(name)
    tuner.attach(encoder)
    own = trainable(encoder)
    if tuner.PEFT:
        assert not before & set(own)
        assert sum(p.numel() for p in own.values()) <= CEILING * whole
    else:
        assert set(own) <= before


@each_case
def test_what_was_learned_survives_storing(name, net, plain):
    encoder = plain(net)
    base = encoder.spec.weights_digest
    tuner = tuner_of(name)
    tuner.attach(encoder)
    moved(encoder)
    delta = taken(encoder, SPECS.get(name, name), base, "pixels", net)
    x = images(encoder)
    again = plain(net)
    tuner.attach(again)
    with torch.no_grad():
        for key, parameter in trainable(again).items():
            parameter.copy_(torch.from_numpy(delta.arrays[key]))
        learned = encoder(x)
        assert torch.equal(again(x), learned)
        twins = [plain(net), plain(net)]
        for twin in twins:
            attach_delta(twin, delta, "pixels")
        assert torch.equal(twins[0](x), twins[1](x))
        torch.testing.assert_close(twins[0](x), learned, atol=1e-4, rtol=1e-4)
        tuner.fold(encoder.requires_grad_(False))
        assert torch.equal(twins[0](x), encoder(x))
    assert len({base, twins[0].spec.weights_digest}) == 2
    assert twins[0].spec.weights_digest == twins[1].spec.weights_digest


@each_case
def test_a_copy_is_independent(name, net, plain):
    encoder = plain(net)
    tuner_of(name).attach(encoder)
    x = images(encoder)
    with torch.no_grad():
        before = encoder(x)
        other = moved(copy.deepcopy(encoder))
        assert not torch.equal(other(x), before)
        assert torch.equal(encoder(x), before)


@each_tuner
def test_the_global_generator_is_left_alone_and_the_seed_decides(name, plain):
    state = torch.random.get_rng_state()
    starts = []
    for seed in (0, 0, 1):
        encoder = plain("vit")
        tuner = tuner_of(name, **({"seed": seed} if "seed" in TUNERS.options(name) else {}))
        tuner.attach(encoder)
        starts.append({n: p.detach().clone() for n, p in trainable(encoder).items()})
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(starts[0][n], starts[1][n]) for n in starts[0])
    if "seed" in TUNERS.options(name):
        assert any(not torch.equal(starts[0][n], starts[2][n]) for n in starts[0])


@pytest.mark.parametrize(
    ("name", "net"), [("lora", "vit"), ("prompts", "vit"), ("dynamic_prompts", "vit"), ("lora", "efficientnet_lite")]
)
def test_it_exports(name, net, plain):
    import onnxruntime

    encoder = plain(net)
    tuner = tuner_of(name)
    tuner.attach(encoder)
    moved(encoder)
    encoder.requires_grad_(False)
    tuner.fold(encoder)
    session = onnxruntime.InferenceSession(export(encoder), providers=["CPUExecutionProvider"])
    x = images(encoder, count=3)
    torch.testing.assert_close(
        torch.from_numpy(session.run(None, {"x": x.numpy()})[0]), encoder(x), atol=2e-3, rtol=1e-3
    )


@pytest.mark.parametrize("name", sorted(TOKENS_ONLY))
@pytest.mark.parametrize("net", ["efficientnet_lite", "swinv2", "convnextv2"])
def test_a_network_without_a_sequence_is_refused_and_left_as_it_was(name, net, plain):
    encoder = plain(net)
    x = images(encoder)
    with torch.no_grad():
        before = encoder(x)
        with pytest.raises(UsageError, match="no one sequence of tokens") as caught:
            tuner_of(name).attach(encoder)
        assert torch.equal(encoder(x), before)
    assert "lora()" in caught.value.next_step
    assert "last()" in caught.value.next_step


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [("lora(rank=2)", "768 numbers"), ("prompts(count=8)", "768 numbers"), ("dynamic_prompts(count=2)", "numbers")],
)
def test_more_than_one_percent_is_refused_with_the_numbers(spec, numbers, plain):
    with pytest.raises(UsageError, match=numbers) as caught:
        TUNERS.build(spec).attach(plain("vit"))
    assert "at most 1%" in caught.value.expected


def test_the_defaults_stay_below_one_percent_of_a_vit_s(tmp_path):
    shape = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
    encoder = build_encoder(network(tmp_path, "vit", **shape))
    whole = sum(p.numel() for p in encoder.parameters())
    shares = {}
    for name in TUNERS.names():
        if TUNERS.build(name).PEFT:
            tuned = copy.deepcopy(encoder)
            TUNERS.build(name).attach(tuned)
            shares[name] = sum(p.numel() for p in trainable(tuned).values()) / whole
    assert set(shares) == {"lora", "prompts", "dynamic_prompts"}
    assert max(shares.values()) <= CEILING
    # 12 blocks × (query, value) × rank 8 × (384 in + 384 out); 12 × 10 tokens × 384; that and a bottleneck of 16
    assert {n: round(s * whole) for n, s in shares.items()} == {
        "lora": 12 * 2 * 8 * 768, "prompts": 12 * 10 * 384, "dynamic_prompts": 12 * 10 * 384 + 2 * 384 * 16 + 10 * 16,
    }  # fmt: skip


@pytest.mark.parametrize(
    "spec",
    [
        "lora(rank=-1)", "lora(alpha=-1)", "lora(roles=('queries',))", "lora(roles=('pointwise',))", "prompts(count=0)",
        "dynamic_prompts(count=0)", "dynamic_prompts(width=0)", "full(decay=0)", "full(decay=1.5)", "last(share=0)",
        "last(share=2)",
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(spec, plain):
    with pytest.raises(UsageError):
        TUNERS.build(spec).attach(plain("vit"))
