"""Small random networks in folders, as `transformers` saves them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers as hf

PREPROCESSING = {
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 3, "rescale_factor": 1 / 255,
    "size": {"height": 32, "width": 32},
}  # fmt: skip
SMALL = {
    "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 192, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
NETWORKS = {
    "vit": (hf.ViTConfig, hf.ViTModel, SMALL),
    "dinov2": (hf.Dinov2Config, hf.Dinov2Model, {**SMALL, "mlp_ratio": 4}),
    "dinov3_vit": (hf.DINOv3ViTConfig, hf.DINOv3ViTModel, {**SMALL, "num_register_tokens": 2}),
    "siglip_vision_model": (hf.SiglipVisionConfig, hf.SiglipVisionModel, SMALL),
    "clip_vision_model": (hf.CLIPVisionConfig, hf.CLIPVisionModel, SMALL),
    "swinv2": (
        hf.Swinv2Config, hf.Swinv2Model,
        {"image_size": 32, "patch_size": 4, "embed_dim": 32, "depths": [2], "num_heads": [2], "window_size": 4},
    ),
    "convnextv2": (hf.ConvNextV2Config, hf.ConvNextV2Model, {"hidden_sizes": [8, 8, 12, 64], "depths": [1, 1, 1, 2]}),
}  # fmt: skip


def network(folder: Path, name: str = "vit", *, seed: int = 0, **changed: int) -> str:
    """Save a random network and return its spec; equal seeds give equal weights."""
    hf.utils.logging.disable_progress_bar()
    config, model, options = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = model(config(**{**options, **changed})).eval()
        with torch.no_grad():
            for parameter in net.parameters():  # biases, scales and class tokens start at 0 or 1 and would hide errors
                parameter.add_(0.05 * torch.randn(parameter.shape))
    net.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    return f"transformer(path={str(folder)!r})"
