"""What is known to identify a patient, in all the spellings in which it could stand in a file."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable

SHORTEST_IN_BYTES = 5
_APART = re.compile(r"[\s,^=;|_/\\]+")
_DAY = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})")
_UID = re.compile(r"\d+(?:\.\d+){3,}")
_WORD = re.compile(r"[^\W_]+")


class Known:
    """Identifiers of one patient.

    Args:
        values: names, numbers, addresses, … as the export writes them.
        vocabulary: lower-case words that are no identifiers (`eye`, `left`), even where a person is called so.
    """

    def __init__(self, values: Iterable[str], vocabulary: Collection[str] = ()) -> None:
        self._vocabulary = vocabulary
        self._values = tuple(values)
        whole: set[str] = set()
        for value in self._values:
            text = unicodedata.normalize("NFC", value).strip().strip("\0")
            for spelling in (text, *_spellings(text)):
                if len(spelling) >= 2 and spelling.lower() not in vocabulary:
                    whole.add(spelling.casefold())
        self.texts = frozenset(whole)
        # One regular expression over all, on word borders: "li" is found in "li, wei" and not in "linear".
        longest_first = sorted(map(re.escape, self.texts), key=len, reverse=True)
        self._any = re.compile(r"(?<![^\W_])(?:" + "|".join(longest_first) + r")(?![^\W_])") if longest_first else None

    def joined(self, values: Iterable[str]) -> Known:
        """These and more."""
        return Known((*self._values, *values), self._vocabulary)

    def in_text(self, text: str) -> bool:
        """Whether an identifier stands in a text, as a whole word."""
        return bool(self._any and self._any.search(unicodedata.normalize("NFC", text).casefold()))

    def in_bytes(self, data: bytes) -> bool:
        """Whether an identifier of five characters or more stands in the bytes, in UTF-8, Latin-1 or UTF-16."""
        lower = data.lower()
        for text in self.texts:
            if len(text) < SHORTEST_IN_BYTES:
                continue
            if text.isdigit() and len(text) < 9:
                # Five digits in a row stand by chance in one of some hundred new UIDs.
                if re.search(rb"(?<!\d)" + text.encode("ascii", "ignore") + rb"(?!\d)", lower):
                    return True
            elif any(needle in lower for needle in _bytes(text)):
                return True
        return False


def _spellings(text: str) -> Iterable[str]:
    """Parts of a name or an address, a day in other orders, a number without its punctuation, without accents."""
    yield from _plain(text)
    if _UID.fullmatch(text):
        return  # its parts are the numbers of organisations and of the standard itself
    day = _DAY.fullmatch(text)
    if day:
        y, m, d = day.groups()
        yield from (f"{y}-{m}-{d}", f"{y}{m}{d}", f"{d}.{m}.{y}", f"{d}/{m}/{y}", f"{m}/{d}/{y}", f"{d}-{m}-{y}")
        return
    digits = re.sub(r"\D", "", text)
    if len(digits) >= SHORTEST_IN_BYTES and len(digits) >= len(text) // 2:
        yield digits
    for part in _APART.split(text):
        # Single letters and short numbers (a house number, a floor) stand everywhere.
        if len(part) >= (3 if any(c.isdigit() for c in part) else 2) and not part.isspace():
            yield part
            yield from _plain(part)
            yield from (w for w in _WORD.findall(part) if len(w) >= 3 and not (w.isdigit() and len(w) < 5))


def _plain(text: str) -> Iterable[str]:
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    if bare != text:
        yield bare


def _bytes(text: str) -> Iterable[bytes]:
    for form in {text, text.upper(), text.title()} if not text.isascii() else {text}:
        for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1"):
            try:
                yield form.encode(encoding).lower()
            except UnicodeEncodeError:
                continue
