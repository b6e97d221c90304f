"""Identifiers with a shape or a check digit of their own: e-mail, web, network, bank, card, social security."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from tapetum.archive.deidentify.text.spans import Span

_EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@(?:[\w-]+\.)+[^\W\d_]{2,}", re.UNICODE)
_SPOKEN = re.compile(
    r"\b[\w.+-]+\s?(?:\(at\)|\[at\]|＠)\s?[\w-]+(?:\s?(?:\(dot\)|\[dot\]|\.)\s?[\w-]+)+", re.IGNORECASE
)
_TOP = (
    r"(?:com|org|net|edu|gov|mil|int|info|biz|name|io|app|dev|health|clinic|hospital|museum|eu|uk|ie|us|ca|au|"
    r"nz|za|in|"
    r"cn|hk|tw|jp|kr|sg|my|th|vn|id|ph|pk|bd|lk|de|at|ch|li|fr|be|nl|lu|es|pt|it|mt|gr|cy|tr|il|ae|sa|eg|ma|dz|"
    r"tn|ng|ke|"
    r"gh|dk|se|no|fi|is|ee|lv|lt|pl|cz|sk|hu|ro|bg|si|hr|rs|ba|mk|al|ua|by|ru|ge|am|az|kz|uz|br|ar|cl|uy|py|bo|"
    r"pe|ec|co|"
    r"ve|mx|gt|cr|pa|cu|do)"
)
_URL = re.compile(
    r"(?:(?:https?|ftp|sftp|file)://|www\d?\.)[^\s<>\"'«»，。；、（）]+"
    rf"|(?<![@\w.-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+{_TOP}(?![\w@-]|\.\w)(?:/[^\s<>\"'«»，。；、（）]*)?",
    re.IGNORECASE,
)
_UNC = re.compile(
    r"\\\\[\w.-]+\\[^\s\"<>|]+|\b[A-Z]:\\(?:[^\s\\\"<>|]+\\)*[^\s\\\"<>|]+|(?<![\w/])/(?:home|Users)/[^\s\"<>|]+"
)
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", re.IGNORECASE)
_MAC = re.compile(r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])", re.IGNORECASE)
_IBAN = re.compile(r"(?<![^\W_])[a-z]{2}\d{2}(?:[ -]?[a-z0-9]){11,30}(?![^\W_])", re.IGNORECASE)
_CARD = re.compile(r"(?<![\w.+-])\d(?:[ -]?\d){11,18}(?![\w-])")
_CARD_WORD = re.compile(
    r"(?i)\b(?:card|visa|mastercard|amex|maestro|cc|tarjeta|karte|carte|carta|cart[aã]o)\b[^\n\d]{0,40}$"
)
_IBAN_WORD = re.compile(r"(?i)\biban[^\n\d]{0,20}$")
_SSN = re.compile(r"(?<![\w-])(\d{3})([- ])(\d{2})\2(\d{4})(?![\w-])")
_BARE_SSN = re.compile(r"(?i)\b(?:ssn|social security)[^\d\n]{0,25}(\d{9})(?!\d)")


def luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812).

    Example:
        >>> luhn("4111111111111111"), luhn("4111111111111112")
        (True, False)
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0


def mod97(iban: str) -> bool:
    """Whether an account number's check digits are right (ISO 13616).

    Example:
        >>> mod97("GB82WEST12345698765432"), mod97("GB82WEST12345698765433")
        (True, False)
    """
    turned = iban[4:] + iban[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1


def find_shapes(text: str) -> Iterator[Span]:
    """Addresses of mail, web and network, accounts, cards and social security numbers."""
    if "@" in text or "(at)" in text or "[at]" in text or "＠" in text:
        for pattern in (_EMAIL, _SPOKEN):
            yield from (Span(*m.span(), "EMAIL", "shape of an e-mail address") for m in pattern.finditer(text))
    if "." in text or "/" in text or "\\" in text:
        yield from _web(text)
    if any(letter.isdigit() for letter in text):
        yield from _network(text)
        yield from _bank(text)
        yield from _social(text)


def _web(text: str) -> Iterator[Span]:
    """Web addresses and paths that name a computer or a user."""
    for match in _URL.finditer(text):
        end = match.start() + len(match.group().rstrip(".,;:!?)]}"))
        if "." in text[match.start() : end] or "://" in match.group():
            yield Span(match.start(), end, "URL", "shape of a web address")
    for match in _UNC.finditer(text):
        yield Span(*match.span(), "URL", "path that names a computer or a user")


def _network(text: str) -> Iterator[Span]:
    """IPv4, IPv6 and hardware addresses."""
    for match in _IPV4.finditer(text):
        if all(int(part) < 256 for part in match.group().split(".")):
            yield Span(*match.span(), "IP", "four bytes with dots")
    if text.count(":") > 1:
        for match in _IPV6.finditer(text):
            try:
                ipaddress.IPv6Address(match.group())
            except ValueError:
                continue
            if len(match.group()) > 3:
                yield Span(*match.span(), "IP", "IPv6 address")
    for match in _MAC.finditer(text):
        yield Span(*match.span(), "IP", "hardware address")


def _bank(text: str) -> Iterator[Span]:
    """Account numbers by their check digits, cards by theirs."""
    for match in _IBAN.finditer(text):
        end = match.end()
        while end > match.start() + 14:
            compact = re.sub(r"[ -]", "", text[match.start() : end])
            named = bool(_IBAN_WORD.search(text[max(0, match.start() - 28) : match.start()]))
            if compact.isascii() and 15 <= len(compact) <= 34 and (mod97(compact) or named):
                yield Span(
                    match.start(),
                    end,
                    "IBAN",
                    "check digits of an IBAN are right" if mod97(compact) else "number after the word IBAN",
                )
                break
            cut = max(text.rfind(" ", match.start(), end), text.rfind("-", match.start(), end))
            if cut < 0:
                break
            end = cut
    for match in _CARD.finditer(text):
        digits = re.sub(r"[ -]", "", match.group())
        grouped = len(digits) != len(match.group())
        shaped = not grouped or all(len(part) >= 4 for part in re.split(r"[ -]", match.group()))
        named = bool(_CARD_WORD.search(text[max(0, match.start() - 48) : match.start()]))
        if not digits.isascii() or len(set(digits)) == 1:
            continue
        if luhn(digits) and (named or (shaped and digits[0] in "123456")):
            yield Span(*match.span(), "CARD", "check digit of a payment card is right")
        elif named and shaped:
            yield Span(*match.span(), "CARD", "digits after a word for a card")


def _social(text: str) -> Iterator[Span]:
    """Numbers of the United States' social security; 9xx (tax payers without one) included."""
    for match in _SSN.finditer(text):
        if match[1] not in ("000", "666") and match[3] != "00" and match[4] != "0000":
            yield Span(*match.span(), "SSN", "shape and ranges of a social security number")
    for match in _BARE_SSN.finditer(text):
        yield Span(*match.span(1), "SSN", "nine digits after the words social security")
