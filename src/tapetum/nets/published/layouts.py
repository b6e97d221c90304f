"""The published key layouts that are read: MAE/timm, DINOv2, torchvision, ConvNeXt, Swin V2, open_clip, BERT."""

from __future__ import annotations

import re

from tapetum.nets.published.keys import Layout

_HEADS = (r"head\..*", r"head_dist\..*", r"pre_logits\..*", r"fc\..*", r"classifier\..*")
# Blocks of an FSDP checkpoint of DINOv2 are chunked: blocks.CHUNK.NUMBER, the number counted over all chunks.
_BLOCK = r"blocks\.(?:\d+\.)?(\d+)\."


def _vit(
    name: str, block: str, scale: tuple[tuple[str, str], ...], *, registers: bool = False, gated: bool = False
) -> Layout:
    """A vision transformer of timm's layout into one of `transformers`; `block` is the prefix of a block there."""
    # A gated MLP has gate and value in one tensor: w12 and w3 in DINOv2's own files, fc1 and fc2 in timm's.
    mlp = (
        (
            (
                _BLOCK + r"mlp\.(?:w12|fc1)\.(weight|bias)",
                tuple(rf"net.{block}.\1.mlp.{part}_proj.\2" for part in ("gate", "up")),
            ),
            (_BLOCK + r"mlp\.(?:w3|fc2)\.(weight|bias)", rf"net.{block}.\1.mlp.down_proj.\2"),
        )
        if gated
        else ((_BLOCK + r"mlp\.(fc1|fc2)\.(weight|bias)", rf"net.{block}.\1.mlp.\2.\3"),)
    )
    plain = (
        (r"cls_token", "net.embeddings.cls_token"),
        (r"mask_token", "net.embeddings.mask_token"),
        (r"pos_embed", "net.embeddings.position_embeddings"),
        (r"patch_embed\.proj\.(weight|bias)", r"net.embeddings.patch_embeddings.projection.\1"),
        (r"norm\.(weight|bias)", r"norm.\1"),
        (r"fc_norm\.(weight|bias)", r"pool_norm.\1"),
        (
            _BLOCK + r"attn\.qkv\.(weight|bias)",
            tuple(rf"net.{block}.\1.attention.{part}_proj.\2" for part in "qkv"),
        ),
        (_BLOCK + r"attn\.proj\.(weight|bias)", rf"net.{block}.\1.attention.o_proj.\2"),
    )
    extra = tuple((_BLOCK + key, rf"net.{block}.\1.{new}") for key, new in scale)
    tokens = ((r"reg_token|register_tokens", "net.embeddings.register_tokens"),) if registers else ()
    dropped = (*_HEADS, r"(dino|ibot)_head\..*", r"decoder_.*", *(() if block != "layers" else (r"mask_token",)))
    return Layout(name, (*plain, *mlp, *extra, *tokens), dropped)


_NORMS = ((r"norm1\.(weight|bias)", r"layernorm_before.\2"), (r"norm2\.(weight|bias)", r"layernorm_after.\2"))
_DINO = (
    (r"norm([12])\.(weight|bias)", r"norm\2.\3"),
    (r"ls([12])\.gamma", r"layer_scale\2.lambda1"),
)
VIT = _vit("ViT (MAE, timm)", "layers", _NORMS)


def dinov2(*, registers: bool, gated: bool) -> Layout:
    """The layout of a vision transformer with layer scale, in DINOv2's names or in timm's."""
    told = ", ".join(("layer scale", *("registers",) * registers, *("gated MLP",) * gated))
    return _vit(f"ViT with {told} (DINOv2, timm)", "encoder.layer", _DINO, registers=registers, gated=gated)


def _resnet_block(match: re.Match[str]) -> str:
    stage, block, part, number, rest = match.groups()
    inside = "convolution" if part == "conv" else "normalization"
    return f"net.encoder.stages.{int(stage) - 1}.layers.{block}.layer.{int(number) - 1}.{inside}.{rest}"


def _resnet_shortcut(match: re.Match[str]) -> str:
    stage, block, number, rest = match.groups()
    inside = "convolution" if number == "0" else "normalization"
    return f"net.encoder.stages.{int(stage) - 1}.layers.{block}.shortcut.{inside}.{rest}"


RESNET = Layout(
    "ResNet (torchvision, timm)",
    (
        (r"conv1\.(weight)", r"net.embedder.embedder.convolution.\1"),
        (r"bn1\.(\w+)", r"net.embedder.embedder.normalization.\1"),
        (r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)", _resnet_block),
        (r"layer(\d)\.(\d+)\.downsample\.([01])\.(\w+)", _resnet_shortcut),
    ),
    _HEADS,
)

_STAGE = r"stages\.(\d+)\."
_IN_BLOCK = _STAGE + r"blocks\.(\d+)\."
_LAYER = r"net.encoder.stages.\1.layers.\2."
CONVNEXT = Layout(
    "ConvNeXt (timm)",
    (
        (r"stem\.0\.(weight|bias)", r"net.embeddings.patch_embeddings.\1"),
        (r"stem\.1\.(weight|bias)", r"net.embeddings.layernorm.\1"),
        (_STAGE + r"downsample\.([01])\.(weight|bias)", r"net.encoder.stages.\1.downsampling_layer.\2.\3"),
        (_IN_BLOCK + r"conv_dw\.(weight|bias)", _LAYER + r"dwconv.\3"),
        (_IN_BLOCK + r"norm\.(weight|bias)", _LAYER + r"layernorm.\3"),
        (_IN_BLOCK + r"mlp\.fc([12])\.(weight|bias)", _LAYER + r"pwconv\3.\4"),
        (_IN_BLOCK + r"mlp\.grn\.(weight|bias)", _LAYER + r"grn.\3"),
        (_IN_BLOCK + r"gamma", _LAYER + "layer_scale_parameter"),
        (r"head\.norm\.(weight|bias)", r"norm.\1"),
    ),
    (r"head\.fc\..*",),
)

_SWIN = r"layers\.(\d+)\.blocks\.(\d+)\."
_SWIN_BLOCK = r"net.encoder.layers.\1.blocks.\2."


def _swin_downsample(match: re.Match[str]) -> str:
    """Patches are merged by timm at the start of a stage, by `transformers` at the end of the one before."""
    return f"net.encoder.layers.{int(match.group(1)) - 1}.downsample.{match.group(2)}"


SWINV2 = Layout(
    "Swin V2 (timm)",
    (
        (r"patch_embed\.proj\.(weight|bias)", r"net.embeddings.patch_embeddings.projection.\1"),
        (r"patch_embed\.norm\.(weight|bias)", r"net.embeddings.norm.\1"),
        (
            _SWIN + r"attn\.qkv\.weight",
            tuple(_SWIN_BLOCK + f"attention.self.{part}.weight" for part in ("query", "key", "value")),
        ),
        (_SWIN + r"attn\.q_bias", _SWIN_BLOCK + "attention.self.query.bias"),
        (_SWIN + r"attn\.v_bias", _SWIN_BLOCK + "attention.self.value.bias"),
        (_SWIN + r"attn\.logit_scale", _SWIN_BLOCK + "attention.self.logit_scale"),
        (_SWIN + r"attn\.cpb_mlp\.(.+)", _SWIN_BLOCK + r"attention.self.continuous_position_bias_mlp.\3"),
        (_SWIN + r"attn\.proj\.(weight|bias)", _SWIN_BLOCK + r"attention.output.dense.\3"),
        (_SWIN + r"norm1\.(weight|bias)", _SWIN_BLOCK + r"layernorm_before.\3"),
        (_SWIN + r"norm2\.(weight|bias)", _SWIN_BLOCK + r"layernorm_after.\3"),
        (_SWIN + r"mlp\.fc1\.(weight|bias)", _SWIN_BLOCK + r"intermediate.dense.\3"),
        (_SWIN + r"mlp\.fc2\.(weight|bias)", _SWIN_BLOCK + r"output.dense.\3"),
        (r"layers\.(\d+)\.downsample\.(.+)", _swin_downsample),
        (r"norm\.(weight|bias)", r"net.layernorm.\1"),
    ),
    (*_HEADS, r".*\.(relative_position_index|relative_coords_table|attn_mask)"),
)

_RES = r"transformer\.resblocks\.(\d+)\."
_CLIP_BLOCKS = (
    (
        _RES + r"attn\.in_proj_(weight|bias)",
        tuple(rf"net.encoder.layers.\1.self_attn.{part}_proj.\2" for part in "qkv"),
    ),
    (_RES + r"attn\.out_proj\.(weight|bias)", r"net.encoder.layers.\1.self_attn.out_proj.\2"),
    (_RES + r"ln_([12])\.(weight|bias)", r"net.encoder.layers.\1.layer_norm\2.\3"),
    (_RES + r"mlp\.c_fc\.(weight|bias)", r"net.encoder.layers.\1.mlp.fc1.\2"),
    (_RES + r"mlp\.c_proj\.(weight|bias)", r"net.encoder.layers.\1.mlp.fc2.\2"),
)
CLIP_VISION = Layout(
    "the image tower of open_clip",
    (
        (r"class_embedding", "net.embeddings.class_embedding"),
        (r"positional_embedding", "net.embeddings.position_embedding.weight"),
        (r"conv1\.weight", "net.embeddings.patch_embedding.weight"),
        (r"ln_pre\.(weight|bias)", r"net.pre_layrnorm.\1"),  # spelt so in `transformers`
        (r"ln_post\.(weight|bias)", r"net.post_layernorm.\1"),
        *_CLIP_BLOCKS,
    ),
)
CLIP_TEXT = Layout(
    "the text tower of open_clip",
    (
        (r"token_embedding\.weight", "net.embeddings.token_embedding.weight"),
        (r"positional_embedding", "net.embeddings.position_embedding.weight"),
        (r"ln_final\.(weight|bias)", r"net.final_layer_norm.\1"),
        *_CLIP_BLOCKS,
    ),
    (r"attn_mask",),
)
BERT = Layout(
    "BERT",
    ((r"((?:embeddings|encoder)\..+)", r"net.\1"),),
    # The pooler and the heads are not used, the counter of positions is made anew.
    (r"pooler\..*", r"embeddings\.position_ids", r"cls\..*"),
)
