"""The word lists: names from Faker and terms from pydicom (`names.txt.xz`), words of our own (`words.txt`)."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from tapetum.archive.deidentify.text.folding import fold


@dataclass(frozen=True)
class Lexicon:
    """Folded words.

    Attributes:
        given: given names. family: family names. cjk: Chinese, Japanese and Korean family names in their own script.
        common: everyday English and Spanish words; a name among them needs context. foreign: words of other languages.
        medical: eponyms, drugs, devices, findings.
        eponyms: surnames that medicine uses too. heads: words after an eponym that show it is one.
        organisations: words that make a name a company's.
        places: countries and large cities.
    """

    given: frozenset[str]
    family: frozenset[str]
    cjk: frozenset[str]
    common: frozenset[str]
    foreign: frozenset[str]
    medical: frozenset[str]
    eponyms: frozenset[str]
    heads: frozenset[str]
    organisations: frozenset[str]
    places: frozenset[str]

    def ordinary(self, word: str) -> bool:
        """Whether a folded word is a word of the language or of medicine besides being a name."""
        return word in self.common or word in self.medical


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """Read both lists once per process."""
    room = files("tapetum.archive.deidentify.text")
    names = _sections(lzma.decompress((room / "names.txt.xz").read_bytes()).decode(), folded=True)
    words = _sections((room / "words.txt").read_text("utf-8"), folded=False)
    surely = words["given"]
    return Lexicon(
        given=frozenset(names["given"] | surely),
        family=frozenset(names["family"]),
        cjk=frozenset(names["cjk"]),
        common=frozenset(words["common"] - surely),
        foreign=frozenset(names["word"] - surely),
        medical=frozenset(words["medical"] | names["medical"]),
        eponyms=frozenset(words["eponym"]),
        heads=frozenset(words["eponym-head"]),
        organisations=frozenset(words["organisation"]),
        places=frozenset(words["place"] | names["place"]),
    )


def _sections(text: str, *, folded: bool) -> dict[str, set[str]]:
    """Words under each `[heading]`."""
    sections: dict[str, set[str]] = {}
    current: set[str] = set()
    for line in text.splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), set())
        elif not line.startswith("#"):
            current.update(line.split() if folded else (fold(word)[0] for word in line.split()))
    return sections
