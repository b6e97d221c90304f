"""Record, accession, insurance and register numbers, and ages above 89."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tapetum.archive.deidentify.text.spans import Span

_NAMES = (
    r"m\.?r\.?n\.?|u\.?r\.?n\.?|medical record|health record|record|hosp(?:ital)?|patient(?:en)?|pat|pt|unit|"
    r"case|file|chart|"
    r"folder|acc(?:ession)?|study|episode|encounter|visit|admission|account|acct|policy|insurance|member"
    r"(?:ship)?|medicare|"
    r"medicaid|nhs|chi|hn|ssn|social security|passport|licen[cs]e|driver'?s? licen[cs]e|national|id(?:entity|"
    r"entification)?(?: card)?|"
    r"serial|device|lot|implant|iol serial|order|requisition|specimen|sample|invoice|claim|referral|booking|"
    r"n\.?h\.?c\.?|historia(?: cl[ií]nica)?|expediente|ficha|paciente|dni|nie|nif|cif|cip|curp|rfc|rut|"
    r"c[eé]dula|pasaporte|"
    r"afiliado|afiliaci[oó]n|seguridad social|nuss|p[oó]liza|colegiado|"
    r"patienten|fall|versicherten|versicherungs|dossier|utente|cpf|cnpj|prontu[aá]rio|codice fiscale|cartella|nir|"
    r"npi|dea|gmc|vat|tax"
)
_LABEL = r"(?:\s?-?\s?(?:id|no|nr|num(?:ber)?|n[uú]m(?:ero)?|nummer|code|ref(?:erence)?|#|nº|n°|№))"
_CUED = re.compile(
    rf"(?<![\w-])(?:(?:{_NAMES}){_LABEL}{{0,2}}|id|ref(?:erence)?(?: no)?|no|nº|n°|№)\.?\s{{0,2}}"
    r"(?:(?:is|es|of|was)\s|[:：=#]\s{0,2}|\s|\()?(?:\s?(?:no|nr|nº)\.?\s)?"
    r"(?P<id>(?=[a-z0-9./_-]*\d[a-z0-9./_-]*)[a-z0-9](?:[a-z0-9._/-]{2,30}[a-z0-9]))(?![\w])",
    re.IGNORECASE,
)
_CHINESE = re.compile(
    r"(?:病历号|病案号|住院号|门诊号|检查号|登记号|就诊号|影像号|病人ID|患者ID|ID号|编号|身份证号?|身份证号码|医保号|社保号|卡号|护照号?|病例号|条码号?|申请单号|报告号)"
    r"(?:码)?\s?[:：为是]?\s?(?P<id>[A-Za-z0-9][A-Za-z0-9-]{2,24})"
)
_NHS = re.compile(r"(?<![\d./-])\d{3}[ -]\d{3}[ -]\d{4}(?![\d/-])")
_CHINA = re.compile(r"(?<!\d)[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\w)")
_SPAIN = re.compile(r"(?<!\w)(?:\d{8}|[XYZ]\d{7})[ -]?[A-HJ-NP-TV-Z](?!\w)", re.IGNORECASE)
_BRAZIL = re.compile(r"(?<![\d.])\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)")
_ITALY = re.compile(r"(?<!\w)[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?!\w)", re.IGNORECASE)
_BRITAIN = re.compile(r"(?<!\w)[A-CEGHJ-PR-TW-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D](?!\w)")
_LONG = re.compile(r"(?<![\w.,/:+-])\d{7,}(?![\w/%]|[.,:]\d|-\d)")
_MIXED = re.compile(
    # The tail begins each part with a mark of its own, so that a long run can be read in one way only.
    r"(?<![\w.,/@-])(?=[A-Z0-9/_-]*\d{4})(?:[A-Z]{1,5}[-_/]?\d{5}|(?:[A-Z]{1,6}[-_/])?\d{2,}[-_/]\d{4})"
    r"[A-Z0-9]*(?:[-_/][A-Z0-9]+)*(?![\w-])"
)
_UID = re.compile(r"(?<![\w.])[0-2](?:\.(?:0|[1-9]\d*)){5,}(?![\w.])")
_UUID = re.compile(r"(?<!\w)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?!\w)", re.IGNORECASE)
_PLATE = re.compile(
    r"(?i)\b(?:licen[cs]e|number) plate(?: number)?\s?(?:is|:)?\s?(?P<id>[A-Z0-9][A-Z0-9 -]{3,9}[A-Z0-9])\b"
)
_AGE = re.compile(
    r"(?<![\d/.,-])(?P<a>9\d|1[01]\d)(?=\s?-?\s?(?:years?|yrs?|y\.?/?o\b|yo\b|-year|a[ñn]os|岁|歲|ans\b|anni\b|"
    r"anos\b|jahre?|j[aä]hrig))"
    r"|(?i:\b(?:aged?|edad|turned|turning|alter|[âa]ge|età|idade|年龄)(?: of| de| is|:|：)?\s?)(?P<b>9\d|"
    r"1[01]\d)(?![\d/.,%]\d|\d|\s?(?:%|mm|µm|mg))"
)


def find_numbers(text: str) -> Iterator[tuple[Span, bool]]:
    """Numbers that name a person, a record or a device, and ages above 89; each with whether it is sure.

    Args:
        text: any text with digits in it.

    Returns:
        Spans and whether they stand against a measurement.
    """
    for match in _CUED.finditer(text):
        value = match["id"]
        digits = sum(letter.isdigit() for letter in value)
        cue = match.group()[: -len(value)]
        # "no" alone also denies: "no 24-2 test today"
        bare = cue.strip().lower() == "no" or not re.search(
            r"[:：#=]|(?:id|no|nr|number|record|mrn|nº)\W*$", cue, re.IGNORECASE
        )
        if (
            digits < 3
            or ("/" in value and digits < 6)
            or (bare and (digits < 5 or re.fullmatch(r"\d+[a-z]{1,2}", value, re.IGNORECASE)))
        ):
            continue
        yield Span(*match.span("id"), "ID", f"number after “{cue.strip()}”"), True
    for match in _CHINESE.finditer(text):
        if any(letter.isdigit() for letter in match["id"]):
            yield Span(*match.span("id"), "ID", "number after a Chinese word for a record"), True
    yield from _registers(text)
    for pattern, why in (
        (_LONG, "run of seven or more digits"),
        (_MIXED, "letters and digits as record numbers have them"),
    ):
        yield from ((Span(*match.span(), "ID", why), False) for match in pattern.finditer(text))
    for match in _PLATE.finditer(text):
        yield Span(*match.span("id"), "ID", "number plate"), True
    for match in _AGE.finditer(text):
        yield Span(*match.span("a" if match["a"] else "b"), "AGE", "age above 89"), True


def _registers(text: str) -> Iterator[tuple[Span, bool]]:
    """Numbers whose own check digit, or unmistakable shape, tells the register."""
    for match in _NHS.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if sum(int(d) * w for d, w in zip(digits, range(10, 0, -1), strict=True)) % 11 == 0:
            yield Span(*match.span(), "ID", "check digit of an NHS number is right"), True
    for match in _CHINA.finditer(text):
        weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
        check = "10X98765432"[sum(int(d) * w for d, w in zip(match.group(), weights, strict=False)) % 11]
        right = "right" if check == match.group()[-1].upper() else "not right"
        yield Span(*match.span(), "ID", f"shape of a Chinese identity number, check digit {right}"), True
    for match in _SPAIN.finditer(text):
        digits = re.sub(r"\W", "", match.group().upper())
        number = int(str("XYZ".find(digits[0])) + digits[1:8]) if digits[0] in "XYZ" else int(digits[:8])
        if "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23] == digits[-1]:
            yield Span(*match.span(), "ID", "check letter of a DNI or NIE is right"), True
    for pattern, why in (
        (_BRAZIL, "shape of a CPF"),
        (_ITALY, "shape of a codice fiscale"),
        (_BRITAIN, "shape of a National Insurance number"),
        (_UID, "DICOM unique identifier"),
        (_UUID, "universally unique identifier"),
    ):
        yield from ((Span(*match.span(), "ID", why), True) for match in pattern.finditer(text))
