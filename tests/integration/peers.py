"""Run in a process of its own: builds networks of timm and open_clip with random weights and writes what they give.

`python peers.py PEERS OUT`: PEERS is a folder with timm, open_clip and torchvision; OUT gets a folder per network with
its weights as these packages publish them, and `expected.safetensors` with an input and the outputs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

# timm's name → what differs from its defaults, to keep the network small; sides of the input.
TIMM: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "vit": ("vit_tiny_patch16_224", {"depth": 2, "img_size": 64}, (64, 96)),
    "vit_avg": ("vit_tiny_patch16_224", {"depth": 2, "img_size": 64, "global_pool": "avg"}, (64,)),
    "dinov2": ("vit_small_patch14_dinov2", {"depth": 2, "img_size": 56}, (56, 84)),
    "dinov2_reg": ("vit_small_patch14_reg4_dinov2", {"depth": 2, "img_size": 56}, (56, 42)),
    "dinov2_giant": ("vit_giant_patch14_dinov2", {"depth": 1, "img_size": 28}, (28,)),
    "deit": ("deit_tiny_patch16_224", {"depth": 2, "img_size": 32}, (32,)),
    "deit3": ("deit3_small_patch16_224", {"depth": 2, "img_size": 32}, (32, 48)),
    "resnet18": ("resnet18", {}, (64,)),
    "resnet50": ("resnet50", {}, (64,)),
    "convnext": ("convnext_atto", {"depths": (1, 1, 2, 1)}, (64,)),
    "convnextv2": ("convnextv2_atto", {"depths": (1, 1, 2, 1)}, (64,)),
    "convnext_linear": ("convnext_tiny", {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48)}, (64,)),
    "swinv2": ("swinv2_tiny_window8_256", {"depths": (2, 2, 2, 2), "img_size": 256}, (256,)),
    "swinv2_moved": ("swinv2_base_window12to16_192to256", {"depths": (1, 1, 2, 1)}, (256,)),
}


def shaken(net: torch.nn.Module) -> torch.nn.Module:
    """Biases, scales, gates and statistics that are not 0 or 1, which would hide errors."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
            if name.endswith("gamma"):
                parameter.add_(0.5)
        for name, buffer in net.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.2)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
    return net.eval()


def write(folder: Path, net: torch.nn.Module, config: dict[str, Any], out: dict[str, torch.Tensor], name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous().clone() for k, v in net.state_dict().items()}, folder / "model.safetensors")
    (folder / name).write_text(json.dumps(config))
    save_file({k: v.contiguous().clone() for k, v in out.items()}, folder / "expected.safetensors")


def make_timm(out: Path) -> None:
    import timm

    for case, (name, options, sizes) in TIMM.items():
        torch.manual_seed(0)
        net: Any = shaken(timm.create_model(name, pretrained=False, num_classes=3, **options))
        cfg = net.pretrained_cfg
        config = {
            "architecture": name,
            "num_classes": 3,
            "pretrained_cfg": {
                "mean": list(cfg["mean"]), "std": list(cfg["std"]), "interpolation": cfg["interpolation"],
                "input_size": [3, sizes[0], sizes[0]],
            },
        }  # fmt: skip
        expected: dict[str, torch.Tensor] = {}
        state = {k: v.clone() for k, v in net.state_dict().items()}
        for size in sizes:
            if size != sizes[0]:
                net.set_input_size(img_size=size)
            x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
            with torch.no_grad():
                features = net.forward_features(x)
                pooled = net.forward_head(features, pre_logits=True)
            if features.ndim == 4:
                first = features.shape[1] == net.num_features
                features = features.flatten(2).transpose(1, 2) if first else features.flatten(1, 2)
            else:
                features = features[:, net.num_prefix_tokens :]
            expected |= {f"x{size}": x, f"pool{size}": pooled, f"tokens{size}": features}
        net = shaken(timm.create_model(name, pretrained=False, num_classes=3, **options))
        net.load_state_dict(state)
        write(out / "timm" / case, net, config, expected, "config.json")


TEXTS = ("a fundus photograph of hard exudates", "OCT", "", "no  drusen &amp; 12 microaneurysms, naïve! " + "cup " * 40)
VISION = {"layers": 2, "width": 128, "head_width": 64, "patch_size": 16, "image_size": 64}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
TIMM_VISION = {"timm_model_name": "vit_tiny_patch16_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224}
BERT_NAME = "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
BERT_TEXT = {"hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 16}
# case → vision, text, quick_gelu
CLIP: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "vit": (VISION, TEXT, False),
    "vit_quick": (VISION, TEXT, True),
    "custom_text": (VISION, TEXT | {"custom": True}, False),
    "biomed": (TIMM_VISION, BERT_TEXT, False),
    "bert_mean": (VISION, BERT_TEXT | {"hf_proj_type": "linear", "hf_pooler_type": "mean_pooler"}, False),
}
WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"abcdefghijklmnopqrstuvwxyz",
    "fundus",
    "drusen",
    "no",
    "of",
    "##s",
)


def make_open_clip(out: Path) -> None:
    import open_clip
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    for case, (vision, said, quick) in CLIP.items():
        folder, text = out / "open_clip" / case, dict(said)
        folder.mkdir(parents=True)
        custom = text.pop("custom", False)
        torch.manual_seed(0)
        told = dict(text)
        if "hf_pooler_type" in text:
            tokenizer: Any = HFTokenizer(str(bert_folder(out / "bert")), context_length=text["context_length"])
            tokenizer.tokenizer.save_pretrained(folder)
            text |= {"hf_model_name": str(out / "bert"), "hf_model_pretrained": False}
            told["hf_model_name"] = BERT_NAME
        else:
            tokenizer = SimpleTokenizer(context_length=text["context_length"])
            write_vocabulary(tokenizer, folder)
        model = open_clip.CustomTextCLIP if custom or "hf_model_name" in text else open_clip.CLIP
        net: Any = shaken(model(32, vision, text, quick_gelu=quick))
        x = torch.randn(2, 3, vision["image_size"], vision["image_size"], generator=torch.Generator().manual_seed(2))
        with torch.no_grad():
            image = net.encode_image(x, normalize=True)
            rows = net.encode_text(tokenizer(list(TEXTS)), normalize=True)
        config = {
            "model_cfg": {"embed_dim": 32, "quick_gelu": quick, "vision_cfg": vision, "text_cfg": told},
            "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "interpolation": "bicubic"},
        }
        expected = {"x": x, "image": image, "rows": rows}
        write(folder, net, config, expected, "open_clip_config.json")


def bert_folder(folder: Path) -> Path:
    import transformers

    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    transformers.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=192, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96,
        max_position_embeddings=32,
    )  # fmt: skip
    config.save_pretrained(folder)
    return folder


def write_vocabulary(tokenizer: Any, folder: Path) -> None:
    """The vocabulary that open_clip carries, in the two files that lie beside published weights."""
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    (folder / "vocab.json").write_text(json.dumps({names.get(k, k): v for k, v in tokenizer.encoder.items()}))
    merges = "\n".join(" ".join(pair) for pair in tokenizer.bpe_ranks)
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges + "\n", encoding="utf-8")


LIBRARY = {
    "vit_tiny_patch16_224": 96, "resnet18": 64, "convnextv2_atto": 64, "swinv2_tiny_window8_256": 256,
    "efficientnet_b0": 64,
}  # fmt: skip


def through_the_library(out: Path) -> None:
    """The way of `timm(…, library=True)`: the largest difference per case, for whole networks of timm."""
    import timm

    from tapetum.nets import build_encoder

    told: dict[str, float] = {}
    for name, size in LIBRARY.items():
        torch.manual_seed(0)
        net: Any = shaken(timm.create_model(name, pretrained=False, num_classes=3))
        folder = out / "library" / name
        cfg = {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 224, 224], "interpolation": "bicubic"}
        write(folder, net, {"architecture": name, "pretrained_cfg": cfg}, {}, "config.json")
        encoder = build_encoder(f"timm(weights={str(folder)!r}, size={size}, library=True)")
        if name.startswith("vit"):
            net.set_input_size(img_size=size)
        x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            pooled = net.forward_head(net.forward_features(x), pre_logits=True)
            a, b = encoder.spec.blocks["pool"]
            told[name] = float((encoder(x)[:, a:b] - pooled).abs().max())
            assert encoder.tokens(x).shape[1] == encoder.spec.grid[0] * encoder.spec.grid[1]
    (out / "library.json").write_text(json.dumps(told))


def without_compiled_ops() -> None:
    """The torchvision wheel's compiled part fits another build of torch: two of its names are declared instead."""
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.modules[__name__].__dict__["_library"] = library  # lives as long as the process


if __name__ == "__main__":
    torch.set_num_threads(1)
    import transformers  # noqa: F401 - before torchvision can be found, which it would pick up

    without_compiled_ops()
    sys.path.append(sys.argv[1])
    make_timm(Path(sys.argv[2]))
    make_open_clip(Path(sys.argv[2]))
    through_the_library(Path(sys.argv[2]))
