"""What must stay: measurements, grades, ages, durations and codes that look like dates, numbers or names."""

from __future__ import annotations

import re

_NUMBER = r"\d+(?:[.,]\d+)?"
_UNIT = (
    r"(?:mm\s?Hg|mm²|mm2|mm/h|mm|cm|[µμ]m|um\b|microns?|micras?|微米|毫米|nm|mg|mcg|[µμ]g|ml|mL|mmol|mol|dB|DS|DC|"
    r"DD|PD|D\b|dpt|"
    r"dioptri\w+|dioptres?|diopters?|°|deg\w*|degrees|grados|度|%|percent|cells?|células|letters?|letras|lines?|"
    r"líneas|"
    r"years?|yrs?|yo\b|y/o|años|岁|ans\b|anni|anos|Jahre\w*|months?|mths?|meses|mes\b|个月|月余|weeks?|wks?|semanas|周|"
    r"days?|días?|天|hours?|hrs?|horas?|小时|minutes?|mins?|o['’]?\s?clock|clock|times|veces|次|bpm|Hz|kHz|ms\b|px|"
    r"pixels?|shots|burns|spots|disparos|injections?|inyecciones|针|units?\b|UI\b|IU\b|Gy|rads?\b|mV|mW|J\b|cd|"
    r"lux|kg|lb)"
)
_PROTECTED = (
    # visual acuity and near vision: 20/40, 6/9-2, 5/60, 0.8, N8, J3, logMAR 0.3, 85 letters
    r"(?<![\d/.,-])(?:20|6)/\d{1,4}(?:[.,]\d)?(?:\s?(?:[+-]\s?\d(?!\d)|\(\s?[+-]?\d\s?\)))?(?![\d/]|[-.]\d{2})",
    r"(?<![\d/.,-])[1-5]/(?:60|36|24|200|400)(?![\d/]|[-.]\d{2})",
    r"(?i:\b(?:BCVA|UCVA|VA|visus|acuity|agudeza|vision|AV|视力|PH|ph)\b[ :=]*(?:O[DSU]|RE|"
    r"LE)?[ :=]*)\d{1,2}[/.,]\d{1,3}",
    r"(?i:log\s?mar)[ :=]*[+-]?" + _NUMBER + r"|\b[NJ]\.?\d{1,2}\b",
    # durations 2/52, 3/12, 5/7 and blood pressure, ratios, keratometry, refraction
    r"(?<![\d/.,-])\d{1,2}/(?:52|12|7)(?![\d/.,-]\d|\d)",
    r"(?i:\b(?:BP|TA|PA|blood pressure|tensión|血压)\b[ :=]*)\d{2,3}\s?/\s?\d{2,3}",
    r"(?i:\b(?:CDR|C\s?[/:]\s?D|cup[- ]to[- ]disc(?: ratio)?|E/P|excavaci[oó]n|杯盘比|C/D比)[^\d\n]{0,14})"
    r"(?:0?[.,]\d{1,2}|1[.,]0)"
    r"(?:\s?(?:/|x|×|and|y|和)\s?0?[.,]\d{1,2})?",
    r"[+-]\s?\d{1,2}[.,]\d{2}\s*(?:/\s*[+-]\s?\d{1,2}[.,]\d{2})?\s*(?:[xX×@]\s*\d{1,3})?",
    r"\d{2}[.,]\d{1,2}\s*/\s*\d{2}[.,]\d{1,2}(?:\s*@\s*\d{1,3})?",
    r"(?i:\b(?:HbA1c|A1c|MD|PSD|GHT|VFI|K[12]|Km|axis|eje|CCT|CRT|CMT|CST|RNFL|GCL|IOP|PIO|TOD|TOS|PIO|ETDRS|"
    r"SNR|ACD|AL|"
    r"眼压|厚度|grosor|thickness|espesor)\b[^\d\n]{0,14})[+-]?"
    + _NUMBER
    + r"(?:\s?(?:[/,;-]|and|y|to|和)?\s?"
    + _NUMBER
    + r"(?!\d*[./-]\d)){0,9}",
    # numbers with units, before or after
    r"(?<![\w.])[~<>≤≥±]?\s?"
    + _NUMBER
    + r"(?:\s?(?:-|–|/|x|×|to|and|y|a|bis)\s?"
    + _NUMBER
    + r")?\s?[-]?\s?"
    + _UNIT
    + r"(?![a-zà-ÿ])",
    r"[xX×]\s?\d{1,2}\b|\b\d{1,4}\s?[x×]\s?\d{1,4}(?:\s?[x×]\s?\d{1,4})?\b",
    # grades, stages, programmes, codes
    r"(?i:\b(?:grade|grado|stage|estadio|level|nivel|type|tipo|class|clase|score|zone|zona|NO|NC|LOCS|AREDS|"
    r"category|分级|分期|级)"
    r"\s?[:=]?\s?)(?:\d{1,2}[+-]?|[IVX]{1,4}\b)",
    r"(?<!\w)[RMPUDSA][0-4](?:[aAsS]|\b)(?:\s?[RMPU][0-4][aAsS]?\b)*|\b[1-4]\+(?!\d)|\b(?:24|30|10|60)-[24]\b(?!-)",
    r"(?<!\w)[A-TV-Z]\d{2}\.\d[0-9A-Z]{0,3}(?!\w)",
    r"\b(?:3|6|9|12|[1-9]|1[0-2])\s?(?:-|–|to)\s?\d{1,2}\s(?:o['’]clock|clock hours)",
)
PROTECTED = re.compile("|".join(f"(?:{pattern})" for pattern in _PROTECTED))
# A line that talks of measurements: bare groups of digits on it are no telephone number.
MEASURING = re.compile(
    r"(?i)\b(?:thickness|CRT|CMT|CST|CCT|RNFL|GCL|IOP|ETDRS|acuity|BCVA|VA|count|cells?|density|µm|mmHg|microns?|"
    r"grosor|espesor|PIO|AV|axial|keratometry|K1|K2|volume)\b|厚度|眼压|视力|细胞"
)


def protected(text: str) -> list[tuple[int, int]]:
    """Places of measurements in a text, in order.

    Args:
        text: any text.

    Returns:
        Start and end of each. Rules for dates, telephone numbers, record numbers and addresses leave them alone; what
        header or table names as an identifier of the patient does not.

    Example:
        >>> text = "VA 6/9, IOP 18 mmHg, C/D 0.6, review 2/52"
        >>> [text[a:b] for a, b in protected(text)]
        ['VA 6/9', 'IOP 18', 'C/D 0.6', '2/52']
    """
    return [match.span() for match in PROTECTED.finditer(text)]
