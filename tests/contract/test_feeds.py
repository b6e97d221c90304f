"""What sources behind an address promise: they ask nothing before they are read, and refuse at once what is wrong."""

from __future__ import annotations

import inspect
import socket
from pathlib import Path

import pytest

from tapetum.archive import IngestConfig
from tapetum.archive.exports.finding import find_export
from tapetum.archive.pacs.source import Source
from tapetum.core.errors import TapetumError, UsageError
from tapetum.core.registry import Family

FEEDS = Family("tapetum.archive.feeds")
ADDRESSES = {"dicomweb": "http://127.0.0.1:9/dicom-web", "cstore": "HERE@127.0.0.1:9"}


def test_every_member_has_an_address_to_be_tried_with() -> None:
    assert set(ADDRESSES) == set(FEEDS.names())


@pytest.mark.parametrize("name", FEEDS.names())
def test_nothing_is_asked_and_nothing_written_before_it_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "bind", refuse)
    source = FEEDS.build(name)(ADDRESSES[name])
    assert isinstance(source, Source)
    assert source.name
    assert not (tmp_path / "state").exists()
    assert all(o.default is not inspect.Parameter.empty for o in FEEDS.options(name).values())


@pytest.mark.parametrize("name", FEEDS.names())
@pytest.mark.parametrize("address", ["", "nowhere", "ftp://h/x", "a@b:c@d"])
def test_a_wrong_address_ends_before_an_archive_is_made(name: str, address: str) -> None:
    with pytest.raises(TapetumError):
        list(FEEDS.build(name)(address).check())


@pytest.mark.parametrize("name", FEEDS.names())
@pytest.mark.parametrize(
    "config", [IngestConfig(table="t.csv"), IngestConfig(labels="x"), IngestConfig(map="a=b"), IngestConfig(reader="x")]
)
def test_a_table_or_another_reader_is_refused(name: str, config: IngestConfig) -> None:
    with pytest.raises(UsageError):
        find_export(f"{name}:{ADDRESSES[name]}", config)
