"""Tapetum: from a clinic's images and reports to a vision-language model that anyone can check, offline.

The front door holds ten names, each loaded when first used: `import tapetum` imports no torch and touches nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapetum.archive import ingest, open_archive
    from tapetum.bench import evaluate
    from tapetum.knowledge import findings
    from tapetum.learn import adapt, embed, load_model, pretrain, zero_shot
    from tapetum.phantom import make_clinic

_DOORS = {
    "make_clinic": "phantom",
    "ingest": "archive",
    "open_archive": "archive",
    "findings": "knowledge",
    "embed": "learn",
    "pretrain": "learn",
    "load_model": "learn",
    "zero_shot": "learn",
    "adapt": "learn",
    "evaluate": "bench",
}

__all__ = [
    "adapt",
    "embed",
    "evaluate",
    "findings",
    "ingest",
    "load_model",
    "make_clinic",
    "open_archive",
    "pretrain",
    "zero_shot",
]


def __getattr__(name: str) -> Any:
    if name not in _DOORS:
        raise AttributeError(f"tapetum has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"tapetum.{_DOORS[name]}"), name)
