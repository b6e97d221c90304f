"""What every text encoder promises, by existing."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from foreign import TEXTS as TEXTS_OF_OTHERS
from tapetum.core.registry import Family
from tapetum.nets import TextEncoder, build_text_encoder

FAMILY = Family("tapetum.nets.text")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "drusen", "hard", "exudates", "in", "the", "macula", "no"]
TEXTS = [
    "Hard exudates in the macula",
    "drusen",
    "",
    "no " * 40 + "drusen",
    "The macula, no hard exudates",
]


def _offline(*_: Any, **__: Any) -> None:
    raise AssertionError("a text encoder opened a network connection")


@pytest.fixture(scope="module", params=FAMILY.names())
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param in TEXTS_OF_OTHERS:
        return TEXTS_OF_OTHERS[request.param](tmp_path_factory.mktemp(request.param))
    if request.param != "transformer":
        return request.param
    return f"transformer(path={str(_bert(tmp_path_factory.mktemp('bert')))!r})"


def _bert(folder: Path) -> Path:
    import transformers as hf

    hf.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=32,
    )  # fmt: skip
    hf.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    hf.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(spec: str) -> TextEncoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", _offline)
        patch.setattr(socket.socket, "connect", _offline)
        return build_text_encoder(spec)


def test_shape_type_and_summary(encoder: TextEncoder, spec: str) -> None:
    rows = encoder(TEXTS)
    assert rows.shape == (5, encoder.spec.dim)
    assert rows.dtype == torch.float32
    assert torch.isfinite(rows).all()
    assert not rows.requires_grad
    assert "Source:" in (FAMILY.member(spec.partition("(")[0]).__doc__ or "")


def test_rows_follow_the_order_of_the_texts(encoder: TextEncoder) -> None:
    rows = encoder(TEXTS)
    order = [3, 0, 4, 2, 1]
    torch.testing.assert_close(encoder([TEXTS[i] for i in order]), rows[order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat([encoder([t]) for t in TEXTS]), rows, atol=1e-5, rtol=1e-5)


def test_many_texts_equal_few(encoder: TextEncoder) -> None:
    many = encoder(TEXTS * 14)
    torch.testing.assert_close(many.reshape(14, 5, -1)[7], encoder(TEXTS), atol=1e-5, rtol=1e-5)


def test_no_texts(encoder: TextEncoder) -> None:
    assert encoder([]).shape == (0, encoder.spec.dim)


def test_normalised_rows_have_length_one(encoder: TextEncoder) -> None:
    assert encoder.spec.normalised
    torch.testing.assert_close(encoder([t for t in TEXTS if t]).norm(dim=1), torch.ones(4))


def test_different_texts_differ(encoder: TextEncoder) -> None:
    rows = encoder(["drusen in the macula", "hard exudates", "drusen in the macula"])
    assert torch.equal(rows[0], rows[2]) or torch.allclose(rows[0], rows[2], atol=1e-6)
    assert not torch.allclose(rows[0], rows[1], atol=1e-3)


def test_equal_specs_are_equal(encoder: TextEncoder, spec: str) -> None:
    again = build_text_encoder(spec)
    assert again.spec == encoder.spec
    assert torch.equal(again(TEXTS), encoder(TEXTS))
