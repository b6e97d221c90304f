"""What holds for every text: spans in order, no identifier left, no measurement lost, hostile texts in linear time."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.archive.deidentify import Key, Pseudonyms
from tapetum.archive.deidentify.text import find_identifiers, scrub
from tapetum.archive.deidentify.text.folding import fold

PSEUDONYMS = Pseudonyms(Key(bytes(range(32))))
MEASURES = st.one_of(
    st.builds("20/{}".format, st.sampled_from([15, 20, 25, 30, 40, 50, 60, 80, 100, 200, 400])),
    st.builds("6/{}".format, st.sampled_from([5, 6, 9, 12, 18, 24, 36, 60])),
    st.builds("C/D 0.{}".format, st.integers(1, 9)),
    st.builds("{} mmHg".format, st.integers(5, 60)),
    st.builds("{} years".format, st.integers(1, 89)),
    st.builds("grade {}".format, st.integers(0, 4)),
    st.builds("R{0} M{1}".format, st.integers(0, 3), st.integers(0, 1)),
    st.builds("{} µm".format, st.integers(80, 2099)),
    st.builds("x{}".format, st.integers(1, 20)),
    st.builds("{} DD".format, st.integers(1, 9)),
    st.sampled_from(["24-2", "30-2", "10-2", "1+", "2+", "2/52", "3/12", "H35.31", "E11.3511", "logMAR 0.3"]),
    st.builds("MD -{}.{:02d} dB".format, st.integers(0, 30), st.integers(0, 99)),
    st.builds("{} cells/mm2".format, st.integers(800, 3200)),
)
WORDS = st.sampled_from(
    ["drusen", "no", "IOP", "right eye", "left eye,", "seen;", "stable.", "VA", "with", "disc", "黄斑", "fóvea"]
)
PARTS = st.lists(st.one_of(MEASURES, WORDS), max_size=5)
NAMES = st.sampled_from(
    ["Quxley^Anna", "Brandvoll^Søren", "García-López^José", "O'Neill^Mia", "van der Berg^Wei", "张^伟"]
)


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=200),
    st.dictionaries(st.sampled_from(["name", "phone", "address", "other_id", "birth_date"]), st.text(max_size=30)),
)
def test_spans_are_in_order_and_inside_any_text(text: str, identifiers: dict[str, str]) -> None:
    spans = find_identifiers(text, identifiers=identifiers)
    assert all(0 <= span.start < span.end <= len(text) for span in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    assert spans == find_identifiers(text, identifiers=identifiers)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(MEASURES, WORDS), min_size=1, max_size=12), st.sampled_from([" ", ", ", "; "]))
def test_no_measurement_is_blanked(parts: list[str], gap: str) -> None:
    text = gap.join(parts)
    found = [(text[span.start : span.end], span.why) for span in find_identifiers(text)]
    assert found == []


@settings(max_examples=150, deadline=None)
@given(
    NAMES,
    st.lists(st.one_of(MEASURES, WORDS), max_size=5),
    st.lists(st.one_of(MEASURES, WORDS), max_size=5),
    st.integers(0, 4),
)
def test_a_known_name_never_survives_and_measurements_do(
    name: str, before: list[str], after: list[str], way: int
) -> None:
    family, first = name.split("^")
    written = (
        name,
        f"{first} {family}",
        f"{family}, {first}",
        f"{first} {family}".upper(),
        f"{first} {family}".lower(),
    )[way]
    text = " ".join([*before, written, *after])
    out = scrub(text, identifiers={"name": name}, patient_id="P77", pseudonyms=PSEUDONYMS)
    assert fold(family)[0] not in fold(out.text)[0]
    assert out.text == " ".join([*before, PSEUDONYMS.patient("P77"), *after])


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=150))
def test_pieces_between_spans_stay_as_they_are(text: str) -> None:
    out = scrub(text, identifiers={}, patient_id="P77", pseudonyms=PSEUDONYMS)
    rebuilt, end = "", 0
    for span in out.spans:
        rebuilt += text[end : span.start] + span.surrogate
        end = span.end
    assert rebuilt + text[end:] == out.text


@pytest.mark.parametrize(
    "piece", ["1", "A ", "1 ", "a.", "a@", "-1", "(", "Aa-", "12/", "::", "路", "Calle A ", "12 A", "\\\\a", "GB1"]
)
def test_hostile_repetition_takes_no_more_than_its_length(piece: str) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        start = time.process_time()
        find_identifiers(text)
        return time.process_time() - start

    seconds(100)
    assert seconds(8000) < 4.0


@pytest.mark.parametrize("text", ["H" + "0" * 60 + "g", "12-3456" + "-1" * 60 + "é", "AB12345" + "/X9" * 40 + "_"])
def test_a_number_that_ends_wrongly_is_given_up_at_once(text: str) -> None:
    start = time.process_time()
    find_identifiers(text)
    assert time.process_time() - start < 2.0
