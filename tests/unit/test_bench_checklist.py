"""Draft checklists: what is known is filled in with its source, the rest is the authors'."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from importlib.resources import files

import pytest

from tapetum.bench.pages.checklist import CHECKLISTS, Checklist, Fact, Item, checklist
from tapetum.bench.whole import PARTS, Outcome, Planned, Whole
from tapetum.bench.whole.facts import facts_of
from tapetum.bench.whole.result import DONE
from tapetum.core.errors import UsageError
from tapetum.core.types import Interval, Record

TRIPOD = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 18a 18b 18c "
    "18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
STARD = "1 2 3 4 5 6 7 8 9 10a 10b 11 12a 12b 13a 13b 14 15 16 17 18 19 20 21a 21b 22 23 24 25 26 27 28 29 30"


def raw(name):
    return tomllib.loads(files("tapetum.bench.pages").joinpath(f"checklists/{name}.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole():
    """A run whose every part has one number."""
    one = Record(
        "linear_probe", "probe", "supervised", "macro", "auroc_score", Interval(0.9, 0.8, 0.95, "bootstrap"), 32, 16, 8,
        (0,), "none", 3, {"model": "m", "code": "c" * 64}, "toy", False,
    )  # fmt: skip
    outcomes = tuple(
        Outcome(Planned(part, part.name, part.spec, "own"), DONE, "", (one,), ("x: in doubt by y: 3",))
        for part in PARTS
    )
    return Whole("toy", "elsewhere", False, outcomes, ("2 groups cross splits",), (), {"code": "c" * 64}, 3)


def test_the_numbers_are_the_published_ones():
    assert " ".join(item["number"] for item in raw("tripod_ai")["item"]) == TRIPOD
    assert " ".join(item["number"] for item in raw("stard_ai")["item"] if "number" in item) == STARD
    assert not any("number" in item for item in raw("claim")["item"])
    assert "without its numbers" in raw("claim")["numbers"]


@pytest.mark.parametrize("name", CHECKLISTS)
def test_every_fact_that_a_list_names_can_be_known(name, whole, toy_archive, toy_model):
    people = tuple(
        dataclasses.replace(
            r, age_years=40.0 + i % 9, sex="FM"[i % 2], captured="2024-05-01", device="maker model", gradable=0.9
        )
        for i, r in enumerate(toy_archive.records)
    )
    archive = dataclasses.replace(toy_archive, records=people, deidentify="longitudinal")
    known = facts_of(whole, archive, toy_model)
    asked = {fact for item in raw(name)["item"] for fact in item.get("facts", ())}
    assert asked <= set(known)
    assert all(fact.words.strip() and fact.source for fact in known.values())


@pytest.mark.parametrize("name", CHECKLISTS)
def test_nothing_known_leaves_everything_to_the_authors(name):
    empty = checklist(name, {})
    assert empty.count("authors") == len(empty.items) == len(raw(name)["item"])
    assert all(item.asks for item in empty.items)


def test_known_facts_stand_with_their_source(whole, toy_archive, toy_model):
    facts = facts_of(whole, toy_archive, toy_model)
    made = checklist("tripod_ai", facts)
    by_number = {item.number: item for item in made.items}
    assert "Split by patient: train 56 images of 28 patients" in by_number["12a"].known[0].words
    assert by_number["12a"].state == "filled"
    assert by_number["17"].state == "authors", "an archive without pseudonyms tells nothing of ethics"
    assert by_number["23a"].known[0].words.startswith("Detection: AUROC ↑ 0.900 [0.800, 0.950] (probe)")
    assert "been read 3 time(s)" in by_number["12f"].known[0].words
    assert "Tested also on elsewhere" in by_number["16"].known[0].words
    assert made.count("filled") + made.count("partly") + made.count("authors") == len(made.items)
    text = made.markdown()
    assert text.count("- [x]") == made.count("filled")
    assert text.count("Only the authors can answer: ") == sum(bool(item.asks) for item in made.items)
    assert "*(archive)*" in text


def test_without_a_second_archive_it_says_internal(whole, toy_archive):
    known = facts_of(dataclasses.replace(whole, other=""), toy_archive, None)
    assert known["external"].words.startswith("Internal")
    assert "model" not in known


def test_a_part_that_gave_no_answer_fills_nothing_in(whole, toy_archive):
    without = tuple(o for o in whole.outcomes if o.planned.name != "fairness")
    made = checklist("tripod_ai", facts_of(dataclasses.replace(whole, outcomes=without), toy_archive, None))
    fairness = next(item for item in made.items if item.number == "14")
    assert fairness.known == ()


def test_words_from_outside_make_no_markup():
    item = Item("1", "t", (Fact("<b>*x*[y](z)", "archive"),), "a")
    made = Checklist("n", "T", "s", "n", (item,))
    assert "&lt;b>\\*x\\*\\[y](z)" in made.markdown()
    assert "<b>*x*" not in made.html()
    assert "&lt;b&gt;" in made.html()


def test_an_unknown_list_is_refused():
    with pytest.raises(UsageError, match="no checklist 'tripod'") as caught:
        checklist("tripod", {})
    assert re.search("tripod_ai", caught.value.expected)
