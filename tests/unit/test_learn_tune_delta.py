"""Deltas: tied to their network and their preprocessing, small, and refused where they do not belong."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.learn.features.embed import embed
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.tuners.lora import LoRA
from tapetum.learn.tuners.prompts import VisualPrompts
from tapetum.learn.tuning.attach import trainable
from tapetum.learn.tuning.delta import Delta, attach_delta, load_delta, save_delta, taken
from tapetum.nets import build_encoder
from toy_nets import network


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return network(tmp_path_factory.mktemp("net") / "vit")


@pytest.fixture(scope="module")
def delta(spec):
    """LoRA that went somewhere."""
    encoder = build_encoder(spec)
    base = encoder.spec.weights_digest
    LoRA().attach(encoder)
    with torch.no_grad():
        for i, parameter in enumerate(trainable(encoder).values()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return taken(encoder, "lora()", base, Embedder(spec).preprocess[0].digest, spec)


def images(count=3, side=40):
    return list(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def test_it_is_small_and_says_so(delta):
    # two blocks × (query, value) × rank 1 × (48 in + 48 out), four bytes each
    assert delta.numbers == 2 * 2 * (48 + 48)
    assert delta.size == 4 * delta.numbers
    assert delta.about()["bytes"] == delta.size


def test_it_survives_storing(delta, tmp_path):
    loaded = load_delta(save_delta(delta, tmp_path / "delta", parents={"archive": "abc"}))
    assert loaded.digest == delta.digest
    assert loaded.about() == delta.about()
    meta = json.loads((tmp_path / "delta" / "meta.json").read_text())
    assert meta["parents"] == {"base": delta.base, "archive": "abc"}
    size = sum(f.stat().st_size for f in (tmp_path / "delta").iterdir())
    assert size < delta.size + 8000


def test_an_embedder_takes_it_and_keeps_its_rows_apart(spec, delta, toy_archive):
    plain, tuned = Embedder(spec, threads=1), Embedder(spec, threads=1, deltas={0: delta})
    assert tuned.runners[0].spec.weights_digest != plain.runners[0].spec.weights_digest
    ids = [r.image_id for r in toy_archive.records[:4]]
    frozen = embed(toy_archive, plain, image_ids=ids)
    rows = embed(toy_archive, tuned, image_ids=ids)
    assert not np.allclose(rows.features, frozen.features)
    again = embed(toy_archive, Embedder(spec, threads=1, deltas={0: delta}), image_ids=ids)
    np.testing.assert_array_equal(again.features, rows.features)
    np.testing.assert_array_equal(embed(toy_archive, spec, image_ids=ids, threads=1).features, frozen.features)


def test_folded_it_runs_through_onnxruntime_and_equals_torch(spec, delta):
    fast, slow = (Embedder(spec, threads=1, backend=b, deltas={0: delta}) for b in ("onnxruntime", "torch"))
    assert fast.runners[0].backend == "onnxruntime"
    np.testing.assert_allclose(fast.pixels(images()), slow.pixels(images()), atol=1e-4)
    assert not any("lora" in name for name in slow.runners[0].encoder.state_dict())


def test_prompts_run_through_onnxruntime_too(spec):
    encoder = build_encoder(spec)
    base = encoder.spec.weights_digest
    VisualPrompts(count=2).attach(encoder)
    learned = taken(encoder, "prompts(count=2)", base, Embedder(spec).preprocess[0].digest, spec)
    fast, slow = (Embedder(spec, threads=1, backend=b, deltas={0: learned}) for b in ("onnxruntime", "torch"))
    assert fast.runners[0].backend == "onnxruntime"
    np.testing.assert_allclose(fast.pixels(images()), slow.pixels(images()), atol=1e-4)


def test_another_base_is_refused_with_both_digests(delta, tmp_path):
    other = network(tmp_path / "other", seed=1)
    with pytest.raises(ArtefactError) as caught:
        Embedder(other, deltas={0: delta})
    assert delta.base[:16] in caught.value.found
    assert build_encoder(other).spec.weights_digest[:16] in caught.value.found


def test_another_preprocessing_is_refused_with_both_digests(spec, delta):
    with pytest.raises(ArtefactError) as caught:
        Embedder(spec, fit="crop", deltas={0: delta})
    assert delta.preprocess[:16] in caught.value.found
    assert Embedder(spec, fit="crop").preprocess[0].digest[:16] in caught.value.found


def test_arrays_of_another_tuner_are_refused(spec, delta):
    odd = dataclasses.replace(delta, tuner="lora(roles=('key',))")
    with pytest.raises(ArtefactError, match="does not fit"):
        attach_delta(build_encoder(spec), odd, delta.preprocess)
    fewer = dataclasses.replace(delta, arrays=dict(list(delta.arrays.items())[1:]))
    with pytest.raises(ArtefactError, match="does not fit"):
        attach_delta(build_encoder(spec), fewer, delta.preprocess)


def test_a_place_without_an_encoder_is_refused(spec, delta):
    with pytest.raises(UsageError, match="places 0 to 0"):
        Embedder(spec, deltas={1: delta})


@pytest.mark.parametrize("file", ["delta.safetensors", "delta.json", "meta.json"])
def test_damage_is_found(file, delta, tmp_path):
    place = save_delta(delta, tmp_path / "delta") / file
    data = bytearray(place.read_bytes())
    data[len(data) // 2] ^= 0xFF
    place.write_bytes(bytes(data))
    with pytest.raises(ArtefactError):
        load_delta(tmp_path / "delta")
    place.unlink()
    with pytest.raises(ArtefactError):
        load_delta(tmp_path / "delta")


def test_an_empty_delta_is_not_saved(delta, tmp_path):
    with pytest.raises(UsageError, match="no arrays"):
        save_delta(dataclasses.replace(delta, arrays={}), tmp_path / "delta")


def test_every_part_is_in_the_digest(delta):
    name, array = next(iter(delta.arrays.items()))
    others = [
        dataclasses.replace(delta, tuner="lora(alpha=1.0)"),
        dataclasses.replace(delta, base="0"),
        dataclasses.replace(delta, preprocess="0"),
        dataclasses.replace(delta, arrays={**delta.arrays, name: array + 1}),
    ]
    assert len({d.digest for d in (delta, *others)}) == 5
    assert isinstance(Delta.of(delta.about(), delta.arrays), Delta)
