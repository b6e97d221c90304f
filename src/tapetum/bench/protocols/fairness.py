"""Fairness and shortcuts: who is served worse, and what tells a finding without a look at the organ."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from tapetum.bench.groups import groups_of
from tapetum.bench.models.subject import selection, subject_of
from tapetum.bench.models.tuned import tuned
from tapetum.bench.tables.measures import Context
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import context, records_of, score, truth_note
from tapetum.bench.trial import Scored, Trial
from tapetum.bench.trust.shortcuts import Told, learned_traces, of_probe, probe_records, probes_of, told_by, warnings_of
from tapetum.bench.trust.subgrouped import attribute_records, compare_groups, compared_records, gap_notes
from tapetum.core.errors import UsageError
from tapetum.core.registry import Spec
from tapetum.core.types import ImageRecord, Record, Split
from tapetum.learn.pretrain import targets
from tapetum.score.subgroups import Resampling

__all__ = ["fairness"]

SHOWN = 12  # gaps told in notes


def fairness(
    trial: Trial,
    *,
    adapter: str = "logistic",
    ages: tuple[float, ...] = (40, 60),
    half_width: float = 0.1,
    exchanges: int = 2000,
    explained: float = 0.5,
) -> Results:
    """A model group by group (sex, age, device, eye, quality, size), and what tells a finding without the organ.

    Per attribute the groups stand below the finding, the worst first; a gap is the best minus the worst one, beside the
    gap that chance gives when patients exchange groups. All groups have one threshold. *Told from the features* says
    whether the model could know the group. Four probes, on border strips, on all traces of the acquisition, on which
    values were filled in, and on the camera, show what can be told without looking at the organ.

    Args:
        trial: what is learned on and tested; a checkpoint is tested as it is, else `adapter` is fitted.
        adapter: spec of a linear adapter on frozen features.
        ages: where bands of age begin, in years.
        half_width: a group is "too few to say" where its interval would be wider than ± this.
        exchanges: of groups between patients, for p and the gap by chance.
        explained: warn where a probe tells at least this part of what the image features tell above chance.

    Raises:
        UsageError: `ordinal` or `exclusive`, `explained` outside 0..1, or no shared label. DataError: no finding with
            both classes, or an image that cannot be decoded.

    Source: own protocol; gaps as in Seyyed-Kalantari et al., Nature Medicine 2021, and FairVision, arXiv 2310.02492;
    probes after Badgeley et al., npj Digital Medicine 2019. Differs: patients, not images, are resampled; gaps beside
    chance; small groups get no number; nothing but the border, the file and the table is given to the probes.
    """
    trial.refuse_one_class_each("fairness")
    if not 0 <= explained <= 1:
        raise UsageError(f"explained={explained}", "a share in 0..1", "explained=0.5")
    trial, resampling = tuned(trial), Resampling(trial.config.draws, exchanges, half_width)
    main, within, notes = _subject(trial, str(Spec.parse(adapter)))
    records: list[Record] = records_of(within, main)
    groups = groups_of(trial.test_records, ages=ages)
    compared = compare_groups(main, groups, within, resampling)
    for one in compared:
        records += compared_records(within, main.row, main.supervision, one)
    unfair, gaps = gap_notes(compared, SHOWN, exchanges)
    learned = trial.archive.in_split(Split.TRAIN)
    probing = of_probe(within, _digest(trial, learned))
    rows = trial.embeddings.rows([r.image_id for r in learned])
    told, few = attribute_records(
        probing, rows, groups_of(learned, ages=ages), trial.test_embeddings, groups, str(Spec.parse(adapter)),
        half_width,
    )  # fmt: skip
    audited, shortcuts, used = _shortcuts(trial, main, probing, learned, explained)
    notes += [*gaps, *few, *used]
    return Results(
        (*records, *told, *audited), (main,), tuple(notes), None, trial, warnings=(*shortcuts, *unfair)
    )  # fmt: skip


def _subject(trial: Trial, adapter: str) -> tuple[Scored, Context, list[str]]:
    """The model under test with its scores: the checkpoint that was given, or an adapter fitted now."""
    subject = subject_of(trial, adapter)
    model = subject.model
    within = context(trial, "fairness", selection(trial), model)
    main = score(trial, model, subject.row, subject.supervision, subject.findings)
    return main, within, [truth_note(main), *subject.notes]


def _shortcuts(
    trial: Trial, main: Scored, within: Context, records: Sequence[ImageRecord], explained: float
) -> tuple[list[Record], tuple[str, ...], list[str]]:
    """Records of the probes, warnings, and a note on what each was given."""
    labels, _ = targets(trial.archive, records, main.predictions.findings)
    probes = probes_of(learned_traces(trial, records, labels), np.random.default_rng([trial.config.seed, 5]))
    found, told, notes = list[Record](), list[Told](), list[str]()
    for probe in probes:
        mine = told_by(probe, main, within)
        told += mine
        found += probe_records(within, probe, mine, main)
        notes.append(f"the probe {probe.kind!r} was given: {', '.join(probe.used)}")
    return found, warnings_of(told, explained), notes


def _digest(trial: Trial, records: Sequence[ImageRecord]) -> str:
    """SHA-256 over the images that the probes learn from: in place of a model's digest."""
    whole = hashlib.sha256(f"fairness\0{trial.archive.digest}\n".encode())
    whole.update("\0".join(r.image_id for r in records).encode())
    return whole.hexdigest()
