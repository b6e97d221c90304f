"""The vault keeps the same promises in a folder and in an object store."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from tapetum.archive.store.vault import Vault, archive_vault, content_id, open_vault
from tapetum.core.errors import ArtefactError, MissingExtraError, UsageError

IMAGES = {content_id(data): data for data in (b"", b"one", b"two" * 1000)}


@pytest.fixture(params=["folder", "file URL", "object store"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> Vault:
    if request.param == "folder":
        return open_vault(tmp_path / "vault")
    if request.param == "file URL":
        return open_vault(f"file://{tmp_path / 'vault'}")
    return open_vault(f"memory://{uuid.uuid4().hex}/vault")


def test_what_is_put_can_be_read_listed_and_removed(vault: Vault) -> None:
    assert vault.ids() == ()
    vault.put(IMAGES.items())
    vault.put(IMAGES.items())
    assert vault.ids() == tuple(sorted(IMAGES))
    for image_id, data in IMAGES.items():
        assert image_id in vault
        assert vault.read(image_id) == data
        assert vault.size(image_id) == len(data)
        assert vault.digest(image_id) == image_id
    assert vault.leftovers() == ()
    assert vault.strangers() == ()
    first, *rest = sorted(IMAGES)
    assert vault.remove([first, content_id(b"never there")]) == 1
    assert vault.remove([first]) == 0
    assert vault.ids() == tuple(rest)
    assert first not in vault
    assert vault.digest(first) == ""
    assert vault.size(first) == 0
    with pytest.raises(ArtefactError, match="not in the vault"):
        vault.read(first)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_only_digests_become_names(vault: Vault, name: str) -> None:
    with pytest.raises(ArtefactError, match="is no image id"):
        assert name in vault


def test_part_and_stranger_are_seen(tmp_path: Path) -> None:
    vault = open_vault(tmp_path)
    vault.put(IMAGES.items())
    (tmp_path / "e3" / ".e3x.part").write_bytes(b"half")
    (tmp_path / "e3" / "notes.txt").write_bytes(b"x")
    (tmp_path / "aa").mkdir()
    (tmp_path / "aa" / ("b" * 64)).write_bytes(b"in the wrong folder")
    assert vault.leftovers() == (tmp_path / "e3" / ".e3x.part",)
    assert vault.strangers() == ("aa/" + "b" * 64, "e3/notes.txt")


def test_cut_file_of_a_crash_is_written_again(tmp_path: Path) -> None:
    image_id = content_id(b"one")
    vault = open_vault(tmp_path)
    vault.put([(image_id, b"one")])
    vault.place(image_id).write_bytes(b"o")
    vault.put([(image_id, b"one")])
    assert vault.read(image_id) == b"one"


def test_upload_that_arrives_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = open_vault("memory://lying/vault")
    real = type(vault._fs).pipe_file
    monkeypatch.setattr(type(vault._fs), "pipe_file", lambda self, path, data, **k: real(self, path, data[::-1], **k))
    with pytest.raises(ArtefactError, match="did not arrive whole"):
        vault.put([(content_id(b"one"), b"one")])
    monkeypatch.undo()
    assert vault.ids() == (), "what arrived otherwise must not stay under that name"


def test_store_that_fails_is_one_error_and_the_rest_goes_on_later(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = open_vault("memory://down/vault")

    def refuse(*args: object, **options: object) -> None:
        raise RuntimeError("no route")

    monkeypatch.setattr(type(vault._fs), "pipe_file", refuse)
    with pytest.raises(ArtefactError, match="does not answer: RuntimeError: no route"):
        vault.put(IMAGES.items())
    monkeypatch.undo()
    vault.put(IMAGES.items())
    assert len(vault.ids()) == len(IMAGES)


def test_credentials_in_the_address_are_refused() -> None:
    with pytest.raises(UsageError, match="credentials") as caught:
        open_vault("s3://key:secret@bucket/x")
    assert "secret" not in str(caught.value)


def test_unknown_driver_says_what_to_install() -> None:
    with pytest.raises((ArtefactError, MissingExtraError), match="nosuch"):
        open_vault("nosuch://bucket/x")


def test_setting_names_the_vault(tmp_path: Path) -> None:
    assert str(archive_vault(tmp_path, {})) == os.fspath(tmp_path / "vault")
    assert str(archive_vault(tmp_path, {"vault": "memory://b/x"})) == "memory://b/x"
    assert str(archive_vault(tmp_path, {"vault": "/elsewhere/images"})) == "/elsewhere/images"


def test_object_has_no_local_place() -> None:
    with pytest.raises(ArtefactError, match="not in a local file"):
        open_vault("memory://b/x").place("a" * 64)
