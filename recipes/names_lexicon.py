"""Write the lexicon that the text scrubber reads: names from Faker, medical words from pydicom (both MIT licence).

    python recipes/names_lexicon.py src/tapetum/archive/deidentify/text/names.txt.xz

Names are folded (lower case, no accents), split into single words and sorted, so that the file comes out the same byte
for byte from the same release of Faker. Cyrillic and Greek names stand in their own letters and in Latin ones. Of the
other scripts only Chinese, Japanese and Korean family names are kept.
"""

from __future__ import annotations

import importlib
import lzma
import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from faker.providers import address, lorem, person
from pydicom.sr._concepts_dict import concepts as pydicom_concepts

from tapetum.archive.deidentify.text.folding import fold

CYRILLIC = dict(
    zip(
        "абвгдезийклмнопрстуфхцчшщъыьэѓѕјљњќџѐёєіїґжюя",
        [
            "a",
            "b",
            "v",
            "g",
            "d",
            "e",
            "z",
            "i",
            "y",
            "k",
            "l",
            "m",
            "n",
            "o",
            "p",
            "r",
            "s",
            "t",
            "u",
            "f",
            "kh",
            "ts",
            "ch",
            "sh",
            "shch",
            "",
            "y",
            "",
            "e",
            "g",
            "dz",
            "j",
            "lj",
            "nj",
            "k",
            "dz",
            "e",
            "yo",
            "ye",
            "i",
            "yi",
            "g",
            "zh",
            "yu",
            "ya",
        ],
        strict=True,
    )
)
GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρσςτυφχψω",
        [
            "a",
            "v",
            "g",
            "d",
            "e",
            "z",
            "i",
            "th",
            "i",
            "k",
            "l",
            "m",
            "n",
            "x",
            "o",
            "p",
            "r",
            "s",
            "s",
            "t",
            "y",
            "f",
            "ch",
            "ps",
            "o",
        ],
        strict=True,
    )
)
LATIN = re.compile(r"[a-z]{2,}(?:['’-][a-z]+)*")
OTHER = re.compile(r"[\u0370-\u03ff]{3,}|[\u0400-\u04ff]{3,}")
CJK = re.compile(r"[\u4e00-\u9fff\uac00-\ud7af]{1,3}")


def strings(value: object) -> Iterator[str]:
    """All texts inside nested tuples, lists and dictionaries (whose values are weights)."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple | set | frozenset):
        for part in value:
            yield from strings(part)


def spelled(name: str) -> Iterator[str]:
    """Folded words of a name, in Latin letters too."""
    for word in re.split(r"[\s,/]+", fold(name)[0]):
        if LATIN.fullmatch(word):
            yield word
        elif OTHER.fullmatch(word):
            yield word
            latin = "".join({**CYRILLIC, **GREEK}.get(letter, letter) for letter in word)
            if LATIN.fullmatch(latin):
                yield latin


def gather(package: object, starts: tuple[str, ...]) -> set[str]:
    """Texts of every locale's attributes whose names start so."""
    found: set[str] = set()
    for module in pkgutil.iter_modules(package.__path__):  # type: ignore[attr-defined]
        if module.ispkg:
            provider = importlib.import_module(f"{package.__name__}.{module.name}").Provider  # type: ignore[attr-defined]
            for name in dir(provider):
                value = getattr(provider, name)
                if name.startswith(starts) and not callable(value):
                    found.update(strings(value))
    return found


def concepts() -> set[str]:
    """Words in the meanings of the coded concepts that pydicom carries."""
    meanings = (entry[0] for codes in pydicom_concepts.values() for named in codes.values() for entry in named.values())
    return {word.lower() for meaning in meanings for word in re.findall(r"[A-Za-z]{3,}", meaning)}


def main(target: Path) -> None:
    """Write the file and print what is in it."""
    given = gather(person, ("first_name", "romanized_first"))
    family = gather(person, ("last_name", "romanized_last"))
    sections = {
        "given": {word for name in given for word in spelled(name)},
        "family": {word for name in family for word in spelled(name)},
        "cjk": {name for name in family if CJK.fullmatch(name)},
        "word": {word for text in gather(lorem, ("word_list",)) for word in spelled(text)},
        "place": {word for text in gather(address, ("countries",)) if " " not in text for word in spelled(text)},
    }
    sections["medical"] = concepts() - sections["given"] - sections["family"]
    lines = [
        f"# Name lists of Faker {version('faker')}, MIT licence, https://github.com/joke2k/faker",
        f"# [medical]: concept names of pydicom {version('pydicom')}, MIT licence, https://github.com/pydicom/pydicom",
    ]
    for title, words in sections.items():
        lines += [f"[{title}]", *sorted(words)]
    target.write_bytes(lzma.compress("\n".join(lines).encode(), preset=9))
    print({title: len(words) for title, words in sections.items()}, target.stat().st_size, "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
