"""Identifiers in free text: every rule has its right and its wrong, and measurements stay."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tapetum.archive.deidentify import Key, Pseudonyms
from tapetum.archive.deidentify.text import find_identifiers, scrub

PSEUDONYMS = Pseudonyms(Key(bytes(range(32))))


def kinds(text: str, **given: str) -> list[tuple[str, str]]:
    return [(text[span.start : span.end], span.kind) for span in find_identifiers(text, identifiers=given)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail ana.b@clinic.example.org now", ("ana.b@clinic.example.org", "EMAIL")),
        ("see https://portal.example.org/p/17.", ("https://portal.example.org/p/17", "URL")),
        ("login from 10.12.0.255 failed", ("10.12.0.255", "IP")),
        ("host 2001:db8::8a2e:370:7334 down", ("2001:db8::8a2e:370:7334", "IP")),
        ("IBAN GB82 WEST 1234 5698 7654 32", ("GB82 WEST 1234 5698 7654 32", "IBAN")),
        ("card 4111 1111 1111 1111 expired", ("4111 1111 1111 1111", "CARD")),
        ("SSN 219-09-9999 on file", ("219-09-9999", "SSN")),
        ("NHS 943 476 5919", ("943 476 5919", "ID")),
        ("DNI 12345678Z", ("12345678Z", "ID")),
        ("身份证 11010519491231002X", ("11010519491231002X", "ID")),
        ("MRN 12345", ("12345", "ID")),
        ("Accession: A-2021-0042", ("A-2021-0042", "ID")),
        ("病历号：A123456", ("A123456", "ID")),
        ("call +44 20 7946 0958 today", ("+44 20 7946 0958", "PHONE")),
        ("Tel. 612 345 678", ("612 345 678", "PHONE")),
        ("手机：13812345678", ("13812345678", "PHONE")),
        ("seen 3 May 2021", ("3 May 2021", "DATE")),
        ("visto el 3 de mayo de 2021", ("3 de mayo de 2021", "DATE")),
        ("am 3. März 2021 gesehen", ("3. März 2021", "DATE")),
        ("le 14 février 2021", ("14 février 2021", "DATE")),
        ("il 2 luglio 2019", ("2 luglio 2019", "DATE")),
        ("em 7 de março de 2020", ("7 de março de 2020", "DATE")),
        ("2021年3月5日就诊", ("2021年3月5日", "DATE")),
        ("scan of 20210305", ("20210305", "DATE")),
        ("on 05/03/2021 at", ("05/03/2021", "DATE")),
        ("diagnosed in 2014.", ("2014", "DATE")),
        ("aged 93", ("93", "AGE")),
        ("lives at 14 Larkspur Road", ("14 Larkspur Road", "ADDRESS")),
        ("Calle del Olmo 27", ("Calle del Olmo 27", "ADDRESS")),
        ("P.O. Box 123", ("P.O. Box 123", "ADDRESS")),
        ("to SW1A 1AA.", ("SW1A 1AA", "ADDRESS")),
        ("北京市海淀区中关村大街27号", ("北京市海淀区中关村大街27号", "ADDRESS")),
        ("seen by Dr. Beltrán", ("Beltrán", "PERSON")),
        ("Sra. Quxley acude", ("Quxley", "PERSON")),
        ("报告医生：李娜", ("李娜", "PERSON")),
        ("My name is Anna Nowak.", ("Anna Nowak", "PERSON")),
    ],
)
def test_each_shape_is_found(text: str, expected: tuple[str, str]) -> None:
    assert expected in kinds(text)


@pytest.mark.parametrize(
    "text",
    [
        "VA 20/40 RE, 6/9 LE, 6/12+2, CF, N8, J3, logMAR 0.3, 85 letters.",
        "C/D 0.6 and 0.45, CDR 0.7, cup to disc ratio 0.3.",
        "IOP 18 mmHg and 21 mmHg, IOP 15/16, applanation 14.",
        "61 years old, aged 72, 89 years; diabetic for 12 years.",
        "Grade 2, grade 3 nuclear sclerosis, stage II, R2 M1, R3A M1, 1+ cells, 2+ flare.",
        "CRT 312 µm, ETDRS 312 345 330 298 310, RNFL 89 µm, CCT 548 µm.",
        "Eylea x3, 500 burns, 2 DD temporal to the disc, 3 o'clock, 2/52, 3/12.",
        "HVF 24-2, MD -3.25 dB, PSD 4.11 dB, 30-2, 10-2.",
        "-2.25/-1.00 x 90, K1 43.25, 44.00/43.25 @ 180, axial length 23.61 mm.",
        "H35.31, E11.3511, H40.1130.",
        "Endothelial count 2010 cells/mm2; 2000 pixels; 1950 units; BP 140/85; HbA1c 7.9 %.",
        "AV OD 0,8, OI 20/25. PIO 18 mmHg. Excavación 0,6. Grado 2. Grosor 312 µm. 3 meses. 61 años.",
        "视力0.8，眼压18 mmHg，杯盘比0.6，厚度312 µm，61岁，3个月。",
        "Goldmann tonometry, Amsler grid, Snellen chart, Humphrey field, Best disease, Stargardt disease.",
        "Bell's palsy.",
        "Wilson disease, Fuchs dystrophy, Kayser-Fleischer ring, Marcus Gunn pupil, Zeiss Cirrus OCT.",
        "Right eye normal. Best corrected acuity 20/40. May improve. Referred by the doctor. Macular hole not seen.",
        "FINDINGS: NO DRUSEN. IMPRESSION: MILD NPDR IN THE RIGHT EYE.",
    ],
)
def test_measurements_eponyms_and_findings_stay(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize("text", ["4111 1111 1111 1112 cells", "999.12.0.1", "GB83 WEST 1234 5698 7654 32"])
def test_wrong_check_digits_are_no_card_account_or_address(text: str) -> None:
    assert not {kind for _, kind in kinds(text)} & {"CARD", "IP", "IBAN"}


@pytest.mark.parametrize(
    "written",
    [
        "SMITH^JOHN", "Smith, John", "john smith", "J. Smith", "Smith J", "John Q. Smith", "smith", "JOHN", "jsmith",
        "john_smith", "SmithJohn", "John-Smith",
    ],
)  # fmt: skip
def test_a_given_name_is_found_however_written(written: str) -> None:
    text = f"qqq {written} zzz"
    assert scrub(text, identifiers={"name": "Smith^John"}, patient_id="17", pseudonyms=PSEUDONYMS).text == (
        f"qqq {PSEUDONYMS.patient('17')} zzz"
    )


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("García-López^José", "garcia lopez"), ("García-López^José", "LÓPEZ"), ("O'Neill^Anna", "o'neill"),
        ("van der Berg^Mia", "Van der Berg"), ("Müller^Jörg", "Jorg Muller"), ("Zhang^Wei=张^伟", "张伟"),
        ("Ødegård^Åse", "Odegard"), ("Groß^Uwe", "GROSS"),
    ],
)  # fmt: skip
def test_accents_compounds_particles_and_scripts(name: str, written: str) -> None:
    text = f"zzz {written} zzz"
    assert kinds(text, name=name) == [(written, "PERSON")]


def test_names_that_are_words_are_taken_where_they_are_names() -> None:
    text = "Best corrected acuity 6/9. Mr Best attended. Best disease excluded. White spots. Mrs White came."
    assert kinds(text, name="Best^Jonas", name_2="White^Ida") == [("Best", "PERSON"), ("White", "PERSON")]


def test_given_numbers_dates_and_places() -> None:
    text = "rec ab-0077-x, 18.06.1950, 18061950, tel (020) 7946-0958, Larkfield Unit"
    found = kinds(
        text, other_id="AB0077X", birth_date="1950-06-18", phone="+44 20 7946 0958", institution="Larkfield Unit"
    )
    assert {kind for _, kind in found} == {"ID", "DATE", "PHONE", "INSTITUTION"}
    assert ("18061950", "DATE") in found


def test_spans_are_in_order_apart_and_explain_themselves() -> None:
    text = "Mrs Okafor, MRN 448201, o@example.org, seen 3 May 2021, call 07700 900123."
    spans = find_identifiers(text)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    assert all(span.why for span in spans)
    assert [span.kind for span in spans] == ["PERSON", "ID", "EMAIL", "DATE", "PHONE"]


def test_dates_move_by_the_patients_days_in_their_own_shape() -> None:
    days = PSEUDONYMS.shift_days("17")
    text = "2021-03-14; 14/03/2021; March 14, 2021; 14 de marzo de 2021; 2021年3月14日; 14.03.21"
    out = scrub(text, identifiers={}, patient_id="17", pseudonyms=PSEUDONYMS).text.split("; ")
    iso = PSEUDONYMS.date("2021-03-14", "17")
    year, month, day = iso.split("-")
    assert days != 0
    assert out[0] == iso
    assert out[1] == f"{day}/{month}/{year}"
    assert out[2].endswith(f" {int(day)}, {year}")
    assert out[3].startswith(f"{int(day)} de ")
    assert out[3].endswith(f" de {year}")
    assert out[4] == f"{year}年{int(month)}月{int(day)}日"
    assert out[5] == f"{day}.{month}.{year[2:]}"


def test_an_open_order_of_day_and_month_is_not_guessed() -> None:
    assert scrub("on 03/04/2021", identifiers={}, patient_id="17", pseudonyms=PSEUDONYMS).text == "on [DATE]"
    settled = scrub("on 03/04/2021 and 25/04/2021", identifiers={}, patient_id="17", pseudonyms=PSEUDONYMS).text
    assert "[DATE]" not in settled


def test_the_basic_profile_leaves_no_date() -> None:
    basic = Pseudonyms(Key(bytes(range(32))), "basic")
    text = "Seen 3 May 2021, 2021年3月5日, Tuesday and in 2014; IOP 18 mmHg."
    out = scrub(text, identifiers={}, patient_id="17", pseudonyms=basic).text
    assert out == "Seen [DATE], [DATE], [DATE] and in [DATE]; IOP 18 mmHg."


def test_one_person_has_one_token_and_another_another() -> None:
    text = "Dr. Beltrán wrote. Copy to Dr. Beltrán and Dr. Halvorsen. MRN 448201, again MRN 448201."
    out = scrub(text, identifiers={}, patient_id="17", pseudonyms=PSEUDONYMS)
    names = [span.surrogate for span in out.spans if span.kind == "PERSON"]
    numbers = [span.surrogate for span in out.spans if span.kind == "ID"]
    assert names[0] == names[1] != names[2]
    assert numbers[0] == numbers[1]
    assert "Beltr" not in out.text


def test_the_patients_number_becomes_the_pseudonym() -> None:
    out = scrub("id H448201, age 93 years", identifiers={}, patient_id="H448201", pseudonyms=PSEUDONYMS).text
    assert out == f"id {PSEUDONYMS.patient('H448201')}, age 90+ years"


def test_an_empty_text_has_nothing() -> None:
    assert find_identifiers("") == ()
    assert scrub("", identifiers={}, patient_id="17", pseudonyms=PSEUDONYMS).text == ""


def test_a_denied_measurement_is_no_record_number() -> None:
    assert find_identifiers("no 24-2 today") == ()
    assert [span.kind for span in find_identifiers("record no 24-2")] == ["ID"]
    assert [span.kind for span in find_identifiers("no 448201")] == ["ID"]
