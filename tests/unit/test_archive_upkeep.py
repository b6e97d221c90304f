"""Looking after an archive: nothing needed is thrown away, what is handed on can be read again, a patient is gone."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapetum.archive import ingest, open_archive, verify
from tapetum.archive.store.catalog import FORGETTING, Catalog, Identity, SightRow
from tapetum.archive.store.vault import Vault, content_id
from tapetum.archive.upkeep import export, forget, gc
from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.types import Split

SECRET = "Zebrafinch"  # the patient to be forgotten; the word stands in every text of theirs
COLUMNS = "file,patient,eye,age,sex,date,report,label\n"


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def make(root: Path, patients: tuple[str, ...] = ("ann", "bob", "cid", SECRET)) -> Path:
    """Two images of each patient, and one of theirs that cannot be read."""
    (root / "images").mkdir(parents=True)
    lines = []
    for i, patient in enumerate(patients):
        for eye in ("OD", "OS"):
            name = f"{patient}_{eye}.png"
            (root / "images" / name).write_bytes(picture(zlib.crc32(name.encode())))
            lines.append(f'{name},{patient},{eye},{50 + i},F,2020-01-0{i + 1},"{patient} has, as said, drusen",A;B\n')
        lines.append(f"{patient}_gone.png,{patient},OD,{50 + i},F,2020-01-01,{patient} again,A\n")
    (root / "clinic.csv").write_text(COLUMNS + "".join(lines), encoding="utf-8")
    return root


@pytest.fixture
def place(tmp_path: Path) -> Path:
    out = tmp_path / "a.tap"
    ingest([make(tmp_path / "clinic")], out)
    return out


def bytes_below(place: Path) -> dict[str, bytes]:
    return {p.relative_to(place).as_posix(): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}


def holders(place: Path, *words: str) -> set[str]:
    """Files whose name or bytes hold a word, in any spelling that this package writes."""
    spelt = [w.encode(code) for w in words for code in ("utf-8", "utf-16-le", "utf-32-le")]
    return {n for n, data in bytes_below(place).items() if any(s in n.encode() or s in data for s in spelt)}


def fill_cache(place: Path, ids: list[str]) -> Path:
    folder = open_archive(place).cache / "embeddings" / "tiny-0123"
    folder.mkdir(parents=True)
    np.savez(folder / "one.npz", ids=np.array(ids, dtype=np.str_), rows=np.arange(2 * len(ids)).reshape(-1, 2))
    np.savez(folder / "kept.npz", ids=np.array(ids[-1:], dtype=np.str_), rows=np.ones((1, 2)))
    return folder


# gc


def test_gc_of_a_clean_archive_finds_nothing(place: Path) -> None:
    before = {n: d for n, d in bytes_below(place).items() if n.startswith(("vault", "records"))}
    found = gc(place)
    assert (found.images, found.files, found.bytes, found.rows) == ((), (), 0, 0)
    assert {n: d for n, d in bytes_below(place).items() if n.startswith(("vault", "records"))} == before
    assert verify(place) == ()


def test_gc_takes_orphans_parts_old_snapshots_and_rows_of_lost_images(place: Path) -> None:
    vault, orphan, lost = Vault(place / "vault"), content_id(b"orphan"), "f" * 64
    vault.put([(orphan, b"orphan")])
    part = vault.path / orphan[:2] / ".x.part"
    part.write_bytes(b"1234")
    (place / "records-000000000000.parquet").write_bytes(b"old")
    (place / ".meta.json.1.part").write_bytes(b"{")
    ids = [r.image_id for r in open_archive(place).records]
    shards = fill_cache(place, [lost, *ids])
    catalog = Catalog(place / "catalog.sqlite")
    with catalog.writing() as run:
        catalog.write(
            [], run, seen={"digest": lost, "kept": ids[0]}, identities=[Identity("patient", "nobody", b"x"),
            Identity("patient", "ann", b"y")],
            sights=[SightRow(i, {}, np.zeros(1), np.zeros(1, np.float32)) for i in (lost, ids[0])],
        )  # fmt: skip
    catalog.close()
    assert any("no row speaks" in line and orphan[:12] in line for line in verify(place))

    would = gc(place, dry_run=True)
    assert orphan in vault
    assert part.exists()
    did = gc(place)
    assert dataclasses.replace(did, dry_run=True) == would
    assert did.images == (orphan,)
    assert did.rows == 3
    assert did.bytes == len(b"orphan") + 4 + 3 + 1
    assert len(did.files) == 4, did.files
    assert verify(place) == ()
    assert gc(place) == dataclasses.replace(did, images=(), files=(), bytes=0, rows=0)
    kept = {str(i) for f in shards.glob("*.npz") for i in np.load(f)["ids"]}
    assert kept == set(ids)
    catalog = Catalog(place / "catalog.sqlite")
    assert catalog.was_seen("kept") == ids[0]
    assert [i.pseudonym for i in catalog.identities()] == ["ann"]
    catalog.close()


def test_gc_keeps_quarantined_images(tmp_path: Path) -> None:
    """Two patients claim one image: it is in no record, yet a later ingest may release it."""
    root = make(tmp_path / "clinic", ("ann", "bob"))
    (root / "images" / "bob_OD.png").write_bytes((root / "images" / "ann_OD.png").read_bytes())
    ingest([root], tmp_path / "a.tap")
    assert len(open_archive(tmp_path / "a.tap").records) == 2
    assert gc(tmp_path / "a.tap").images == ()
    assert len(Vault(tmp_path / "a.tap" / "vault").ids()) == 3


def test_gc_of_a_damaged_archive_throws_nothing_away(place: Path) -> None:
    records = next(place.glob("records-*.parquet"))
    records.write_bytes(records.read_bytes()[:-50])
    before = bytes_below(place)
    with pytest.raises(ArtefactError):
        gc(place)
    assert bytes_below(place) == before


# export


def test_export_comes_back_the_same(place: Path, tmp_path: Path) -> None:
    done = export(place, tmp_path / "handed" / "on")
    assert (done.images, done.patients) == (8, 4)
    assert done.command == "tapetum ingest on --out NEW.tap"
    ingest([done.path], tmp_path / "b.tap")
    first, second = open_archive(place), open_archive(tmp_path / "b.tap")
    assert len(second.records) == 8
    for one, two in zip(first.records, second.records, strict=True):
        same = {"source": "", "split": Split.NONE, "provenance": {}, "mm_per_pixel": 0.0, "gradable": 0.0}
        assert dataclasses.replace(one, **same) == dataclasses.replace(two, **same)
    text = (done.path / "README.md").read_text()
    assert first.digest in text
    assert "pseudonymised only if" in text
    with (done.path / "images.csv").open(newline="") as stream:
        assert {row["split"] for row in csv.DictReader(stream)} == {r.split.value for r in first.records}


def test_export_of_one_split(place: Path, tmp_path: Path) -> None:
    wanted = {r.image_id for r in open_archive(place).records if r.split is Split.TEST}
    done = export(place, tmp_path / "test", splits=["test"])
    assert {content_id(p.read_bytes()) for p in (done.path / "images").iterdir()} == wanted
    assert done.images == len(wanted) > 0


def test_export_refuses_to_overwrite_and_leaves_nothing_half(place: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(ArtefactError, match="exists"):
        export(place, tmp_path / "full")
    with pytest.raises(UsageError, match="form"):
        export(place, tmp_path / "new", form="tar")
    with pytest.raises(UsageError, match="tset"):
        export(place, tmp_path / "new", splits=["tset"])
    Vault(place / "vault").remove([open_archive(place).records[-1].image_id])
    with pytest.raises(ArtefactError, match="not in the vault"):
        export(place, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".*"))


# forget


def checkpoint(folder: Path, kind: str, digest: str, **parents: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"kind": kind, "digest": digest, "parents": parents}))
    return folder


def test_forgotten_patient_is_in_no_byte(place: Path, tmp_path: Path) -> None:
    """Grep for the id, the words of the reports, the images' ids, in the encodings that files here use."""
    archive = open_archive(place)
    theirs = [r.image_id for r in archive.records if r.patient_id == SECRET]
    others = [r.image_id for r in archive.records if r.patient_id != SECRET]
    shards = fill_cache(place, [*theirs, *others])
    (archive.cache / "else.bin").write_bytes(SECRET.encode())
    catalog = Catalog(place / "catalog.sqlite")
    with catalog.writing() as run:
        catalog.write(
            [], run, seen={f"d{i}": image_id for i, image_id in enumerate(theirs)},
            sights=[SightRow(i, {"x": SECRET}, np.zeros(1), np.zeros(1, np.float32)) for i in theirs],
            identities=[Identity("patient", SECRET, SECRET.encode()), Identity("patient", "ann", b"sealed")],
        )  # fmt: skip
    catalog.close()
    assert {"catalog.sqlite", "quarantine.csv", ".cache/else.bin"} <= holders(place, SECRET)
    assert holders(place, *theirs) >= {".cache/embeddings/tiny-0123/one.npz"}

    done = forget(place, SECRET)

    assert done.images == tuple(sorted(theirs))
    assert done.mentions == ()
    assert holders(place, SECRET, SECRET.lower(), *theirs, *(i[:12] for i in theirs)) == set()
    assert verify(place) == ()
    after = open_archive(place)
    assert [r.image_id for r in after.records] == others
    assert {q.file for q in after.quarantine} == {q.file for q in archive.quarantine if SECRET not in q.file}
    assert {str(i) for f in shards.glob("*.npz") for i in np.load(f)["ids"]} == set(others)
    with pytest.raises(DataError, match="no patient"):
        forget(place, SECRET)
    catalog = Catalog(place / "catalog.sqlite")
    assert [i.pseudonym for i in catalog.identities()] == ["ann"]
    catalog.close()


def test_rows_that_were_kept_in_a_shard_keep_their_numbers(place: Path) -> None:
    archive = open_archive(place)
    ids = [r.image_id for r in archive.records]
    shards = fill_cache(place, ids)
    forget(place, SECRET)
    found = {str(i): row.tolist() for f in shards.glob("*.npz") if f.stem != "kept"
             for i, row in zip(np.load(f)["ids"], np.load(f)["rows"], strict=True)}  # fmt: skip
    wanted = {r.image_id: [2 * n, 2 * n + 1] for n, r in enumerate(archive.records) if r.patient_id != SECRET}
    assert found == wanted


def test_models_that_saw_the_patient_are_listed(place: Path, tmp_path: Path) -> None:
    """Also those of an earlier snapshot, and those that were made from such a model; not those from before."""
    first = open_archive(place).digest
    more = make(tmp_path / "more", ("dan",))
    ingest([more], place)
    second = open_archive(place).digest
    runs = tmp_path / "runs"
    old = checkpoint(runs / "old", "checkpoint", "m1", archive=first)
    tuned = checkpoint(runs / "deep" / "tuned", "checkpoint", "m2", model="m1")
    scores = checkpoint(runs / "scores", "predictions", "s1", archive=second, model="m9")
    checkpoint(runs / "other", "checkpoint", "m3", archive="some other archive")
    (runs / "foreign").mkdir()
    (runs / "foreign" / "meta.json").write_text("[]")
    done = forget(place, "dan", search=[runs])
    assert (done.checkpoints, done.artefacts) == ((), (scores,)), "dan came after the first snapshot"
    done = forget(place, SECRET, search=[runs])
    assert done.checkpoints == (tuned, old)
    assert done.artefacts == (scores,)


def test_unknown_patient_changes_nothing(place: Path) -> None:
    digest = open_archive(place).digest
    with pytest.raises(DataError, match="no patient 'nobody'"):
        forget(place, "nobody")
    assert open_archive(place).digest == digest
    assert verify(place) == ()


def test_patient_whose_rows_were_all_refused_is_forgotten_too(tmp_path: Path) -> None:
    root = make(tmp_path / "clinic", ("ann", "bob"))
    with (root / "clinic.csv").open("a") as stream:
        stream.write(f"x1.png,{SECRET},OD,40,F,2020-01-01,first,A\nx2.png,{SECRET},OS,40,M,2020-01-01,second,A\n")
    for number in (1, 2):
        (root / "images" / f"x{number}.png").write_bytes(picture(90 + number))
    ingest([root], tmp_path / "a.tap")
    assert SECRET in (tmp_path / "a.tap" / "quarantine.csv").read_text(), "F and M contradict each other"
    done = forget(tmp_path / "a.tap", SECRET)
    assert len(done.images) == 2
    assert holders(tmp_path / "a.tap", SECRET, *done.images) == set()


def test_other_patients_report_that_names_the_patient_is_said(place: Path, tmp_path: Path) -> None:
    root = make(tmp_path / "sibling", ("eve",))
    table = root / "clinic.csv"
    table.write_text(table.read_text().replace("eve has", f"sister of {SECRET}"))
    ingest([root], place)
    done = forget(place, SECRET)
    assert len(done.mentions) == 2
    assert all(SECRET not in mention for mention in done.mentions)
    assert {r.patient_id for r in open_archive(place).records} == {"ann", "bob", "cid", "eve"}


@pytest.mark.parametrize("step", ["write_snapshot", "_clean_cache"])
def test_interrupted_forget_is_said_and_gone_on_with(place: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    import importlib

    engine = importlib.import_module("tapetum.archive.upkeep.forget")
    theirs = [r.image_id for r in open_archive(place).records if r.patient_id == SECRET]

    def dies(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, step, dies)
    with pytest.raises(KeyboardInterrupt):
        forget(place, SECRET)
    monkeypatch.undo()
    assert any("half forgotten" in line for line in verify(place))
    with pytest.raises(ArtefactError, match="another patient was interrupted"):
        forget(place, "ann")
    done = forget(place, SECRET)
    assert done.images == tuple(sorted(theirs))
    assert holders(place, SECRET, *theirs) == set()
    assert verify(place) == ()


def test_reader_in_the_way_is_said(place: Path) -> None:
    """Deleted rows stay in the log while another process reads it: not called done before they are gone."""
    reader = Catalog(place / "catalog.sqlite")
    reader.connection.execute("PRAGMA busy_timeout=10")
    cursor = reader.connection.execute("SELECT * FROM statements")
    cursor.fetchone()
    with pytest.raises(ArtefactError, match="another process reads"):
        forget(place, SECRET)
    assert reader.setting(FORGETTING) == "", "its own view is from before"
    cursor.close()
    reader.close()
    forget(place, SECRET)
    assert holders(place, SECRET) == set()


def test_second_writer_waits_outside(place: Path) -> None:
    """Upkeep takes the single writer's lock: process 1 of this boot is taken to be writing."""
    catalog = Catalog(place / "catalog.sqlite")
    with catalog.writing():
        started = Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]
        catalog.connection.execute("UPDATE writer SET pid = 1, started = ?", (started,))
        for act in (lambda: gc(place), lambda: forget(place, SECRET)):
            with pytest.raises(ArtefactError, match="process 1 is writing"):
                act()
    catalog.close()
