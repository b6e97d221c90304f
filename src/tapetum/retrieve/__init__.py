"""Similar past cases: exact search over unit vectors, and how good it is against chance. Arrays only."""

from __future__ import annotations

from tapetum.retrieve.index import Hits, Index
from tapetum.retrieve.recall import Recall, equal_texts, recall_at

__all__ = ["Hits", "Index", "Recall", "equal_texts", "recall_at"]
