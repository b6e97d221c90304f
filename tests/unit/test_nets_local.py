"""Where foreign weights are found: folders, ids in the local cache, and what is said where there is nothing."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from small_models import SMALL, saved, tokenizer
from tapetum.core.errors import ArtefactError
from tapetum.nets import build_encoder, build_text_encoder
from tapetum.nets.local import local_folder, stored_shape, tensors_in

FILES = ("config.json", "model.safetensors", "preprocessor_config.json")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache; whoever opens a connection fails."""
    from huggingface_hub import constants

    def offline(*_: Any, **__: Any) -> None:
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "create_connection", offline)
    monkeypatch.setattr(socket.socket, "connect", offline)
    return tmp_path / "hub"


def _in_cache(cache: Path, organisation: str, name: str) -> Path:
    """The cache's own layout: a reference that names a snapshot."""
    model = cache / f"models--{organisation}--{name}"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0123abcd")
    snapshot = model / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    return snapshot


def test_an_id_in_the_cache_is_read(cache: Path) -> None:
    snapshot = _in_cache(cache, "clinic", "dino-small")
    saved(snapshot, "dinov2")
    assert local_folder("clinic/dino-small", FILES) == snapshot
    encoder = build_encoder("transformer(path='clinic/dino-small')")
    assert encoder.spec.name == "dinov2-dino-small-32"
    assert encoder.spec.weights_digest == build_encoder(f"transformer(path={str(snapshot)!r})").spec.weights_digest


def test_an_id_that_is_not_there_says_what_to_place_and_how(cache: Path) -> None:
    with pytest.raises(ArtefactError) as caught:
        build_encoder("transformer(path='facebook/dinov2-small')")
    said = str(caught.value)
    assert "'facebook/dinov2-small' is neither a folder here nor in the Hugging Face cache" in said
    assert str(cache) in said
    assert "config.json, model.safetensors and preprocessor_config.json" in said
    assert "nothing is downloaded" in said
    command = "hf download facebook/dinov2-small config.json model.safetensors preprocessor_config.json --local-dir"
    assert f"{command} dinov2-small" in said
    assert "path='dinov2-small'" in said
    with pytest.raises(ArtefactError, match=r"tokenizer\.json"):
        build_text_encoder("transformer(path='google-bert/bert-base-uncased')")


def test_an_id_with_half_of_its_files_names_what_is_missing(cache: Path) -> None:
    snapshot = _in_cache(cache, "clinic", "half")
    saved(snapshot, "vit")
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ArtefactError, match="it holds no weights"):
        build_encoder("transformer(path='clinic/half')")


def test_a_path_that_is_no_id(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no folder /nowhere/at/all"):
        local_folder("/nowhere/at/all", FILES)
    with pytest.raises(ArtefactError, match="no folder a/b/c"):
        local_folder("a/b/c", FILES)
    assert local_folder(tmp_path, FILES) == tmp_path


def test_pickles_are_named_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02cos\nsystem\n.")
    with pytest.raises(ArtefactError, match=r"pytorch_model\.bin, which may run code"):
        tensors_in(tmp_path)


def test_damaged_weights(tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        build_encoder(f"transformer(path={str(tmp_path)!r})")


def test_shapes_are_read_from_the_header(tmp_path: Path) -> None:
    saved(tmp_path, "dinov2")
    assert stored_shape(tmp_path, "embeddings.position_embeddings") == (1, 17, 16)
    with pytest.raises(ArtefactError, match=r"holds no head\.weight"):
        stored_shape(tmp_path, "head.weight")


def test_a_text_model_without_a_tokenizer(tmp_path: Path) -> None:
    import transformers as hf

    config = hf.BertConfig(**SMALL, vocab_size=9, max_position_embeddings=12)
    hf.BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    with pytest.raises(ArtefactError, match="no tokenizer in"):
        build_text_encoder(f"transformer(path={str(tmp_path)!r})")
    tokenizer(tmp_path)  # nine words, twelve positions
    assert build_text_encoder(f"transformer(path={str(tmp_path)!r})").spec.max_tokens == 12


def test_the_tokenizer_of_another_model(tmp_path: Path) -> None:
    import transformers as hf

    config = hf.BertConfig(**SMALL, vocab_size=8, max_position_embeddings=12)
    hf.BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    tokenizer(tmp_path)
    with pytest.raises(ArtefactError, match="knows 9 tokens, the network 8"):
        build_text_encoder(f"transformer(path={str(tmp_path)!r})")
