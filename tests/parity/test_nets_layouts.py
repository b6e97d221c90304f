"""Published checkpoints carry the names of transformers 4: both layouts give the model's own outputs, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from small_models import MODELS, PATCHED, SKIPPED, images, joint, published, shaken, small, write
from tapetum.core.errors import ArtefactError
from tapetum.nets.encoders.transformer import transformer

hf.utils.logging.disable_progress_bar()


def _tokens(net: Any, name: str, x: torch.Tensor) -> torch.Tensor:
    hidden = net(pixel_values=x).last_hidden_state
    return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden[:, SKIPPED.get(name, 0) :]


def _bare(net: Any) -> dict[str, torch.Tensor]:
    return {key: value for key, value in net.state_dict().items() if not key.startswith("pooler.")}


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"vit_mae"}))
def test_both_layouts_equal_the_model(tmp_path: Path, name: str) -> None:
    net, x = small(name), images()
    state = _bare(net)
    heads = {"classifier.weight": torch.ones(2, 2)}  # published files carry heads
    old = write(tmp_path / "old", net, {published(name, key): value for key, value in state.items()} | heads)
    new = write(tmp_path / "new", net, state)
    with torch.no_grad():
        expected = _tokens(net, name, x)
        assert (expected[0] - expected[1]).abs().max() > 1e-3  # or equal outputs would say nothing
        assert torch.equal(transformer(path=old).tokens(x), expected)
        assert torch.equal(transformer(path=new).tokens(x), expected)
        assert torch.equal(transformer(path=old)(x), transformer(path=new)(x))


def test_names_of_the_published_layout_by_hand() -> None:
    found = {published("vit", key) for key in _bare(small("vit"))}
    assert "vit.encoder.layer.1.attention.attention.query.weight" in found
    assert "vit.encoder.layer.0.attention.output.dense.bias" in found
    assert "vit.encoder.layer.0.intermediate.dense.weight" in found
    assert {"encoder.layer.0.attention.attention.value.bias", "encoder.layer.0.mlp.fc1.weight"} <= {
        published("dinov2", key) for key in small("dinov2").state_dict()
    }
    assert "swin.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table" in {
        published("swin", key) for key in small("swin").state_dict()
    }


def test_masked_autoencoder_in_the_layout_of_its_pre_training(tmp_path: Path) -> None:
    net, x = small("vit_mae", mask_ratio=0.0), images()
    state = {published("vit_mae", key): value for key, value in net.state_dict().items()}
    decoder = {"decoder.decoder_layers.0.attention.attention.query.weight": torch.ones(2, 2)}
    encoder = transformer(path=write(tmp_path, net, state | decoder))
    with torch.no_grad():
        noise = torch.arange(16.0).expand(3, 16)
        expected = net(pixel_values=x, noise=noise).last_hidden_state
        assert torch.equal(encoder.tokens(x), expected[:, 1:])
        assert torch.equal(encoder(x)[:, :16], expected[:, 0])


def test_gated_perceptrons_are_split(tmp_path: Path) -> None:
    """Published DINOv2 giant stores gate and up as one matrix, `weights_in`."""
    net, x = small("dinov2", use_swiglu_ffn=True), images()
    state: dict[str, torch.Tensor] = {}
    for key, value in net.state_dict().items():
        old = published("dinov2", key)
        if "gate_proj" in key:
            old = old.replace("gate_proj", "weights_in")
            state[old] = torch.cat([value, net.state_dict()[key.replace("gate_proj", "up_proj")]])
        elif "up_proj" not in key:
            state[old.replace("down_proj", "weights_out")] = value
    encoder = transformer(path=write(tmp_path, net, state))
    with torch.no_grad():
        assert torch.equal(encoder.tokens(x), net(pixel_values=x).last_hidden_state[:, 1:])


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_towers_of_a_whole_model_in_both_layouts(tmp_path: Path, name: str) -> None:
    net, x = joint(name), images()
    state = net.state_dict()
    old = {**state, "vision_model.embeddings.position_ids": torch.arange(17)[None]}  # a buffer of early versions
    assert "vision_model.encoder.layers.0.self_attn.q_proj.weight" in state
    with torch.no_grad():
        expected = net.get_image_features(pixel_values=x)
        expected = getattr(expected, "pooler_output", expected)
        for place, weights in (("new", state), ("old", old)):
            encoder = transformer(path=write(tmp_path / place, net, weights))
            a, b = encoder.spec.blocks["projection"]
            assert torch.equal(encoder(x)[:, a:b], expected)


def test_another_architecture_is_told_with_its_keys(tmp_path: Path) -> None:
    vit, dino = small("vit"), small("dinov2")
    folder = write(tmp_path, vit, dino.state_dict())  # config.json says ViT
    with pytest.raises(ArtefactError) as caught:
        transformer(path=folder)
    said = str(caught.value)
    # Two norms of two layers with weight and bias lack; perceptrons are four times as wide; DINOv2 scales its layers.
    assert "lacks 8 weights (first layers.0.layernorm_after.bias, layers.0.layernorm_after.weight, " in said
    assert "has 6 of another shape (first layers.0.mlp.fc1.bias (64,) instead of (24,)" in said
    assert "holds 12 that have no place (first " in said
    assert "layers.0.layer_scale1.lambda1" in said
    assert "config.json" in said


def test_more_layers_than_the_configuration_says_are_refused(tmp_path: Path) -> None:
    deep, shallow = small("vit", num_hidden_layers=3), small("vit")
    state = {published("vit", key): value for key, value in _bare(deep).items()}
    with pytest.raises(ArtefactError, match=r"holds 16 that have no place \(first vit\.layers\.2"):
        transformer(path=write(tmp_path, shallow, state))


def test_heads_and_poolers_are_left_out(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = shaken(hf.ViTForImageClassification(hf.ViTConfig(**PATCHED)))
    state = net.state_dict() | {"vit.pooler.dense.weight": torch.ones(16, 16), "vit.pooler.dense.bias": torch.ones(16)}
    encoder, x = transformer(path=write(tmp_path, net, state)), images()
    with torch.no_grad():
        logits = net.classifier(encoder(x)[:, :16])
        assert torch.equal(logits, net(pixel_values=x).logits)
