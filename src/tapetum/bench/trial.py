"""What a protocol is run on: where it may learn, what it is tested on, and how often that test set was read before."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from tapetum.archive import Archive
from tapetum.archive.duplicates import copies
from tapetum.bench.budget import refuse_unequal, settings_of
from tapetum.bench.readings import count_reading, readings, settings_tried
from tapetum.bench.refusals import (
    COPIES,
    refuse_copies,
    refuse_crossing_patients,
    refuse_learned,
    refuse_names,
    refuse_shared,
)
from tapetum.core.config import digest
from tapetum.core.errors import DataError, UsageError
from tapetum.core.store import file_digest
from tapetum.core.types import Embeddings, ImageRecord, Predictions, Split
from tapetum.learn import Model, PretrainConfig, embed
from tapetum.learn.classifying.pictures import MODES
from tapetum.learn.pretrain import candidates, targets


@dataclass(frozen=True)
class BenchConfig(PretrainConfig):
    """How a benchmark is run; the fields of `PretrainConfig` say how a model is made where none is given.

    Args:
        findings: what to detect; by default what the labels name and the pack knows.
        test_split: part of the archive that is tested, `test` or `val`; every patient of another archive (`--test`).
        draws: of the patient-cluster bootstrap. ordinal: the labels are grades 0, 1, 2, … (adds quadratic κ).
        exclusive: each image has one label and no other (adds the accuracy of the most probable one).
            Both speak to `linear_probe` and `knn`, `exclusive` to `ood`; others refuse them.
        copies: tested images that look like one which is learned on: `refuse_equal` = the very same pixels are an
            error, the others are left out and counted; `refuse` = any is an error; `leave_out` = all are left out;
            `keep` = all are tested, to measure the leak.
        unequal_budgets: let methods of one table be tested with unequal numbers of settings; a note says so.
        mode: `frozen` = all learn from features that stay, or `finetune` = the tower learns too, from the labels of the
            training patients. `longtail`, `robust`, `shift`, `noise` and `crossed` tune one for every method, seed or
            fold; `linear_probe`, `knn`, `calibration`, `ood`, `fairness`, `masked`, `corrupted` and `abstain` one that
            they all ask; others refuse it.
        tuner: of `learn/tuners`, for those that tune by it: `noise` and the ones that ask one tower. tuning: options
            of `TuneConfig`, as in `"epochs=10, batch=8"`.
    """

    findings: tuple[str, ...] = ()
    test_split: str = "test"
    draws: int = 2000
    ordinal: bool = False
    exclusive: bool = False
    copies: str = "refuse_equal"
    unequal_budgets: bool = False
    mode: str = "frozen"
    tuner: str = "full"
    tuning: str = ""


@dataclass(frozen=True)
class Trial:
    """One archive to learn on and one test set that nothing is fitted on.

    Args:
        archive: its train and val patients are learned on. test_archive: tested; the same one for internal validation.
        config: how. model: a checkpoint to test; None = train one by `config`.
        progress: called with images embedded and images in all.
        protocol: what is run, for the book of readings.
        made: notes on the model where this trial made it from its training patients, see `models/tuned.py`; () = it
            came from elsewhere. tuned: such models, shared by all trials of one run, by what they were made from.

    Raises:
        LeakageError: an image or a patient stands in both archives, a patient in two splits, or the model has seen
            patients who are tested. UsageError: `copies` or `findings` that nothing has.
    """

    archive: Archive
    test_archive: Archive
    config: BenchConfig
    model: Model | None = None
    progress: Callable[[int, int], None] | None = None
    protocol: str = ""
    made: tuple[str, ...] = ()
    tuned: dict[str, Model] = field(default_factory=dict[str, Model], compare=False, repr=False)

    def __post_init__(self) -> None:
        refuse_names("copies", [self.config.copies], COPIES)
        refuse_names("mode", [self.config.mode], MODES)
        refuse_crossing_patients(self.archive)
        _ = self._checked

    def refuse_unequal_budgets(self, specs: Sequence[str]) -> tuple[str, ...]:
        """Methods of one table that stand there with unequal numbers of settings, see `budget.refuse_unequal`.

        Returns:
            A note where the user has allowed it.

        Raises:
            UsageError: they differ, and the test patients are tested.
        """
        choosing = not self.external and self.config.test_split == "val"
        said = self.config.unequal_budgets
        return refuse_unequal(settings_of(specs), said=said, chosen_on_tested=not choosing)

    def reading_labels(self, **labels: Any) -> Trial:
        """The same trial with its labels read otherwise: `exclusive`, `ordinal`, `findings`.

        What is embedded is shared, and both are one reading of the test set.
        """
        config = dataclasses.replace(self.config, **labels)
        if config == self.config:
            return self
        other = dataclasses.replace(self, config=config)
        shared = ("copies", "test_records", "embeddings", "test_embeddings", "_reading", "_checked")
        other.__dict__.update({name: getattr(self, name) for name in shared})
        return other

    def refuse_one_class_each(self, protocol: str) -> None:
        """For protocols whose scores are no grades or classes.

        Raises:
            UsageError: `ordinal` or `exclusive` was asked for.
        """
        for name in ("ordinal", "exclusive"):
            if getattr(self.config, name):
                raise UsageError(f"{name}=true with {protocol}", "linear_probe or knn", f"{name}=false")

    def refuse_finetune(self, protocol: str) -> None:
        """For protocols that know frozen features only.

        Raises:
            UsageError: `mode=finetune` was asked for.
        """
        if self.config.mode != "frozen":
            raise UsageError(
                f"mode={self.config.mode} with {protocol}", "mode=frozen",
                "a tuned model (tapetum pretrain ARCHIVE unfreeze=all, tapetum adapt ARCHIVE tuner=full) and --model",
            )  # fmt: skip

    def asking(self, model: Model, made: tuple[str, ...]) -> Trial:
        """The same trial with a model that was made in it; both are one reading of the test set."""
        other = dataclasses.replace(self, model=model, made=made)
        other.__dict__.update({name: getattr(self, name) for name in ("copies", "test_records", "_reading")})
        return other

    def beside(self, test: Archive | None, protocol: str = "") -> Trial:
        """A trial with the same archive, settings and model, tested on its own patients or on another archive.

        Raises:
            LeakageError: see `Trial`.
        """
        other = trial_of(
            self.archive, self.config, test=test, model=self.model, progress=self.progress, protocol=protocol,
            made=self.made,
        )  # fmt: skip
        return dataclasses.replace(other, tuned=self.tuned)

    @property
    def external(self) -> bool:
        """Whether the tested archive is another one."""
        return self.test_archive.digest != self.archive.digest

    @cached_property
    def test_records(self) -> list[ImageRecord]:
        """The tested images, without those that look like one which is learned on.

        Raises:
            DataError: there are none.
        """
        found = [r for r in self._asked if r.image_id not in self.copies]
        if not self._asked:
            raise DataError(f"{self.test_archive.name} has no images in {self.config.test_split}", "a test split")
        if not found:
            raise DataError(
                f"all {len(self._asked)} tested images look like images that are learned on",
                "a test set of other pictures",
                "tapetum audit ARCHIVE lists the pairs; copies=keep measures the leak",
            )
        return found

    @cached_property
    def copies(self) -> frozenset[str]:
        """Images left out of the test set since they look like one that is learned on (train or val)."""
        how, asked = self.config.copies, {r.image_id for r in self._asked}
        if how == "keep" or not asked:
            return frozenset()
        learned = [r.image_id for s in (Split.TRAIN, Split.VAL) for r in self.archive.in_split(s)]
        found = copies(self.archive, learned, self.test_archive) & asked
        refuse_copies(how, found, len(asked), learned, self.archive, self.test_archive)
        return found

    def validation(self) -> tuple[list[ImageRecord], list[str]]:
        """The validation images that look like no training image, and a note on the others.

        Of a copy a model is surer than of anything new: it would put a threshold too low, and a calibration off.
        """
        val = self.archive.in_split(Split.VAL)
        if self.config.copies == "keep":
            return list(val), []
        alike = copies(self.archive, [r.image_id for r in self.archive.in_split(Split.TRAIN)], self.archive)
        kept = [r for r in val if r.image_id not in alike]
        gone = len(val) - len(kept)
        return kept, [
            f"{gone} of {len(val)} validation images left out: they look like training images"
        ] if gone else []

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of any table of this trial needs to know about the test set and the model."""
        gone, found = len(self.copies), list(self._checked)
        if gone:
            found.append(f"{gone} of {len(self._asked)} test images left out: they look like images learned on")
        if self.config.copies == "keep":
            found.append("copies=keep: tested images that look like learned ones were not looked for")
        if self.external and self.config.test_split == "val":
            found.append(
                f"test_split=val means {self.archive.name}: of {self.test_archive.name} all patients are tested"
            )
        return (*found, *self.made, *(self.tried if "_reading" in self.__dict__ else ()))

    @property
    def tried(self) -> tuple[str, ...]:
        """A note where this test set has been read with several settings by now."""
        number = settings_tried(self.test_archive, self._tested_part)
        words = (
            f"this test set has now been read with {number} different settings or protocols: what is chosen among them "
            "is chosen on the tested patients; choose with test_split=val"
        )
        return (words,) if number > 1 else ()

    @cached_property
    def _checked(self) -> tuple[str, ...]:
        """What could not be checked of images, people and model; what is wrong is refused."""
        found = refuse_shared(self.archive, self.test_archive) if self.external else ()
        if self.model is not None and not self.made:
            patients = {r.patient_id for r in self._asked}
            found += refuse_learned(self.model, self.test_archive, patients, self.archive)
        return found

    @property
    def _asked(self) -> Sequence[ImageRecord]:
        return self.test_archive.records if self.external else self.archive.in_split(Split.TEST)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """What is detected.

        Raises:
            DataError: nothing to detect: no labels, no pack.
        """
        if self.config.findings:
            return self.config.findings
        if self.model is not None and self.model.findings:
            return self.model.findings
        both = [f for f in candidates(self.archive) if f in set(candidates(self.test_archive))]
        if not both:
            raise DataError(
                f"{self.archive.name} and {self.test_archive.name} share no finding to detect",
                "labels, or a pack that the archive's modality has",
                "tapetum bench retrieval ARCHIVE needs no finding",
            )
        return tuple(both)

    def labels(self, findings: Sequence[str]) -> tuple[Float[np.ndarray, "n k"], str]:
        """Test labels and where they come from; columns that cannot be told are NaN."""
        return targets(self.test_archive, self.test_records, findings)

    @cached_property
    def embeddings(self) -> Embeddings:
        """Features of the archive that is learned on."""
        return self._embed(self.archive)

    @cached_property
    def test_embeddings(self) -> Embeddings:
        """Features of the tested images, in the order of `test_records`."""
        whole = self._embed(self.test_archive) if self.external else self.embeddings
        return whole.rows([r.image_id for r in self.test_records])

    def test_embeddings_of(self, model: Model) -> Embeddings:
        """Features of the tested images as this model sees them: anew where it trained towers of its own."""
        if not (model.towers or model.deltas) or model is self.model:
            return self.test_embeddings
        embedder = model.embedder(threads=self.config.threads, cache=self.test_archive.cache / "onnx")
        return embed(self.test_archive, embedder, image_ids=[r.image_id for r in self.test_records])

    def lateralities(self) -> list[str]:
        """Eyes of the tested images."""
        return [r.laterality.value for r in self.test_records]

    def digests(self, model: Model | None) -> dict[str, str]:
        """What a Record needs to be traced back."""
        whole = {
            "archive": self.archive.digest,
            "test": self.test_archive.digest,
            "config": digest(self.config),
            "split": self._tested_part,
            "code": code_digest(),
        }
        return whole | ({"model": model.digest} if model else {})

    @cached_property
    def test_reads(self) -> int:
        """How often this test set has now been read, this time included; written down beside the archive."""
        return self._reading

    @cached_property
    def _reading(self) -> int:
        return count_reading(self.test_archive, self._tested_part, digest(self.config), self.protocol)

    @property
    def earlier_reads(self) -> int:
        """How often this test set has been read so far, for runs that do not read it."""
        return readings(self.test_archive, self._tested_part)

    @property
    def _tested_part(self) -> str:
        return "all" if self.external else self.config.test_split

    def _embed(self, archive: Archive) -> Embeddings:
        if self.model is None:
            return embed(archive, self.config.encoders, threads=self.config.threads, progress=self.progress)
        embedder = self.model.embedder(threads=self.config.threads, cache=archive.cache / "onnx")
        return embed(archive, embedder, progress=self.progress)


@dataclass(frozen=True)
class Scored:
    """Predictions with the truth beside them: what tables and pictures are made from.

    Args:
        row: the method's label in the table. supervision: see `Record`. model: None for loose predictions.
    """

    row: str
    supervision: str
    predictions: Predictions
    labels: Float[np.ndarray, "n k"]
    truth: str
    model: Model | None = None


@functools.cache
def code_digest() -> str:
    """SHA-256 over the package's own sources, so that a number can be followed back to the code that made it."""
    root, whole = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".toml")):
        whole.update(f"{file.relative_to(root).as_posix()}\0{file_digest(file)}\n".encode())
    return whole.hexdigest()


def trial_of(
    archive: Archive,
    config: BenchConfig,
    *,
    test: Archive | None = None,
    model: Model | None = None,
    progress: Callable[[int, int], None] | None = None,
    protocol: str = "",
    made: tuple[str, ...] = (),
) -> Trial:
    """A trial on an archive, tested on itself or on another one.

    With `test_split=val` the validation patients become the test set, and a sixth of the training patients take their
    place, so that nothing is ever chosen on what is tested.

    Raises:
        UsageError: an unknown test_split, or the archive itself as the other archive. LeakageError: see `Trial`.
    """
    if test is not None and test.digest == archive.digest:
        raise UsageError(f"{test.name} is the archive itself", "another archive", "leave --test out")
    refuse_names("test_split", [config.test_split], ("test", "val"))
    if test is None and config.test_split == "val":
        archive = _tested_on_val(archive, np.random.default_rng(config.seed))
    return Trial(archive, archive if test is None else test, config, model, progress, protocol, made)


def _tested_on_val(archive: Archive, rng: np.random.Generator) -> Archive:
    patients = sorted({r.patient_id for r in archive.in_split(Split.TRAIN)})
    inner = set(rng.permutation(patients)[: len(patients) // 6])
    moved = {Split.VAL: Split.TEST, Split.TEST: Split.NONE, Split.NONE: Split.NONE}

    def split(record: ImageRecord) -> Split:
        if record.split == Split.TRAIN:
            return Split.VAL if record.patient_id in inner else Split.TRAIN
        return moved[record.split]

    return dataclasses.replace(archive, records=tuple(dataclasses.replace(r, split=split(r)) for r in archive.records))
