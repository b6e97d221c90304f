"""What a domain pack is made of: findings in a tree, with the words for them and what each looks like."""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest

Level = Literal["modality", "status", "group", "disease", "grade", "sign"]
LEVELS: tuple[str, ...] = get_args(Level)

# Parts of compound words that are written joined, hyphenated or apart ("non-proliferative", "cotton wool").
PREFIXES = (
    "non",
    "micro",
    "macro",
    "neo",
    "pre",
    "sub",
    "epi",
    "intra",
    "chorio",
    "retino",
    "peri",
    "para",
    "cotton",
    "arterio",
)
_PARTED = re.compile(rf"\b({'|'.join(PREFIXES)}) (?=[^\W\d])")
_SEPARATORS = re.compile(r"[\s_\-‐-―/]+")
# American → British first, so that both spellings of a word have one key. Order matters: longer before shorter.
_SPELLINGS = (
    ("hemorrhag", "haemorrhag"),
    ("edema", "oedema"),
    ("ooedema", "oedema"),
    ("nevus", "naevus"),
    ("nevi", "naevi"),
    ("fiber", "fibre"),
    ("ischemi", "ischaemi"),
    ("tumor", "tumour"),
    ("artifact", "artefact"),
    ("ization", "isation"),
    ("color", "colour"),
    ("disk", "disc"),
    ("center", "centre"),
)


def fold(text: str) -> str:
    """The key under which spellings of one term meet: case, width, hyphen, blank and American/British spelling.

    Example:
        >>> fold("Macular  Edema") == fold("macular-oedema")
        True
    """
    plain = _SEPARATORS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
    for american, british in _SPELLINGS:
        plain = plain.replace(american, british)
    return _PARTED.sub(r"\1", plain)


@dataclass(frozen=True)
class Finding:
    """One node of the tree: a disease, a grade of it, a sign, or one of the shelves above them.

    Attributes:
        id: stable name in code and tables, lower case with underscores.
        name: the usual English term. synonyms: language (`en`, `es`, `zh`) → further terms of equal meaning.
        level: modality, status, group, disease, grade or sign. parent: id one step up, `""` for the modality.
        abbreviations: as written in reports; up to two letters they are recognised in capitals only.
        descriptions: what is seen in the image, in plain English sentences. sources: what they rest on.
        visible: False where no image of this modality can show it (intraocular pressure in a fundus photograph).
        variants: further word orders and phrases that reports use; recognised, but not used as prompts.
        alone: words that name the finding only where they make up a whole clause (`normal`).
        place: where in the image it is seen, `""` where that is the place of what stands above it, or any.
    """

    id: str
    name: str
    level: Level
    parent: str
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    abbreviations: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    visible: bool = True
    variants: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    place: str = ""

    def terms(self, languages: Sequence[str] = ()) -> tuple[str, ...]:
        """Every text that names this finding: id, name, synonyms, abbreviations, variants.

        Args:
            languages: codes of the languages whose synonyms count; all by default.
        """
        every = [self.id, self.name, *self.abbreviations, *self.variants]
        every += [term for code, terms in self.synonyms.items() if not languages or code in languages for term in terms]
        return tuple(dict.fromkeys(every))


@dataclass(frozen=True, eq=False)
class Pack:
    """A domain pack: the findings of one modality. Compared by identity, since it is loaded once.

    Attributes:
        findings: id → finding, parents before children.
        notes: what its author decided, for the reference page.
        ignore: phrases that contain a finding's name and do not state it (`cataract surgery`).
        boilerplate: sentences of report templates, whole.
        paired: whether an image shows one of a pair of organs, so that "right" and "left" say which.
        loose: whether names also count in forms that the pack does not list (other endings, clipped words); right where
            reports are typed in haste, wrong where they are dictated in a settled vocabulary.
        codes: finding → grade as forms write it (`"r2"`, `"0"`) → the finding that it stands for, `""` for none.
        colours: channels of a photograph from the brightest to the darkest mean inside the field of view, empty where
            nothing is expected.
    """

    name: str
    modality: str
    findings: Mapping[str, Finding]
    ignore: tuple[str, ...] = ()
    notes: str = ""
    boilerplate: tuple[str, ...] = ()
    paired: bool = True
    loose: bool = True
    codes: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    colours: tuple[str, ...] = ()

    def finding(self, finding: str) -> Finding:
        """The finding of this id.

        Raises:
            UsageError: no such id; the message names the nearest.
        """
        if finding not in self.findings:
            raise UsageError(
                f"no finding {finding!r} in the pack {self.name}",
                nearest(finding, list(self.findings)),
                "docs/reference lists the pack",
            )
        return self.findings[finding]

    def ancestors(self, finding: str) -> tuple[str, ...]:
        """Ids above a finding, nearest first, the modality last."""
        found: list[str] = []
        parent = self.finding(finding).parent
        while parent:
            found.append(parent)
            parent = self.findings[parent].parent
        return tuple(found)

    def children(self, finding: str) -> tuple[str, ...]:
        """Ids one step below a finding, in the pack's order."""
        self.finding(finding)
        return self._below.get(finding, ())

    def descendants(self, finding: str) -> tuple[str, ...]:
        """Ids at any depth below a finding, each parent before its children."""
        found: list[str] = []
        for child in self.children(finding):
            found += [child, *self.descendants(child)]
        return tuple(found)

    def resolve(self, text: str) -> str:
        """The finding that a text names: its id, name, synonym in any language, abbreviation or variant.

        Case, hyphens, blanks, plural `s` and American or British spelling do not matter; nothing else is guessed.

        Raises:
            UsageError: no finding has this name; the message names the nearest.

        Example:
            >>> from tapetum.knowledge import load_pack
            >>> load_pack("fundus").resolve("Moderate NPDR")
            'moderate_npdr'
        """
        named = self.named(text)
        if named:
            return named
        key = fold(text)
        raise UsageError(
            f"no finding is called {text!r} in the pack {self.name}",
            ", ".join(difflib.get_close_matches(key, list(self._names), n=3, cutoff=0.5)) or "a finding's name",
            "docs/reference lists the names; give the label a name with a label map",
        )

    def named(self, text: str) -> str:
        """As `resolve`, `""` where no finding has this name."""
        key = fold(text)
        return next((self._names[form] for form in (key, key.removesuffix("s"), f"{key}s") if form in self._names), "")

    def closure(self, ids: Iterable[str]) -> frozenset[str]:
        """The ids and everything above them: who has a grade has the disease, and an abnormal image.

        Example:
            >>> from tapetum.knowledge import load_pack
            >>> "diabetic_retinopathy" in load_pack("fundus").closure(["mild_npdr"])
            True
        """
        every: set[str] = set()
        for name in ids:
            every.add(self.finding(name).id)
            every.update(self.ancestors(name))
        return frozenset(every)

    @functools.cached_property
    def _below(self) -> Mapping[str, tuple[str, ...]]:
        below: dict[str, list[str]] = {}
        for finding in self.findings.values():
            below.setdefault(finding.parent, []).append(finding.id)
        return {parent: tuple(children) for parent, children in below.items()}

    @functools.cached_property
    def _names(self) -> Mapping[str, str]:
        # English last, so that it wins where a spelling has two meanings.
        own = {fold(term): finding.id for finding in self.findings.values() for term in finding.terms()}
        return own | {fold(term): finding.id for finding in self.findings.values() for term in finding.terms(("en",))}
