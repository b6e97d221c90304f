"""Images for training: the encoder's own preprocessing, decoded once, changed by seed, epoch and image alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tapetum.core.errors import DataError, UsageError
from tapetum.learn.features.loader import Loader, image_rng, parse_augmentations
from tapetum.learn.features.preprocess import Preprocess

PREPARE = Preprocess(24, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
AUGMENT = "geometric() + photometric(strength=0.5) + erase()"


@dataclasses.dataclass(frozen=True)
class Record:
    image_id: str
    patient_id: str = ""


class Images:
    """Random photographs of several shapes; counts what is decoded."""

    def __init__(self, cache: Path, n: int = 9) -> None:
        self.cache = cache
        self.records = tuple(Record(f"{i:04d}") for i in range(n))
        self.asked: list[str] = []

    def pixels(self, image_id, *, min_side):
        self.asked.append(image_id)
        i = int(image_id)
        return np.random.default_rng(i).integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)


@pytest.fixture
def images(tmp_path):
    torch.set_num_threads(1)
    return Images(tmp_path)


def ids(images):
    return [r.image_id for r in images.records]


def test_without_augmentation_it_is_the_preprocessing_bit_for_bit(images):
    load = Loader(images, PREPARE, ids(images), augment=AUGMENT)
    expected = np.stack([PREPARE(images.pixels(i, min_side=0)) for i in ids(images)])
    for _ in range(2):  # decoded, then from disk
        np.testing.assert_array_equal(load(np.arange(9)).numpy(), expected)


def test_each_image_is_decoded_once_also_by_the_next_loader_with_another_normalisation(images):
    load = Loader(images, PREPARE, ids(images))
    load(np.array([2, 5]))
    load(np.array([5, 2, 3]))
    assert sorted(images.asked) == ["0002", "0003", "0005"]
    other = Preprocess(24, mean=(0.1, 0.1, 0.1), std=(1.0, 1.0, 1.0))
    Loader(images, other, ["0005", "0002"])(np.array([0, 1, 1]))
    assert len(images.asked) == 3
    Loader(images, dataclasses.replace(PREPARE, size=16), ids(images))(np.array([2]))
    assert len(images.asked) == 4


def test_a_row_that_stands_twice_is_decoded_once(images):
    x = Loader(images, PREPARE, ids(images))(np.array([4, 4]))
    assert images.asked == ["0004"]
    assert torch.equal(x[0], x[1])


def test_without_cache_nothing_is_written(images):
    load = Loader(images, PREPARE, ids(images), cache=False)
    load(np.array([1]))
    load(np.array([1]))
    assert images.asked == ["0001", "0001"]
    assert not list(images.cache.rglob("*"))


@pytest.mark.parametrize("workers", [1, 4])
def test_the_same_picture_whatever_batch_order_and_workers(images, tmp_path, workers):
    load = Loader(images, PREPARE, ids(images), augment=AUGMENT, seed=3)
    together = load(np.arange(9), 2)
    others = Images(tmp_path / "other")
    turned = Loader(others, PREPARE, ids(others)[::-1], augment=AUGMENT, seed=3, workers=workers, cache=False)
    for rows in (np.array([8, 0]), np.array([3]), np.array([5, 4, 7, 1])):
        assert torch.equal(turned(rows, 2), together[torch.from_numpy(8 - rows)])


def test_seed_epoch_and_view_each_give_another_picture(images):
    rows = np.array([0])
    load = Loader(images, PREPARE, ids(images), augment=AUGMENT)
    other = Loader(images, PREPARE, ids(images), augment=AUGMENT, seed=1)
    found = [load(rows, 0), load(rows, 1), load(rows, 0, view=1), other(rows, 0), load(rows)]
    for i, a in enumerate(found):
        for b in found[:i]:
            assert not torch.equal(a, b)
    assert torch.equal(load(rows, 0), found[0])


def test_the_generator_of_an_image_follows_from_its_four_numbers():
    drawn = {image_rng(*key).random() for key in [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"), (0, 0, "a", 1)]}
    assert len(drawn) == 5
    assert image_rng(0, 0, "a").random() in drawn


def test_a_damaged_square_is_decoded_again_with_a_warning(images):
    Loader(images, PREPARE, ids(images)).fill()
    [file] = images.cache.rglob("*.u8")
    with file.open("r+b") as stream:
        stream.seek(3 * 24 * 24 * 3 + 5)
        stream.write(b"\x01\x02\x03")
    load = Loader(images, PREPARE, ids(images))
    with pytest.warns(RuntimeWarning, match="image 3 .* damaged"):
        x = load(np.array([3]))
    np.testing.assert_array_equal(x[0].numpy(), PREPARE(images.pixels("0003", min_side=0)))
    Loader(images, PREPARE, ids(images))(np.array([3]))  # mended: no warning


def test_a_full_disk_is_a_warning_and_training_goes_on(images, monkeypatch):
    def full(path, at, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tapetum.learn.features.loader._put", full)
    load = Loader(images, PREPARE, ids(images))
    with pytest.warns(RuntimeWarning, match="No space left"):
        x = load(np.array([0, 1]))
    assert torch.equal(load(np.array([0, 1])), x)


def test_fill_tells_how_far_it_is(images):
    told = []
    Loader(images, PREPARE, ids(images)).fill(lambda done, of: told.append((done, of)), batch=4)
    assert told == [(4, 9), (8, 9), (9, 9)]
    assert len(images.asked) == 9


def test_specs_are_read_in_order_and_bad_ones_refused(images):
    assert parse_augmentations("") == ()
    assert [s.name for s in parse_augmentations("erase + geometric(flip=0.0) + photometric")] == [
        "erase", "geometric", "photometric",
    ]  # fmt: skip
    for text in ("geometric(", "geometrik", "geometric(turn=3)", "1 + geometric"):
        with pytest.raises(UsageError):
            Loader(images, PREPARE, ids(images), augment=text)


def test_an_unknown_image_is_refused(images):
    with pytest.raises(DataError, match="1 images are not in the archive"):
        Loader(images, PREPARE, ["0001", "nobody"])
