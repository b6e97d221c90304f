"""Forms and tables in reports: one finding a line with an answer for each eye, columns of eyes, ticked boxes.

A line, or a part of one, counts as a row of a form only where all of it is understood: a label that names a finding,
and behind it (or before the eye) nothing but answers as `answers` knows them. Every answer gives a mention of its own
with its own eye and status. What is no row stays with the rules for sentences. A box that is not ticked denies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tapetum.core.types import Laterality
from tapetum.knowledge.answers import Answer, answer, code
from tapetum.knowledge.form_marks import EDGES, EYE, WIDEST, blanked, closing, form_keys, head_of, side_of, units_of
from tapetum.knowledge.laterality import last_eye, names_eye
from tapetum.knowledge.model import Pack
from tapetum.knowledge.negation import Status
from tapetum.knowledge.phrases import Remembered, words
from tapetum.knowledge.rules import table
from tapetum.knowledge.statement import Said, understand

_LABEL = 12
_OWN = "the answer's own eye"
_BOX = re.compile(r"\[\s*([xX✓✔*+]?)\s*\]|\(\s*([xX✓✔])\s*\)|([☑☒✅])|([☐□])")
_LEAD = re.compile(r"[ \t]*(?:(?:[-•*·–]|\(?\d{1,2}[.)]|\(?[a-z][.)])[ \t]+)*")
_LINK = re.compile(r"\s*(?:[:=：|]+|\.{2,}|…+|\t+|[-–—](?=\s|$)|[ ]{2,})[ \t]*")
_COLUMN = re.compile(r"\s*\|\s*|\t+|[ ]{2,}|\s*;\s*")
_SPLIT = re.compile(r"\s*[/|]\s*|\s*,\s*")
_JOINED = re.compile(
    r"^(?:(?:and|but|while|whereas|with)\s+)+|(?:[\s,]+(?:and|but|while|whereas|in|the))+$", re.IGNORECASE
)
_SIGNS = ("[", "☐", "□", "☑", "☒", "✅")
_LINKS = (":", "=", "|", "…", "\t", "  ", "..", " - ", " – ", " — ")
_PLAIN_LINKS = tuple(mark for mark in _LINKS if mark.isascii())
# Places that are no row, with what stands before them: reports repeat themselves here as in sentences.
REFUSED = Remembered()


class Row(NamedTuple):
    """A row of a form at `start:end` of the report; places in `said` count from `start`."""

    start: int
    end: int
    said: tuple[Said, ...]
    spoken: Laterality


class _Cell(NamedTuple):
    """An answer with its eye, None where the row names none, and its place in the report."""

    side: Laterality | None
    start: int
    end: int


def form_rows(text: str, pack: Pack, language: str) -> tuple[Row, ...]:
    """The rows of forms in a report, in order.

    Args:
        text: the report.
        pack: the domain pack; forms are read for paired organs only.
        language: code of the language; without a table `forms` there are no rows.

    Example:
        >>> from tapetum.knowledge import load_pack
        >>> row = form_rows("Drusen: OD absent; OS present", load_pack("fundus"), "en")[0]
        >>> [(said.side.value, said.status) for said in row.said if said.side]
        [('OD', 'absent'), ('OS', 'present')]
    """
    if not pack.paired or not table("forms", "yes", language):
        return ()
    return tuple(_Form(text, pack, language).rows())


class _Form:
    """Reads a report line by line and remembers the head of the table."""

    def __init__(self, text: str, pack: Pack, language: str) -> None:
        self.text, self.pack, self.language = text, pack, language
        self.order: tuple[Laterality, ...] = ()
        self.boxed = any(sign in text for sign in _SIGNS) or ("(" in text and _BOX.search(text) is not None)
        self.closing = closing(language)
        self.links = _PLAIN_LINKS if text.isascii() else _LINKS

    def rows(self) -> Iterator[Row]:
        at = 0
        for line in self.text.splitlines(keepends=True):
            low, at = at, at + len(line)
            high = low + len(line.rstrip())
            if high > low:
                yield from self._line(low, high)

    def _line(self, low: int, high: int) -> Iterator[Row]:
        text = self.text
        if high - low <= WIDEST and self._closes(low, high):
            head = head_of(text[low:high], self.language)
            if head:
                self.order = head
                yield Row(low, high, (), Laterality.BOTH)
                return
        low = _LEAD.match(text, low, high).end()  # type: ignore[reportOptionalMemberAccess]
        boxed = self._boxes(low, high) if self.boxed and _BOX.search(text, low, high) else None
        whole = boxed or self._columns(low, high)
        if whole:
            yield whole
            return
        link = low - 1
        for mark in self.links:
            link = max(link, text.rfind(mark, link + 1, high))
        # Every row holds a link or an eye; before the link's own word no eye reaches farther.
        reach = max(link + 1, last_eye(text, max(low, text.rfind(" ", low, link) + 1), high))
        if reach <= low:
            return
        units = units_of(text, low, high, reach)
        fit = [self._closes(*unit) for unit in units]
        if True not in fit:
            return
        linked = link >= low
        eyed = [one and names_eye(text, *unit) for one, unit in zip(fit, units, strict=True)]
        i = fit.index(True)
        while i < len(units) and units[i][0] < reach:
            if not fit[i]:
                i += 1
                continue
            # A row may go on in the next units: "Drusen: OD absent; OS present".
            most = next((j for j in range(i + 1, min(len(units), i + 3)) if not eyed[j]), min(len(units), i + 3))
            for j in range(most if linked or eyed[i] else i, i, -1):
                row = self._row(units[i][0], units[j - 1][1])
                if row:
                    yield row
                    i = j
                    break
            else:
                i += 1

    def _closes(self, low: int, high: int) -> bool:
        """Whether the last word may close a row or a head: an answer's, an eye's, a sign or a number."""
        return self.closing[self.text[max(low, high - 24) : high]]

    def _row(self, low: int, high: int) -> Row | None:
        told = (self.text[max(0, low - 2) : low], self.text[low:high], self.order, self.pack, self.language)
        if told in REFUSED:
            return None
        eyes = list(EYE.finditer(self.text, low, high)) if names_eye(self.text, low, high) else []
        cut = self._without_eye(low, high) if not eyes else self._with_eyes(low, high, eyes)
        row = self._said(low, high, *cut) if cut else None
        if row is None:
            REFUSED.add(told)
        return row

    def _without_eye(self, low: int, high: int) -> tuple[int, int, list[_Cell]] | None:
        """Label, link and one answer, or one for each eye in the order of the head, or right before left."""
        inner = self.text[low:high]
        if not any(mark in inner for mark in _LINKS):
            return None
        link = next((m for m in _LINK.finditer(self.text, low, high) if m.start() > low), None)
        if link is None:
            return None
        start, end = link.end(), high
        if "|" not in link.group() and (self.order or answer(self.text[start:end], self.language) is None):
            parts = self._parts(start, end)
            if len(parts) == 2 and (self.order or all(self._code("", a, b) is not None for a, b in parts)):
                order = self.order or (Laterality.RIGHT, Laterality.LEFT)
                if len(order) == 2:
                    cells = [_Cell(side, a, b) for side, (a, b) in zip(order, parts, strict=True)]
                    return low, link.start(), cells
        return low, link.start(), [_Cell(None, start, end)]

    def _with_eyes(self, low: int, high: int, eyes: Sequence[re.Match[str]]) -> tuple[int, int, list[_Cell]] | None:
        text = self.text
        sides = [side_of(eye) for eye in eyes]
        stops = [*(eye.start() for eye in eyes[1:]), high]
        behind = [self._trim(eye.end(), stop) for eye, stop in zip(eyes, stops, strict=True)]
        filled = [b > a for a, b in behind]
        label = len(text[low : eyes[0].start()].rstrip(EDGES + "-–—[?"))
        if not label or len(set(sides)) < len(sides):
            return None
        if all(filled):
            return low, low + label, [_Cell(side, a, b) for side, (a, b) in zip(sides, behind, strict=True)]
        if not any(filled[:-1]) and filled[-1]:
            parts = self._parts(*behind[-1])
            if len(parts) == len(eyes):
                return low, low + label, [_Cell(side, a, b) for side, (a, b) in zip(sides, parts, strict=True)]
            return None
        return None if filled[-1] else self._answer_first(low, eyes, sides, behind)

    def _answer_first(
        self, low: int, eyes: Sequence[re.Match[str]], sides: Sequence[Laterality], behind: Sequence[tuple[int, int]]
    ) -> tuple[int, int, list[_Cell]] | None:
        """The answer stands before its eye: "haemorrhages: none OD, few OS", "drusen OD, none OS"."""
        edge = self._label_end(low, eyes[0].start())
        if edge is None:
            return None
        first = self._trim(edge, eyes[0].start())
        places = [first, *behind[:-1]]
        lone = len(eyes) == 1 and (first[1] <= first[0] or ":" not in self.text[edge : first[0]])
        if lone or any(b <= a for a, b in places[1:]):
            return None
        return low, edge, [_Cell(side, a, b) for side, (a, b) in zip(sides, places, strict=True)]

    def _label_end(self, low: int, high: int) -> int | None:
        colon = self.text.find(":", low, high)
        if colon > 0:
            return colon
        said = self._findings(self.text[low:high])
        return low + said[-1].end if said else None

    def _said(self, low: int, high: int, start: int, end: int, cells: Sequence[_Cell]) -> Row | None:
        """The row, where its label names findings and every cell is an answer."""
        label = self.text[start:end]
        if len(label.split()) > _LABEL or ". " in label:
            return None
        names = self._findings(label) if any(map(str.isalpha, label)) else ()
        if any(said.status != "present" or said.side is not None for said in names):
            return None
        answers = [answer(self.text[a:b], self.language) if b > a else Answer("present") for _, a, b in cells]
        codes = [self._code(names[0].finding if names else "", a, b) for _, a, b in cells]
        said: list[Said] = []
        strict = False
        for (side, a, b), one, grade in zip(cells, answers, codes, strict=True):
            if grade is not None and (names or self._asks(label)):
                said += self._graded(names, grade, side, a - low, b - low)
            elif not names:
                return None
            elif one is not None:
                said += self._answered(label, names, one, side, self.text[a:b])
            else:
                own = self._findings(self.text[a:b])
                if not own or len(cells) < 2:
                    return None
                said += [_moved(one, a - low, side) for one in own]
                continue
            strict = True
        if not strict:
            return None
        sides = {cell.side for cell in cells}
        spoken = sides.pop() if len(sides) == 1 else Laterality.BOTH
        return Row(low, high, _in_order(said), spoken or Laterality.UNKNOWN)

    def _answered(
        self, label: str, names: Sequence[Said], one: Answer, side: Laterality | None, words_: str
    ) -> Iterator[Said]:
        if one.status is None:
            return
        why = f"{one.status}: answered {words_.strip() or 'with the eye alone'!r}"
        for said in names:
            finding = (
                said.finding if one.status == "absent" else self._kind(said.finding, label[said.start : said.end], one)
            )
            yield said._replace(
                finding=finding, status=one.status, side=side, severity=one.severity or said.severity, why=why,
                side_why=_OWN if side else "",
            )  # fmt: skip

    def _kind(self, finding: str, label: str, one: Answer) -> str:
        """The more particular finding that label and answer name together: "AMD: dry"."""
        for i in range(len(one.kind)):
            rest = " ".join(one.kind[i:])
            name = self.pack.named(f"{rest} {label}") or self.pack.named(f"{label} {rest}")
            if name and self.pack.findings[name].level not in {"group", "modality", "status"}:
                return name
        if one.number and one.status != "absent":
            grades = self._code_of(one.number, finding)
            return grades[0][0] if grades else finding
        return finding

    def _graded(
        self, names: Sequence[Said], grades: Sequence[tuple[str, Status]], side: Laterality | None, a: int, b: int
    ) -> Iterator[Said]:
        for name, status in grades:
            asked = next((said for said in names if said.finding == name), None)
            low, high = (asked.start, asked.end) if asked else (a, b)
            yield Said(name, low, high, status, side, "", "", f"{status}: a grade's code", _OWN if side else "", "")

    def _columns(self, low: int, high: int) -> Row | None:
        """A row of a table whose head has named the eyes; a cell may hold findings of its own."""
        if len(self.order) < 2:
            return None
        text = self.text
        high = low + len(text[low:high].rstrip("| \t"))
        low += len(text[low:high]) - len(text[low:high].lstrip("| \t"))
        cells = [(low, high)] if low < high else []
        for mark in _COLUMN.finditer(text, low, high):
            cells[-1:] = [(cells[-1][0], mark.start()), (mark.end(), high)]
        if len(cells) != len(self.order) + 1:
            return None
        (start, end), rest = cells[0], cells[1:]
        row = self._said(low, high, start, end, [_Cell(s, a, b) for s, (a, b) in zip(self.order, rest, strict=True)])
        if row and all(b > a for a, b in rest):
            return row
        found: list[Said] = []
        for side, (a, b) in zip(self.order, rest, strict=True):
            own = self._findings(text[a:b])
            one = answer(text[a:b], self.language) if b > a else None
            if own:
                found += [_moved(said, a - low, side) for said in own]
            elif one:
                found += self._answered(text[start:end], self._findings(text[start:end]), one, side, text[a:b])
        return Row(low, high, _in_order(found), Laterality.BOTH) if found else None

    def _boxes(self, low: int, high: int) -> Row | None:
        """A line of boxes: each before its finding, or behind one finding and beside its eyes."""
        text = self.text
        boxes = list(_BOX.finditer(text, low, high))
        ticked = [any(box.group(i) for i in (1, 2, 3)) for box in boxes]
        label = text[low : boxes[0].start()]
        eyes = list(EYE.finditer(text, low, high))
        said: list[Said] = []
        named = self._findings(blanked(label))
        behind = text[max(boxes[-1].end(), eyes[-1].end() if eyes else 0) : high]
        if named or (
            len(boxes) == 2 and len(self.order) == 2 and not text[boxes[0].end() : boxes[1].start()].strip(" |/")
        ):
            sides = [side_of(eye) for eye in eyes] or list(self.order)
            if len(sides) != len(boxes):
                sides = [None] * len(boxes) if not eyes else []
            shift = 0 if named else boxes[-1].end() - low
            names = named or self._findings(text[boxes[-1].end() : high])
            for side, tick in zip(sides, ticked, strict=False):
                said += [_moved(one, shift, side, "present" if tick else "absent", "a box") for one in names]
        elif len(eyes) == len(boxes) > 1 and eyes[0].start() > boxes[0].end() and behind == blanked(behind):
            for eye, tick in zip(eyes, ticked, strict=True):
                for one in self._findings(behind):
                    said.append(
                        _moved(one, high - len(behind) - low, side_of(eye), "present" if tick else "absent", "a box")
                    )
        if not said:
            stops = [*(box.start() for box in boxes[1:]), high]
            for box, tick, stop in zip(boxes, ticked, stops, strict=True):
                own = text[box.end() : stop]
                sides = (
                    [side_of(eye) for eye in EYE.finditer(own)] or [side_of(e) for e in EYE.finditer(label)] or [None]
                )
                for one in self._findings(blanked(own)):
                    status: Status = "absent" if one.status == "present" and not tick else one.status
                    said += [_moved(one, box.end() - low, side, status, "a box") for side in sides]
        sides = {one.side for one in said}
        spoken = sides.pop() if len(sides) == 1 else Laterality.BOTH
        return Row(low, high, _in_order(said), spoken or Laterality.UNKNOWN) if said else None

    def _findings(self, text: str) -> tuple[Said, ...]:
        return understand(text, (), self.pack, self.language).said if text else ()

    def _asks(self, label: str) -> bool:
        keys = form_keys("labels", self.language)
        return any(word.key in keys for word in words(label, language=self.language))

    def _code(self, finding: str, a: int, b: int) -> tuple[tuple[str, Status], ...] | None:
        return self._code_of(self.text[a:b], finding)

    def _code_of(self, text: str, finding: str) -> tuple[tuple[str, Status], ...] | None:
        return code(text.strip(EDGES), finding, self.pack) if 0 < len(text) < 12 else None

    def _parts(self, a: int, b: int) -> list[tuple[int, int]]:
        places, at = list[tuple[int, int]](), a
        for mark in _SPLIT.finditer(self.text, a, b):
            places.append((at, mark.start()))
            at = mark.end()
        return [place for place in (self._trim(*p) for p in [*places, (at, b)]) if place[1] > place[0]]

    def _trim(self, a: int, b: int) -> tuple[int, int]:
        """Without marks and joining words; a dash stays where it is all there is."""
        while True:
            inner = self.text[a:b]
            bare = inner.lstrip(EDGES)
            a += len(inner) - len(bare)
            bare = bare.rstrip(EDGES)
            b = a + len(bare)
            if bare[:2] in {"- ", "– ", "— "}:
                a += 2
                continue
            if bare[-2:] in {" -", " –", " —"}:
                b -= 2
                continue
            match = _JOINED.search(bare)
            if not match or not match.group():
                return a, b
            a, b = (a + match.end(), b) if match.start() == 0 else (a, a + match.start())


def _moved(
    said: Said, by: int, side: Laterality | None, status: Status | None = None, what: str = "a cell of its column"
) -> Said:
    """A finding elsewhere in the row, with its eye."""
    side = said.side or side
    new = said._replace(
        start=said.start + by, end=said.end + by, side=side, side_why=f"the eye of {what}" if side else ""
    )
    if status is None or status == said.status:
        return new
    return new._replace(status=status, why=f"{status}: a box that is not ticked")


def _in_order(said: Sequence[Said]) -> tuple[Said, ...]:
    """By place; one place may be said of each eye."""
    return tuple(sorted(said, key=lambda one: one.start))
