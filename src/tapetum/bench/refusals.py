"""What a benchmark refuses before it reads a test set: patients, images or pictures on both sides of it.

What cannot be checked is told in a note; nothing is passed over in silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from tapetum.archive import Archive
from tapetum.archive.duplicates import equal_copies
from tapetum.core.errors import ArtefactError, LeakageError, UsageError
from tapetum.core.registry import nearest
from tapetum.core.store import read_meta
from tapetum.core.types import ImageRecord, Split
from tapetum.learn import Model

COPIES = ("refuse", "refuse_equal", "leave_out", "keep")
_LEARNED = (Split.TRAIN, Split.VAL, Split.NONE)


def refuse_names(what: str, given: Collection[str], known: Sequence[str]) -> None:
    """Names that nothing has.

    Raises:
        UsageError: the first of them, with the nearest one that there is.

    Example:
        >>> refuse_names("findings", ["cataract"], ["cataract", "glaucoma"])
    """
    for name in given:
        if name not in known:
            raise UsageError(f"{what}={name!r}", nearest(name, list(known)), "tapetum bench --help")


def refuse_crossing_patients(archive: Archive) -> None:
    """Raises:
    LeakageError: a patient of the archive stands in two splits.
    """
    split = {r.patient_id: r.split for r in archive.records}
    crossing = [r.patient_id for r in archive.records if split[r.patient_id] != r.split]
    if crossing:
        raise LeakageError(
            f"patient {crossing[0]!r} stands in two splits", "one split per patient", "tapetum audit ARCHIVE"
        )


def refuse_shared(archive: Archive, other: Archive) -> tuple[str, ...]:
    """Images or patients that stand in both archives.

    Returns:
        A note where patient numbers occur in both that may or may not be the same people.

    Raises:
        LeakageError: an image stands in both, or a patient: pseudonyms that one key made are the same person.
    """
    here = {r.image_id for r in archive.records}
    shared = [r for r in other.records if r.image_id in here]
    if shared:
        raise LeakageError(
            f"{len(shared)} images stand in both archives, first {shared[0].source}",
            "an external archive of other patients",
            "tapetum audit OTHER_ARCHIVE",
        )
    people = {r.patient_id for r in archive.records} & {r.patient_id for r in other.records}
    if not people:
        return ()
    key = _key_id(archive)
    if key and key == _key_id(other):
        raise LeakageError(
            f"{len(people)} patients stand in both archives, whose pseudonyms follow from one key",
            "an external archive of other patients",
            "ingest both exports into one archive, which splits them by patient, and leave --test out",
        )
    return (
        f"{len(people)} patient numbers occur in both archives; they are taken for different people: where both come "
        "from one clinic, ingest them into one archive instead",
    )


def _key_id(archive: Archive) -> str:
    try:
        return str(read_meta(archive.path, "archive").config.get("key_id", ""))
    except ArtefactError:
        return ""


def refuse_copies(
    copies: str, alike: Collection[str], asked: int, learned: Sequence[str], on: Archive, tested: Archive
) -> None:
    """Tested images that look like one that is learned on, where the setting `copies` makes them an error.

    Args:
        copies: one of `COPIES`.
        alike: their ids.
        asked: tested images in all.
        learned: ids of the images learned on.
        on: the archive that is learned on.
        tested: the archive that is tested.

    Raises:
        LeakageError: `refuse` and any; `refuse_equal` and some have the very pixels of a learned one.
    """
    if not alike or copies not in ("refuse", "refuse_equal"):
        return
    equal = len(equal_copies(on, learned, tested) & set(alike))
    found = (
        f"{len(alike)} of {asked} tested images look like images that are learned on, {equal} have their very pixels"
    )
    if equal or copies == "refuse":
        raise LeakageError(
            found,
            "one part for all copies of a picture",
            "tapetum audit ARCHIVE lists them: mend the split; or copies=leave_out tests without them, copies=keep "
            "measures the leak",
        )


def refuse_learned(model: Model, tested: Archive, patients: Collection[str], learned_on: Archive) -> tuple[str, ...]:
    """Patients whom a model that is handed in has seen.

    Args:
        model: a checkpoint.
        tested: the archive whose patients are tested.
        patients: those.
        learned_on: the trial's other archive, or the same.

    Returns:
        Notes on what cannot be checked.

    Raises:
        LeakageError: some of the tested patients were learned from, or thresholds were chosen on them, in the state of
            the archive that the model was made from, which may be an earlier one.
    """
    origin = model.parents.get("archive", "")
    found = tested.splits_at(origin) if origin else None
    notes = _of_others(model)
    if found is None:
        known = origin and tested.digest != learned_on.digest and learned_on.splits_at(origin) is not None
        return (*(() if known else (_unknown(model, tested, origin),)), *notes)
    chose = model.operating is not None or bool(model.config.get("cross_fit"))
    parts = [p for p in _LEARNED if chose or p != Split.VAL]
    seen = [found[p] for p in set(patients) if found.get(p) in parts]
    if not seen:
        return notes
    if all(part == Split.VAL for part in seen):
        raise LeakageError(
            "the model's thresholds were chosen on the validation patients, which are to be tested", "test_split=test",
            "leave --model out: then a model is made whose thresholds come from other patients",
        )  # fmt: skip
    counts = Counter("in a part that was drawn anew since" if p == Split.NONE else str(p.value) for p in seen)
    told = ", ".join(f"{n} {part}" for part, n in sorted(counts.items()))
    when = "was trained on" if origin == tested.digest else "was trained on an earlier state of"
    raise LeakageError(
        f"the model {when} {tested.name}: it has seen {len(seen)} of the {len(set(patients))} tested patients ({told})",
        "patients that the model has not seen",
        f"tapetum bench PROTOCOL {tested.path.name} --model CKPT, which tests its test patients only, or train anew",
    )


def _unknown(model: Model, tested: Archive, origin: str) -> str:
    """A model of unknown origin."""
    if not origin:
        return "the model was published by others: whether it saw the tested patients cannot be checked here"
    named = str(model.config.get("archive", "")) or "another archive"
    if named == tested.name:
        return (
            f"WARNING: the model was made from an archive that is also called {named}, in a state ({origin[:12]}) that "
            f"is not known here: if it is an older copy of this one, the model may have learned from the tested "
            f"patients. `tapetum bench PROTOCOL THAT_ARCHIVE --test {tested.path.name} --model CKPT` compares images"
        )
    return (
        f"the model was made from {named}, another archive: whether it saw these patients cannot be checked here; "
        f"`tapetum bench PROTOCOL THAT_ARCHIVE --test {tested.path.name} --model CKPT` compares their images"
    )


def _of_others(model: Model) -> tuple[str, ...]:
    """Models stand on models: what those saw is not written into the checkpoint."""
    others = [f"{role} {digest[:12]}" for role, digest in model.parents.items() if role != "archive"]
    return tuple(
        f"the model was made with another one ({other}): what that one saw is not known here" for other in others
    )


def refuse_chosen_on(patients: Collection[str], tested: Sequence[ImageRecord], what: str) -> None:
    """Something that was chosen on patients who are tested.

    Args:
        patients: on whom it was chosen.
        tested: the tested images.
        what: for the message, for example `thresholds`.

    Raises:
        LeakageError: they overlap.
    """
    both = set(patients) & {r.patient_id for r in tested}
    if both:
        raise LeakageError(
            f"{what} were chosen on {len(both)} of the patients who are tested, first {sorted(both)[0]!r}",
            "validation patients, none of whom is tested",
            "choose on split=val, or test other patients",
        )
