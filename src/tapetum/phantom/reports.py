"""Reports as clinics write them: one text per visit for both eyes, with the truth of every sentence beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family, nearest
from tapetum.core.types import Laterality
from tapetum.phantom import phrases as say
from tapetum.phantom.claims import visit_claims
from tapetum.phantom.people import EYES, Patient
from tapetum.phantom.statement import Fact, Report, Seen, Sentence

# Further authors, each asked for by name.
AUTHORS = Family("tapetum.phantom.styles")
# Authors who write in another language than English.
WRITERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"es": ("spanish_notes", "spanish_letter"), "zh": ("chinese_sections", "chinese_prose")}
)
STYLES = ("narrative", "sections", "keywords", "shorthand")
PLURAL = ("aneurysms", "haemorrhages", "exudates", "spots", "scars", "drusen", "vessels", "fibres")


def check_authors(languages: Sequence[str], styles: Sequence[str]) -> None:
    """Refuse unknown languages and styles.

    Raises:
        UsageError: no language, an unknown one, or a style that is not an English author.
    """
    if not languages:
        raise UsageError("no language", f"at least one of en, {', '.join(WRITERS)}")
    foreign = {name for names in WRITERS.values() for name in names}
    english = [name for name in AUTHORS.names() if name not in foreign]
    for given, known in ((languages, ("en", *WRITERS)), (styles, english)):
        for name in given:
            if name not in known:
                raise UsageError(f"unknown {name!r} among languages or styles", nearest(name, known))


def author(languages: Sequence[str], styles: Sequence[str], rng: np.random.Generator) -> str:
    """Whose report it is: a language is drawn, then one of its styles.

    Args:
        languages: `en`, `es`, `zh`; each as likely as the others.
        styles: English authors to draw from, members of `tapetum.phantom.styles`; none: the four plain styles.
        rng: of this choice alone.

    Returns:
        A name for `write_report`, `""` for a plain style.
    """
    language = languages[int(rng.integers(len(languages)))]
    options = styles if language == "en" else WRITERS[language]
    return _one(rng, options) if options else ""


def write_report(
    patient: Patient,
    eyes: Sequence[Seen],
    rng: np.random.Generator,
    *,
    noise: float,
    omission: float = 0.0,
    change: str = "",
    style: str = "",
) -> Report:
    """Write the report of one visit.

    Args:
        patient: whose history and illnesses are told.
        eyes: right, then left.
        rng: of this visit's author.
        noise: chance in 0..1 of a typo in a sentence; a third of it is the chance of a doubt about something absent.
        omission: chance in 0..1 that a present sign is left out of the report.
        change: `"worse"`, `"same"` or `""` for a first visit.
        style: a member of `tapetum.phantom.styles`; `""` draws one of the four plain English styles.

    Returns:
        The text and its sentences; every finding of every eye is stated unless omitted.
    """
    if style:
        visit = visit_claims(patient, eyes, rng, noise=noise, omission=omission, change=change)
        return AUTHORS.member(style)(visit, rng)
    style = STYLES[int(rng.choice(len(STYLES), p=[0.27, 0.27, 0.28, 0.18]))]
    labels = say.EYE_WORDS[int(rng.choice(4, p=[0.35, 0.35, 0.18, 0.12]))]
    before, after = _around(patient, rng, change)
    kept = [_kept(seen.findings, rng, omission) for seen in eyes]
    short = style in ("keywords", "shorthand")
    bodies = [
        _listed(seen, names, rng, style) if short else _told(seen, names, rng, noise)
        for seen, names in zip(eyes, kept, strict=True)
    ]
    bodies = [[_typo(s, rng, noise) for s in body] for body in bodies]
    same_normal = all(names == ["normal_fundus"] for names in kept) and rng.uniform() < 0.3
    if same_normal:
        words = ("Both eyes: normal fundus.", "OU: normal fundus.", "Normal fundus in both eyes.")
        both = Sentence(_one(rng, words), (Fact(Laterality.BOTH, "normal_fundus", "present"),), True)
        return Report(style, " ".join(s.text for s in (*before, both, *after)), (*before, both, *after))
    if style == "sections":
        text = f"HISTORY: {_run(before)}\nFINDINGS:\n{labels[0]}: {_run(bodies[0])}\n{labels[1]}: {_run(bodies[1])}"
        text += f"\nPLAN: {_run(after)}"
        return Report(style, text, (*before, *bodies[0], *bodies[1], *after))
    if short:
        before, after = (before[:1], []) if rng.uniform() < 0.3 else ([], [])
    text = f"{labels[0]}: {_run(bodies[0])} {labels[1]}: {_run(bodies[1])}"
    text = " ".join(part for part in (_run(before), text, _run(after)) if part)
    return Report(style, text, (*before, *bodies[0], *bodies[1], *after))


def _one(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _run(sentences: Sequence[Sentence]) -> str:
    return " ".join(s.text for s in sentences)


def _kept(findings: Mapping[str, float], rng: np.random.Generator, omission: float) -> list[str]:
    """The findings to be written: diagnoses first, implied ones only where nothing more particular says them."""
    implied = set(say.IMPLIED)
    if "branch_retinal_vein_occlusion" in findings:
        implied |= {"flame_haemorrhage", "dot_blot_haemorrhage"}
    names = [name for name in findings if name not in implied]
    names = [name for name in names if name == "normal_fundus" or rng.uniform() >= omission]
    return sorted(names, key=lambda n: (say.DIAGNOSES.index(n) if n in say.DIAGNOSES else 99, n))


def _around(patient: Patient, rng: np.random.Generator, change: str) -> tuple[list[Sentence], list[Sentence]]:
    """History before the findings and plan after them: nothing that a photograph could show."""
    history = _one(rng, say.HISTORY[patient.diabetes, patient.hypertension]).format(int(rng.integers(2, 25)))
    before = [Sentence(history), Sentence(_one(rng, say.COMPLAINTS))]
    if rng.uniform() < 0.5:
        lines = rng.choice([6, 7, 9, 12, 18, 24], 2)
        before.append(Sentence(_one(rng, say.VISION).format(*lines)))
    if rng.uniform() < 0.3:
        before.append(Sentence(_one(rng, say.PRESSURE).format(*rng.integers(11, 22, 2))))
    after: list[Sentence] = []
    if change:
        after.append(Sentence(say.WORSE if change == "worse" else say.SAME))
    after.append(Sentence(_one(rng, say.ADVICE).format(int(rng.choice([2, 3, 6, 12])))))
    if rng.uniform() < 0.4:
        after.append(Sentence(_one(rng, say.BOILERPLATE)))
    return before, after


def _absent(findings: Mapping[str, float]) -> list[str]:
    return [name for name in say.DENIED if name not in findings]


def _told(seen: Seen, names: Sequence[str], rng: np.random.Generator, noise: float) -> list[Sentence]:
    """Full sentences about one eye."""
    side = seen.eye.laterality
    body: list[Sentence] = []
    if seen.eye.quality != "good" and rng.uniform() < 0.6:
        body.append(Sentence(say.POOR[seen.eye.quality], (Fact(side, "low_image_quality", "present"),), True))
    for name in names:
        severity = seen.findings[name]
        if name == "normal_fundus":
            body.append(Sentence(_one(rng, say.NORMAL), (Fact(side, name, "present"),), True))
            continue
        unsure = name in say.HEDGED and severity < 0.35 and rng.uniform() < 0.5
        words = say.NAMES[name][0]
        if name in say.GRADED and not unsure:
            words = say.MANY[min(2, int(severity * 3))].format(words)
        frame = _one(rng, say.UNSURE if unsure else say.PRESENT)
        body.append(Sentence(_framed(frame, words), (Fact(side, name, "uncertain" if unsure else "present"),), True))
    if rng.uniform() < 0.45:
        body.append(Sentence(_one(rng, say.RATIO).format(seen.eye.cup_ratio), (), True))
    if rng.uniform() < 0.3 and not {"optic_disc_swelling", "optic_atrophy", "optic_disc_cupping"} & set(seen.findings):
        body.append(Sentence(_one(rng, say.DISC_NORMAL), (), True))
    absent = _absent(seen.findings)
    for name in rng.permutation(absent)[: int(rng.integers(0, 3))]:
        text = _framed(_one(rng, say.ABSENT), say.NAMES[str(name)][0])
        body.append(Sentence(text, (Fact(side, str(name), "absent"),), True))
    doubtful = [n for n in absent if n in say.HEDGED and not any(f.finding == n for s in body for f in s.facts)]
    if doubtful and rng.uniform() < noise / 3:
        name = _one(rng, doubtful)
        body.append(
            Sentence(_framed(_one(rng, say.UNSURE), say.NAMES[name][0]), (Fact(side, name, "uncertain"),), True)
        )
    return body


def _framed(frame: str, words: str) -> str:
    """Fill a frame; no article after a negation or a doubt, capital at the start."""
    if not frame.startswith(("There is {}", "Fundus shows", "{} seen", "{} noted", "Examination")):
        words = words.removeprefix("an ").removeprefix("a ")
    text = frame.format(words)
    plural = words.startswith("patches") or (words.endswith(PLURAL) and not words.startswith(("a ", "an ")))
    if frame == "There is {}." and (plural or words.startswith(("a few ", "several ", "numerous "))):
        text = "There are " + text.removeprefix("There is ")
    return text[0].upper() + text[1:]


def _listed(seen: Seen, names: Sequence[str], rng: np.random.Generator, style: str) -> list[Sentence]:
    """A list of keywords or abbreviations about one eye, one sentence in all."""
    side, column = seen.eye.laterality, 1 if style == "keywords" else 2
    words = [say.NAMES[name][column] for name in names]
    facts = [Fact(side, name, "present") for name in names]
    if style == "shorthand":
        words = [f"{w}+" if n in say.GRADED and rng.uniform() < 0.4 else w for w, n in zip(words, names, strict=True)]
        if rng.uniform() < 0.5:
            words.append(f"CDR {seen.eye.cup_ratio:.1f}")
    absent = _absent(seen.findings)
    if rng.uniform() < 0.25 and absent:
        name = _one(rng, absent)
        words.append(f"no {say.NAMES[name][column]}")
        facts.append(Fact(side, name, "absent"))
    if seen.eye.quality != "good" and rng.uniform() < 0.4:
        words.append("low image quality")
        facts.append(Fact(side, "low_image_quality", "present"))
    return [Sentence(", ".join(words) + (";" if side is EYES[0] else "."), tuple(facts), True)]


def _typo(sentence: Sentence, rng: np.random.Generator, noise: float) -> Sentence:
    """Swap two neighbouring letters inside one long word, now and then; the truth stays."""
    draw, place = rng.uniform(), rng.uniform(size=2)
    words = sentence.text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) >= 8 and word.isalpha()]
    if draw >= noise or not long:
        return sentence
    index = long[int(place[0] * len(long))]
    word = words[index]
    at = 2 + int(place[1] * (len(word) - 4))
    words[index] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return Sentence(" ".join(words), sentence.facts, sentence.visible)
