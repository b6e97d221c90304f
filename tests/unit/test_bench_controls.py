"""The negative control: what is shuffled, and what it finds where there is a signal and where there is none."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from tapetum.bench import BenchConfig
from tapetum.bench.models.controls import negative_control, shuffle_between_patients
from tapetum.bench.tables.rows import score
from tapetum.bench.trial import trial_of
from tapetum.core.errors import DataError, UsageError
from tapetum.learn.fitting import ridge
from tapetum.learn.pretrain import pretrain
from toys import COLOURS, ENCODER, TEXT, clinic, pairs

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=50)


def traced(patients, seed):
    """Whose texts each image got: texts name the patient and the number of the image."""
    names = tuple(f"{p} {i}" for i, p in enumerate(patients))
    found = dataclasses.replace(
        pairs(), features=np.zeros((len(patients), 2), np.float32), texts=names, patient_ids=tuple(patients),
        text_features=np.arange(len(patients), dtype=float)[:, None],
    )  # fmt: skip
    mixed = shuffle_between_patients(found, np.random.default_rng(seed))
    assert all(names[int(row)] == text for row, text in zip(mixed.text_features[:, 0], mixed.texts, strict=True))
    np.testing.assert_array_equal(mixed.features, found.features)
    assert mixed.patient_ids == found.patient_ids
    return mixed.texts


def test_patients_swap_their_texts_and_every_text_is_kept():
    patients = [f"p{i // 2}" for i in range(40)]
    for seed in range(5):
        texts = traced(patients, seed)
        assert Counter(texts) == Counter(f"{p} {i}" for i, p in enumerate(patients))
        givers = {p: {t.split()[0] for t, q in zip(texts, patients, strict=True) if q == p} for p in set(patients)}
        assert all(len(g) == 1 for g in givers.values())
        assert sum(givers[p] == {p} for p in givers) <= 5  # one in twenty keeps its own by chance


def test_a_patient_with_fewer_images_lends_its_texts_again():
    patients = ["a", "a", "a", "b"]
    found = {traced(patients, seed) for seed in range(20)}
    assert found == {("b 3", "b 3", "b 3", "a 0"), ("a 0", "a 1", "a 2", "b 3")}


def test_every_permutation_is_as_likely():
    counts = Counter(traced(["a", "b", "c"], seed) for seed in range(600))
    assert len(counts) == 6
    assert max(counts.values()) < 2 * min(counts.values())


def test_one_patient_cannot_swap():
    with pytest.raises(DataError):
        shuffle_between_patients(dataclasses.replace(pairs(), patient_ids=("p",) * 160), np.random.default_rng(0))


def run(archive, shuffles):
    trial = trial_of(archive, CONFIG)
    main = score(trial, pretrain(archive, CONFIG, embeddings=trial.embeddings), "ridge()", "report-supervised")
    return negative_control(trial, main, shuffles)


def test_where_there_is_a_signal_it_stands_above_every_shuffle(toy_archive):
    control = run(toy_archive, 20)
    assert control.real > 0.95
    assert control.real > max(control.shuffled)
    assert control.p_value == pytest.approx(1 / 21)
    assert abs(control.mean - 0.5) < 3 * control.standard_error
    assert control.mean == pytest.approx(np.mean(control.shuffled))
    assert control.standard_error == pytest.approx(np.std(control.shuffled, ddof=1) / np.sqrt(20))
    table = np.array(list(control.per_finding.values()))
    assert table.shape == (4, 20)
    np.testing.assert_allclose(table.mean(0), control.shuffled)


def test_where_there_is_none_the_real_result_is_one_of_them(tmp_path):
    archive = clinic(tmp_path / "noise", labels={name: name for name in COLOURS}, signal=False, seed=3)
    control = run(archive, 10)
    assert control.p_value > 0.05
    assert not control.holds


def test_shuffles_share_the_decompositions_of_the_real_run(toy_archive, monkeypatch):
    monkeypatch.setattr(ridge, "_kept", type(ridge._kept)())
    count, decompose = [], ridge._decompose
    monkeypatch.setattr(ridge, "_decompose", lambda rows: count.append(1) or decompose(rows))
    run(toy_archive, 3)
    assert len(count) == 1  # the whole, once; its inner folds follow from it


def test_one_shuffle_is_too_few(toy_archive):
    with pytest.raises(UsageError, match="shuffles=1"):
        run(toy_archive, 1)
