"""A folder of made-up Topcon files through the whole of `ingest`, pseudonymised; who they are of is found nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kinds_of_files import FDA_PERSON, fda_bytes, fda_chunks
from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.archive.deidentify import Key
from tapetum.core.types import Laterality

CANARIES = {*FDA_PERSON.values(), "SN-778899", "1950-02-03", "19500203"}
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "latin-1")


def photograph(size: int = 192) -> np.ndarray:
    """A reddish disc on black, with structure in it."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    inside = np.hypot(x, y) < size * 0.46
    wave = 20 * np.sin(x / 5) * np.cos(y / 7)
    rgb = np.stack([180 + wave, 90 + wave, 40 + wave / 2], axis=-1) * inside[..., None]
    return rgb.astype(np.uint8)


def found_in(data: bytes) -> list[str]:
    low = data.lower()
    return [f"{word} ({code})" for word in sorted(CANARIES) for code in ENCODINGS if word.lower().encode(code) in low]


def export(root: Path) -> dict[str, bytes]:
    """Two whole files, one cut within its B-scans, one that says more B-scans than it holds."""
    scans = np.random.default_rng(1).integers(0, 256, (4, 48, 64), dtype=np.uint8)
    whole = fda_bytes(fda_chunks(scans, photo=photograph()))
    lying = [(n, d[:17] + b"\x09" + d[18:] if n == "@IMG_JPEG" else d) for n, d in fda_chunks(scans)]
    name = FDA_PERSON["last"]
    files = {
        f"{name}_OD.fda": whole, "left.fda": fda_bytes(fda_chunks(scans[:, ::-1], eye=1)),
        f"{name}_cut.fda": whole[: len(whole) // 2], "lying.fda": fda_bytes(lying),
    }  # fmt: skip
    root.mkdir()
    for file, data in files.items():
        (root / file).write_bytes(data)
    return files


@pytest.mark.parametrize("profile", ["longitudinal", "basic"])
def test_nobody_is_named_in_the_archive(tmp_path: Path, profile: str) -> None:
    files = export(tmp_path / "export")
    assert set(found_in(b"".join(files.values()))) >= {f"{value} (utf-8)" for value in FDA_PERSON.values()}
    key = Key.create(tmp_path / "key.json")
    config = IngestConfig(deidentify=profile, key=str(tmp_path / "key.json"), report_required=False)
    summary = ingest([tmp_path / "export"], tmp_path / "a.tap", config)
    archive = open_archive(tmp_path / "a.tap")
    assert sorted((r.modality, r.frames, r.laterality) for r in archive.records) == [
        ("fundus", 1, Laterality.RIGHT), ("oct", 4, Laterality.RIGHT), ("oct", 4, Laterality.LEFT),
    ]  # fmt: skip
    assert len({r.patient_id for r in archive.records}) == 1
    assert {r.device for r in archive.records} == {"Topcon 3D OCT-2000"}
    assert all((r.captured == "unknown") == (profile == "basic") for r in archive.records)
    assert all(r.captured != "2021-06-05" for r in archive.records)
    reasons = " ".join(q.reason for q in archive.quarantine)
    assert len(archive.quarantine) == summary.quarantined == 2
    assert "ends" in reasons
    assert "lengths that fit" in reasons
    fundus = next(r for r in archive.records if r.modality == "fundus")
    red, _, blue = archive.pixels(fundus.image_id, min_side=0)[80:110, 80:110].reshape(-1, 3).mean(axis=0)
    assert red > 2 * blue
    looked_at = 0
    for file in (tmp_path / "a.tap").rglob("*"):
        assert not found_in(file.name.encode())
        if file.is_file():
            data = file.read_bytes()
            assert not found_in(data), file.name
            assert key.secret not in data
            looked_at += 1
    assert looked_at >= 5
    assert not found_in(" ".join([*summary.notes, *map(str, summary.reasons)]).encode())
    again = ingest([tmp_path / "export"], tmp_path / "a.tap", config)
    assert (again.added, again.digest) == (0, summary.digest)
