"""Names of people that nobody has named: titles and other context first, then the lexicon, then how names are built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from tapetum.archive.deidentify.text.chinese import find_chinese
from tapetum.archive.deidentify.text.folding import fold
from tapetum.archive.deidentify.text.lexicon import Lexicon, lexicon
from tapetum.archive.deidentify.text.spans import Span

_TOKEN = re.compile(r"(?<![\w@])[^\W\d_]++(?:['’-][^\W\d_]++)*+(?![\d_@])")
_TITLE = frozenset(
    [
        "mr",
        "mrs",
        "ms",
        "miss",
        "mx",
        "dr",
        "dra",
        "doctor",
        "doctora",
        "prof",
        "professor",
        "sir",
        "dame",
        "sr",
        "sra",
        "srta",
        "señor",
        "señora",
        "don",
        "doña",
        "herr",
        "frau",
        "monsieur",
        "madame",
        "mme",
        "mlle",
        "mademoiselle",
        "signor",
        "signora",
        "sig",
        "dott",
        "dottssa",
        "senhor",
        "senhora",
        "nurse",
        "sister",
        "consultant",
        "surgeon",
        "optometrist",
    ]
)
_SHORT_TITLE = frozenset(
    ["mr", "mrs", "ms", "mx", "dr", "dra", "prof", "sr", "sra", "srta", "sig", "dott", "dottssa", "mme", "mlle"]
)
_PARTICLE = frozenset(
    [
        "de",
        "del",
        "van",
        "von",
        "der",
        "den",
        "di",
        "da",
        "do",
        "dos",
        "du",
        "bin",
        "al",
        "el",
        "la",
        "le",
        "zu",
        "ter",
        "ten",
        "y",
        "e",
    ]
)
_LINK = re.compile(r"(?:[ \u00a0]|\. |\.(?=[^\W\d_])| ?, (?=[A-Z]\b))")
_CUE = re.compile(
    r"(?:\b(?:my|his|her|their|your|the|maiden|last|first|full|given|family|sur|nick|partner'?s|patient|account|"
    r"user)[ -]?names?(?: (?:is|are|was|on the account is|appears as))?"
    r"|\bname(?: is|'s)?|\b(?:name|named|called|call me|calls? (?:him|her)|known as|under|signed(?: by)?|"
    r"reported by|dictated by|"
    r"read by|reviewed by|referred by|seen by|verified by|electronically signed by|operator|photographer|"
    r"technician|surgeon|physician|"
    r"examiner|reporter|author|cc|attn|attention|dear|hi|hello|hey|regards|sincerely|thanks|yours truly|"
    r"directed by|produced by|written by|starring|"
    r"m[ée]dico|paciente|doctora?|firmado(?: por)?|atentamente|nombre(?: y apellidos)?|apellidos?|patient"
    r"(?:in)?|nom|pr[ée]nom|nachname|vorname|"
    r"nome|cognome|sobrenome|mother|father|brother|sister|wife|husband|son|daughter|partner|spouse|carer|"
    r"next of kin|nok|guardian|contact|"
    r"by|from|with|i'?m|i am|this is|it's|dr|mr|mrs|ms|esposa|esposo|hijo|hija|madre|padre))"
    r"[\s:,.：]{1,3}$",
    re.IGNORECASE,
)
_STRONG = re.compile(
    r"(?:\bname(?:s|d)?\b[^\n.?!]{0,22}|\b(?:called|call me|starring|signed(?: by)?|electronically signed by|"
    r"dictated by|referred by|seen by|reported by|"
    r"reviewed by|directed by|produced by|i'?m|i am|this is|dear|nombre|apellidos?|(?:paciente|patient)(?=:)|"
    r"regards,?|sincerely,?|operator|photographer|"
    r"hi|hello|hey|kid|child|children|son|daughter|friend|colleague|uncle|aunt|husband|wife|brother|sister|"
    r"cousin|neighbou?r)\b"
    r"(?: is| are)?)[\s:?\"“]{1,4}(?:user:\s)?$",
    re.IGNORECASE,
)
_SAID = re.compile(
    r"(?:(?<=[\w.,!?])[\"”](?=\s)|\b(?:says?|said|asks?|asked|told|writes|wrote|replied|answered|explains?|"
    r"explained) )\s*$",
    re.IGNORECASE,
)
_ACTS = re.compile(
    r",? (?:said|says|lives|lived|shouted|told|asked|asks|writes|wrote|began|spent|explained|explains|"
    r"points out|pointed out|reports|"
    r"complains|denies|attended|flew|knows|thinks|wants|likes|loves|had given|is from|was born|works at|"
    r"work[s]? for|will be talking|replied|"
    r"answered|called|refiere|acude|niega|dice|vive|trabaja)\b|: ?[\"“]",
    re.IGNORECASE,
)
_NAMED = re.compile(r"(?:\bname(?:s|d)?(?: is| was|:)|\bcalled|\bstarring|\bname\?)\s{1,6}(?:user: )?$", re.IGNORECASE)
_PLACE_BEFORE = re.compile(r"(?:^|\b)(?:in|at|near|into|via|en|aus|à)\s$", re.IGNORECASE)
_STREETLIKE = re.compile(
    r" (?:\d{1,5}(?![\w/.:])|(?:street|st|road|rd|avenue|ave|lane|u|utca|út|tér)\b)", re.IGNORECASE
)
_BUILT = re.compile(
    r"(?:(?:[a-zß]{3,}(?:sson|ssen|dottir|ovic|evic|ova|eva|ski|ska|cki|cka|wicz|enko|chuk|escu|eanu|opoulos|"
    r"akis|idis|iou|"
    r"yan|ian|shvili|dze|adze|oglu|zade|nejad|inen|onen|strom|qvist|quist|gren|lund|berg|holm|stein|mann|"
    r"baum|sen|vich|vitch|enkov|nikov|ikov|ekov|akov|iev|ayev|aev|oev|uev|inova|skaya|aya|etti|ucci|elli|ini|acci|"
    r"uzzi|ellini|eiro|eira|ez|swamy|murthy|nathan|singh|worth|ington|ford|bauer|meier|maier|meyer|huber))"
    r"|(?:(?:mc|o['’]|fitz|d['’])[a-z]{3,}))$"
)
_WEAK = re.compile(r"(?:ska|ini|ez|sen|ian|yan|ford|worth|ington|aya|ova|eva|lund|ski|elli|etti|berg|stein|mann)$")


@dataclass(frozen=True)
class _Word:
    """A word of the text: folded, with what the lexicon says."""

    start: int
    end: int
    text: str
    plain: str
    capital: bool
    given: bool
    family: bool
    built: bool
    ordinary: bool

    @property
    def named(self) -> bool:
        return self.given or self.family

    @property
    def initial(self) -> bool:
        return len(self.text) == 1 and self.capital


@lru_cache(maxsize=16384)
def _looked_up(text: str) -> tuple[str, bool, bool, bool, bool]:
    """Folded word; given name, family name, built like one, ordinary word."""
    lists = lexicon()
    plain = fold(text)[0]
    parts = [plain, *(part for part in re.split(r"['’-]", plain) if len(part) > 2)]
    given, family = any(p in lists.given for p in parts), any(p in lists.family for p in parts)
    ordinary = lists.ordinary(plain) or (len(parts) > 2 and all(lists.ordinary(p) for p in parts[1:]))
    if "-" in plain and any(lists.ordinary(p) for p in parts[1:]):
        ordinary = True
    foreign = plain in lists.foreign and not (given and len(plain) > 3)
    return plain, given, family, bool(_BUILT.search(plain)), ordinary or foreign


def find_persons(text: str) -> Iterator[Span]:
    """Names of people, each with its reason.

    Args:
        text: any text.

    Example:
        >>> [text for text in ["Seen by Dr. Ana Beltrán today"] for s in find_persons(text)]
        ['Seen by Dr. Ana Beltrán today']
    """
    lists = lexicon()
    cased = any(letter.isupper() for letter in text)
    words = [_word(match, cased) for match in _TOKEN.finditer(text)]
    found: list[Span] = []
    place = 0
    while place < len(words):
        if not _starts(words[place], cased, lists):
            place += 1
            continue
        run, after = _run(text, words, place, cased)
        found += _judge(text, words, place, run, lists)
        place = max(after, place + 1)
    yield from found
    yield from _again(text, words, found)
    if not text.isascii():
        yield from find_chinese(text, lists.cjk)


def _again(text: str, words: list[_Word], found: list[Span]) -> Iterator[Span]:
    """Other mentions of a name already found, and unknown words in a list of names."""
    inside = {word.start: word for span in found for word in words if span.start <= word.start < span.end}
    names = {
        word.plain
        for word in inside.values()
        if len(word.text) > 2 and word.plain not in _PARTICLE and word.plain not in _TITLE
    }
    for place, word in enumerate(words):
        if word.start in inside or not word.capital or len(word.text) < 3:
            continue
        if word.plain in names and not word.ordinary:
            yield Span(word.start, word.end, "PERSON", "part of a name found elsewhere in the text")
            continue
        beside = words[place + 1] if place + 1 < len(words) else None
        if beside and beside.plain in ("and", "y", "und", "et", "e") and place + 2 < len(words):
            beside = words[place + 2]
        near = [other for other in (beside, words[place - 1] if place else None) if other and other.start in inside]
        gaps = [text[min(word.end, o.end) : max(word.start, o.start)] for o in near]
        if (
            not word.ordinary
            and (not word.text.isupper() or word.named)
            and any(re.fullmatch(r", ?(?:and )?| and | y | und | et ", gap) for gap in gaps)
        ):
            yield Span(word.start, word.end, "PERSON", "in a list with names")


def _word(match: re.Match[str], cased: bool) -> _Word:
    text = match.group()
    if text.lower().endswith(("'s", "’s")):
        text = text[:-2]
    plain, given, family, built, ordinary = _looked_up(text)
    capital = text[:1].isupper() or not cased
    return _Word(match.start(), match.start() + len(text), text, plain, capital, given, family, built, ordinary)


def _starts(word: _Word, cased: bool, lists: Lexicon) -> bool:
    """Whether a name may begin here."""
    if (
        not word.capital
        or word.plain in _TITLE
        or (word.text.isupper() and len(word.text) in (2, 3) and not word.named)
    ):
        return False
    return cased or word.named or word.built


def _run(text: str, words: list[_Word], place: int, cased: bool) -> tuple[list[_Word], int]:
    """Neighbouring words that may make one name: capitals, initials, particles between them."""
    run = [words[place]]
    here = place + 1
    while here < len(words) and len(run) < 6:
        word = words[here]
        gap = text[run[-1].end : word.start]
        if not _LINK.fullmatch(gap) or (gap[0] == "." and not run[-1].initial):
            break
        if (
            word.capital
            and (cased or word.named or word.built or word.initial or len(word.text) == 1)
            and word.plain not in _TITLE
        ) or (
            word.plain in _PARTICLE
            and here + 1 < len(words)
            and words[here + 1].capital
            and (cased or words[here + 1].named)
        ):
            run.append(word)
        else:
            break
        here += 1
    while len(run) > 1 and run[-1].plain in _PARTICLE and not run[-1].text[:1].isupper():
        run.pop()
    return run, here


def _judge(text: str, words: list[_Word], place: int, run: list[_Word], lists: Lexicon) -> Iterator[Span]:
    """Decide on a run: which of its words are the name, and why."""
    start = run[0].start
    before = text[max(0, start - 45) : start]
    title = place > 0 and _titled(text, words[place - 1], words[place])
    while len(run) > 1 and run[0].ordinary and not run[0].given and not title:
        run = run[1:]
    while len(run) > 1 and ((run[-1].ordinary and not run[-1].named) or _abbreviated(run)):
        run = run[:-1]
    if not run:
        return
    start, end = run[0].start, run[-1].end
    before = text[max(0, start - 45) : start]
    next_words = [word.plain for word in words[place : place + len(run) + 3] if text[end : word.start] == " "]
    if next_words and next_words[0] in lists.heads and not title:
        return
    company = (next_words[:1] and next_words[0] in lists.organisations and text[end : end + 1] == " ") or any(
        word.plain in lists.organisations and not word.named for word in run
    )
    if company and not title:
        return
    why = _reason(text, run, before, title, lists)
    if why:
        yield Span(start, end, "PERSON", why)


def _titled(text: str, title: _Word, word: _Word) -> bool:
    """Whether a word stands behind a title: `Dr. Weber`, `Doctor Weber`, but no sentence that ends in that word."""
    if title.plain not in _TITLE:
        return False
    gap = text[title.end : word.start]
    return gap in (". ", ".", " ") if title.plain in _SHORT_TITLE else gap == " " and not word.ordinary


def _abbreviated(run: list[_Word]) -> bool:
    """Whether a run ends in an abbreviation, as in `Anna MD`, and is not in capitals as a whole."""
    last = run[-1].text
    return last.isupper() and len(last) in (2, 3) and not all(word.text.isupper() for word in run)


def _shouted(run: list[_Word], cue: bool) -> bool:
    """Whether a run in capitals is likelier a heading than a name."""
    full = [word for word in run if len(word.text) > 1]
    if not all(word.text.isupper() for word in full):
        return False
    if any(len(set(word.plain)) == 1 for word in full):
        return True
    free = [word for word in full if not word.ordinary]
    if len(full) == 1:
        return not cue or not full[0].named or not free
    return len(free) < len(full) or not any(word.given for word in full) or not all(word.named for word in full)


def _reason(text: str, run: list[_Word], before: str, title: bool, lists: Lexicon) -> str:
    """Why a run is a name; empty if it is none."""
    end = run[-1].end
    full = [word for word in run if len(word.text) > 1 and word.plain not in _PARTICLE]
    if not full or title:
        return "after a title" if full else ""
    strong, cue = bool(_STRONG.search(before)), bool(_CUE.search(before))
    heading = all(word.plain in lists.medical for word in full) or _shouted(run, strong)
    odd = any(word.ordinary and not word.named for word in full[1:-1]) or any(
        len(set(word.plain)) == 1 for word in full
    )
    if heading or odd or _STREETLIKE.match(text, end):
        return ""
    acts = bool(_ACTS.match(text, end)) and text[end : end + 2] != ":\n"
    if len(full) >= 2:
        free = [word for word in full if not word.ordinary]
        return _several(full, free, strong or cue or acts, any(word.initial for word in run))
    return _single(full[0], len(run) > 1, before, (strong, cue, acts), lists)


def _single(word: _Word, initial: bool, before: str, context: tuple[bool, bool, bool], lists: Lexicon) -> str:
    """Why one word is a name; empty if it is none."""
    strong, cue, acts = context
    likely = word.named or word.built
    announced = bool(_NAMED.search(before)) and (likely or not word.ordinary)
    shaped = word.plain not in lists.places and len(word.text) > 2 and not (word.text.isupper() and len(word.text) < 4)
    free = shaped and not word.ordinary and not _PLACE_BEFORE.search(before)
    rules = (
        (initial and likely and not word.ordinary, "name of the lexicon with an initial"),
        (announced or (shaped and strong and (word.given or not word.ordinary)), "after words that announce a name"),
        (free and word.named, "name of the lexicon"),
        (free and ((cue and word.built) or acts or bool(_SAID.search(before))), "capital word where a name stands"),
        (free and word.built and not _WEAK.search(word.plain), "built like a family name"),
    )
    return next((why for holds, why in rules if holds), "")


def _several(full: list[_Word], free: list[_Word], cue: bool, initial: bool) -> str:
    """Why two or more words are a name."""
    named = [word for word in full if word.named]
    if free and [w for w in free if w.given] and len(full) <= 4:
        return "given name of the lexicon before another name"
    if len(named) >= 2 and free:
        return "names of the lexicon"
    if free and any(word.family or word.built for word in free) and (cue or initial or len(full) == 2):
        return "family name of the lexicon with another"
    if initial and free:
        return "words around an initial"
    if cue and len(free) >= 2 and len(full) <= 3:
        return "words where a name stands"
    if cue and len(named) >= 2 and all(word.text[:1].isupper() for word in full):
        return "names of the lexicon after words that announce one"
    return ""
