"""Properties of the report parser on any text, and on texts built from the parser's own words."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.core.types import Laterality
from tapetum.knowledge import load_pack, negated, parse_report
from tapetum.knowledge.phrases import words
from tapetum.knowledge.sentences import split

PACK = load_pack("fundus")
TERMS = sorted({term for f in PACK.findings.values() for term in (f.name, *f.synonyms.get("en", ()), *f.abbreviations)})
GLUE = [
    "no",
    "not",
    "without",
    "but",
    ",",
    ".",
    ";",
    "?",
    ":",
    "\n",
    "OD:",
    "LE",
    "both eyes",
    "possible",
    "resolved",
    "mild",
    "and",
    "or",
    "Dr.",
    "0.5",
    "，",
    "(",
    "History:",
    "-",
]
PIECES = st.lists(st.sampled_from(TERMS) | st.sampled_from(GLUE) | st.text(max_size=3), max_size=25)
REPORTS = PIECES.map(" ".join) | st.text(max_size=200)


@settings(max_examples=150, deadline=None)
@given(REPORTS)
def test_places_lie_in_the_text_and_in_order(text: str) -> None:
    report = parse_report(text, PACK)
    assert report.text == text
    end = 0
    for sentence in report.sentences:
        assert end <= sentence.start < sentence.end <= len(text)
        section = report.sections[sentence.section]
        assert section.start <= sentence.start <= sentence.end <= section.end
        end = sentence.end
    end, place = 0, (0, 0)
    for mention in report.mentions:
        sentence = report.sentences[mention.sentence]
        # One label of a form is said of each eye.
        assert end <= mention.start < mention.end or (mention.start, mention.end) == place
        place = (mention.start, mention.end)
        assert sentence.start <= mention.start < mention.end <= sentence.end
        assert mention.finding in PACK.findings
        assert mention.why
        end = mention.end


@settings(max_examples=100, deadline=None)
@given(REPORTS)
def test_deterministic_and_consistent(text: str) -> None:
    report = parse_report(text, PACK)
    assert report == parse_report(text, PACK)
    assert report.present(Laterality.RIGHT) | report.present(Laterality.LEFT) == report.present()
    assert report.present(Laterality.UNKNOWN) <= report.present(Laterality.RIGHT) & report.present(Laterality.LEFT)
    assert report.text_for(Laterality.RIGHT) in report.text_for() or len(report.sentences) > 1


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(f.id for f in PACK.findings.values() if f.level in {"disease", "grade", "sign"})))
def test_a_name_is_found_and_its_denial_believed(finding: str) -> None:
    name = PACK.findings[finding].name
    (mention,) = parse_report(name, PACK).mentions
    assert (mention.finding, mention.status, mention.start, mention.end) == (finding, "present", 0, len(name))
    (denied,) = parse_report(f"There is no evidence of {name} in the left eye.", PACK).mentions
    assert (denied.finding, denied.status, denied.laterality) == (finding, "absent", Laterality.LEFT)


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=120), st.data())
def test_negation_never_raises(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    assert negated(text, start, end) in {True, False}


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_words_and_sentences_lose_no_letter(text: str) -> None:
    covered = {i for a, b in split(text) for i in range(a, b)}
    assert all(i in covered for i, char in enumerate(text) if char.isalnum())
    assert all(text[word.start : word.end].strip() for word in words(text))
