"""Random checkpoints in the key layouts that others publish, small enough for a test."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH, DEPTH, HEADS, PATCH, SIDE = 16, 2, 2, 8, 4
IMAGE = PATCH * SIDE


class Hostile:
    """Unpickling it would make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self.mark}",))


class Noise:
    """Random tensors under published names."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.state: dict[str, Tensor] = {}

    def add(self, name: str, *shape: int, around: float = 0.0) -> None:
        self.state[name] = around + 0.3 * torch.randn(shape, generator=self.generator)

    def linear(self, name: str, into: int, out: int, *, bias: bool = True) -> None:
        self.add(f"{name}.weight", out, into)
        if bias:
            self.add(f"{name}.bias", out)

    def norm(self, name: str, width: int) -> None:
        self.add(f"{name}.weight", width, around=1.0)
        self.add(f"{name}.bias", width)

    def batch_norm(self, name: str, width: int) -> None:
        self.norm(name, width)
        self.add(f"{name}.running_mean", width)
        self.state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=self.generator)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def vit_state(
    *,
    layer_scale: bool = False,
    registers: int = 0,
    norm: str = "norm",
    class_position: bool = True,
    gated: bool = False,
) -> dict[str, Tensor]:
    noise = Noise()
    noise.add("cls_token", 1, 1, WIDTH)
    noise.add("pos_embed", 1, SIDE * SIDE + class_position, WIDTH)
    noise.add("patch_embed.proj.weight", WIDTH, 3, PATCH, PATCH)
    noise.add("patch_embed.proj.bias", WIDTH)
    if registers:
        noise.add("reg_token", 1, registers, WIDTH)
    for i in range(DEPTH):
        b = f"blocks.{i}"
        noise.norm(f"{b}.norm1", WIDTH)
        noise.linear(f"{b}.attn.qkv", WIDTH, 3 * WIDTH)
        noise.linear(f"{b}.attn.proj", WIDTH, WIDTH)
        noise.norm(f"{b}.norm2", WIDTH)
        noise.linear(f"{b}.mlp.fc1", WIDTH, 4 * WIDTH)
        noise.linear(f"{b}.mlp.fc2", 2 * WIDTH if gated else 4 * WIDTH, WIDTH)
        if layer_scale:
            noise.add(f"{b}.ls1.gamma", WIDTH, around=0.5)
            noise.add(f"{b}.ls2.gamma", WIDTH, around=0.5)
    noise.norm(norm, WIDTH)
    return noise.state


def resnet_state(widths: tuple[int, ...] = (8, 12, 16, 24), *, bottleneck: bool = True) -> dict[str, Tensor]:
    noise = Noise()
    noise.add("conv1.weight", 8, 3, 7, 7)
    noise.batch_norm("bn1", 8)
    into = 8
    for stage, width in enumerate(widths, 1):
        for block in range(2 if stage == 2 else 1):
            b, inner = f"layer{stage}.{block}", width // 4 if bottleneck else width
            shapes = ((inner, into, 1), (inner, inner, 3), (width, inner, 1)) if bottleneck else (
                (inner, into, 3), (inner, inner, 3))  # fmt: skip
            for number, (a, c, kernel) in enumerate(shapes, 1):
                noise.add(f"{b}.conv{number}.weight", a, c, kernel, kernel)
                noise.batch_norm(f"{b}.bn{number}", a)
            if block == 0 and (into != width or stage > 1):
                noise.add(f"{b}.downsample.0.weight", width, into, 1, 1)
                noise.batch_norm(f"{b}.downsample.1", width)
            into = width
    return noise.state


def saved(folder: Path, state: dict[str, Tensor], name: str = "model.safetensors") -> Path:
    save_file({k: v.contiguous() for k, v in state.items()}, folder / name)
    return folder / name


def retfound(folder: Path) -> str:
    path = saved(folder, vit_state())
    return f"retfound(weights={str(path)!r}, size={IMAGE}, heads={HEADS})"


def flair(folder: Path) -> str:
    state = {f"vision_model.model.{k}": v for k, v in resnet_state().items()}
    noise = Noise(1)
    noise.add("vision_model.projection_head_vision.projection.weight", 10, 24)
    path = saved(folder, state | noise.state)
    return f"flair(weights={str(path)!r}, size=64)"


def timm(folder: Path) -> str:
    path = saved(folder, resnet_state())
    return (
        f"timm(weights={str(path)!r}, model='resnet50', size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), "
        "resample='bicubic')"
    )


CLIP_WORDS = ("<|startoftext|>", "<|endoftext|>")
JOINT = 10


def clip_state(*, prefix: str = "") -> dict[str, Tensor]:
    """Both towers of a CLIP as open_clip writes them; `prefix` of the text tower's keys: `""` or `"text."`."""
    noise = Noise()
    words = len(clip_vocabulary())
    noise.add("visual.conv1.weight", WIDTH, 3, PATCH, PATCH)
    noise.add("visual.class_embedding", WIDTH)
    noise.add("visual.positional_embedding", SIDE * SIDE + 1, WIDTH)
    noise.norm("visual.ln_pre", WIDTH)
    noise.norm("visual.ln_post", WIDTH)
    noise.add("visual.proj", WIDTH, JOINT)
    noise.add(f"{prefix}token_embedding.weight", words, WIDTH)
    noise.add(f"{prefix}positional_embedding", 12, WIDTH)
    noise.norm(f"{prefix}ln_final", WIDTH)
    noise.add(f"{prefix}text_projection", WIDTH, JOINT)
    noise.add("logit_scale")
    for tower in ("visual.", prefix):
        for i in range(DEPTH):
            b = f"{tower}transformer.resblocks.{i}"
            noise.add(f"{b}.attn.in_proj_weight", 3 * WIDTH, WIDTH)
            noise.add(f"{b}.attn.in_proj_bias", 3 * WIDTH)
            noise.linear(f"{b}.attn.out_proj", WIDTH, WIDTH)
            noise.norm(f"{b}.ln_1", WIDTH)
            noise.norm(f"{b}.ln_2", WIDTH)
            noise.linear(f"{b}.mlp.c_fc", WIDTH, 4 * WIDTH)
            noise.linear(f"{b}.mlp.c_proj", 4 * WIDTH, WIDTH)
    return noise.state


def clip_vocabulary() -> dict[str, int]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return {w: i for i, w in enumerate((*letters, *(f"{c}</w>" for c in letters), "no</w>", *CLIP_WORDS))}


def clip_folder(folder: Path, state: dict[str, Tensor], **model: Any) -> Path:
    """A folder of open_clip: weights, configuration and a vocabulary of letters."""
    config = {
        "model_cfg": {
            "embed_dim": JOINT,
            "vision_cfg": {"image_size": IMAGE, "layers": DEPTH, "width": WIDTH, "patch_size": PATCH, "head_width": 8},
            "text_cfg": {"context_length": 12, "width": WIDTH, "heads": HEADS, "layers": DEPTH},
            **model,
        },
        "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "interpolation": "bicubic"},
    }
    saved(folder, state, "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "vocab.json").write_text(json.dumps(clip_vocabulary()))
    (folder / "merges.txt").write_text("#version: 0.2\nn o</w>\n")
    return folder


def open_clip(folder: Path) -> str:
    return f"open_clip(path={str(clip_folder(folder, clip_state()))!r})"


def bert_folder(folder: Path) -> tuple[Path, Any]:
    """A tiny BERT with its tokenizer, in a folder as published; and the network."""
    import transformers as hf

    hf.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=len(BERT_WORDS), hidden_size=WIDTH, num_hidden_layers=3, num_attention_heads=HEADS,
        intermediate_size=24, max_position_embeddings=32,
    )  # fmt: skip
    net = hf.BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    config.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(BERT_WORDS) + "\n")
    hf.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder, net


BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "drusen", "hard", "exudates", "in", "the", "macula", "no"]


def flair_text_state(net: Any) -> dict[str, Tensor]:
    state = {f"text_model.model.{k}": v for k, v in net.state_dict().items()}
    noise = Noise(2)
    noise.linear("text_model.model.pooler.dense", WIDTH, WIDTH)
    noise.add("text_model.projection_head_text.projection.weight", JOINT, WIDTH)
    return state | noise.state


def flair_text(folder: Path) -> str:
    path, net = bert_folder(folder)
    return f"flair(path={str(path)!r}, weights={str(saved(folder, flair_text_state(net)))!r})"


# The members of the families that read somebody else's files: a spec with small random weights in `folder`.
ENCODERS: dict[str, Callable[[Path], str]] = {
    "retfound": retfound,
    "flair": flair,
    "timm": timm,
    "open_clip": open_clip,
}
TEXTS: dict[str, Callable[[Path], str]] = {"flair": flair_text, "open_clip": open_clip}
