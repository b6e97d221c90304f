"""Texts of cells and headers turned into values; what cannot be understood is said, not guessed."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterable

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import UNKNOWN, Laterality

_EYES = {
    Laterality.RIGHT: (
        "od", "r", "re", "right", "right eye", "rechts", "rechtes auge", "derecho", "ojo derecho", "右", "右眼",
    ),
    Laterality.LEFT: (
        "os", "l", "le", "oi", "left", "left eye", "links", "linkes auge", "izquierdo", "ojo izquierdo", "左", "左眼",
    ),
    Laterality.BOTH: (
        "ou", "both", "both eyes", "bilateral", "beide", "beide augen", "beidseits", "ambos", "ambos ojos", "双眼",
    ),
    Laterality.UNKNOWN: ("", "unknown"),
    Laterality.NOT_PAIRED: ("not paired", "unpaired"),
}  # fmt: skip
_EYE_OF_TEXT = {text: eye for eye, texts in _EYES.items() for text in texts}
_SEX_OF_TEXT = {
    "f": "F", "female": "F", "weiblich": "F", "w": "F", "mujer": "F", "femenino": "F", "女": "F",
    "m": "M", "male": "M", "männlich": "M", "hombre": "M", "varón": "M", "masculino": "M", "男": "M",
    "o": "other", "other": "other", "divers": "other",
}  # fmt: skip
_MISSING = frozenset({"", UNKNOWN, "nan", "none", "null", "n/a", "na"})
_PLAIN_DATES = (
    "%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%B %d, %Y", "%d %B %Y", "%d %b %Y", "%d-%b-%Y",
)  # fmt: skip
_SLASHED = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})")
_SHORT_YEAR = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{2})")
_TIME_OF_DAY = re.compile(r"[T ]\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*(z|[ap]m|[+-]\d{2}:?\d{2})?$", re.IGNORECASE)
# Excel counts days from 1900 or, in files of old Macs, from 1904; a bare number does not say which.
_SERIAL = re.compile(r"[1-6]\d{4}(\.\d+)?")
OLDEST_YEARS = 125.0


def laterality(text: str) -> Laterality:
    """Which eye a text names; an empty text is `UNKNOWN`.

    Raises:
        DataError: the text names no eye.

    Example:
        >>> laterality("Left").value, laterality("").value
        ('OS', 'unknown')
    """
    eye = _EYE_OF_TEXT.get(text.strip().casefold())
    if eye is None:
        raise DataError(f"laterality {text!r} is not understood", "OD, OS, right, left, both or an empty cell")
    return eye


def is_spanish_sex(texts: Iterable[str]) -> bool:
    """Whether a column says H and M for hombre and mujer: an H in it decides what its M means."""
    return any(text.strip().casefold() == "h" for text in texts)


def sex(text: str, *, spanish: bool = False) -> tuple[str, str]:
    """The sex and, where the text was not understood, a note; unknown stays unknown.

    Args:
        text: of the cell.
        spanish: H is male and M female.

    Example:
        >>> sex("Female"), sex("2")
        (('F', ''), ('unknown', "sex '2' is not understood, taken as unknown"))
    """
    plain = text.strip().casefold()
    if plain in _MISSING:
        return UNKNOWN, ""
    known = {"h": "M", "m": "F"}.get(plain) if spanish and plain in ("h", "m") else _SEX_OF_TEXT.get(plain)
    return (known, "") if known else (UNKNOWN, f"sex {text!r} is not understood, taken as unknown")


def age_years(text: str) -> tuple[float, str]:
    """The age in years and, where it was not understood, a note. DICOM's `060Y`, `018M`, `012W`, `003D` are read too.

    Example:
        >>> age_years("060Y"), age_years("18M")
        ((60.0, ''), (1.5, ''))
    """
    plain = text.strip().casefold()
    if plain in _MISSING:
        return math.nan, ""
    match = re.fullmatch(r"(\d{1,3}(?:[.,]\d+)?)\s*(y|m|w|d)?", plain)
    if match:
        per_year = {"y": 1.0, "m": 12.0, "w": 52.18, "d": 365.25}[match[2] or "y"]
        years = float(match[1].replace(",", ".")) / per_year
        if years <= OLDEST_YEARS:
            return years, ""
    return math.nan, f"age {text!r} is no age in years, taken as unknown"


def spacing_mm(text: str) -> tuple[float, str]:
    """The size of a pixel in mm and, where it was not understood, a note; a decimal comma and µm are read too.

    Example:
        >>> spacing_mm("0,0117"), spacing_mm("11.5 µm")
        ((0.0117, ''), (0.0115, ''))
    """
    plain = text.strip().casefold()
    if plain in _MISSING:
        return math.nan, ""
    match = re.fullmatch(r"(\d+(?:[.,]\d+)?)\s*(mm|µm|μm|um)?", plain)
    value = float(match[1].replace(",", ".")) / (1.0 if match[2] in (None, "mm") else 1000.0) if match else 0.0
    if 0 < value <= 100:
        return value, ""
    return math.nan, f"spacing {text!r} is no size of a pixel in mm, taken as unknown"


def slashed_order(texts: Iterable[str]) -> str:
    """Whether a column of dates with slashes is day first (`dmy`), month first (`mdy`), or cannot be told (`""`)."""
    day_first = month_first = False
    for text in texts:
        match = _SLASHED.fullmatch(_TIME_OF_DAY.sub("", text.strip()))
        if match:
            day_first |= int(match[1]) > 12
            month_first |= int(match[2]) > 12
    if day_first == month_first:
        return ""
    return "dmy" if day_first else "mdy"


def iso_date(text: str, order: str = "") -> tuple[str, str]:
    """The ISO date and, where the text was not understood, a note.

    Args:
        text: ISO, DICOM (20210403), 3.4.2021, April 3, 2021, or with slashes.
        order: `dmy` or `mdy` for dates such as 03/04/2021; without it they are unknown, since either would be a guess.

    Raises:
        UsageError: another order.

    Example:
        >>> iso_date("20210403"), iso_date("03/04/2021", "dmy")
        (('2021-04-03', ''), ('2021-04-03', ''))
    """
    if order not in ("", "dmy", "mdy"):
        raise UsageError(f"date order {order!r}", "dmy or mdy", "date_order=dmy")
    plain = _TIME_OF_DAY.sub("", text.strip())
    if plain.casefold() in _MISSING:
        return UNKNOWN, ""
    formats, hint = list(_PLAIN_DATES), ""
    slashed = _SLASHED.fullmatch(plain) or _SHORT_YEAR.fullmatch(plain)
    if slashed and len(slashed[3]) == 2:
        formats = []  # 03.04.21: neither order nor century is said
    if slashed and order:
        day, month, year = slashed.groups()
        plain = f"{day}/{month}/{year if len(year) == 4 else _century(int(year))}"
        formats = ["%d/%m/%Y" if order == "dmy" else "%m/%d/%Y"]
    elif (slashed and "." not in plain) or not formats:
        hint = " (day or month first? give date_order=dmy or mdy)"
    elif _SERIAL.fullmatch(plain):
        hint = " (a spreadsheet's day number? save the column as dates)"
    for form in formats:
        try:
            return datetime.datetime.strptime(plain, form).date().isoformat(), ""
        except ValueError:
            continue
    return UNKNOWN, f"date {text!r} is not understood{hint}, taken as unknown"


def _century(year: int) -> int:
    """Four digits of a year given with two: the latest that is not in the future."""
    this_year = datetime.datetime.now(tz=datetime.UTC).year
    return 2000 + year if 2000 + year <= this_year else 1900 + year


def labels(text: str) -> tuple[str, ...]:
    """The labels of one cell: one, or several separated by `,` `;` `|` or the full-width comma; sorted, each once.

    Raises:
        DataError: a label is the text NaN; an unlabelled image has an empty cell.

    Example:
        >>> labels("D；O, A"), labels("3.0"), labels("")
        (('A', 'D', 'O'), ('3',), ())
    """
    found: set[str] = set()
    for part in re.split(r"[,;|，；、]", text):
        label = part.strip()
        if label.casefold() == "nan":
            raise DataError(f"label {text!r} is not a number", "a label, or an empty cell for an unlabelled image")
        # A whole number written by a spreadsheet as 3.0 is the class 3.
        found.add(re.sub(r"^(-?\d+)\.0+$", r"\1", label))
    return tuple(sorted(found - {""}))


def patient_id(text: str) -> str:
    """The patient id, stripped.

    Raises:
        DataError: the cell is empty or says that there is none: without a patient no split can be honest.
    """
    plain = text.strip()
    if plain.casefold() in _MISSING:
        raise DataError("no patient", "a patient id: the split is by patient")
    return plain
