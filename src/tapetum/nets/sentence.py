"""A transformers text model read as sentence vectors: what the text families share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError
from tapetum.nets.local import local_model
from tapetum.nets.spec import TextSpec, state_digest

BATCH = 32


class SentenceEncoder(nn.Module):
    """Mean of the last layer's tokens, padding left out.

    Args:
        name: the name in the spec.
        path: a folder with config, weights and tokenizer.
        normalise: scale every row to length 1.
        max_tokens: longer texts are cut there.
    """

    def __init__(self, name: str, path: Path, *, normalise: bool, max_tokens: int = 0) -> None:
        super().__init__()
        from transformers import AutoTokenizer

        self.net = local_model(path, "AutoModel", add_pooling_layer=False)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ArtefactError(f"no tokenizer in {path}: {error}", "tokenizer.json or vocab.txt") from error
        positions = int(getattr(self.net.config, "max_position_embeddings", 512))
        self._max_tokens = min(max_tokens or positions, positions)
        vocabulary = json.dumps(sorted(self._tokenizer.get_vocab().items()))
        weights = hashlib.sha256(f"{state_digest(self.net)}\n{vocabulary}".encode()).hexdigest()
        self._normalise = normalise
        self.spec = TextSpec(name, int(self.net.config.hidden_size), weights, normalise, self._max_tokens)

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Float[Tensor, "k d"]:
        """One row per text, in the order given."""
        rows = torch.empty(len(texts), self.spec.dim)
        # Texts of like length share a batch, so that little is computed on padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            tokens = self._tokenizer(
                [texts[i] for i in chosen],
                padding=True,
                truncation=True,
                max_length=self._max_tokens,
                return_tensors="pt",
            )
            hidden = self.net(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            rows[chosen] = torch.nn.functional.normalize(pooled, dim=1) if self._normalise else pooled
        return rows
