"""Artefacts: written whole or not at all, with a digest of their content; what is no artefact is never replaced."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tapetum.core import store
from tapetum.core.errors import ArtefactError
from tapetum.core.store import Meta, atomic_write, content_digest, file_digest, new_artefact, read_meta

META = Meta(kind="records", version="1.2.3", command="tapetum test", parents={"archive": "ab"}, config={"k": 1}, seed=7)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_atomic_write_replaces_and_leaves_nothing_beside(tmp_path):
    target = tmp_path / "new" / "folder" / "file.txt"
    atomic_write(target, "first")
    atomic_write(target, b"second \xff")
    assert target.read_bytes() == b"second \xff"
    assert names(target.parent) == ["file.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_atomic_write_keeps_the_old_file_when_a_step_fails(tmp_path, monkeypatch, step):
    target = tmp_path / "file.txt"
    atomic_write(target, "old")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, step, no_space)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(target, "new")
    monkeypatch.undo()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_new_artefact_carries_meta_and_digest(tmp_path):
    out = tmp_path / "deep" / "run"
    with new_artefact(out, META) as part:
        assert part != out
        assert not out.exists()
        (part / "a.txt").write_text("A")
    line = f"a.txt\0{hashlib.sha256(b'A').hexdigest()}\n"
    meta = read_meta(out, "records")
    assert meta.digest == hashlib.sha256(line.encode()).hexdigest() == content_digest(out)
    assert (meta.version, meta.command, meta.parents, meta.config, meta.seed, meta.schema) == (
        "1.2.3", "tapetum test", {"archive": "ab"}, {"k": 1}, 7, store.SCHEMA,
    )  # fmt: skip
    assert names(out.parent) == ["run"]


def test_an_exception_inside_leaves_the_old_artefact(tmp_path):
    out = tmp_path / "run"
    with new_artefact(out, META) as part:
        (part / "a.txt").write_text("old")
    before = read_meta(out, "records")

    def spoil():
        with new_artefact(out, META) as part:
            (part / "a.txt").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spoil()
    assert (out / "a.txt").read_text() == "old"
    assert read_meta(out, "records") == before
    assert names(tmp_path) == ["run"]


def test_an_artefact_is_replaced_whole(tmp_path):
    out = tmp_path / "run"
    for name in ("first.txt", "second.txt"):
        with new_artefact(out, META) as part:
            (part / name).write_text(name)
    assert names(out) == ["meta.json", "second.txt"]
    assert names(tmp_path) == ["run"]


def test_a_folder_of_photographs_is_never_replaced(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "1.jpg").write_bytes(b"x")
    with pytest.raises(ArtefactError, match="no artefact"), new_artefact(photographs, META):
        pytest.fail("the folder was opened for writing")
    assert names(photographs) == ["1.jpg"]
    with pytest.raises(ArtefactError), new_artefact(photographs / "1.jpg", META):
        pytest.fail("the file was opened for writing")
    assert (photographs / "1.jpg").read_bytes() == b"x"


def test_an_empty_folder_may_be_filled(tmp_path):
    out = tmp_path / "empty"
    out.mkdir()
    with new_artefact(out, META) as part:
        (part / "a").write_text("")
    assert names(out) == ["a", "meta.json"]


def test_digest_follows_bytes_and_names_and_nothing_else(tmp_path):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "a.bin"
    file.write_bytes(bytes(100))
    first = content_digest(tmp_path)
    os.utime(file, (0, 0))
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / "meta.json").write_text("{}")
    assert content_digest(tmp_path) == first
    file.write_bytes(bytes(99) + b"\1")
    changed = content_digest(tmp_path)
    assert changed != first
    file.write_bytes(bytes(100))
    assert content_digest(tmp_path) == first
    file.rename(tmp_path / "sub" / "b.bin")
    assert content_digest(tmp_path) not in (first, changed)


def test_file_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_read_meta_says_what_is_wrong(tmp_path):
    with pytest.raises(ArtefactError, match=r"has no meta\.json"):
        read_meta(tmp_path, "archive")
    with pytest.raises(ArtefactError, match=r"has no meta\.json"):
        read_meta(tmp_path / "absent", "archive")
    file = tmp_path / "meta.json"
    file.write_text('{"kind": "arch')
    with pytest.raises(ArtefactError, match="is damaged"):
        read_meta(tmp_path, "archive")
    file.write_text(json.dumps({"kind": "records", "schema": store.SCHEMA}))
    with pytest.raises(ArtefactError, match="kind 'records'") as caught:
        read_meta(tmp_path, "archive")
    assert caught.value.expected == "kind 'archive'"
    file.write_text(json.dumps({"kind": "archive", "schema": store.SCHEMA + 1}))
    with pytest.raises(ArtefactError, match=f"has schema {store.SCHEMA + 1}"):
        read_meta(tmp_path, "archive")


def test_the_command_line_names_no_folder(monkeypatch):
    monkeypatch.setattr(store.sys, "argv", ["/somewhere/deep/tapetum", "embed", "clinic.tap"])
    assert store.command_line() == "tapetum embed clinic.tap"


def test_an_artefact_of_another_kind_is_never_replaced(tmp_path):
    place = tmp_path / "a"
    with new_artefact(place, Meta("archive")) as folder:
        (folder / "x").write_text("images")
    with pytest.raises(ArtefactError, match="kind 'archive'"), new_artefact(place, Meta("records")):
        pass
    assert (place / "x").read_text() == "images"


def test_a_failed_swap_brings_the_old_one_back(tmp_path, monkeypatch):
    place = tmp_path / "a"
    with new_artefact(place, Meta("records")) as folder:
        (folder / "x").write_text("old")
    real, calls = os.replace, []

    def failing(source, target):
        calls.append(source)
        if Path(target) == place and Path(source).suffix == ".part":
            raise OSError("no room")
        return real(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="no room"), new_artefact(place, Meta("records")) as folder:
        (folder / "x").write_text("new")
    assert calls
    assert (place / "x").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("raw", ["[]", '"text"', '{"kind": "records", "schema": 1, "colour": 3}', "{"])
def test_a_strange_meta_is_refused_in_words(tmp_path, raw):
    (tmp_path / "meta.json").write_text(raw)
    with pytest.raises(ArtefactError):
        read_meta(tmp_path, "records")
