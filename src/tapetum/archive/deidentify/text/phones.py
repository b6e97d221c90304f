"""Telephone and fax numbers in the groupings of some thirty countries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tapetum.archive.deidentify.text.measures import MEASURING
from tapetum.archive.deidentify.text.spans import Span

_EXT = r"(?:\s?(?:x|ext\.?|extension|#)\s?\d{1,5})?"
# (why, pattern, whether the shape alone is enough)
_SHAPES = (
    (
        "country code and number",
        r"(?<![\w+])(?:\+|00)\s?[1-9]\d{0,2}[\s.-]?(?:\(\s?0?\d{0,4}\s?\)[\s.-]?)?\d{1,5}(?:[\s./-]?\d{2,5}){1,5}",
        True,
    ),
    ("country code and number", r"(?<![\w+])1[-. ]\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}", True),
    ("area code in brackets", r"(?<!\w)\(\s?0?\d{1,5}\s?\)\s?\d{2,5}(?:[\s.-]\d{2,5}){0,3}", True),
    ("groups of 3, 3 and 4", r"(?<![\w./-])\d{3}([-. ])\d{3}\1\d{4}", True),
    ("two digits each", r"(?<![\w./-])\d{2}([-.])\d{2}\1\d{2}\1\d{2}(?:\1\d{2})?", True),
    ("area code with a zero", r"(?<![\w./-])0\d{1,5}[\s/-]\d{2,8}(?:[\s./-]\d{2,4}){0,4}", True),
    ("area code with a zero", r"(?<![\w./-])0[1-9]\d{7,9}", True),
    ("Chinese mobile", r"(?<!\d)1[3-9]\d(?:[- ]?\d{4}){2}", True),
    ("groups of digits", r"(?<![\w./:,-])\d{1,4}([ -])\d{2,4}(?:[ -]\d{2,4}){1,3}", False),
    ("groups of digits", r"(?<![\w./:,-])\d{2,4}[ -]\d{4,7}", False),
    ("a run of digits", r"(?<![\w./:,-])\d{7,11}", False),
)
_PATTERNS = [(why, re.compile(rf"{pattern}{_EXT}(?![\w/]|[.,:-]\d)"), strong) for why, pattern, strong in _SHAPES]
_CUE = (
    r"tel[eé]?f?(?:ono|efone|éfono|efon|ephone)?s?|phones?|mobile|mob|cell(?:ular|phone)?|m[oó]vil|celular|"
    r"telem[oó]vel|handy|"
    r"portable|fax|fono|whatsapp|wechat|sms|hotline|pager|bleep|ext|call(?:ed|ing)?(?: \w+){0,2} (?:on|at)|call|"
    r"ring|text|"
    r"contact(?: number)?|reach(?:ed|able)?(?: \w+)? (?:on|at)|dial|phon(?:ed|ing)|rang|number|answering (?:at|"
    r"on)|registered|messages? (?:to|on|at)|"
    r"desk|office|home|work|ph|t|f|m|c|llamar al?|rufnummer|appeler|电话|手机|联系方式|联系电话|传真|座机|電話"
)
_BEFORE = re.compile(
    rf"(?:(?<![^\W\d_])(?:{_CUE}))\s?(?:no\.?|nr\.?|number|#|número)?\s?[:.：=#\-–—]{{0,2}}\s*(?:is |es |at |on |"
    rf"al? )?[(]?$",
    re.IGNORECASE,
)
_RECORD = re.compile(
    r"(?i)\b(?:mrn|urn|id|record|hospital|accession|nhs|chi|chart|file|case|account|policy|insurance|member|"
    r"historia|expediente|nhc|dni|"
    r"serial|lot|order|card|ssn|security|passport|licen[cs]e)\b(?: ?(?:no|nr|number|n[uú]mero|"
    r"id))?\.?[ :.#=]{0,3}(?:is )?$"
)
_AFTER = re.compile(
    r"\s?[-–(,]?\s?(?:office|fax|mobile|cell|home|work|desk|phone|tel|m[oó]vil|\(?[hmwcof]\)(?!\w))", re.IGNORECASE
)


def find_phones(text: str) -> Iterator[tuple[Span, bool]]:
    """Telephone numbers, each with whether it is sure.

    Args:
        text: any text.

    Returns:
        Spans and whether wording or shape make it a number to dial; unsure ones give way to measurements.

    Example:
        >>> next(span.why for span, _ in find_phones("Tel. 0341 8387176"))
        'area code with a zero after a word for telephone'
    """
    for why, pattern, strong in _PATTERNS:
        for match in pattern.finditer(text):
            start, end = match.span()
            digits = sum(letter.isdigit() for letter in re.split(r"x|ext|#", match.group())[0])
            if not 7 <= digits <= 15:
                continue
            line = text[text.rfind("\n", 0, start) + 1 : start]
            rest = text[end : end + 14].split("\n", maxsplit=1)[0]
            before = text[max(0, start - 48) : start]
            if _RECORD.search(before):
                continue
            if _BEFORE.search(before):
                yield Span(start, end, "PHONE", f"{why} after a word for telephone"), True
            elif _AFTER.match(rest):
                yield Span(start, end, "PHONE", f"{why} before a word for telephone"), True
            elif strong and (match.group()[0] in "+(0" or not MEASURING.search(line[-40:])):
                yield Span(start, end, "PHONE", why), match.group()[0] == "+"
            elif not line.strip(" \t>*?") and not rest.strip() and len(digits_groups(match.group())) > 1:
                yield Span(start, end, "PHONE", f"{why} alone on its line"), False


def digits_groups(number: str) -> list[str]:
    """The groups of digits in a number.

    Example:
        >>> digits_groups("(37) 788-063")
        ['37', '788', '063']
    """
    return re.findall(r"\d+", number)
