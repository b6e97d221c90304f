"""Transformers text models read as vectors: what the text families share."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.nets.local import local_model, stored_shape
from tapetum.nets.spec import TextSpec, state_digest

BATCH = 32
LAST = (-1,)
_VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model",
)  # fmt: skip
_IMAGE_SIDE = r"(vision_model|visual_projection)\."


class TextTower(nn.Module, ABC):
    """A network with its tokenizer; members say how the tokens of a text become one row.

    Args:
        name: the name in the spec.
        path: the folder that the tokenizer lies in. net: the network, its configuration in `net.config`.
        normalise: scale every row to length 1.
        max_tokens: longer texts are cut there; 0 takes what the model allows.
        dim: columns of a row.
    """

    def __init__(self, name: str, path: Path, net: Any, *, normalise: bool, max_tokens: int, dim: int) -> None:
        super().__init__()
        self.net = net
        self._tokenizer = _tokenizer(path, int(net.config.vocab_size))
        self._positions = int(getattr(net.config, "max_position_embeddings", 512))
        self._max_tokens = min(max_tokens or self._positions, self._positions)
        vocabulary = json.dumps(sorted(self._tokenizer.get_vocab().items()))
        weights = hashlib.sha256(f"{state_digest(net)}\n{vocabulary}".encode()).hexdigest()
        self._normalise = normalise
        self.spec = TextSpec(name, dim, weights, normalise, self._max_tokens)

    @abstractmethod
    def _pooled(self, tokens: Mapping[str, Tensor]) -> Float[Tensor, "b d"]:
        """One row per text from its `input_ids` and `attention_mask`."""

    def _tokenised(self, texts: Sequence[str]) -> Mapping[str, Tensor]:
        """Texts of one batch, cut and padded to the longest of them."""
        return self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        )

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Float[Tensor, "k d"]:
        """One row per text, in the order given."""
        rows = torch.empty(len(texts), self.spec.dim)
        # Texts of like length share a batch, so that little is computed on padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            pooled = self._pooled(self._tokenised([texts[i] for i in chosen]))
            rows[chosen] = torch.nn.functional.normalize(pooled, dim=1) if self._normalise else pooled
        return rows


def _tokenizer(path: Path, words: int) -> Any:
    from transformers import AutoTokenizer

    # Without a vocabulary transformers 5 would make up an empty one, in which every word is unknown.
    if not any((path / name).is_file() for name in _VOCABULARIES):
        raise ArtefactError(f"no tokenizer in {path}", f"one of {', '.join(_VOCABULARIES)}, from the same model")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise ArtefactError(f"no tokenizer in {path}: {error}", "tokenizer.json or vocab.txt") from error
    if len(tokenizer) > words:
        raise ArtefactError(
            f"the tokenizer in {path} knows {len(tokenizer)} tokens, the network {words}",
            "tokenizer and weights of the same model",
        )
    return tokenizer


class SentenceEncoder(TextTower):
    """Mean over the tokens, padding left out, of the last layer or of several.

    Args:
        name: the name in the spec.
        path: a folder with config, weights and tokenizer.
        normalise: scale every row to length 1.
        max_tokens: longer texts are cut there; 0 takes what the model allows.
        layers: whose tokens are averaged: 0 is the embedding, 1 the first layer, -1 the last.

    Raises:
        ArtefactError: a file is missing or does not fit. UsageError: a layer that the model does not have.
    """

    def __init__(
        self, name: str, path: Path, *, normalise: bool, max_tokens: int = 0, layers: Sequence[int] = LAST
    ) -> None:
        net = local_model(path, "AutoModel", add_pooling_layer=False)
        dim = int(net.config.hidden_size)
        depth = int(net.config.num_hidden_layers)
        layers = tuple(layers)
        if not layers or any(not -depth - 1 <= layer <= depth for layer in layers):
            raise UsageError(f"layers={layers} of {path}", f"numbers from 0 (embedding) to {depth}, or -1 for the last")
        if layers != LAST:
            name = f"{name}-layers{'_'.join(map(str, layers))}"
        super().__init__(name, path, net, normalise=normalise, max_tokens=max_tokens, dim=dim)
        self._layers = layers

    def _pooled(self, tokens: Mapping[str, Tensor]) -> Float[Tensor, "b d"]:
        if self._layers == LAST:
            hidden = self.net(**tokens).last_hidden_state
        else:
            states = self.net(**tokens, output_hidden_states=True).hidden_states
            hidden = torch.stack([states[layer] for layer in self._layers]).mean(0)
        mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)


class ClipTextEncoder(TextTower):
    """CLIP's text tower with its projection: the token that ends the text, in the space shared with images.

    Args:
        name, path, normalise, max_tokens: as of `SentenceEncoder`.

    Raises:
        ArtefactError: a file is missing or does not fit.
    """

    def __init__(self, name: str, path: Path, *, normalise: bool, max_tokens: int = 0) -> None:
        from transformers import CLIPTextConfig

        config: Any = CLIPTextConfig.from_pretrained(path, local_files_only=True)
        config.projection_dim = stored_shape(path, "text_projection.weight")[0]  # published configs keep it elsewhere
        net = local_model(path, "CLIPTextModelWithProjection", other_side=_IMAGE_SIDE, config=config)
        dim = int(config.projection_dim)
        super().__init__(name, path, net, normalise=normalise, max_tokens=max_tokens, dim=dim)

    def _pooled(self, tokens: Mapping[str, Tensor]) -> Float[Tensor, "b d"]:
        return self.net(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).text_embeds


class SiglipTextEncoder(TextTower):
    """SigLIP's text tower: its last position, after padding to full length as it was trained.

    Args:
        name, path, normalise, max_tokens: as of `SentenceEncoder`.

    Raises:
        ArtefactError: a file is missing or does not fit.
    """

    def __init__(self, name: str, path: Path, *, normalise: bool, max_tokens: int = 0) -> None:
        net = local_model(path, "SiglipTextModel", other_side=_IMAGE_SIDE)
        dim = int(net.head.out_features)
        super().__init__(name, path, net, normalise=normalise, max_tokens=max_tokens, dim=dim)

    def _tokenised(self, texts: Sequence[str]) -> Mapping[str, Tensor]:
        cut = self._tokenizer(list(texts), truncation=True, max_length=self._max_tokens)
        ids = {"input_ids": cut["input_ids"]}
        return self._tokenizer.pad(ids, padding="max_length", max_length=self._positions, return_tensors="pt")

    def _pooled(self, tokens: Mapping[str, Tensor]) -> Float[Tensor, "b d"]:
        return self.net(input_ids=tokens["input_ids"]).pooler_output  # without a mask: padding was seen in training
