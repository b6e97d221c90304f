"""Labels from several columns of one table: a cell that was left empty says nothing of its column's findings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.archive.tables.table import map_columns, read_table
from tapetum.archive.upkeep import export
from tapetum.core.errors import DataError

LABELS = [("1", "NPDR"), ("1", "-"), ("0", "0"), ("", "PDR"), ("", "")]
NAN = float("nan")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("columns")
    (folder / "in").mkdir()
    rng, lines = np.random.default_rng(0), ["image,patient,eye,DME,DR,both+of"]
    for i, (dme, dr) in enumerate(LABELS):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(folder / "in" / f"{i}.png")
        lines.append(f"{i}.png,p{i},OD,{dme},{dr},x")
    (folder / "in" / "t.csv").write_text("\n".join(lines))
    config = IngestConfig(labels="DME+DR", label_map="DME:1=oedema,DR:-=", name="columns")
    ingest(folder / "in", folder / "a.tap", config)
    return open_archive(folder / "a.tap")


def ids(archive: Archive) -> list[str]:
    return [r.image_id for r in sorted(archive.records, key=lambda r: r.source)]


def test_labels_carry_their_column(archive: Archive) -> None:
    said = {r.source: r.labels for r in archive.records}
    assert said["0.png"] == ("DME:1", "DR:NPDR")
    assert said["3.png"] == ("DR:PDR",)
    assert said["4.png"] == ()
    assert archive.label_names == ("DME:0", "DR:0", "DR:NPDR", "DR:PDR", "oedema")


def test_an_empty_column_is_unknown_and_not_absent(archive: Archive) -> None:
    expected = [[1, 0], [1, NAN], [0, 0], [NAN, 1], [NAN, NAN]]
    np.testing.assert_array_equal(archive.labels(("oedema", "DR:PDR"), image_ids=ids(archive)), expected)


def test_which_columns_were_filled(archive: Archive) -> None:
    filled = [archive.filled_columns(archive.record(i)) for i in ids(archive)]
    assert filled == [{"DME", "DR"}, {"DME"}, {"DME", "DR"}, {"DR"}, set()]


def test_an_export_comes_back_with_the_same_unknown_labels(archive: Archive, tmp_path: Path) -> None:
    written = export(archive.path, tmp_path / "out")
    assert "labels='DME+DR'" in written.command
    again = tmp_path / "again.tap"
    ingest(tmp_path / "out", again, IngestConfig(labels="DME+DR", label_map="DME:1=oedema,DR:-="))
    back = open_archive(again)
    assert {r.image_id: r.labels for r in back.records} == {r.image_id: r.labels for r in archive.records}
    names = archive.label_names
    np.testing.assert_array_equal(
        back.labels(names, image_ids=ids(archive)), archive.labels(names, image_ids=ids(archive))
    )


def test_a_column_that_has_a_plus_in_its_name_stays_one(tmp_path: Path) -> None:
    place = tmp_path / "t.csv"
    place.write_text("image,patient,A,B,A+B\n")
    table = read_table(place)
    assert map_columns(table, "", labels="A+B", required=())["labels"] == "A+B"
    assert "labels_2" not in map_columns(table, "", labels="A+B", required=())
    several = map_columns(table, "", labels="A + B", required=())
    assert (several["labels"], several["labels_2"]) == ("A", "B")
    with pytest.raises(DataError, match="no column 'C'"):
        map_columns(table, "", labels="A+C", required=())


def test_labels_of_one_column_are_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(tmp_path / "in" / "0.png")
    (tmp_path / "in" / "t.csv").write_text("image,patient,eye,DR\n0.png,p,OD,a:b;c\n")
    ingest(tmp_path / "in", tmp_path / "one.tap", IngestConfig(labels="DR"))
    archive = open_archive(tmp_path / "one.tap")
    assert archive.records[0].labels == ("a:b", "c")
    assert archive.filled_columns(archive.records[0]) == {""}
    assert archive.labels(("a:b", "c"), image_ids=ids(archive)).tolist() == [[1, 1]]
