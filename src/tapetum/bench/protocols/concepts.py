"""The concept bottleneck beside the linear probe, and beside bottlenecks of concepts that mean nothing."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tapetum.bench.models.adapting import taught_findings
from tapetum.bench.models.few_shot import in_words as rows_in_words
from tapetum.bench.models.few_shot import needs_concepts, plain_rows
from tapetum.bench.tables.measures import MACRO, Context, ranking_records
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import alarm_notes, context
from tapetum.bench.trial import Trial
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.core.types import Record
from tapetum.knowledge import load_pack
from tapetum.learn import Model, pretrain
from tapetum.learn.adapters import Adapter
from tapetum.learn.adapters.concepts import Concepts
from tapetum.learn.fitting.anchors import Anchors
from tapetum.learn.fitting.concepts import Described
from tapetum.score.stats import PairedDifference, paired_runs_difference, runs_auroc_interval

__all__ = ["concepts"]

SELECTION = "penalty: inner patient folds of train; nothing is chosen on val"
RANDOM, SHUFFLED = "random directions", "shuffled sentences"
COLUMNS = ("auroc_score", "auroc_difference")
READ = "reports + labels"
ALIKE = 0.05


def concepts(
    trial: Trial,
    *,
    adapter: str = "concepts",
    baseline: str = "linear_probe",
    controls: int = 5,
    shown: int = 3,
) -> Results:
    """A bottleneck of the pack's descriptions: AUROC, against a linear probe, against concepts that mean nothing.

    The controls have as many concepts: random directions, and the same sentences under each other's names, which lie in
    the same space of images and words. Where they do as well, the sentences explain nothing, however well they read.
    Differences are to the bottleneck, paired: below 0 it is better. With `--test` all are tested elsewhere.

    Args:
        trial: what is learned on and tested; its model lends its words, else one is trained on the archive's reports.
        adapter: spec of an adapter that needs `concepts`.
        baseline: spec of an adapter on the plain features.
        controls: draws of each kind of control, at least 1.
        shown: sentences named for each finding.

    Raises:
        UsageError: a model without words or without a pack, `controls` below 1, or an adapter that reads no sentences.
        DataError: no finding with both classes that the pack knows.

    Source: own protocol, after KnoBo (arXiv 2405.14839). Differs: meaningless concepts as a control; patients, not
    images, are resampled.
    """
    trial.refuse_one_class_each("concepts")
    trial.refuse_finetune("concepts")
    if controls < 1 or not needs_concepts(adapter) or needs_concepts(baseline):
        raise UsageError(
            f"controls={controls}, adapter={adapter!r}, baseline={baseline!r}",
            "at least one control, an adapter that reads sentences, a baseline that reads none", "concepts()",
        )  # fmt: skip
    model = trial.model or pretrain(trial.archive, trial.config, embeddings=trial.embeddings)
    if model.aligner is None or not model.pack:
        raise UsageError(
            "the model knows no words" if model.aligner is None else "the model has no pack, so there are no sentences",
            "a model from `tapetum pretrain` on an archive with a pack", "tapetum pretrain ARCHIVE --out MODEL",
        )  # fmt: skip
    findings, notes = taught_findings(trial)
    known = tuple(f for f in findings if f in load_pack(model.pack).findings)
    if len(known) < len(findings):
        notes.append(f"left out, the pack {model.pack} has no words for: {_list(set(findings) - set(known))}")
    if not known:
        raise DataError(f"the pack {model.pack} knows none of {_list(findings)}", "labels that it names")
    bed = _Bed.of(trial, model, known)
    main = bed.fitted(adapter, bed.anchors)
    assert isinstance(main, Concepts)
    rows = [_Row(str(Spec.parse(adapter)), READ, main(bed.words_test)[None]), *bed.others(baseline, adapter, controls)]
    each = {row.name: _digest(model, f"{Spec.parse(adapter)} {row.name}", bed) for row in rows}
    records, told = _records(context(trial, "concepts", SELECTION, model), rows, bed, each)
    return Results(
        tuple(records), (), (*told, *_sentences(main, known, shown), *notes, *alarm_notes("words", model)), None, trial,
        columns=COLUMNS, by_finding="auroc_score",
    )  # fmt: skip


@dataclass(frozen=True)
class _Row:
    name: str
    supervision: str
    runs: Float[np.ndarray, "s n k"]


@dataclass(frozen=True)
class _Bed:
    """Rows to learn from and to test on, plain and in words, with labels."""

    findings: tuple[str, ...]
    learned: tuple[str, ...]
    plain: Callable[[str], Float[np.ndarray, "m k"]]
    words_train: Float[np.ndarray, "n e"]
    words_test: Float[np.ndarray, "m e"]
    groups: np.ndarray
    labels: Float[np.ndarray, "n k"]
    truth: Float[np.ndarray, "m k"]
    anchors: Anchors
    seed: int

    @staticmethod
    def of(trial: Trial, model: Model, findings: tuple[str, ...]) -> _Bed:
        plain, labels = plain_rows(trial, findings)
        words = rows_in_words(model, plain, findings, concepts=True)
        assert words.anchors is not None
        groups = np.asarray(plain.train.patient_ids)

        def scores(spec: str) -> Float[np.ndarray, "m k"]:
            adapter: Adapter = Family("tapetum.learn.adapters").build(spec)
            return adapter.fit(plain.train.features, labels, groups, plain.train.blocks)(plain.test)

        return _Bed(
            findings, plain.train.image_ids, scores, words.train.features, words.test, groups, labels,
            trial.labels(findings)[0], words.anchors, trial.config.seed,
        )  # fmt: skip

    def fitted(self, spec: str, anchors: Anchors) -> Adapter:
        """A bottleneck of these concepts."""
        adapter: Adapter = Family("tapetum.learn.adapters").build(spec)
        return adapter.fit(self.words_train, self.labels, self.groups, None, anchors)

    def others(self, baseline: str, adapter: str, controls: int) -> Iterator[_Row]:
        """What the bottleneck is compared with."""
        yield _Row(str(Spec.parse(baseline)), "supervised", self.plain(baseline)[None])
        for number, (name, change) in enumerate(((RANDOM, Described.randomised), (SHUFFLED, Described.shuffled))):
            rng, runs = np.random.default_rng([self.seed, number]), list[np.ndarray]()
            for _ in range(controls):
                assert self.anchors.described is not None
                anchors = dataclasses.replace(self.anchors, described=change(self.anchors.described, rng))
                runs.append(self.fitted(adapter, anchors)(self.words_test))
            yield _Row(name, "negative control", np.stack(runs))


def _records(
    shared: Context, rows: Sequence[_Row], bed: _Bed, digests: Mapping[str, str]
) -> tuple[list[Record], list[str]]:
    """Every row's AUROC, its difference to the first, and what the differences say."""
    found, told = list[Record](), list[str]()
    for row in rows:
        within = dataclasses.replace(shared, digests={**shared.digests, "model": digests[row.name]})
        if len(row.runs) == 1:
            found += ranking_records(within, row.name, row.supervision, bed.findings, row.runs[0], bed.truth)
        macro = runs_auroc_interval(row.runs, bed.truth, within.patients, rng=within.rng(), draws=within.draws)
        if len(row.runs) > 1:
            found.append(within.record(row.name, row.supervision, MACRO, "auroc_score", macro, bed.truth))
        if row is rows[0]:
            continue
        first = np.repeat(rows[0].runs, len(row.runs), axis=0)
        apart = paired_runs_difference(
            row.runs, first, bed.truth, within.patients, rng=within.rng(), draws=within.draws
        )
        found.append(within.record(row.name, row.supervision, MACRO, "auroc_difference", apart.interval, bed.truth))
        number = len(bed.anchors.described.names) if bed.anchors.described else 0
        told.append(f"{_said(row, apart, number)}; its macro AUROC is {macro}")
    return found, told


def _said(row: _Row, apart: PairedDifference, number: int) -> str:
    """A difference to the bottleneck in words."""
    sure, worse = apart.p_value < ALIKE, apart.interval.estimate < 0
    ahead = "the sentences do better" if worse else "it does better than the sentences"
    verdict = ahead if sure else "no difference can be told"
    if row.supervision == "negative control" and not (sure and worse):
        verdict += ", and nothing shows that it matters what the sentences say"
    return f"{row.name} − bottleneck of {number} sentences: {apart}: {verdict}"


def _sentences(main: Concepts, findings: Sequence[str], shown: int) -> Iterator[str]:
    """The sentences with the largest weights, finding by finding, and how many there are besides."""
    for j, finding in enumerate(findings):
        weight = main.weight_[:, j]
        order = np.argsort(-np.abs(weight), kind="stable")[:shown]
        parts = [f"{weight[c]:+.2f} {main.names_[c]}" for c in order if weight[c]]
        yield f"{finding}, {np.count_nonzero(weight)} sentences speak: {' | '.join(parts)}"


def _digest(model: Model, what: str, bed: _Bed) -> str:
    """SHA-256 over the words, what was fitted and the images it learned from."""
    whole = hashlib.sha256(f"{what}\0{model.digest}\0{','.join(bed.findings)}\n".encode())
    whole.update("\0".join(bed.learned).encode())
    return whole.hexdigest()


def _list(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names))
