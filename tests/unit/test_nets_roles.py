"""Roles of layers and the blocks of a network, for every architecture of the family and both key layouts."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from tapetum.nets import build_encoder
from tapetum.nets.roles import ROLES, blocks_of, linear_roles, role_of_name

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
PATCHED = {**SMALL, "image_size": 32, "patch_size": 8}
CONV = {"hidden_sizes": [8, 8, 12, 16], "depths": [1, 2, 1, 1]}
WINDOWS = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2], "window_size": 4}
PLAIN = {"query": 2, "key": 2, "value": 2, "output": 2, "up": 2, "down": 2, "patch": 1}
CONVNEXT = {"patch": 1, "spatial": 3, "depthwise": 5, "pointwise": 10}
SWIN = {"query": 3, "key": 3, "value": 3, "output": 3, "up": 3, "down": 3, "patch": 1}
# name → config, model, options, how many layers have which role, the first and last block, how many blocks
CASES: dict[str, tuple[Any, Any, dict[str, Any], dict[str, int], str, str, int]] = {
    "vit": (hf.ViTConfig, hf.ViTModel, PATCHED, {**PLAIN, "head": 1}, "layers.0", "layers.1", 2),
    "deit": (hf.DeiTConfig, hf.DeiTModel, PATCHED, {**PLAIN, "head": 1}, "layers.0", "layers.1", 2),
    "vit_mae": (hf.ViTMAEConfig, hf.ViTMAEModel, PATCHED, PLAIN, "layers.0", "layers.1", 2),
    "dinov2": (hf.Dinov2Config, hf.Dinov2Model, PATCHED, PLAIN, "encoder.layer.0", "encoder.layer.1", 2),
    "dinov2_gated": (
        hf.Dinov2Config, hf.Dinov2Model, {**PATCHED, "use_swiglu_ffn": True}, {**PLAIN, "gate": 2},
        "encoder.layer.0", "encoder.layer.1", 2,
    ),
    "dinov2_with_registers": (
        hf.Dinov2WithRegistersConfig, hf.Dinov2WithRegistersModel, PATCHED, PLAIN,
        "encoder.layer.0", "encoder.layer.1", 2,
    ),
    "dinov3_vit": (hf.DINOv3ViTConfig, hf.DINOv3ViTModel, PATCHED, PLAIN, "model.layer.0", "model.layer.1", 2),
    "dinov3_vit_gated": (
        hf.DINOv3ViTConfig, hf.DINOv3ViTModel, {**PATCHED, "use_gated_mlp": True}, {**PLAIN, "gate": 2},
        "model.layer.0", "model.layer.1", 2,
    ),
    "clip": (hf.CLIPVisionConfig, hf.CLIPVisionModel, PATCHED, PLAIN, "encoder.layers.0", "encoder.layers.1", 2),
    "siglip": (
        hf.SiglipVisionConfig, hf.SiglipVisionModel, PATCHED, {**PLAIN, "head": 3},
        "encoder.layers.0", "encoder.layers.1", 2,
    ),
    "convnextv2": (
        hf.ConvNextV2Config, hf.ConvNextV2Model, CONV, CONVNEXT,
        "encoder.stages.0.layers.0", "encoder.stages.3.layers.0", 5,
    ),
    "dinov3_convnext": (
        hf.DINOv3ConvNextConfig, hf.DINOv3ConvNextModel, CONV, CONVNEXT,
        "model.stages.0.layers.0", "model.stages.3.layers.0", 5,
    ),
    "swin": (
        hf.SwinConfig, hf.SwinModel, WINDOWS, {**SWIN, "head": 0, "other": 1},
        "encoder.layers.0.blocks.0", "encoder.layers.1.blocks.1", 3,
    ),
    "swinv2": (
        hf.Swinv2Config, hf.Swinv2Model, WINDOWS, {**SWIN, "other": 1 + 2 * 3},
        "encoder.layers.0.blocks.0", "encoder.layers.1.blocks.1", 3,
    ),
    "resnet": (
        hf.ResNetConfig, hf.ResNetModel, {**CONV, "embedding_size": 8}, {"patch": 1, "spatial": 5, "pointwise": 10 + 3},
        "encoder.stages.0.layers.0", "encoder.stages.3.layers.0", 5,
    ),
    "resnet_basic": (
        hf.ResNetConfig, hf.ResNetModel, {**CONV, "embedding_size": 8, "layer_type": "basic"},
        {"patch": 1, "spatial": 10, "pointwise": 3}, "encoder.stages.0.layers.0", "encoder.stages.3.layers.0", 5,
    ),
    "efficientnet": (
        hf.EfficientNetConfig, hf.EfficientNetModel,
        {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.1, "hidden_dim": 64},
        {"patch": 1, "depthwise": 7, "other": 14, "pointwise": 6 + 7 + 1}, "encoder.blocks.0", "encoder.blocks.6", 7,
    ),
    "bert": (
        hf.BertConfig, hf.BertModel, {**SMALL, "vocab_size": 20}, {**PLAIN, "patch": 0, "head": 1},
        "encoder.layer.0", "encoder.layer.1", 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_roles_and_blocks_of_the_architectures(name: str) -> None:
    config, model, options, expected, first, last, count = CASES[name]
    net = model(config(**options))
    roles = linear_roles(net)
    layers = [key for key, part in net.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    assert list(roles) == layers
    assert Counter(roles.values()) == Counter({role: n for role, n in expected.items() if n})
    blocks = blocks_of(net)
    assert (blocks[0][0], blocks[-1][0], len(blocks)) == (first, last, count)
    assert all(net.get_submodule(key) is block for key, block in blocks)


def test_our_own_encoders() -> None:
    lite = build_encoder("efficientnet_lite(size=64)")
    roles = linear_roles(lite)
    # 16 blocks: each a depthwise and a projecting convolution, all but the first an expanding one; stem and final map.
    assert Counter(roles.values()) == {"patch": 1, "depthwise": 16, "pointwise": 16 + 15 + 1}
    assert roles["net._conv_stem"] == "patch"
    assert [name for name, _ in blocks_of(lite)] == [f"net._blocks.{i}" for i in range(16)]
    assert linear_roles(build_encoder("tiny")) == {"layers.0": "patch", "layers.1": "spatial", "layers.2": "spatial"}
    assert [name for name, _ in blocks_of(build_encoder("tiny"))] == ["layers.0", "layers.1", "layers.2"]


@pytest.mark.parametrize(
    ("published", "today", "role"),
    [
        ("vit.encoder.layer.0.attention.attention.query.weight", "layers.0.attention.q_proj.weight", "query"),
        ("encoder.layer.0.attention.attention.key.bias", "layers.0.attention.k_proj.bias", "key"),
        ("encoder.layer.0.attention.attention.value", "encoder.layer.0.attention.v_proj", "value"),
        ("encoder.layer.0.attention.output.dense.weight", "layers.0.attention.o_proj.weight", "output"),
        ("encoder.layer.0.intermediate.dense.weight", "layers.0.mlp.fc1.weight", "up"),
        ("encoder.layer.0.output.dense.weight", "layers.0.mlp.fc2.weight", "down"),
        ("encoder.layer.0.mlp.weights_in.weight", "encoder.layer.0.mlp.up_proj.weight", "up"),
        ("encoder.layer.0.mlp.weights_out.weight", "encoder.layer.0.mlp.down_proj.weight", "down"),
        ("vision_model.encoder.layers.0.self_attn.out_proj.weight", "encoder.layers.0.self_attn.out_proj", "output"),
        ("vision_model.encoder.layers.0.self_attn.q_proj.weight", "encoder.layers.0.self_attn.q_proj", "query"),
        ("encoder.layers.0.blocks.1.attention.self.query.bias", "encoder.layers.0.blocks.1.attention.q_proj", "query"),
        ("vision_model.head.mlp.fc1.weight", "head.mlp.fc1", "head"),
        ("blocks.0.attn.qkv.weight", "transformer.resblocks.0.attn.in_proj_weight", "qkv"),
        ("blocks.0.attn.proj.weight", "transformer.resblocks.0.attn.out_proj.weight", "output"),
        ("blocks.0.mlp.fc1.weight", "transformer.resblocks.0.mlp.c_fc.weight", "up"),
        ("blocks.0.mlp.fc2.weight", "transformer.resblocks.0.mlp.c_proj.weight", "down"),
        ("embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight", "patch"),
        ("vit.pooler.dense.weight", "pooler.dense", "head"),
        ("classifier.weight", "visual_projection.weight", "head"),
        ("tower.projection.weight", "projection", "head"),
        ("embeddings.position_embeddings", "layers.0.layernorm_before.weight", "other"),
    ],
)  # fmt: skip
def test_names_of_both_layouts(published: str, today: str, role: str) -> None:
    assert (role_of_name(published), role_of_name(today)) == (role, role)
    assert role in ROLES


def test_a_layer_that_is_never_called_has_no_role_to_tune() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(8, 2)
            self.mlp = nn.Sequential()
            self.mlp.c_fc = nn.Linear(8, 16)
            self.mlp.c_proj = nn.Linear(16, 8)

    net = nn.ModuleDict({"resblocks": nn.ModuleList(Block() for _ in range(3))})
    roles = linear_roles(net)
    assert Counter(roles.values()) == {"other": 3, "up": 3, "down": 3}
    assert roles["resblocks.0.attn.out_proj"] == "other"
    assert [name for name, _ in blocks_of(net)] == [f"resblocks.{i}" for i in range(3)]


def test_grouped_and_named_layers_by_hand() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=4), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(16, 4, 1)
    )
    assert list(linear_roles(net).values()) == ["patch", "spatial", "depthwise", "pointwise"]
    assert next(iter(linear_roles(net[1:]).values())) == "spatial"  # no stem in this part
    assert linear_roles(nn.Linear(2, 2)) == {"": "other"}
    assert blocks_of(torch.nn.Identity()) == []
