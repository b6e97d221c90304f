"""How often the check of colours is wrong, on real photographs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.core.types import Split
from tapetum.learn.features.colours import CHANNELS, colours_of

DATA = Path(os.environ.get("TAPETUM_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(not (DATA / "odir").is_dir(), reason="TAPETUM_DATA has no odir/")
def test_false_alarms_and_detection_on_odir(tmp_path):
    """On the training patients of ODIR: no false alarm in more than 2,000 images, every swapped image detected."""
    ingest([DATA / "odir"], tmp_path / "odir.tap", IngestConfig(dataset="odir"))
    archive = open_archive(tmp_path / "odir.tap")
    images = [archive.pixels(r.image_id, min_side=64) for r in archive.in_split(Split.TRAIN)]
    names = list(map(str, range(len(images))))
    as_it_is = colours_of(images, names, CHANNELS)
    turned = colours_of([image[..., ::-1] for image in images], names, CHANNELS)
    false, missed = len(as_it_is.swapped), len(images) - len(turned.swapped)
    print(f"ODIR train: {false} false alarms and {missed} missed of {len(images)} images")
    assert len(images) > 2000
    assert false <= 0.001 * len(images)
    assert missed <= 0.001 * len(images)
