"""One keyed pseudonym for a person everywhere: headers, files, pixels and text.

Everything is a keyed digest (HMAC-SHA-256, a sub-key for each purpose), so that nothing has to be looked up, the same
input gives the same output on any machine, and without the key nothing can be tried out.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from datetime import date, timedelta
from functools import cached_property

from tapetum.archive.deidentify.key import Key
from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.registry import nearest
from tapetum.core.types import UNKNOWN

PROFILES = ("longitudinal", "basic")
MAX_SHIFT_DAYS = 3650
# 32 signs of which no two look alike: no 0 and O, no 1 and I.
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_SIGNS = 12
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


class Pseudonyms:
    """Pseudonyms of one key.

    Args:
        key: the secret.
        profile: `longitudinal` moves all dates of a patient by the same number of days; `basic` drops them.

    Raises:
        UsageError: an unknown profile.

    Example:
        >>> names = Pseudonyms(Key(bytes(32)))
        >>> names.patient("12345") == names.patient(" 12345 "), names.patient("12346") == names.patient("12345")
        (True, False)
        >>> names.date("2023-05-02", "12345") == "2023-05-02"
        False
    """

    def __init__(self, key: Key, profile: str = "longitudinal") -> None:
        if profile not in PROFILES:
            raise UsageError(f"unknown profile {profile!r}", nearest(profile, PROFILES), "longitudinal or basic")
        self.key_id = key.id
        self.profile = profile
        self._secret = key.secret

    def patient(self, patient_id: str, issuer: str = "") -> str:
        """`P` and 12 signs for a person.

        Args:
            patient_id: as the clinic writes it; space around it does not count.
            issuer: who gave the number, where two clinics count alike.

        Raises:
            DataError: an empty number: two unknown people must not become one.
        """
        return "P" + self._signs("patient", _plain(patient_id, "patient id"), unicodedata.normalize("NFC", issuer))

    def uid(self, uid: str) -> str:
        """A DICOM UID of the 2.25 arc, the same for the same UID wherever it stands.

        Raises:
            DataError: an empty UID.
        """
        digest = self._digest("uid", _plain(uid.rstrip("\0"), "UID"))
        return f"2.25.{int.from_bytes(digest[:16], 'big')}"

    def shift_days(self, patient_id: str) -> int:
        """By how many days everything of a patient is moved: −3650..−1, always into the past.

        A day that lies in the future would tell that days were moved, and how far at least.
        """
        drawn = int.from_bytes(self._digest("shift", _plain(patient_id, "patient id"))[:8], "big")
        return -1 - drawn % MAX_SHIFT_DAYS

    def date(self, iso: str, patient_id: str) -> str:
        """A day of a patient, moved.

        Args:
            iso: `YYYY-MM-DD`; anything else is unknown.
            patient_id: whose day.

        Returns:
            `YYYY-MM-DD`, or `unknown` under the profile `basic` and for what is no day.
        """
        if self.profile == "basic" or not _ISO_DAY.fullmatch(iso):
            return UNKNOWN
        try:
            day = date.fromisoformat(iso)
        except ValueError:
            return UNKNOWN
        return (day + timedelta(days=self.shift_days(patient_id))).isoformat() if movable(day) else UNKNOWN

    def token(self, text: str, kind: str) -> str:
        """A stand-in for a file name, an accession number or the like: the kind's first letter and 12 signs.

        Args:
            text: what must not be seen.
            kind: `file`, `accession`, …; the same text of two kinds gives two tokens.

        Raises:
            DataError: an empty text.
        """
        return kind[:1].upper() + self._signs("token", kind, _plain(text, kind))

    def digest(self, data: bytes) -> str:
        """A keyed digest of a file as exported, in hexadecimal: says that it was seen, and not what it was."""
        return hmac.new(self._subkey("seen"), data, hashlib.sha256).hexdigest()

    def seal(self, text: str) -> bytes:
        """Encrypt and authenticate; the same text gives the same bytes."""
        return self._siv.encrypt(text.encode("utf-8"), [b"tapetum identity"])

    def unseal(self, sealed: bytes) -> str:
        """The text again.

        Raises:
            ArtefactError: another key, or changed bytes.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return self._siv.decrypt(bytes(sealed), [b"tapetum identity"]).decode("utf-8")
        except (InvalidTag, ValueError):
            raise ArtefactError(
                f"a sealed identity does not open with key {self.key_id}", "the key of this archive", "--key PATH"
            ) from None

    @cached_property
    def _siv(self):
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        return AESSIV(hmac.new(self._secret, b"tapetum v1 seal", hashlib.sha512).digest())

    def _subkey(self, kind: str) -> bytes:
        return hmac.new(self._secret, f"tapetum v1 {kind}".encode(), hashlib.sha256).digest()

    def _digest(self, kind: str, *parts: str) -> bytes:
        # Lengths go in as well, so that ("ab", "c") and ("a", "bc") differ.
        message = b"".join(len(raw).to_bytes(8, "big") + raw for raw in (part.encode("utf-8") for part in parts))
        return hmac.new(self._subkey(kind), message, hashlib.sha256).digest()

    def _signs(self, kind: str, *parts: str) -> str:
        drawn = int.from_bytes(self._digest(kind, *parts)[:8], "big")
        return "".join(ALPHABET[drawn >> (5 * place) & 31] for place in range(_SIGNS))


def movable(day: date) -> bool:
    """Whether every key can move a day: no key may lose a day that another one keeps, nor move it off the calendar.

    Example:
        >>> movable(date(2023, 5, 2)), movable(date(1, 1, 1)), movable(date(9999, 12, 31))
        (True, False, False)
    """
    far = timedelta(days=MAX_SHIFT_DAYS)
    return day - date.min > far and date.max - day > far


def _plain(text: str, what: str) -> str:
    plain = unicodedata.normalize("NFC", text).strip()
    if not plain:
        raise DataError(f"an empty {what}", "at least one character")
    return plain
