"""A text encoder around a tower of any published layout: tokens in, one row of length 1 per text out."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.core.errors import ArtefactError
from tapetum.nets.published import layouts
from tapetum.nets.published.keys import count, tensor_of
from tapetum.nets.published.towers import empty, heads_of
from tapetum.nets.spec import TextSpec, state_digest

BATCH = 32
_FLAIR_STATES = (1, 2, -1)


class ClipText(nn.Module):
    """CLIP's causal text transformer: the state at the last token of a text, projected."""

    def __init__(self, net: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.projection = projection

    def forward(self, ids: Int[Tensor, "k t"], mask: Int[Tensor, "k t"]) -> Float[Tensor, "k d"]:
        """One row per text; the end token has the highest number of all."""
        hidden = self.net(input_ids=ids).last_hidden_state  # causal: what follows the end changes nothing before it
        return self.projection(hidden[torch.arange(len(ids)), ids.argmax(dim=-1)])


class BertText(nn.Module):
    """A BERT whose states are pooled and projected.

    Args:
        net: BERT. projection: of the pooled state.
        pool: `"cls"` takes the first token's last state, `"mean"` the mean of the tokens' last states, `"flair"` the
            mean over tokens of the first, second and last states.
    """

    def __init__(self, net: nn.Module, projection: nn.Module, pool: str) -> None:
        super().__init__()
        self.net = net
        self.projection = projection
        self._pool = pool

    def forward(self, ids: Int[Tensor, "k t"], mask: Int[Tensor, "k t"]) -> Float[Tensor, "k d"]:
        """One row per text; padding is left out of every mean."""
        flair = self._pool == "flair"
        out = self.net(input_ids=ids, attention_mask=mask, output_hidden_states=flair)
        if self._pool == "cls":
            return self.projection(out.last_hidden_state[:, 0])
        chosen = [out.hidden_states[i] for i in _FLAIR_STATES] if flair else [out.last_hidden_state]
        weight = mask.unsqueeze(-1).to(chosen[0].dtype)
        mean = (torch.stack(chosen).mean(0) * weight).sum(1) / weight.sum(1)
        return self.projection(mean)


class ForeignText(nn.Module):
    """A text encoder as every other, around a tower of somebody else's.

    Args:
        name: of the spec.
        tower: `tower(ids, mask)` → rows. tokenizer: of `transformers`.
        dim: columns of a row. max_tokens: longer texts are cut there.
        unescape: undo HTML's escapes and runs of blanks first, as open_clip does.
        lower: and capitals.
    """

    def __init__(
        self, name: str, tower: nn.Module, tokenizer: Any, dim: int, max_tokens: int, *, unescape: bool, lower: bool
    ) -> None:
        super().__init__()
        self.tower = tower.eval()
        self._tokenizer = tokenizer
        self._unescape, self._lower = unescape, lower
        vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
        digest = hashlib.sha256(f"{state_digest(tower)}\n{vocabulary}".encode()).hexdigest()
        self.spec = TextSpec(name, dim, digest, True, max_tokens)

    def _cleaned(self, text: str) -> str:
        if self._unescape:
            text = " ".join(html.unescape(html.unescape(text)).split())
        return text.lower() if self._lower else text

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> Float[Tensor, "k d"]:
        """One row per text, in the order given, each of length 1."""
        rows = torch.empty(len(texts), self.spec.dim)
        # Texts of like length share a batch, so that little is computed on padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            tokens = self._tokenizer(
                [self._cleaned(texts[i]) for i in chosen], padding=True, truncation=True,
                max_length=self.spec.max_tokens, return_tensors="pt",
            )  # fmt: skip
            ids, mask = tokens["input_ids"], tokens["attention_mask"]
            if isinstance(self.tower, ClipText):
                ids = ids * mask  # padded with 0, as open_clip does: CLIP's own padding is its end token
            rows[chosen] = nn.functional.normalize(self.tower(ids, mask), dim=-1)
        return rows


def tokenizer_of(path: Path, what: str, files: tuple[tuple[str, ...], ...]) -> Any:
    """A tokenizer of `transformers` from a folder; nothing is downloaded.

    Args:
        path: the folder.
        what: the class, for example `"CLIPTokenizer"`.
        files: sets of files one of which must be there.

    Raises:
        ArtefactError: none of the sets is there whole, or the files are damaged.
    """
    if not any(all((path / name).is_file() for name in names) for names in files):
        raise ArtefactError(
            f"no vocabulary in {path}",
            " or ".join(" with ".join(names) for names in files),
            "copy them from where the weights came from; nothing is ever downloaded",
        )
    import transformers

    try:
        return getattr(transformers, what).from_pretrained(path, local_files_only=True)
    except Exception as error:  # the tokenizers' own errors have no common class
        raise ArtefactError(
            f"the tokenizer in {path} cannot be read: {error}", "whole files that belong together"
        ) from (error)


def bert(state: Mapping[str, Tensor], where: str, heads: int = 0) -> Any:
    """An empty BERT of the shapes of a checkpoint in its own names.

    Args:
        state: `embeddings.…` and `encoder.layer.…`.
        where: the file, for messages.
        heads: attention heads; 0 = those of the published networks of that width.

    Raises:
        ArtefactError: the keys are no BERT's. UsageError: unknown heads.
    """
    name = layouts.BERT.name
    words = tensor_of(state, "embeddings.word_embeddings.weight", where, name)
    places = tensor_of(state, "embeddings.position_embeddings.weight", where, name)
    types = tensor_of(state, "embeddings.token_type_embeddings.weight", where, name)
    inner = tensor_of(state, "encoder.layer.0.intermediate.dense.weight", where, name)
    width = int(words.shape[1])
    config = {
        "vocab_size": int(words.shape[0]), "hidden_size": width, "max_position_embeddings": int(places.shape[0]),
        "type_vocab_size": int(types.shape[0]), "intermediate_size": int(inner.shape[0]),
        "num_hidden_layers": count(state, r"encoder\.layer\.(\d+)\..*"), "num_attention_heads": heads_of(width, heads),
    }  # fmt: skip
    return empty("Bert", config, add_pooling_layer=False)
