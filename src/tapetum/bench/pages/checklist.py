"""Draft checklists for a paper: what a run knows is filled in with its source, what only authors know is asked.

The lists lie beside this file as TOML: topics in our own words after published reporting guidelines. A draft helps to
write and to review; what a journal wants is the published form.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from tapetum.bench.pages.parts import paragraph, table, text
from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest

CHECKLISTS = ("tripod_ai", "claim", "stard_ai")


@dataclass(frozen=True)
class Fact:
    """Something that a run knows, and where it stands: archive, records, model, package."""

    words: str
    source: str


@dataclass(frozen=True)
class Item:
    """One line of a list.

    Attributes:
        number: as published, empty where we vouch for none. topic: in a few words.
        known: what the run answers. asks: what only the authors can answer, empty where nothing is left.
    """

    number: str
    topic: str
    known: tuple[Fact, ...]
    asks: str

    @property
    def state(self) -> str:
        """`filled`, `partly`, `authors` (nothing is known here)."""
        if not self.known:
            return "authors"
        return "partly" if self.asks else "filled"


@dataclass(frozen=True)
class Checklist:
    """A draft.

    Attributes:
        name: of its file. title, source: of the guideline. numbers: what the numbers are, and what the draft is not.
    """

    name: str
    title: str
    source: str
    numbers: str
    items: tuple[Item, ...]

    def count(self, state: str) -> int:
        """How many items are in a state."""
        return sum(item.state == state for item in self.items)

    def summary(self) -> str:
        """How much is filled in."""
        return (
            f"{self.count('filled')} of {len(self.items)} items filled in, {self.count('partly')} in part, "
            f"{self.count('authors')} for the authors alone"
        )

    def markdown(self) -> str:
        """As Markdown: a draft to be edited."""
        lines = [
            f"# Draft checklist after {self.title}",
            "",
            f"{self.source}. {self.numbers}",
            "",
            self.summary() + ".",
        ]
        for item in self.items:
            name = f"{item.number} {item.topic}".strip()
            box = "x" if item.state == "filled" else " "
            lines += ["", f"- [{box}] **{_plain(name)}**"]
            lines += [f"  - {_plain(fact.words)} *({fact.source})*" for fact in item.known]
            lines += [f"  - Only the authors can answer: {item.asks}."] if item.asks else []
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """As a part of a page."""
        rows = [
            [
                text(f"{item.number} {item.topic}".strip()),
                "".join(f'{text(f.words)} <span class="soft">({text(f.source)})</span><br>' for f in item.known),
                f'<span class="warn">{text(item.asks)}</span>' if item.asks else "",
            ]
            for item in self.items
        ]
        told = paragraph(f"{self.source}. {self.numbers}", "soft")
        head = f"<summary><b>{text(self.title)}</b>: {text(self.summary())}</summary>"
        listed = table(["item", "known here", "only the authors can answer"], rows)
        return f'<details class="checklist">{head}{told}{listed}</details>'


def checklist(name: str, facts: Mapping[str, Fact]) -> Checklist:
    """A list filled in with what is known.

    Args:
        name: `tripod_ai`, `claim` or `stard_ai`.
        facts: what is known, by the names that the list uses; a fact that is absent is the authors' to tell.

    Raises:
        UsageError: another name.
    """
    if name not in CHECKLISTS:
        raise UsageError(f"no checklist {name!r}", nearest(name, CHECKLISTS))
    place = files("tapetum.bench.pages").joinpath(f"checklists/{name}.toml")
    raw: dict[str, Any] = tomllib.loads(place.read_text(encoding="utf-8"))
    items: list[Item] = []
    for one in raw["item"]:
        known = tuple(facts[f] for f in one.get("facts", ()) if f in facts)
        absent = one.get("asks") or ("" if known else "nothing here tells: this part of the run was left out or failed")
        items.append(Item(one.get("number", ""), one["topic"], known, absent))
    return Checklist(name, raw["title"], raw["source"], raw["numbers"], tuple(items))


def _plain(words: str) -> str:
    """Names from outside make no markup."""
    return words.replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[").replace("\n", " ")
