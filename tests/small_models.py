"""Small random models of `transformers`, saved as published ones are: what tests of foreign weights share."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
import transformers as hf

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
PATCHED = {**SMALL, "image_size": 32, "patch_size": 8}
CONV = {"hidden_sizes": [8, 8, 12, 16], "depths": [1, 1, 1, 1]}
WINDOWS = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
TEXT = {
    **SMALL,
    "vocab_size": 9,
    "max_position_embeddings": 12,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "vit": (hf.ViTConfig, hf.ViTModel, PATCHED),
    "deit": (hf.DeiTConfig, hf.DeiTModel, PATCHED),
    "vit_mae": (hf.ViTMAEConfig, hf.ViTMAEModel, PATCHED),
    "dinov2": (hf.Dinov2Config, hf.Dinov2Model, PATCHED),
    "dinov2_with_registers": (hf.Dinov2WithRegistersConfig, hf.Dinov2WithRegistersModel, PATCHED),
    "dinov3_vit": (hf.DINOv3ViTConfig, hf.DINOv3ViTModel, {**PATCHED, "num_register_tokens": 4}),
    "dinov3_convnext": (hf.DINOv3ConvNextConfig, hf.DINOv3ConvNextModel, CONV),
    "siglip_vision_model": (hf.SiglipVisionConfig, hf.SiglipVisionModel, PATCHED),
    "clip_vision_model": (hf.CLIPVisionConfig, hf.CLIPVisionModel, PATCHED),
    "convnext": (hf.ConvNextConfig, hf.ConvNextModel, CONV),
    "convnextv2": (hf.ConvNextV2Config, hf.ConvNextV2Model, CONV),
    "efficientnet": (
        hf.EfficientNetConfig, hf.EfficientNetModel,
        {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.1, "hidden_dim": 320},
    ),
    "resnet": (hf.ResNetConfig, hf.ResNetModel, {**CONV, "embedding_size": 8}),
    "swin": (hf.SwinConfig, hf.SwinModel, WINDOWS),
    "swinv2": (hf.Swinv2Config, hf.Swinv2Model, WINDOWS),
}  # fmt: skip
SKIPPED = {
    "vit": 1, "deit": 2, "vit_mae": 1, "dinov2": 1, "dinov2_with_registers": 5, "dinov3_vit": 5, "dinov3_convnext": 1,
    "clip_vision_model": 1,
}  # fmt: skip
PREPROCESSING = {
    "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3], "resample": 3, "rescale_factor": 1 / 255,
    "size": {"height": 32, "width": 32},
}  # fmt: skip

# From the names of transformers 5 to those of published checkpoints, which transformers 4 saved; applied in turn.
_ATTENTION = (
    (r"attention\.q_proj", "attention.attention.query"),
    (r"attention\.k_proj", "attention.attention.key"),
    (r"attention\.v_proj", "attention.attention.value"),
    (r"attention\.o_proj", "attention.output.dense"),
)
_VIT = (
    (r"^layers\.", "encoder.layer."),
    *_ATTENTION,
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
)
_SWIN = (
    (r"attention\.relative_position_bias\.", "attention.self."),
    (r"attention\.([qkv])_proj", r"attention.self.\1"),
    (r"self\.q\.", "self.query."),
    (r"self\.k\.", "self.key."),
    (r"self\.v\.", "self.value."),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"mlp\.fc1", "intermediate.dense"),
    (r"mlp\.fc2", "output.dense"),
)
PUBLISHED: dict[str, tuple[tuple[str, str], ...]] = {
    "vit": (*_VIT, ("^", "vit.")),
    "deit": (*_VIT, ("^", "deit.")),
    "vit_mae": (*_VIT, ("^", "vit.")),
    "dinov2": _ATTENTION,
    "dinov2_with_registers": _ATTENTION,
    "dinov3_vit": ((r"^model\.layer", "layer"),),
    "dinov3_convnext": ((r"^model\.stages", "stages"),),
    "siglip_vision_model": (("^", "vision_model."),),
    "clip_vision_model": (("^", "vision_model."),),
    "convnext": (("^", "convnext."),),
    "convnextv2": (("^", "convnextv2."),),
    "efficientnet": (("^", "efficientnet."),),
    "resnet": (("^", "resnet."),),
    "swin": (*_SWIN, ("^", "swin.")),
    "swinv2": (("^", "swinv2."),),
}


def published(name: str, key: str) -> str:
    """The name that a weight has in a published checkpoint."""
    for pattern, replacement in PUBLISHED[name]:
        key = re.sub(pattern, replacement, key)
    return key


def shaken(net: torch.nn.Module, seed: int = 0) -> Any:
    """Every weight moved: biases, scales and class tokens start at 0 or 1 and would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            # Matrices and kernels keep the signal's size, so that the output still depends on the image.
            spread = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim in {2, 4} else 0.1
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
        for part in net.modules():
            if isinstance(part, torch.nn.BatchNorm2d) and part.weight.mean() < 0.5:
                part.weight.add_(2)  # EfficientNet starts them near 0 and gates by half: the image would vanish
        for key, buffer in net.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer.add_(0.5 * torch.rand(buffer.shape, generator=generator))
    return net.eval()


def small(name: str, **changes: Any) -> Any:
    """A model of an architecture with weights of its own."""
    config, model, options = MODELS[name]
    torch.manual_seed(0)
    return shaken(model(config(**{**options, **changes})))


def saved(folder: Path, name: str, **changes: Any) -> Any:
    """The same, saved with its preprocessing beside it."""
    net = small(name, **changes)
    net.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return net


def write(folder: Path, net: Any, state: dict[str, torch.Tensor]) -> Path:
    """A folder with these tensors under these names, whatever `transformers` would have written."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    net.config.save_pretrained(folder)
    save_file(
        {k: v.detach().clone().contiguous() for k, v in state.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return folder


def images(size: int = 32, count: int = 3) -> torch.Tensor:
    return torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(1))


def tokenizer(folder: Path) -> Any:
    """Nine words, the last token ends the text; saved into the folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[EOS]", "[UNK]", "drusen", "hard", "exudates", "no", "macula", "in"]
    plain = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 1)])
    whole = hf.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", eos_token="[EOS]", unk_token="[UNK]", model_max_length=12
    )
    whole.save_pretrained(folder)
    return whole


def joint(name: str, seed: int = 0) -> Any:
    """A whole CLIP or SigLIP model."""
    torch.manual_seed(seed)
    if name == "clip":
        config = hf.CLIPConfig(vision_config=PATCHED, text_config=TEXT, projection_dim=12)
        return shaken(hf.CLIPModel(config), seed)
    config = hf.SiglipConfig(vision_config=PATCHED, text_config={**TEXT, "projection_size": 16})
    return shaken(hf.SiglipModel(config), seed)
