"""An independent anonymiser, generated from PS3.15 table E.1-1, removes nothing that we keep."""

from __future__ import annotations

import copy
import io
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tapetum.archive.deidentify import Key, Pseudonyms, clean
from tapetum.archive.deidentify.profile import load_profile
from tapetum.phantom.dicom import Header, wrap

oracle = pytest.importorskip("dicomanonymizer.simpledicomanonymizer", reason="dicom-anonymizer is not installed")
table = pytest.importorskip("dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c")

NAMES = Pseudonyms(Key(bytes(range(32))))
# Options of the profile that the oracle does not take: modified dates, clean descriptors.
OPTIONS = {"date", "descriptor"}
VALUE = {
    "DA": "20230502", "TM": "101500", "DT": "20230502101500", "UI": "1.2.3.4.5", "PN": "Zanzibarx^Quux",
    "CS": "ZANZIBARX", "IS": "4242", "DS": "4242.5", "US": 4242, "UL": 4242, "SS": 42, "SL": 42, "FD": 4.2, "FL": 4.2,
    "AT": 0x00100010, "OB": b"Zanzibarx ", "OW": b"Zanzibarx ", "UN": b"Zanzibarx ", "UR": "http://zanzibarx",
    "AS": "042Y","AE": "ZANZIBARX",
}  # fmt: skip


def full():
    """An object with every attribute of the table."""
    jpeg = io.BytesIO()
    from PIL import Image

    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(jpeg, "JPEG")
    data = wrap(jpeg.getvalue(), 64, Header("k", "P1", "F", 61, "OD", "2023-05-02", "cam", "site", 1))
    ds = pydicom.dcmread(io.BytesIO(data))
    for tag in table.ALL_TAGS:
        if len(tag) != 2 or not keyword_for_tag(tag) or tag[0] in (0x0000, 0x0002, 0x0004, 0x7FE0, 0xFFFC):
            continue
        vr = dictionary_VR(tag).split(" or ")[0]
        if vr == "SQ":
            item = Dataset()
            item.PatientName, item.ReferencedSOPInstanceUID = "Zanzibarx^Quux", "1.2.3.4.5"
            ds.add_new(tag, "SQ", Sequence([item]))
        else:
            ds.add_new(tag, vr, VALUE.get(vr, "Zanzibarx"))
    return ds


def written(ds):
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(stream)
    return stream.getvalue()


def test_whatever_the_oracle_removes_or_changes_we_do_not_keep():
    before = full()
    theirs = copy.deepcopy(before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle.anonymize_dataset(theirs)
    made = clean(written(before), pseudonyms=NAMES, patient_id="P1", identifiers={}).data
    ours, kept = pydicom.dcmread(io.BytesIO(made)), []
    action = load_profile().action
    for element in before:
        tag = element.tag
        if tag.group in (0x0002, 0x7FE0) or action.get(int(tag)) in OPTIONS:
            continue
        gone = tag not in theirs
        changed = not gone and theirs[tag].value != element.value
        if (gone or changed) and tag in ours and ours[tag].value == element.value and element.value not in ("", None):
            kept.append(f"{element.keyword} ({'removed' if gone else 'changed'})")
    assert len(before) > 500
    assert kept == []


def test_options_change_the_value_all_the_same():
    before = full()
    ours = pydicom.dcmread(io.BytesIO(clean(written(before), pseudonyms=NAMES, patient_id="P1", identifiers={}).data))
    action = load_profile().action
    for element in before:
        if action.get(int(element.tag)) in OPTIONS and dictionary_VR(element.tag) != "TM" and element.tag in ours:
            assert ours[element.tag].value != element.value, element.keyword


def test_the_name_is_nowhere():
    made = clean(written(full()), pseudonyms=NAMES, patient_id="P1", identifiers={}).data
    assert b"zanzibarx" not in made.lower()
    assert b"quux" not in made.lower()


def test_no_attribute_of_the_standards_table_is_on_our_plain_keep_list():
    listed = {(t[0] << 16) | t[1] for t in table.ALL_TAGS if len(t) == 2}
    kept = {tag for tag, action in load_profile().action.items() if action in ("keep", "device", "code")}
    assert {keyword_for_tag(t) for t in kept & listed} == {"ReferencedImageSequence", "SourceImageSequence"}
