"""A phantom clinic with its truth as labels, made and ingested."""

from __future__ import annotations

from pathlib import Path

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.bench.demo import LABELLED, add_truth
from tapetum.phantom import ClinicConfig, make_clinic


def labelled_clinic(folder: Path, clinic: ClinicConfig, fractions: tuple[float, float, float]) -> Archive:
    """Write and ingest the clinic; `fractions` of the patients teach, choose thresholds and are tested."""
    make_clinic(folder / "clinic", clinic)
    add_truth(folder / "clinic")
    settings = IngestConfig(name="phantom clinic", labels="truth", pack="fundus", table=LABELLED, fractions=fractions)
    ingest([folder / "clinic"], folder / "clinic.tap", settings)
    return open_archive(folder / "clinic.tap")
