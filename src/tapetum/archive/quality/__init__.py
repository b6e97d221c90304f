"""Image quality of fundus photographs without a reference: features from one decode, a small model, a plain verdict."""

from __future__ import annotations

from tapetum.archive.quality.features import QUALITY_FEATURES, features
from tapetum.archive.quality.judge import ADVICE, REASONS, THRESHOLD, Model, Verdict, judge

__all__ = ["ADVICE", "QUALITY_FEATURES", "REASONS", "THRESHOLD", "Model", "Verdict", "features", "judge"]
