"""The rule tables of the report parser, one file a language: what a trigger, a heading or an eye is called.

Every file has the tables of `english.toml`; a list that is missing is empty, a number that is missing is English's.
`scope.severity_follows = 1` says that the adjective stands behind its noun. A Chinese character is a word of its own,
so reaches count characters there. A language's words for findings stand in the packs (`es`, `zh`; short ones in
capitals count in capitals only), its one-word clauses ("正常") under `alone`. Two tables are for the other languages
only, since English's eyes are patterns in `laterality.py`:

- `[language]`: `code`, as in packs (`es`, `zh`); `hints`, frequent words by which the language is known; `separate`,
  words that are never the prefix of the next one.
- `[eyes]`: `OD`, `OS`, `OU`, `other` and `same`, each a list of regular expressions (a blank stands for any blanks;
  an entry without a small letter counts in capitals only); `opening`, words that may precede the eye at the start of
  a sentence; `verb`, what may follow an eye; `separator`, words besides the comma that part a sentence.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest

ENGLISH = "en"
_HAN = re.compile(r"[\u3400-\u9fff]")


@functools.cache
def _files() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    """Language code → tables, of every file in this folder."""
    found: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    for file in sorted(resources.files(__name__).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            tables = tomllib.loads(file.read_text(encoding="utf-8"))
            found[str(tables["language"]["code"])] = tables
    return found


def languages() -> tuple[str, ...]:
    """The codes of the languages that have rules, English first."""
    return (ENGLISH, *(code for code in _files() if code != ENGLISH))


@functools.cache
def load(language: str) -> Mapping[str, Mapping[str, Any]]:
    """All tables of a language, as written.

    Args:
        language: its code, `en`, `es` or `zh`.

    Raises:
        UsageError: no rules for this language.
    """
    if language not in _files():
        raise UsageError(
            f"no report rules for the language {language!r}",
            nearest(language, list(languages())),
            "leave language empty to have it recognised",
        )
    return _files()[language]


@functools.cache
def table(section: str, name: str, language: str = ENGLISH) -> Sequence[str]:
    """One list of words, empty where the language has none."""
    return load(language).get(section, {}).get(name, ())


@functools.cache
def number(section: str, name: str, language: str = ENGLISH) -> int:
    """One number; English's where the language has none of its own."""
    return int(load(language).get(section, {}).get(name, load(ENGLISH)[section][name]))


def recognise(text: str) -> str:
    """The language of a text: by its script, then by its frequent words; English where nothing else is likelier.

    Example:
        >>> recognise("Sin hemorragias en el ojo derecho"), recognise("No haemorrhage"), recognise("右眼出血")
        ('es', 'en', 'zh')
    """
    if not text.isascii() and "zh" in _files() and _HAN.search(text):
        han = len(_HAN.findall(text))
        # A character says about as much as a word of five letters.
        if 5 * han >= sum(char.isascii() and char.isalpha() for char in text):
            return "zh"
    said = text.casefold().split()
    if " Y" in text:
        # The "yes" of an English form, not the Spanish "and".
        said = [word.casefold() for word in text.split() if word != "Y"]
    told = list(filter(_every_hint().__contains__, said))
    counts = [(sum(map(hints.__contains__, told)), code) for code, hints in _hints()]
    most = max(count for count, _ in counts)
    return next(code for count, code in counts if count == most)


@functools.cache
def _hints() -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((code, frozenset(map(str.casefold, table("language", "hints", code)))) for code in languages())


@functools.cache
def _every_hint() -> frozenset[str]:
    return frozenset[str]().union(*(hints for _, hints in _hints()))
