"""Networks without training: image encoders, text encoders and the aligner that joins them. Knows torch."""

from __future__ import annotations

import functools

from tapetum.core.registry import Family, Spec
from tapetum.nets.encoders import Encoder
from tapetum.nets.spec import EncoderSpec, TextSpec, state_digest
from tapetum.nets.text import TextEncoder
from tapetum.nets.vlm import Aligner

__all__ = [
    "Aligner",
    "Encoder",
    "EncoderSpec",
    "TextEncoder",
    "TextSpec",
    "build_encoder",
    "build_text_encoder",
    "state_digest",
]


def build_encoder(spec: str | Spec) -> Encoder:
    """Build the image encoder that `spec` names, in evaluation mode.

    Args:
        spec: for example `"efficientnet_lite(size=224)"`.

    Raises:
        UsageError: unknown name or option. ArtefactError: its weights are not there.

    Example:
        >>> build_encoder("tiny(dim=8)").spec.dim
        8
    """
    return Family("tapetum.nets.encoders").build(spec)()


def build_text_encoder(spec: str | Spec) -> TextEncoder:
    """Build the text encoder that `spec` names, in evaluation mode.

    Args:
        spec: for example `"minilm"`.

    Raises:
        UsageError: unknown name or option. ArtefactError: its weights are not there.

    Example:
        >>> build_text_encoder("tiny(dim=8)")(["drusen"]).shape
        torch.Size([1, 8])
    """
    return _text_encoder(str(Spec.parse(spec) if isinstance(spec, str) else spec))


@functools.lru_cache(maxsize=4)
def _text_encoder(spec: str) -> TextEncoder:
    """Built once per process: it is frozen, deterministic and asked for by every prediction."""
    return Family("tapetum.nets.text").build(spec)()
