"""Intensity range and channel order: what is seen, what is refused, how often it is wrong."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.core.errors import DataError
from tapetum.knowledge import load_pack
from tapetum.knowledge.pack import parse_pack
from tapetum.learn import AdaptConfig, PretrainConfig, adapt, predict_archive, predict_files, pretrain
from tapetum.learn.features.colours import (
    BOUND,
    CHANNELS,
    channel_means,
    check_archive,
    colours_of,
    expected_colours,
    joined,
)
from tapetum.learn.features.preprocess import Preprocess, _refuse_other_arrays
from tapetum.learn.predict import predict_pixels
from toys import COLOURS, ENCODER, TEXT

FINDINGS = tuple(COLOURS)


def flat(*colour: int) -> np.ndarray:
    return np.full((8, 8, 3), colour, np.uint8)


def test_means_are_taken_inside_the_field_of_view():
    image = np.zeros((8, 8, 3), np.uint8)
    image[2:6, 2:6] = (100, 50, 20)
    np.testing.assert_array_equal(channel_means(image), [100, 50, 20])
    np.testing.assert_array_equal(channel_means(flat(3, 2, 1)), [3, 2, 1])  # nothing but surround


def test_a_batch_by_hand():
    red, blue, grey, black = flat(120, 60, 20), flat(20, 60, 120), flat(80, 80, 81), flat(1, 0, 1)
    found = colours_of([red, blue, grey, black], list("abcd"), CHANNELS)
    assert (found.swapped, found.dark) == (("b",), ("d",))
    assert found.means == pytest.approx((55.25, 50.0, 55.5))
    with pytest.raises(DataError, match=r"1 of 4 images have more blue than red.* first b") as caught:
        found.refuse()
    assert "red brighter than green brighter than blue" in caught.value.expected
    assert "check_colours=false" in caught.value.next_step
    with pytest.warns(RuntimeWarning, match=r"more blue than red|hold no value above 1"):
        found.refuse(only_warn=True)
    whole = joined([colours_of([red, blue], ["a", "b"], CHANNELS), colours_of([grey, black], ["c", "d"], CHANNELS)])
    assert whole == dataclasses.replace(found, means=whole.means)
    assert whole.means == pytest.approx(found.means)


def test_the_bound_is_a_share():
    images = [flat(120, 60, 20)] * 9 + [flat(20, 60, 120)]
    colours_of(images, list("abcdefghij"), CHANNELS).refuse()  # one of ten is not above a tenth
    with pytest.raises(DataError):
        colours_of([*images[1:]], list("bcdefghij"), CHANNELS).refuse()
    assert BOUND == 0.1


def test_zeros_and_ones_are_a_range_that_was_cut():
    with pytest.raises(DataError, match="2 of 2 images hold no value above 1"):
        colours_of([flat(1, 0, 0), flat(0, 0, 0)], ["a", "b"], CHANNELS).refuse()


def test_packs_state_colours_or_do_not():
    assert expected_colours("fundus") == load_pack("fundus").colours == CHANNELS
    assert expected_colours("cxr") == expected_colours("") == ()
    with pytest.raises(DataError, match="colours"):
        parse_pack(
            'name = "x"\nmodality = "m"\ncolours = ["red", "blue"]\n[findings.m]\nname = "m"\nlevel = "modality"\n'
        )


@pytest.fixture(scope="module")
def export(toy_archive):
    return toy_archive.path.parent / "export"


@pytest.fixture(scope="module")
def swapped(export, tmp_path_factory):
    """The toy clinic as a program that hands on blue first would have written it."""
    folder = tmp_path_factory.mktemp("swapped") / "export"
    folder.mkdir()
    (folder / "clinic.csv").write_bytes((export / "clinic.csv").read_bytes())
    for file in export.glob("*.png"):
        Image.fromarray(np.asarray(Image.open(file))[..., ::-1]).save(folder / file.name)
    config = IngestConfig(
        map="image=image,patient=patient,eye=eye,report=report", labels="label", pack="fundus", modality="fundus",
        name="swapped", fractions=(0.5, 0.25, 0.25), report_required=False,
    )  # fmt: skip
    ingest(folder, folder.parent / "archive", config)
    return open_archive(folder.parent / "archive")


def test_a_swapped_archive_is_refused_by_every_verb_and_warned_of_on_demand(swapped, toy_model):
    config = PretrainConfig(encoders=ENCODER, text_encoder=TEXT, text="report", threads=1)
    for call in (
        lambda: check_archive(swapped),
        lambda: pretrain(swapped, config),
        lambda: predict_archive(swapped, toy_model, FINDINGS),
        lambda: predict_files(sorted((swapped.path.parent / "export").glob("*.png"))[:4], toy_model),
        lambda: adapt(swapped, AdaptConfig(encoders=ENCODER, threads=1)),
    ):
        with pytest.raises(DataError, match="more blue than red"):
            call()
    assert not (swapped.cache / "embeddings").exists()  # refused before anything was computed
    with pytest.warns(RuntimeWarning, match="more blue than red"):
        pretrain(swapped, dataclasses.replace(config, check_colours=False))
    with pytest.warns(RuntimeWarning, match="more blue than red"):
        predict_archive(swapped, toy_model, FINDINGS, check_colours=False)


def test_looked_at_once_and_again_when_the_archive_is_another(toy_archive, tmp_path):
    cached = tmp_path / "cache"
    looked = []

    class Seen:
        def __init__(self, digest):
            self.digest, self.pack, self.records, self.cache = digest, "fundus", toy_archive.records, cached

        def pixels(self, image_id, *, min_side):
            looked.append(image_id)
            return toy_archive.pixels(image_id, min_side=min_side)

    check_archive(Seen("a"))
    assert len(looked) == len(toy_archive.records)
    check_archive(Seen("a"))
    assert len(looked) == len(toy_archive.records)
    check_archive(Seen("b"))
    assert len(looked) == 2 * len(toy_archive.records)
    (cached / "colours.json").write_text("{cut")
    check_archive(Seen("b"))
    assert len(looked) == 3 * len(toy_archive.records)
    assert json.loads((cached / "colours.json").read_text())["swapped"] == []


def test_an_archive_that_takes_no_files_is_looked_at_every_time(toy_archive):
    looked = []

    class Gone:
        digest, pack, records = "a", "fundus", toy_archive.records[:3]

        @property
        def cache(self):
            raise FileNotFoundError("read only")

        def pixels(self, image_id, *, min_side):
            looked.append(image_id)
            raise OSError("not there either")

    check_archive(Gone())
    check_archive(Gone())
    assert len(looked) == 6


def test_images_in_memory_get_the_scores_of_files(toy_model, export):
    files = sorted(export.glob("*.png"))[:5]
    images = [np.asarray(Image.open(f)) for f in files]
    found = predict_pixels(images, toy_model, FINDINGS)
    np.testing.assert_allclose(found.logits, predict_files(files, toy_model, FINDINGS)[0].logits, atol=1e-5)
    with pytest.raises(DataError, match="more blue than red"):
        predict_pixels([image[..., ::-1].copy() for image in images], toy_model, FINDINGS)
    with pytest.raises(DataError, match="no images"):
        predict_pixels([], toy_model)


@pytest.mark.parametrize(
    ("image", "seen", "then"),
    [
        (np.zeros((4, 5, 3), np.float32), "values 0 to 0", "255 \\* pixels"),
        (np.full((4, 5, 3), 200.0), "values 200 to 200", "0 to 255"),
        (np.full((4, 5, 3), -1.5), "values -1.5 to -1.5", "undo the normalisation"),
        (np.full((4, 5, 3), np.nan), "60 of them NaN", "find out"),
        (np.where(np.arange(60) % 2, 1.0, np.inf).reshape(4, 5, 3), "values 1 to 1, 30 of them", "find out"),
        (np.full((4, 5, 3), 4095, np.uint16), "values 4095 to 4095", "window"),
        (np.zeros((3, 4, 5), np.uint8), "shape \\(3, 4, 5\\)", "transpose"),
        (np.zeros((3, 4, 5), np.float32), "shape \\(3, 4, 5\\)", "transpose"),
        (np.zeros((4, 5), np.uint8), "shape \\(4, 5\\)", "repeat"),
        (np.zeros((4, 5, 4), np.uint8), "shape \\(4, 5, 4\\)", "fourth"),
        (np.zeros((2, 4, 5, 3), np.uint8), "shape \\(2, 4, 5, 3\\)", "one by one"),
        (np.zeros((0, 5, 3), np.uint8), "shape \\(0, 5, 3\\)", "decode"),
    ],
)
def test_other_arrays_are_refused_with_what_was_seen_and_what_to_do(image, seen, then):
    with pytest.raises(DataError, match=seen) as caught:
        _refuse_other_arrays(image)
    assert caught.value.expected.startswith("uint8")
    assert re.search(then, caught.value.next_step)
    Preprocess(4)(np.zeros((4, 5, 3), np.uint8))
