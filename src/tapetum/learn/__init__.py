"""Learning on top of frozen towers: embed once, align with reports, adapt with labels, predict."""

from __future__ import annotations

from tapetum.learn.adapt import AdaptConfig, adapt
from tapetum.learn.features.embed import embed
from tapetum.learn.model import Model, load_model, zero_shot
from tapetum.learn.predict import predict_archive, predict_files
from tapetum.learn.pretrain import PretrainConfig, pretrain

__all__ = [
    "AdaptConfig",
    "Model",
    "PretrainConfig",
    "adapt",
    "embed",
    "load_model",
    "predict_archive",
    "predict_files",
    "pretrain",
    "zero_shot",
]
