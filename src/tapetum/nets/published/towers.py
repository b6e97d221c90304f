"""Networks of `transformers` rebuilt from the shapes of a published checkpoint, wherever its keys came from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.nets.published import layouts
from tapetum.nets.published.keys import count, fill, rename, tensor_of
from tapetum.nets.published.positions import resized_positions

Parts = tuple[dict[str, Tensor], Tensor]
# Attention heads of the published vision transformers by their width, Ti to G; no tensor's shape tells them.
_HEADS = {192: 3, 320: 5, 384: 6, 512: 8, 640: 10, 768: 12, 896: 14, 1024: 16, 1280: 16, 1408: 16, 1536: 24, 1664: 16}


class PatchTower(nn.Module):
    """A vision transformer with a class token; the last norms stand outside, since published files differ in them.

    Args:
        net: gives hidden states without a last norm.
        width: columns of a token. skipped: tokens before the patches. eps: of the norms.
        norm: a norm of all tokens follows. pool_norm: a norm of the mean patch follows; `"plain"` has no weights.
    """

    def __init__(self, net: nn.Module, width: int, skipped: int, eps: float, *, norm: bool, pool_norm: str) -> None:
        super().__init__()
        self.net = net
        self.norm = nn.LayerNorm(width, eps=eps) if norm else None
        self.pool_norm = nn.LayerNorm(width, eps=eps, elementwise_affine=pool_norm != "plain") if pool_norm else None
        self.width = width
        self._skipped = skipped

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Parts:
        """The vectors for the whole image by name, and the patches."""
        hidden = self.net(pixel_values=x).last_hidden_state
        whole: dict[str, Tensor] = {}
        if self.pool_norm is not None:
            whole["pool"] = self.pool_norm(hidden[:, self._skipped :].mean(1))
        if self.norm is not None:
            hidden = self.norm(hidden)
            whole["cls"] = hidden[:, 0]
        return whole, hidden[:, self._skipped :]


class MapTower(nn.Module):
    """A network whose last layer is a map; ConvNeXt's head begins with a norm of the mean.

    Args:
        net: gives a map, or tokens row by row. width: its channels. eps: of the norm. norm: there is one.
    """

    def __init__(self, net: nn.Module, width: int, eps: float = 1e-6, *, norm: bool = False) -> None:
        super().__init__()
        self.net = net
        self.norm = nn.LayerNorm(width, eps=eps) if norm else None
        self.width = width

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Parts:
        """The normed mean where there is a norm, and the map as tokens."""
        hidden = self.net(pixel_values=x).last_hidden_state
        tokens = hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden
        return ({} if self.norm is None else {"pool": self.norm(tokens.mean(1))}), tokens


class ClipTower(nn.Module):
    """CLIP's image transformer: class token after the last norm, patches before it, as `transformers` gives them."""

    def __init__(self, net: nn.Module, width: int) -> None:
        super().__init__()
        self.net = net
        self.width = width

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Parts:
        """The class token, and the patches."""
        out = self.net(pixel_values=x)
        return {"cls": out.pooler_output}, out.last_hidden_state[:, 1:]


class ProjectedTower(nn.Module):
    """A tower with the linear map into the space that it shares with texts.

    Args:
        tower: gives the parts.
        source: the part that is mapped; `""` is the mean of the tokens.
        columns: of the tower's part and of the common space.
    """

    def __init__(self, tower: nn.Module, source: str, columns: tuple[int, int]) -> None:
        super().__init__()
        self.tower = tower
        self.projection = unfilled(*columns)
        self._source = source

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Parts:
        """The mapped vector, of length 1, before what the tower gives."""
        whole, tokens = self.tower(x)
        mapped = self.projection(whole[self._source] if self._source else tokens.mean(1))
        return {"projection": nn.functional.normalize(mapped, dim=-1), **whole}, tokens


def unfilled(into: int, out: int) -> nn.Linear:
    """A linear layer without bias whose weights are still to be written; leaves the random state alone.

    Args:
        into: columns that it takes.
        out: columns that it gives.
    """
    layer = nn.utils.skip_init(nn.Linear, into, out, bias=False)
    assert isinstance(layer, nn.Linear)
    return layer


def projected(
    tower: PatchTower | MapTower | ClipTower, source: str, matrix: Float[Tensor, "e d"], where: str
) -> ProjectedTower:
    """A tower with its published projection.

    Args:
        tower: gives the parts.
        source: the part that is mapped; `""` is the mean of the tokens.
        matrix: one row per column of the common space.
        where: the file, for messages.

    Raises:
        ArtefactError: the matrix is none, or does not fit that part.
    """
    if matrix.ndim != 2 or matrix.shape[1] != tower.width:
        raise ArtefactError(f"{where} has a projection of shape {tuple(matrix.shape)}", f"(…, {tower.width})")
    joined = ProjectedTower(tower, source, (tower.width, int(matrix.shape[0])))
    with torch.no_grad():
        joined.projection.weight.copy_(matrix)
    return joined


def empty(model: str, config: Mapping[str, Any], **options: Any) -> Any:
    """A network of `transformers` whose weights are still to be written; leaves the random state alone.

    Args:
        model: the model's class without its ending, for example `"ViT"`.
        config: options of its configuration.
        **options: of the model.
    """
    import transformers
    from transformers.initialization import no_init_weights

    configured = getattr(transformers, f"{model}Config")(**config)
    # Some parameters are drawn in the constructors themselves, whatever is said about initialisation.
    with torch.random.fork_rng(devices=[]), no_init_weights():
        return getattr(transformers, f"{model}Model")(configured, **options)


def heads_of(width: int, heads: int) -> int:
    """The number of attention heads, which no tensor's shape tells.

    Args:
        width: of a token.
        heads: as the caller says; 0 takes what the published vision transformers of that width have.

    Raises:
        UsageError: no published one has that width, or the width cannot be divided.

    Example:
        >>> heads_of(768, 0)
        12
    """
    found = heads or _HEADS.get(width, 0)
    if found < 1 or width % found:
        told = f"{heads} heads" if heads else "an unknown number of attention heads"
        raise UsageError(f"{told} for tokens of {width} columns", "a divisor of them, as the authors say", "heads=…")
    return found


def vit(state: Mapping[str, Tensor], where: str, *, size: int, heads: int, antialias: bool, pooled: bool) -> PatchTower:
    """A vision transformer in the names of MAE, DINOv2 or timm; the shapes tell width, depth and patches.

    Args:
        state: published key → tensor.
        where: the file, for messages.
        size: side of the input in pixels; 0 takes the grid that was learnt.
        heads: attention heads; 0 = those of the published networks of that width.
        antialias: how positions are resized.
        pooled: give the normed mean of the patches also where the file has no `fc_norm`.

    Raises:
        ArtefactError: keys or shapes do not fit. UsageError: unknown heads, or a size that patches do not tile.
    """
    name = layouts.VIT.name
    patches = tensor_of(state, "patch_embed.proj.weight", where, name)
    tensor_of(state, "cls_token", where, name)
    width, side = int(patches.shape[0]), int(patches.shape[-1])
    registers = int(state[k].shape[1]) if (k := _first(state, "reg_token", "register_tokens")) else 0
    layered = any(key.endswith("ls1.gamma") for key in state)
    down = next((v for k, v in sorted(state.items()) if k.endswith(("mlp.fc2.weight", "mlp.w3.weight"))), None)
    up = next((v for k, v in sorted(state.items()) if k.endswith(("mlp.fc1.weight", "mlp.w12.weight"))), None)
    if down is None or up is None:
        raise ArtefactError(f"{where} has no blocks with an MLP", name)
    gated = up.shape[0] == 2 * down.shape[1]
    if (registers or gated) and not layered:
        raise UsageError(f"{where} has registers or a gated MLP, but no layer scale", "ViT, or DINOv2 with both")
    state, grid = _positioned(dict(state), where, size // side if size else 0, antialias)
    if size and size != grid * side:
        raise UsageError(f"size={size} for patches of {side} pixels", f"a multiple of {side}", f"size={grid * side}")
    config: dict[str, Any] = {
        "hidden_size": width, "num_attention_heads": heads_of(width, heads), "image_size": grid * side,
        "patch_size": side, "num_hidden_layers": count(state, r"blocks\.(?:\d+\.)?(\d+)\..*"), "layer_norm_eps": 1e-6,
        "qkv_bias": any(key.endswith("attn.qkv.bias") for key in state),
    }  # fmt: skip
    if layered:
        # `transformers` wants a ratio, and keeps two thirds of it where the MLP is gated.
        inner = int(down.shape[1])
        config |= {"mlp_ratio": inner * 3 / 2 / width if gated else inner / width, "use_swiglu_ffn": gated}
        config["mlp_ratio"] = _whole(config["mlp_ratio"])
        if registers:
            config["num_register_tokens"] = registers
        net = empty("Dinov2WithRegisters" if registers else "Dinov2", config)
        # A token that only pre-training uses; timm's files leave it out.
        state = {"mask_token": torch.zeros(1, width)} | state
    else:
        net = empty("ViT", config | {"intermediate_size": int(down.shape[1])}, add_pooling_layer=False)
    net.layernorm = nn.Identity()
    fc_norm = "fc_norm.weight" in state
    tower = PatchTower(
        net, width, 1 + registers, 1e-6, norm="norm.weight" in state,
        pool_norm="learnt" if fc_norm else "plain" if pooled else "",
    )  # fmt: skip
    layout = layouts.dinov2(registers=bool(registers), gated=gated) if layered else layouts.VIT
    fill(tower, rename(state, layout), where)
    return tower


def _first(state: Mapping[str, Tensor], *keys: str) -> str:
    return next((key for key in keys if key in state), "")


def _whole(ratio: float) -> float | int:
    return int(ratio) if ratio == int(ratio) else ratio


def _positioned(state: dict[str, Tensor], where: str, side: int, antialias: bool) -> tuple[dict[str, Tensor], int]:
    """Positions for the wanted grid; files without a place for the class token get one of zeros."""
    positions = tensor_of(state, "pos_embed", where, layouts.VIT.name)
    count_of = int(positions.shape[1])
    prefix = 0 if math.isqrt(count_of) ** 2 == count_of else 1
    side = side or math.isqrt(count_of - prefix)
    positions = resized_positions(positions, side, prefix=prefix, antialias=antialias)
    if not prefix:
        positions = torch.cat([torch.zeros_like(positions[:, :1]), positions], dim=1)
    return state | {"pos_embed": positions}, side


def resnet(state: Mapping[str, Tensor], where: str) -> MapTower:
    """A ResNet in torchvision's names, with basic or bottleneck blocks.

    Args:
        state: published key → tensor.
        where: the file, for messages.

    Raises:
        ArtefactError: keys or shapes do not fit.
    """
    name = layouts.RESNET.name
    stem = tensor_of(state, "conv1.weight", where, name)
    bottleneck = "layer1.0.conv3.weight" in state
    last = "conv3" if bottleneck else "conv2"
    stages = count(state, r"layer(\d)\..*") - 1
    widths = [int(tensor_of(state, f"layer{i}.0.{last}.weight", where, name).shape[0]) for i in range(1, stages + 1)]
    config = {
        "embedding_size": int(stem.shape[0]), "hidden_sizes": widths,
        "depths": [count(state, rf"layer{i}\.(\d+)\..*") for i in range(1, stages + 1)],
        "layer_type": "bottleneck" if bottleneck else "basic",
    }  # fmt: skip
    tower = MapTower(empty("ResNet", config), widths[-1])
    fill(tower, rename(state, layouts.RESNET), where)
    return tower


def convnext(state: Mapping[str, Tensor], where: str) -> MapTower:
    """A ConvNeXt, or a ConvNeXt V2 where the file has response normalisation, in timm's names.

    Raises:
        ArtefactError: keys or shapes do not fit.
    """
    name = layouts.CONVNEXT.name
    stem = tensor_of(state, "stem.0.weight", where, name)
    stages = count(state, r"stages\.(\d+)\..*")
    keys = [f"stages.{i}.blocks.0.conv_dw.weight" for i in range(stages)]
    widths = [int(tensor_of(state, key, where, name).shape[0]) for key in keys]
    second = any(".grn." in key for key in state)
    config = {
        "num_stages": stages, "hidden_sizes": widths, "patch_size": int(stem.shape[-1]),
        "depths": [count(state, rf"stages\.{i}\.blocks\.(\d+)\..*") for i in range(stages)],
    }  # fmt: skip
    if not second and not any(key.endswith(".gamma") for key in state):
        raise UsageError(f"{where} is a ConvNeXt without layer scale", "ConvNeXt or ConvNeXt V2 of timm")
    net = empty("ConvNextV2" if second else "ConvNext", config)
    net.layernorm = nn.Identity()
    tower = MapTower(net, widths[-1], norm="head.norm.weight" in state)
    fill(tower, rename(state, layouts.CONVNEXT), where)
    return tower


def swinv2(state: Mapping[str, Tensor], where: str, *, size: int, window: int, pretrained: tuple[int, int]) -> MapTower:
    """A Swin V2 in timm's names; the size of its windows is told by no tensor.

    Args:
        state: published key → tensor.
        where: the file, for messages.
        size: side of the input in pixels.
        window: patches per side of a window, as in the model's name.
        pretrained: window and image of the pre-training, where the name says so (`…_window12to16_192to256`: 12, 192);
            zeros where they are the same.

    Raises:
        ArtefactError: keys or shapes do not fit.
    """
    name = layouts.SWINV2.name
    patches = tensor_of(state, "patch_embed.proj.weight", where, name)
    stages = count(state, r"layers\.(\d+)\..*")
    scales = [f"layers.{i}.blocks.0.attn.logit_scale" for i in range(stages)]
    heads = [int(tensor_of(state, key, where, name).shape[0]) for key in scales]
    first = tensor_of(state, "layers.0.blocks.0.mlp.fc1.weight", where, name)
    # An untouched file of the authors merges patches at the end of a stage; timm at the start of the next.
    if "layers.0.downsample.reduction.weight" in state:
        moved = {k: v for k, v in state.items() if ".downsample." in k}
        state = {k: v for k, v in state.items() if ".downsample." not in k}
        for key, tensor in moved.items():
            _, number, rest = key.split(".", 2)
            state[f"layers.{int(number) + 1}.{rest}"] = tensor
    config = {
        "image_size": size, "patch_size": int(patches.shape[-1]), "embed_dim": int(patches.shape[0]),
        "depths": [count(state, rf"layers\.{i}\.blocks\.(\d+)\..*") for i in range(stages)], "num_heads": heads,
        "window_size": window, "mlp_ratio": first.shape[0] / patches.shape[0],
        # A window is never larger than the map.
        "pretrained_window_sizes": [min(pretrained[0], pretrained[1] // (4 * 2**i)) for i in range(stages)],
    }  # fmt: skip
    tower = MapTower(empty("Swinv2", config, add_pooling_layer=False), int(patches.shape[0]) * 2 ** (stages - 1))
    fill(tower, rename(state, layouts.SWINV2), where)
    return tower


def clip_blocks(state: Mapping[str, Tensor], where: str, name: str) -> dict[str, Any]:
    """What the blocks of an open_clip transformer say of its configuration.

    Raises:
        ArtefactError: there are none.
    """
    first = tensor_of(state, "transformer.resblocks.0.mlp.c_fc.weight", where, name)
    return {
        "hidden_size": int(first.shape[1]), "intermediate_size": int(first.shape[0]),
        "num_hidden_layers": count(state, r"transformer\.resblocks\.(\d+)\..*"), "layer_norm_eps": 1e-5,
    }  # fmt: skip
