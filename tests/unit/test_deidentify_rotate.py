"""DICOM objects under another key: what `clean` would have made of the original, byte for byte."""

from __future__ import annotations

import datetime
import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from test_deidentify_headers import WHO, canary, changed, plain

from tapetum.archive.deidentify import Key, Pseudonyms, clean
from tapetum.archive.deidentify.headers import move
from tapetum.archive.deidentify.rekeyed import pseudonym_in, rekeyed
from tapetum.archive.intake.veil import Veil
from tapetum.archive.rows import Row
from tapetum.core.errors import ArtefactError, DataError
from tapetum.phantom.identifiers import draw_identity

OLD, NEW = Key(bytes(range(32))), Key(bytes(range(1, 33)))


def check(data: bytes, patient: str, profile: str) -> bool:
    """Whether something was there to be compared; fails where the bytes differ."""
    old, new = Pseudonyms(OLD, profile), Pseudonyms(NEW, profile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            before = clean(data, pseudonyms=old, patient_id=patient, identifiers={})
            after = clean(data, pseudonyms=new, patient_id=patient, identifiers={})
        except DataError:
            return False
        assert pseudonym_in(before.data) == old.patient(patient)
        made = rekeyed(before.data, old, new, patient, before.replaced)
    assert made == after.data
    assert made != before.data
    for pseudonym in (old.patient(patient), *before.replaced):
        assert pseudonym.encode() not in made
    return True


@pytest.mark.parametrize("profile", ["longitudinal", "basic"])
def test_equals_a_fresh_cleaning(profile):
    assert check(canary(), WHO.patient_id, profile)
    assert check(plain(), "P0001", profile)


@pytest.mark.parametrize("profile", ["longitudinal", "basic"])
def test_odd_dates_and_nested_uids(profile):
    def edit(ds):
        ds.StudyDate = "00010103"  # no key may keep what another one loses
        ds.ContentDate = "99991230"
        ds.AcquisitionDateTime = "20230502101500.5+0100"
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, "1.2.3.4.5"
        ds.ReferencedImageSequence = pydicom.Sequence([item, item])

    assert check(changed(plain(), edit), "P0001", profile)


@pytest.mark.parametrize("profile", ["longitudinal", "basic"])
def test_objects_that_come_with_pydicom(profile):
    compared = 0
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm")):
        data = path.read_bytes()
        if len(data) < 2**19:
            compared += check(data, "4711", profile)
    assert compared >= 40


def test_dates_move_back_and_forth():
    for text in ("20230502", "20230502101500.5+0100"):
        assert move(move(text, -3000), 3000, again=True) == text
    assert move("00010103", 3) == move("00010103", 3000) == ""
    assert move("00090103", -3, again=True) == "00081231"


def test_a_pseudonym_without_original_is_refused():
    old, new = Pseudonyms(OLD), Pseudonyms(NEW)
    before = clean(plain(), pseudonyms=old, patient_id="P0001", identifiers={})
    assert pydicom.dcmread(io.BytesIO(before.data)).SOPInstanceUID in before.replaced
    with pytest.raises(ArtefactError, match="not kept"):
        rekeyed(before.data, old, new, "P0001", {})


@pytest.mark.parametrize("profile", ["longitudinal", "basic"])
def test_what_is_sealed_of_a_report_is_enough_and_not_more(profile):
    """Scrubbed with the identifiers that stand in it, a report becomes what it becomes with all of them."""
    veil, rng = Veil(OLD, profile), np.random.default_rng(5)
    for number in range(60):
        who = draw_identity(rng, 20 + number, datetime.date(2023, 5, 2))
        identifiers = {kind: getattr(who, kind) for kind in ("name", "birth_date", "phone", "address", "accession")}
        named = rng.permutation([*identifiers.values(), who.patient_id, "02/05/2023", "CDR 0.3, no haemorrhage"])
        report = ". ".join(named[: number % 7])
        row = Row("a.jpg", 2, who.patient_id, bytes, captured="2023-05-02", report=report, identifiers=identifiers)
        written = veil.write(row)
        (sealed,) = (i.sealed for i in written.identities if i.kind == "origin")
        origin = veil.origin(sealed)
        hidden = veil.hide(origin)
        assert (hidden.report if hidden.report is not None else report) == written.row.report
        assert (hidden.patient_id, hidden.captured) == (written.row.patient_id, written.row.captured)
        assert hidden.identities == written.identities
        assert (origin.report is None) == (written.row.report == report)
        if who.phone not in report:
            assert who.phone not in origin.text()
        if "/" not in report and who.birth_date not in report:
            assert who.birth_date not in origin.text()
