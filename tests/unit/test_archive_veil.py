"""The veil: what of a row may be written where an archive is pseudonymised."""

from __future__ import annotations

from tapetum.archive.deidentify import Key
from tapetum.archive.intake.veil import OpenVeil, Veil
from tapetum.archive.rows import Row

KEY = Key(bytes(range(32)))


def row(*labels: str) -> Row:
    identifiers = {"name": "Bergmann^Anna", "phone": "0151 2345678"}
    return Row("bergmann.png", 2, "MRN-77", lambda: b"", labels=labels, identifiers=identifiers)


def test_labels_lose_who_the_patient_is_and_nothing_else() -> None:
    told = ("glaucoma", "Anna Bergmann", "seen 2021-03-04", "MRN-77: drusen", "Stargardt's or Best's", "no. 1234567")
    written = Veil(KEY, "longitudinal").write(row(*told)).row
    assert written.labels[0] == "glaucoma"
    assert written.labels[4] == "Stargardt's or Best's"
    everything = " ".join(written.labels).lower()
    for word in ("anna", "bergmann", "2021", "mrn-77", "1234567"):
        assert word not in everything
    assert "drusen" in everything
    assert OpenVeil().write(row(*told)).row.labels == told
