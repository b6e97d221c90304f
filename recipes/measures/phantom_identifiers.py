# ruff: noqa: E501, SIM905 - templates are read better whole
"""Planted identifiers and planted measurements in phantom reports: every one of the first found, none of the second.

python recipes/measures/phantom_identifiers.py

Reports of a phantom clinic carry sentences in English, Spanish and Chinese around them, in which the names, numbers,
dates and addresses of invented people are planted in the spellings that clinics use. The finder is given what header
and table would give (name, birth date, record and accession number, telephone, address, physician, institution).
E-mail addresses, web addresses, other people's names behind a title, and visit dates are planted without being given.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from csv import DictReader
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapetum.archive.deidentify import Key, Pseudonyms, find_identifiers, scrub
from tapetum.phantom import ClinicConfig, make_clinic

PATIENTS = 150
GIVEN = "Anna John María José Wei Olga Priya Søren Élodie Tunde Mia May Rose Grant Björn Łucja Amina Ng-Mei".split()
FAMILY = (
    "Smith|García López|O'Neill|Fernández-Ruiz|van der Berg|Best|Young|Okonkwo|Müller|Nowak|Zhang|Brown|Ødegård|Kowalczyk|"
    "White|Quxley|Brandvoll|de la Cruz|Wilson|Grey"
).split("|")
CHINESE = ("张伟", "王秀英", "李娜", "刘洋", "欧阳明华", "陈静", "赵磊", "孙丽")
DOCTORS = ("Halvorsen", "Peña", "Whitcombe", "Adeyemi", "Castellanos", "Marchetti")
STREETS = ("14 Larkspur Road", "Calle del Olmo 27", "Lindenstraße 8", "3 Harbour Lane")
MARK = re.compile(r"«(\w+):([^»]*)»")
TEMPLATES = {
    "en": (
        "Patient: «NAME:{caret}», DOB «DATE:{dob_en}» ({age} years). MRN «ID:{mrn}», accession «ID:{acc}».\n{body}\n"
        "«NAME:{title} {family}» was seen on «DATE:{visit_long}». VA «M:20/40» RE and «M:6/9» LE, IOP «M:18 mmHg» and «M:21 mmHg», "
        "C/D «M:0.6» and «M:0.45». CRT «M:312 µm», HVF «M:24-2» MD «M:-3.25 dB». Reported by Dr. «OTHER:{doctor}».",
        "RE: «NAME:{given} {family}» (d.o.b. «DATE:{dob_iso}»)\n{body}\nGrade «M:2», «M:R2 M1», NS «M:1+», lesion «M:2 DD» temporal. "
        "Injected «M:x3». Review «M:2/52». Call «PHONE:{phone}» or «EMAIL:{email}»; lives at «ADDRESS:{street}».",
        "{body} «NAME:{initial}. {family}» phoned from «PHONE:{phone}» on «DATE:{visit_iso}»; «M:61 years», BP «M:140/85», HbA1c «M:7.9 %». "
        "File «ID:{mrn}_OD.jpg». ICD «M:H35.31». Refraction «M:-2.25/-1.00 x 90». Copy to «OTHER:Mr {doctor}».",
        "«NAME:{upper}»\n{body}\nKnown to «INSTITUTION:{institution}». «NAME:{given}» says vision dropped from «M:6/12» to «M:6/36». "
        "ETDRS «M:61» letters, N«M:8», logMAR «M:0.3». K1 «M:43.25», axial length «M:23.61 mm». See «URL:https://portal.example.org/p/{mrn}».",
        "Letter about «NAME:{family}, {given}» («ID:{mrn}»), aged «AGE:93».\n{body}\nEndothelial count «M:2010 cells/mm2», pachymetry «M:548 µm». "
        "C/D «M:0.3», IOP «M:15/16». Seen in «DATE:{visit_year}» and on «DATE:{visit_en}». Signed: Dr «OTHER:{doctor}»",
        "{body} pt «NAME:{lower}» id «ID:{mrn}» va «M:20/200» iop «M:14» c/d «M:0.7» grade «M:3» seen «DATE:{visit_iso}»",
    ),
    "es": (
        "Paciente: «NAME:{family}, {given}». Fecha de nacimiento: «DATE:{dob_es}». NHC «ID:{mrn}». Tel. «PHONE:{phone}».\n{body}\n"
        "Visto el «DATE:{visit_es}» por la Dra. «OTHER:{doctor}». AV OD «M:0,8», OI «M:20/25». PIO «M:18 mmHg». Excavación «M:0,6». "
        "Grado «M:2». Grosor macular «M:312 µm». Revisión en «M:3 meses». Domicilio: «ADDRESS:{street}».",
        "«NAME:{given} {family}», «M:61 años», acude el «DATE:{visit_en}».\n{body}\nPIO «M:17» y «M:16» mmHg, E/P «M:0.4», «M:2 DD», «M:x3», «M:1+». "
        "Correo: «EMAIL:{email}». Sr. «NAME:{family}»: control en «M:6 semanas».",
    ),
    "zh": (
        "姓名：«NAME:{zh}»，男，«M:61岁»，病历号：«ID:{mrn}»，检查号：«ID:{acc}»。出生日期：«DATE:{dob_zh}»。\n{body}\n"
        "视力右眼«M:0.8»，左眼«M:20/40»，眼压«M:18 mmHg»，杯盘比«M:0.6»，黄斑厚度«M:312 µm»，分期«M:2»期。"
        "就诊日期«DATE:{visit_zh}»。联系电话：«PHONE:{phone}»。报告医生：«OTHER:王芳»",
        "患者«NAME:{zh}»，«DATE:{visit_zh}»来诊。{body} 右眼眼压«M:21 mmHg»，C/D«M:0.5»，«M:2 DD»。«NAME:{zh}»电话«PHONE:{phone}»。",
    ),
}


@dataclass(frozen=True)
class Planted:
    """A text, what was planted where (kind, start, end), what the finder is given, and whose it is."""

    language: str
    text: str
    marks: tuple[tuple[str, int, int], ...]
    identifiers: dict[str, str]
    patient_id: str


def carriers() -> list[str]:
    """The different reports of a small phantom clinic."""
    with tempfile.TemporaryDirectory() as folder:
        make_clinic(Path(folder) / "clinic", ClinicConfig(patients=60, size=64, seed=7))
        with (Path(folder) / "clinic" / "clinic.csv").open(encoding="utf-8", newline="") as table:
            return list(dict.fromkeys(row["report"] for row in DictReader(table)))


def person(rng: np.random.Generator, number: int) -> tuple[dict[str, str], dict[str, str]]:
    """Spellings for the templates, and the identifiers as header and table give them; nobody real."""

    def one(choices: tuple[str, ...] | list[str]) -> str:
        return choices[int(rng.integers(len(choices)))]

    given, family, zh, doctor, street = one(GIVEN), one(FAMILY), one(CHINESE), one(DOCTORS), one(STREETS)
    year, month, day = int(rng.integers(1932, 1999)), int(rng.integers(1, 13)), int(rng.integers(13, 29))
    seen = (int(rng.integers(2015, 2025)), int(rng.integers(1, 13)), int(rng.integers(13, 29)))
    months = "January February March April May June July August September October November December".split()
    spanish = "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split()
    phone = f"07700 900{int(rng.integers(100, 999))}"
    mrn, acc = f"H{400000 + number}", f"ACC-{7100 + number}-21"
    plain = re.sub(r"\W", "", f"{given}{family}".lower())
    fields = {
        "given": given, "family": family, "caret": f"{family.upper()}^{given.upper()}", "initial": given[0],
        "upper": f"{given} {family}".upper(), "lower": f"{given} {family}".lower(), "title": one(["Mr", "Mrs", "Ms"]),
        "zh": zh, "doctor": doctor, "street": street, "phone": phone, "mrn": mrn, "acc": acc,
        "email": f"{plain}{number}@example.org", "institution": "Larkfield Eye Unit", "age": "«M:61»",
        "dob_en": f"{day:02d}/{month:02d}/{year}", "dob_iso": f"{year}-{month:02d}-{day:02d}",
        "dob_es": f"{day} de {spanish[month - 1]} de {year}", "dob_zh": f"{year}年{month}月{day}日",
        "visit_long": f"{seen[2]} {months[seen[1] - 1]} {seen[0]}", "visit_iso": f"{seen[0]}-{seen[1]:02d}-{seen[2]:02d}",
        "visit_es": f"{seen[2]} de {spanish[seen[1] - 1]} de {seen[0]}", "visit_zh": f"{seen[0]}年{seen[1]}月{seen[2]}日",
        "visit_en": f"{seen[2]:02d}/{seen[1]:02d}/{seen[0]}", "visit_year": str(seen[0]),
    }  # fmt: skip
    identifiers = {
        "name": f"{family}^{given}=={''}", "name_2": f"{zh[0] if len(zh) < 4 else zh[:2]}^{zh[1 if len(zh) < 4 else 2 :]}",
        "birth_date": f"{year}{month:02d}{day:02d}", "accession": acc, "phone": phone, "address": f"{street}, Larkfield",
        "physician": doctor, "institution": "Larkfield Eye Unit",
    }  # fmt: skip
    return fields, identifiers


def planted() -> Iterator[Planted]:
    """All texts: every template for every person, around the reports in turn."""
    rng = np.random.default_rng(2024)
    bodies = carriers()
    count = 0
    for number in range(PATIENTS):
        fields, identifiers = person(rng, number)
        for language, templates in TEMPLATES.items():
            for template in templates:
                marked = template.format(**{**fields, "body": bodies[count % len(bodies)]})
                count += 1
                text, marks, end = "", list[tuple[str, int, int]](), 0
                for match in MARK.finditer(marked):
                    text += marked[end : match.start()]
                    marks.append((match[1], len(text), len(text) + len(match[2])))
                    text += match[2]
                    end = match.end()
                yield Planted(language, text + marked[end:], tuple(marks), identifiers, fields["mrn"])


def measure(data: Path | None = None) -> str:
    """A table of planted things by kind.

    Args:
        data: not needed.
    """
    pseudonyms = Pseudonyms(Key(bytes(range(32))))
    texts = list(planted())
    total, found, leaks = Counter[str](), Counter[str](), list[str]()
    start = time.process_time()
    for one in texts:
        done = scrub(one.text, identifiers=one.identifiers, patient_id=one.patient_id, pseudonyms=pseudonyms)
        covered = {place for span in done.spans for place in range(span.start, span.end)}
        for kind, a, b in one.marks:
            total[kind] += 1
            letters = [place for place in range(a, b) if one.text[place].isalnum()]
            if kind == "NAME":  # the title may stay
                title = re.match(r"(?:Mr|Mrs|Ms) ", one.text[a:b])
                letters = [place for place in letters if not title or place >= a + title.end()]
            if kind == "OTHER":
                letters = [place for place in letters if place >= b - len(one.text[a:b].removeprefix("Mr "))]
            if kind == "ID":
                letters = [place for place in letters if place < a + len(one.text[a:b].removesuffix("_OD.jpg"))]
            hidden = sum(place in covered for place in letters)
            good = hidden == 0 if kind == "M" else hidden == len(letters)
            found[kind] += good
            if not good:
                leaks.append(f"{one.language} {kind} “{one.text[max(0, a - 12) : b + 12]}”")
    seconds = time.process_time() - start
    unaided = Counter[str]()
    for one in texts:
        spans = find_identifiers(one.text)
        for kind, a, b in one.marks:
            unaided[kind] += any(span.start < b and a < span.end for span in spans) != (kind == "M")
    words = {"NAME": "patient's name (given)", "OTHER": "other people's names", "M": "measurements kept"}
    lines = [
        "## Identifiers in phantom reports", "",
        f"{len(texts)} texts ({', '.join(f'{sum(t.language == k for t in texts)} {k}' for k in TEMPLATES)}) about {PATIENTS} invented "
        "people; names, numbers and birth dates as header and table give them. Whole cover is asked for, overlap does not do.",
        "", "| planted | n | right | share | found without being given anything (overlap) |", "| --- | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for kind, n in sorted(total.items()):
        lines.append(
            f"| {words.get(kind, kind)} | {n} | {found[kind]} | {found[kind] / n:.4f} | {unaided[kind] / n:.3f} |"
        )
    lines += [
        "",
        f"`python recipes/measures/phantom_identifiers.py`, {len(texts) / seconds:.0f} texts/s of one core with scrubbing.",
    ]
    lines += ["", *(f"* not right: {leak!r}" for leak in leaks[:20])] if leaks else []
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(measure())
