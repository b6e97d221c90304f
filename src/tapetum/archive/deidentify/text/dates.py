"""Dates in the shapes and languages that clinics use, and the same date in the same shape some days later."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from tapetum.archive.deidentify.text.folding import fold

_MONTHS = (
    "january jan enero ene januar janner janvier janv jan gennaio gen janeiro",
    "february feb febrero februar februari fevrier fevr fev febbraio fevereiro",
    "march mar marzo marz maerz mars marco mrz maart",
    "april apr abril abr avril avr aprile",
    "may mayo mai mei maggio mag maio maj",
    "june jun junio juni juin giugno giu junho",
    "july jul julio juli juillet juil luglio lug julho",
    "august aug agosto ago aout augusti augustus",
    "september sept sep septiembre setiembre septembre settembre setembro set",
    "october oct octubre oktober okt octobre ottobre ott outubro out oktobre",
    "november nov noviembre novembre novembro",
    "december dec diciembre dic dezember dez decembre dicembre dezembro desember",
)
MONTH = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
_DAYS = (
    "monday lunes montag lundi lunedi segunda-feira",
    "tuesday martes dienstag mardi martedi terca-feira",
    "wednesday miercoles mittwoch mercredi mercoledi quarta-feira",
    "thursday jueves donnerstag jeudi giovedi quinta-feira",
    "friday viernes freitag vendredi venerdi sexta-feira",
    "saturday sabado samstag samedi sabato",
    "sunday domingo sonntag dimanche domenica",
)
WEEKDAYS = tuple(names.split() for names in _DAYS)
DAY = {name: number for number, names in enumerate(WEEKDAYS) for name in names}
_NAMED = "|".join(sorted(MONTH, key=len, reverse=True))
_Y4, _TIME = r"(?:19|20)\d\d", r"(?:[T ,]{1,2}\d{1,2}:\d\d(?::\d\d)?(?:\.\d+)?)?"
# Each on the folded text; groups d, m, y, or n for a month's name.
_SHAPES = (
    ("year, month, day", rf"(?<![\d.-])(?P<y>{_Y4})(?P<s>[-/.])(?P<m>\d{{1,2}})(?P=s)(?P<d>\d{{1,2}})(?!\d){_TIME}"),
    (
        "numbers with a year",
        rf"(?<![\d./-])(?P<a>\d{{1,2}})(?P<s>\s?[-/.]\s?)(?P<b>\d{{1,2}})(?P=s)(?P<y>{_Y4})(?!\d){_TIME}",
    ),
    (
        "numbers with a short year",
        r"(?<![\d./-])(?P<a>\d{1,2})(?P<s>[-/.])(?P<b>\d{1,2})(?P=s)(?P<y>\d\d)(?![\d]|[-/.]\d)",
    ),
    ("eight digits", r"(?<![\w.-])(?P<y>19\d\d|20[0-4]\d)(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?![\w-]|\.\d)"),
    (
        "day, month's name, year",
        rf"(?<!\w)(?P<d>\d{{1,2}})(?:st|nd|rd|th|er|\.|º|°|o)?[\s.-]*(?:de[l]? |of )?(?P<n>{_NAMED})(?!\w)"
        rf"(?:\.?,?[\s-]*(?:de[l]? )?(?P<y>{_Y4}|'?\d\d)(?![\d:/]))?",
    ),
    (
        "month's name, day, year",
        rf"(?<!\w)(?P<n>{_NAMED})\.? ?-?(?P<d>[0-3]?\d)(?:st|nd|rd|th)?(?!\d|[.:]\d)(?:,? ?-?(?P<y>{_Y4})(?!\d))?",
    ),
    ("month's name and year", rf"(?<!\w)(?P<n>{_NAMED})\.?,?[\s/-]*(?:de[l]? |of )?(?P<y>{_Y4})(?!\w)"),
    (
        "Chinese or Japanese date",
        r"(?P<y>\d{4})\s?年(?:\s?(?P<m>\d{1,2})\s?月(?:份|底|初|中旬)?(?:\s?(?P<d>\d{1,2})\s?[日号號])?)?",
    ),
    ("Chinese month and day", r"(?<![\d年])(?P<m>\d{1,2})\s?月\s?(?P<d>\d{1,2})\s?[日号號]"),
    ("Korean date", r"(?P<y>\d{4})\s?년\s?(?P<m>\d{1,2})\s?월(?:\s?(?P<d>\d{1,2})\s?일)?"),
    ("month and year", rf"(?<![\d./-])(?P<m>0?[1-9]|1[0-2])(?P<s>[/.-])(?P<y>{_Y4})(?![\d]|[/.-]\d)"),
    ("year and month", rf"(?<![\d./-])(?P<y>{_Y4})(?P<s>[/-])(?P<m>0[1-9]|1[0-2])(?![\d]|[/.-]\d)"),
    (
        "day and month after a word that asks for a date",
        r"(?<=\b)(?:on|dated|since|seen|visit|del|el|vom|am|le|il|data|date|"
        r"fecha)[: ]{1,2}(?P<a>[0-3]?\d)(?P<s>[/.])(?P<b>[01]?\d)(?![\d/%]|\.\d)",
    ),
    (
        "day of the week",
        rf"(?<![\w-])(?P<w>{'|'.join(DAY)})s?(?![\w-])|(?:星期|周|礼拜)(?P<c>[一二三四五六日天])(?!\w*岁)",
    ),
)
_PATTERNS = [(why, re.compile(pattern)) for why, pattern in _SHAPES]
_YEAR = re.compile(r"(?<![\w.,/:#$€£+@-])(?<!\d )(?:19[0-9]\d|20[0-4]\d)(?![\w%/$€£-]|[.,:]\d| ?(?:[µ×x*°] ?|-? ?\d))")
_NO_YEAR = re.compile(
    r"(?:count|density|thickness|volume|dose|total|about|approx\w*|nearly|over|under|than|code|number|no\.?|"
    r"nr\.?|model|room|"
    r"box|apt\.?|suite|unit|[a-z]+str(?:asse|\.)?|street|road|st|rd|ave|#|ecd|crt|cst|cmt|of about|=|zip|size|"
    r"px|version|"
    r"recuento|grosor|densidad|clave|cells?|power|pulses?|burns|shots|energy|microns?|plus|and|psc|po|last|next|pin)"
    r"[ :=(#-]*$"
)
_NO_DAY = re.compile(r"\b(?:the (?:last|first|second|third|fourth)|every|each|jeden|cada|chaque|ogni) $")
_YEAR_UNIT = re.compile(
    r"[ -]?(?:cells?|celulas|mm|cm|um|µm|μm|microns?|mg|ml|mcg|iu|units?|ui|px|pixels?|burns|shots|spots|"
    r"pulses?|impacts?|"
    r"kcal|steps|hours|hrs?|patients?|eyes|dollars?|eur\w*|usd|times|people|rads?|gy|words|grams?|kg|g\b|per\b|"
    r"个|/|x\d)"
)
# The day's number must stand beside these where they are also words.
_AMBIGUOUS_MONTHS = {
    "may",
    "mar",
    "march",
    "set",
    "out",
    "gen",
    "mag",
    "dic",
    "sep",
    "ago",
    "mai",
    "marco",
    "ott",
    "lug",
    "ene",
    "giu",
    "mars",
    "abr",
    "dez",
}


@dataclass(frozen=True)
class Found:
    """A date as it stands in a text.

    Attributes:
        start: first character of the date proper. end: one past the last. why: which shape.
        sure: whether no measurement looks like this.
        first: first of two numbers whose order is open (0 where it is known). second: the other.
        year: 0 where none is written. month: 0 where none. day: 0 where none.
        weekday: 0 for Monday; -1 where it is no day of the week.
        parts: group name → its place in the text, for writing another date in the same shape.
    """

    start: int
    end: int
    why: str
    sure: bool
    year: int = 0
    month: int = 0
    day: int = 0
    first: int = 0
    second: int = 0
    weekday: int = -1
    parts: tuple[tuple[str, int, int], ...] = ()


def find_dates(text: str) -> Iterator[Found]:
    """Every date, partial date, year and day of the week in a text; finds may overlap.

    Args:
        text: any text.

    Example:
        >>> [(d.year, d.month, d.day, d.why) for d in find_dates("Seen 3 de mayo de 2021")][0]
        (2021, 5, 3, "day, month's name, year")
    """
    folded, places = fold(text)

    def at(place: int) -> int:
        return places[place] if places else place

    numbers = any(letter.isdigit() for letter in folded)
    for why, pattern in _PATTERNS:
        if not numbers and not why.startswith("day of the week"):
            continue
        for match in pattern.finditer(folded):
            found = _read(match, why, text, at)
            if found:
                yield found
    if numbers:
        yield from _years(folded, at)


def _years(folded: str, at: Callable[[int], int]) -> Iterator[Found]:
    """Bare years, unless they count, measure or number something."""
    for match in _YEAR.finditer(folded):
        start, end = match.span()
        if not _NO_YEAR.search(folded[max(0, start - 24) : start]) and not _YEAR_UNIT.match(folded, end):
            yield Found(at(start), at(end), "year", False, int(match.group()), parts=(("y", at(start), at(end)),))


def _read(match: re.Match[str], why: str, text: str, at: Callable[[int], int]) -> Found | None:
    """Turn a match into numbers; None where it is no date of the calendar."""
    groups = {name: value for name, value in match.groupdict().items() if value is not None}
    parts = tuple((name, at(match.start(name)), at(match.end(name))) for name in groups if name != "s")
    start, end = at(match.start()), at(match.end())
    if "w" in groups or "c" in groups:
        if _NO_DAY.search(match.string[max(0, match.start() - 12) : match.start()]):
            return None
        number = DAY[groups["w"]] if "w" in groups else min("一二三四五六日天".index(groups["c"]), 6)
        return Found(start, end, why, "w" in groups, weekday=number, parts=parts)
    year = groups.get("y", "")
    short = len(year.strip("'")) == 2
    years = int(year.strip("'")) if year else 0
    years += (2000 if years < 40 else 1900) if short else 0
    month = MONTH[groups["n"]] if "n" in groups else int(groups.get("m", 0))
    day, first, second = int(groups.get("d", 0)), int(groups.get("a", 0)), int(groups.get("b", 0))
    if "n" in groups and (not year or short) and not _month_meant(text, match, groups, at):
        return None
    if first or second:
        if not _calendar(years, second, first) and not _calendar(years, first, second):
            return None
        if first > 12 or first == second:
            day, month, first, second = first, second, 0, 0
        elif second > 12:
            day, month, first, second = second, first, 0, 0
    elif month > 12 or (month and day and not _calendar(years, month, day)) or (day and not month):
        return None
    if "a" in groups and not year:
        start = parts[0][1]
    sure = not short and bool(year) and (bool(day) or "n" in groups or bool(first))
    return Found(start, end, why, sure, years, month, day, first, second, parts=parts)


def _month_meant(text: str, match: re.Match[str], groups: dict[str, str], at: Callable[[int], int]) -> bool:
    """Whether a month's name without a year is one: `may 3` is none, `3 May` is."""
    if groups["n"] not in _AMBIGUOUS_MONTHS:
        return True
    written = text[at(match.start("n")) : at(match.end("n"))]
    return written[:1].isupper() and groups["n"] in ("may", "march", "mar", "sep", "mai", "mars")


def _calendar(year: int, month: int, day: int) -> bool:
    try:
        date(year or 2000, month, day)
    except ValueError:
        return False
    return True


def day_first(dates: list[Found]) -> bool | None:
    """Which of two numbers is the day, as the unambiguous dates of the same text show; None where they do not agree."""
    votes = set[bool]()
    for found in dates:
        names = {name: (a, b) for name, a, b in found.parts}
        if "a" in names and "b" in names and not found.first and found.day != found.month:
            votes.add(found.day > 12)
    return votes.pop() if len(votes) == 1 else None


def rewrite(text: str, found: Found, shift: Callable[[date], date | None], *, order: bool | None) -> str | None:
    """Write a date in its own shape with another day.

    Args:
        text: the original text.
        found: a date in it.
        shift: gives the new day, or None where there is none to give.
        order: whether the day comes first where two numbers leave it open; None if nobody knows.

    Returns:
        The new wording, or None where it cannot be told without guessing (an open order, no year, no new day).
    """
    if found.weekday >= 0:
        return None
    month, day = found.month, found.day
    if found.first:
        if order is None:
            return None
        day, month = (found.first, found.second) if order else (found.second, found.first)
    if not found.year or not _calendar(found.year, month or 7, day or 15):
        return None
    new = shift(date(found.year, month or 7, day or 15))
    if new is None:
        return None
    if found.first:
        values = {"a": new.day if order else new.month, "b": new.month if order else new.day}
    else:
        values = {"a": new.day, "b": new.month}
        if {name for name, _, _ in found.parts} >= {"a", "b"} and text[slice(*_place(found, "a"))].lstrip("0") != str(
            found.day
        ):
            values = {"a": new.month, "b": new.day}
    values |= {"d": new.day, "m": new.month, "y": new.year}
    pieces, end = list[str](), found.start
    for name, a, b in sorted(found.parts, key=lambda part: part[1]):
        pieces += [text[end:a], _like(text[a:b], name, values.get(name, 0), new)]
        end = b
    return "".join([*pieces, text[end : found.end]])


def _place(found: Found, name: str) -> tuple[int, int]:
    return next((a, b) for part, a, b in found.parts if part == name)


def _like(old: str, name: str, value: int, new: date) -> str:
    """A number with as many digits, or a month's name of the same language and length, as the old one."""
    if name == "n":
        return _month_like(old, new.month)
    if name == "y":
        return str(value)[-len(old.strip("'")) :] if len(old.strip("'")) == 2 else str(value)
    return f"{value:02d}" if len(old) == 2 and (old[0] == "0" or value < 10) else str(value)


# Position of a wording within its month's list → its language; the same position is looked up in the new month.
_SERIES = (
    "january february march april may june july august september october november december",
    "jan feb mar apr may jun jul aug sep oct nov dec",
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "ene feb mar abr mayo jun jul ago sep oct nov dic",
    "januar februar märz april mai juni juli august september oktober november dezember",
    "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
    "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
)


def _month_like(old: str, month: int) -> str:
    """The name of a month in the language and case of another; English where no language is recognised."""
    plain = fold(old)[0]
    for series in _SERIES:
        names = series.split()
        if plain in (fold(name)[0] for name in names):
            break
    else:
        names = _SERIES[0].split()
    name = names[month - 1]
    return name.upper() if old.isupper() else name.capitalize() if old[:1].isupper() else name
