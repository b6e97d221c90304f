"""Folders of open_clip: `open_clip_config.json`, the two towers in its key layout, and what of it is not read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.nets.local import read_json
from tapetum.nets.published import layouts, towers
from tapetum.nets.published.foreign import Pixels, three_numbers, weights_file
from tapetum.nets.published.foreign_text import BertText, ClipText, bert
from tapetum.nets.published.keys import fill, rename, tensor_of, without_prefix
from tapetum.nets.published.positions import resized_positions
from tapetum.nets.spec import RESAMPLINGS, read_state

CONFIG = "open_clip_config.json"
FILES = ("open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin")
WHERE = (
    "copy open_clip_config.json, the weights (open_clip_model.safetensors or open_clip_pytorch_model.bin) and the "
    "tokenizer's files of an open_clip repository on huggingface.co into one folder here"
)
# Options that do not change what a trained tower computes, or that are read; any other must be off.
_VISION = {
    "layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size", "patch_dropout", "output_tokens",
    "timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_drop", "timm_drop_path",
}  # fmt: skip
_TEXT = {
    "context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "output_tokens", "hf_model_name",
    "hf_model_pretrained", "hf_tokenizer_name", "hf_proj_type", "hf_pooler_type", "proj", "pooler_type",
}  # fmt: skip
_NEUTRAL = {"pool_type": ("tok", "argmax"), "proj_type": ("linear",), "pos_embed_type": ("learnable",)}
_OFF: tuple[Any, ...] = (None, False, 0, "", {}, [])
_BERT = re.compile(r"(?i)^(?!.*(roberta|deberta|distil|albert|mobile|camem|flau|xlm)).*bert")
_POOLS = {"cls_last_hidden_state_pooler": "cls", "mean_pooler": "mean"}


@dataclass(frozen=True)
class OpenClip:
    """A folder of open_clip, read.

    Attributes:
        folder: where. file: the weights.
        vision, text: their parts of the configuration. quick_gelu: the towers use that activation.
        pixels: how an image is prepared. state: published key → tensor.
    """

    folder: Path
    file: Path
    vision: dict[str, Any]
    text: dict[str, Any]
    quick_gelu: bool
    pixels: Pixels
    state: dict[str, Tensor]


def read_folder(path: Path, size: int = 0) -> OpenClip:
    """Configuration and weights of a folder.

    Args:
        path: with `open_clip_config.json` and weights.
        size: side of the input in pixels; 0 takes that of the configuration.

    Raises:
        ArtefactError: a file is missing, or says too little. UsageError: an option of open_clip that is not read here.
    """
    file = weights_file(path, FILES, WHERE)
    raw = read_json(path / CONFIG)
    model, pixels = raw.get("model_cfg"), raw.get("preprocess_cfg")
    if not isinstance(model, dict) or not isinstance(pixels, dict):
        raise ArtefactError(
            f"{path / CONFIG} has no model_cfg and preprocess_cfg", "both, as on open_clip's pages", WHERE
        )
    vision, text = (_part(model, name) for name in ("vision_cfg", "text_cfg"))
    for what, part, known in (("vision_cfg", vision, _VISION), ("text_cfg", text, _TEXT)):
        odd = [k for k, v in part.items() if k not in known and v not in _OFF and v not in _NEUTRAL.get(k, ())]
        if odd:
            raise UsageError(
                f"{what} of {path / CONFIG} sets {', '.join(sorted(odd))}", "the options of CLIP's own towers"
            )
    side, resample = size or vision.get("image_size"), pixels.get("interpolation")
    mean, std = three_numbers(pixels.get("mean")), three_numbers(pixels.get("std"))
    if not isinstance(side, int) or not mean or not std or resample not in RESAMPLINGS:
        raise ArtefactError(
            f"the preprocessing in {path / CONFIG} is not complete: image_size={side}, mean={mean}, std={std}, "
            f"interpolation={resample}",
            f"a square image_size, three values each, {' or '.join(RESAMPLINGS)}",
        )
    prepared = Pixels(side, mean, std, str(resample))
    return OpenClip(path, file, vision, text, bool(model.get("quick_gelu")), prepared, read_state(file))


def _part(model: dict[str, Any], name: str) -> dict[str, Any]:
    inside = model.get(name) or {}
    if not isinstance(inside, dict):
        raise ArtefactError(f"{name} of {CONFIG} is {inside!r}", "{…}")
    return inside


def image_tower(clip: OpenClip, heads: int) -> towers.ProjectedTower:
    """The image tower with its projection: open_clip's own transformer, or a vision transformer of timm inside it.

    Args:
        clip: from `read_folder`.
        heads: attention heads; 0 takes what the configuration says.

    Raises:
        ArtefactError: keys or shapes do not fit. UsageError: a tower of another kind.
    """
    state, where = without_prefix(clip.state, "visual."), str(clip.file)
    if clip.vision.get("timm_model_name"):
        return _timm_tower(clip, state, heads)
    if "layer1.0.conv1.weight" in state or isinstance(clip.vision.get("layers"), list):
        raise UsageError(f"{where} has CLIP's own ResNet as its image tower", "a vision transformer")
    name = layouts.CLIP_VISION.name
    patches = tensor_of(state, "conv1.weight", where, name)
    side, width = int(patches.shape[-1]), int(patches.shape[0])
    if clip.pixels.size % side:
        raise UsageError(f"size={clip.pixels.size} for patches of {side} pixels", f"a multiple of {side}", "size=0")
    matrix = tensor_of(state, "proj", where, name).T
    places = tensor_of(state, "positional_embedding", where, name)[None]
    state = {k: v for k, v in state.items() if k != "proj"}
    state["positional_embedding"] = resized_positions(places, clip.pixels.size // side, antialias=True)[0]
    config = towers.clip_blocks(state, where, name) | {
        "image_size": clip.pixels.size, "patch_size": side, "hidden_act": "quick_gelu" if clip.quick_gelu else "gelu",
        "num_attention_heads": heads or max(1, width // int(clip.vision.get("head_width") or 64)),
    }  # fmt: skip
    tower = towers.ClipTower(towers.empty("CLIPVision", config), width)
    fill(tower, rename(state, layouts.CLIP_VISION), where)
    return towers.projected(tower, "cls", matrix, where)


def _timm_tower(clip: OpenClip, state: Mapping[str, Tensor], heads: int) -> towers.ProjectedTower:
    name, where = str(clip.vision["timm_model_name"]), str(clip.file)
    pool, projection = clip.vision.get("timm_pool", "avg"), clip.vision.get("timm_proj", "linear")
    if not re.fullmatch(r"(vit|deit)_(?!.*quickgelu)\w+", name) or pool not in ("", "token") or projection != "linear":
        raise UsageError(
            f"{where} has the image tower {name!r} with timm_pool={pool!r} and timm_proj={projection!r}",
            "a vision transformer with class token, pooled by it (timm_pool '' or 'token'), timm_proj 'linear'",
        )
    matrix = tensor_of(state, "head.proj.weight", where, layouts.VIT.name)
    trunk = without_prefix(state, "trunk.")
    tower = towers.vit(trunk, where, size=clip.pixels.size, heads=heads, antialias=True, pooled=False)
    if tower.norm is None:
        raise UsageError(f"{where} has an image tower without a norm after its blocks", "one pooled by its class token")
    return towers.projected(tower, "cls", matrix, where)


def text_tower(clip: OpenClip, heads: int) -> tuple[ClipText | BertText, int, int]:
    """The text tower, the columns of its rows, and how many tokens it takes.

    Args:
        clip: from `read_folder`.
        heads: attention heads; 0 takes what the configuration says.

    Raises:
        ArtefactError: keys or shapes do not fit. UsageError: a tower of another kind.
    """
    inside = without_prefix(clip.state, "text.")
    if clip.text.get("hf_model_name"):
        return _bert_tower(clip, inside, heads)
    others = ("visual.", "logit_scale", "logit_bias")
    state = inside or {k: v for k, v in clip.state.items() if not k.startswith(others)}
    where, name = str(clip.file), layouts.CLIP_TEXT.name
    words = tensor_of(state, "token_embedding.weight", where, name)
    places = tensor_of(state, "positional_embedding", where, name)
    linear = "text_projection.weight" in state  # newer files hold a layer, older ones a matrix for the right side
    matrix = state["text_projection.weight"] if linear else tensor_of(state, "text_projection", where, name).T
    state = {k: v for k, v in state.items() if k not in ("text_projection", "text_projection.weight")}
    vocabulary, longest = int(words.shape[0]), int(places.shape[0])
    config = towers.clip_blocks(state, where, name) | {
        "vocab_size": vocabulary, "max_position_embeddings": longest, "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1, "pad_token_id": 0, "hidden_act": "quick_gelu" if clip.quick_gelu else "gelu",
        "num_attention_heads": towers.heads_of(int(words.shape[1]), heads or int(clip.text.get("heads") or 0)),
    }  # fmt: skip
    tower = ClipText(towers.empty("CLIPText", config), _linear(matrix, int(words.shape[1]), where))
    renamed = rename(state, layouts.CLIP_TEXT)
    renamed.state["projection.weight"] = matrix
    fill(tower, renamed, where)
    return tower, int(matrix.shape[0]), longest


def _linear(matrix: Tensor, width: int, where: str) -> nn.Linear:
    if matrix.ndim != 2 or matrix.shape[1] != width:
        raise ArtefactError(f"{where} has a projection of shape {tuple(matrix.shape)}", f"(…, {width})")
    return towers.unfilled(width, int(matrix.shape[0]))


def _bert_tower(clip: OpenClip, state: Mapping[str, Tensor], heads: int) -> tuple[BertText, int, int]:
    name, where = str(clip.text["hf_model_name"]), str(clip.file)
    pool = str(clip.text.get("hf_pooler_type") or clip.text.get("pooler_type") or "mean_pooler")
    if not _BERT.match(name.rpartition("/")[2]) or pool not in _POOLS:
        raise UsageError(
            f"{where} has the text tower {name!r}, pooled by {pool!r}", f"a BERT, pooled by {' or '.join(_POOLS)}"
        )
    trunk = without_prefix(state, "transformer.")
    net = bert(trunk, where, heads)
    width = int(net.config.hidden_size)
    matrices = {k: v for k, v in state.items() if k.startswith("proj.")}
    if set(matrices) == {"proj.0.weight", "proj.2.weight"}:
        first, last = matrices["proj.0.weight"], matrices["proj.2.weight"]
        inner = int(first.shape[0])
        projection: nn.Module = nn.Sequential(_linear(first, width, where), nn.GELU(), _linear(last, inner, where))
    elif set(matrices) == {"proj.weight"}:
        last = matrices["proj.weight"]
        projection = _linear(last, width, where)
    else:
        raise ArtefactError(f"{where} has the projection {sorted(matrices)}", "proj.weight, or proj.0 and proj.2")
    tower = BertText(net, projection, _POOLS[pool])
    renamed = rename(trunk, layouts.BERT)
    renamed.state.update({k.replace("proj.", "projection.", 1): v for k, v in matrices.items()})
    fill(tower, renamed, where)
    places = int(net.config.max_position_embeddings)
    return tower, int(last.shape[0]), min(int(clip.text.get("context_length") or 77), places)
