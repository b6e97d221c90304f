"""Tuners against plain implementations of the same formulas, in value and gradient."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import transformers as hf
from torch import nn
from torch.func import functional_call

from tapetum.core.registry import Family
from tapetum.learn.tuning.attach import trainable
from tapetum.nets import build_encoder
from toy_nets import SMALL, network

TUNERS = Family("tapetum.learn.tuners")


@pytest.fixture
def vit(tmp_path):
    return build_encoder(network(tmp_path, "vit"))


def images(encoder, count=2):
    size = encoder.spec.size
    return torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(0))


def nudged(encoder):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trainable(encoder).values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def updates(encoder):
    """Layer → (A, B), as parameters of the tuned encoder."""
    own = trainable(encoder)
    layers = sorted({name.partition(".lora_")[0] for name in own})
    return {n: (own[f"{n}.lora_A.default.weight"], own[f"{n}.lora_B.default.weight"]) for n in layers}


@pytest.mark.parametrize(
    ("spec", "net", "scale"),
    [("lora(rank=1, alpha=3.0)", "vit", 3.0), ("lora(rank=1)", "vit", 2.0), ("lora", "efficientnet_lite", 2.0)],
)
def test_lora_is_the_weight_plus_scaled_b_a(spec, net, scale, vit):
    """An untouched network called with W + s·B·A gives the same outputs and the same gradients of A and B."""
    encoder = vit if net == "vit" else build_encoder("efficientnet_lite(size=64)")
    plain = {n: p.detach().clone() for n, p in encoder.state_dict().items()}
    reference = build_encoder("efficientnet_lite(size=64)") if net != "vit" else None
    if reference is None:
        reference = copy.deepcopy(encoder)
    TUNERS.build(spec).attach(encoder)
    nudged(encoder)
    x = images(encoder)
    out = encoder(x)
    out.square().mean().backward()
    pairs = {n: [t.detach().clone().requires_grad_(True) for t in ab] for n, ab in updates(encoder).items()}
    weights = dict(plain)
    for name, (a, b) in pairs.items():
        delta = scale * (b.flatten(1) @ a.flatten(1))
        weights[f"{name}.weight"] = plain[f"{name}.weight"] + delta.reshape(plain[f"{name}.weight"].shape)
    expected = functional_call(reference, weights, (x,))
    expected.square().mean().backward()
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    for name, (a, b) in updates(encoder).items():
        torch.testing.assert_close(a.grad, pairs[name][0].grad, atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(b.grad, pairs[name][1].grad, atol=1e-5, rtol=1e-3)
    TUNERS.build(spec).fold(encoder)
    for name in pairs:
        torch.testing.assert_close(encoder.get_submodule(name).weight, weights[f"{name}.weight"], atol=1e-6, rtol=1e-5)
    assert set(encoder.state_dict()) == set(plain)


def plain_vit(net, x, tokens_at):
    """A ViT written out: embeddings, prompts before the tokens, blocks, the prompts off, final norm."""
    hidden = net.embeddings(x)
    count = 0
    for i, layer in enumerate(net.layers):
        fresh = tokens_at(i, hidden[:, count:])
        if fresh is not None:
            hidden = torch.cat([fresh.expand(len(x), -1, -1), hidden[:, count:]], dim=1)
            count = fresh.shape[-2]
        hidden = layer(hidden)
    hidden = net.layernorm(hidden[:, count:])
    return torch.cat([hidden[:, 0], hidden[:, 1:].mean(1)], dim=1)


@pytest.mark.parametrize("deep", [True, False])
def test_prompts_equal_a_vit_written_out(deep, vit, tmp_path):
    plain = copy.deepcopy(vit).net
    TUNERS.build(f"prompts(count=3, deep={deep})").attach(vit)
    values = next(iter(trainable(vit).values()))
    assert tuple(values.shape) == (2 if deep else 1, 3, SMALL["hidden_size"])
    x = images(vit)
    out = vit(x)
    out.square().mean().backward()
    twin = values.detach().clone().requires_grad_(True)
    expected = plain_vit(plain, x, lambda i, _: twin[i] if deep or i == 0 else None)
    expected.square().mean().backward()
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(values.grad, twin.grad, atol=1e-7, rtol=1e-4)


def test_dynamic_prompts_equal_attention_written_out(vit):
    plain = copy.deepcopy(vit).net
    TUNERS.build("dynamic_prompts(count=2, width=2)").attach(vit)
    nudged(vit)
    own = {n.removeprefix("prompts."): p for n, p in trainable(vit).items()}
    twin = {n: p.detach().clone().requires_grad_(True) for n, p in own.items()}

    def gathered(i, tokens):
        rows = []
        for image in tokens:
            mean, variance = image.mean(1, keepdim=True), image.var(1, unbiased=False, keepdim=True)
            narrow = nn.functional.gelu((image - mean) / (variance + 1e-5).sqrt() @ twin["down"])
            scores = torch.stack([(narrow * q).sum(1) for q in twin["queries"]]) / 2**0.5
            weight = scores.exp() / scores.exp().sum(1, keepdim=True)
            rows.append(twin["values"][i] + weight @ narrow @ twin["up"])
        return torch.stack(rows)

    x = images(vit)
    out = vit(x)
    out.square().mean().backward()
    expected = plain_vit(plain, x, gathered)
    expected.square().mean().backward()
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    for name, parameter in own.items():
        torch.testing.assert_close(parameter.grad, twin[name].grad, atol=1e-6, rtol=1e-3)
    # each image has prompts of its own
    tokens = plain.embeddings(x)
    made = vit.prompts.made(0, tokens)
    assert not torch.allclose(made[0], made[1])


@pytest.mark.parametrize(("net", "decay"), [("vit", 0.65), ("dinov3_vit", 0.5)])
def test_layer_decay_gives_the_rates_of_the_published_recipe(net, decay, tmp_path):
    """Written for the names of these two networks; the tuner itself reads no names."""
    encoder = build_encoder(network(tmp_path, net))
    groups = TUNERS.build(f"full(decay={decay})").attach(encoder)
    names = {id(p): n for n, p in encoder.named_parameters()}
    layers = SMALL["num_hidden_layers"]
    for group in groups:
        for parameter in group.parameters:
            name = names[id(parameter)]
            if "embeddings" in name:
                layer = 0
            elif ".layers." in name or ".layer." in name:
                layer = int(name.replace(".layers.", ".layer.").split(".layer.")[1].split(".")[0]) + 1
            else:
                assert "norm" in name
                layer = layers + 1
            assert group.rate == pytest.approx(decay ** (layers + 1 - layer)), name
    np.testing.assert_allclose(sorted(g.rate for g in groups), [decay**3, decay**2, decay, 1.0])


def test_the_hidden_state_of_transformers_is_what_is_written_out(vit):
    """The reference above is itself right: without prompts it is the model of `transformers`."""
    assert isinstance(vit.net, hf.ViTModel)
    with torch.no_grad():
        x = images(vit)
        torch.testing.assert_close(plain_vit(vit.net, x, lambda i, t: None), vit(x), atol=1e-5, rtol=1e-5)
