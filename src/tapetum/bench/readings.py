"""The book of readings: how often a test set has been read, and with how many settings; it lies beside the archive."""

from __future__ import annotations

import json

from tapetum.archive import Archive

READS = "test_reads.jsonl"


def count_reading(archive: Archive, split: str, what: str, protocol: str = "") -> int:
    """Write down beside the archive that a split was tested on.

    Args:
        archive: the tested one.
        split: of it; `all` = as a whole.
        what: digest of how, or its name.
        protocol: what was run.

    Returns:
        How often it has now been read, this time included.
    """
    before = readings(archive, split)
    with (archive.path / READS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"split": split, "config": what, "protocol": protocol}) + "\n")
    return before + 1


def readings(archive: Archive, split: str) -> int:
    """How often a split has been tested on so far; `all` = the archive as a whole."""
    return len(_book(archive, split))


def settings_tried(archive: Archive, split: str) -> int:
    """With how many different settings or protocols a split has been tested on so far; repeats count once."""
    return len({(line.get("config"), line.get("protocol", "")) for line in _book(archive, split)})


def _book(archive: Archive, split: str) -> list[dict[str, str]]:
    place = archive.path / READS
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    return [line for line in (json.loads(text) for text in lines if text.strip()) if line.get("split") == split]
