"""Held-out domains: who is learned on, chosen on and tested, and what may influence what."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.readings import readings
from tapetum.bench.trial import trial_of
from tapetum.bench.trust.domains import Pooled, cut, pooled_of
from tapetum.bench.trust.select import RULES
from tapetum.bench.trust.shift_settings import NAMED, Grid, needs_domains, reads_target, settings_of
from tapetum.bench.trust.shifted import Learner, chosen_for, learnable, macro
from tapetum.core.errors import DataError, LeakageError, UsageError
from tapetum.core.types import Split
from toys import COLOURS, ENCODER, clinic

GRID = Grid((0.01, 0.03), (1.0,), (0.1,), 8, 32)
SEEING = ("gdrnet", "mixstyle", "mixstyle_crossdomain", "sagnet")
STAYING = ("domain_standardised", "nuisance_projection", "recoloured", "restyled", "erm@own")
CONFIG = BenchConfig(encoders=ENCODER, threads=1, draws=40, copies="keep", findings=("cataract", "glaucoma"))
OPTIONS = "rates=(0.03,), strengths=(1.0,), decays=(0.1,), batch=16"


def pooled(patients: int = 60, domains: int = 3, seed: int = 0) -> Pooled:
    """Rows of three domains, two per patient, whose first column tells the finding; splits by patient."""
    rng = np.random.default_rng(seed)
    rows = domains * patients * 2
    who = np.repeat(np.arange(domains * patients), 2)
    labels = np.repeat(rng.integers(2, size=domains * patients), 2).astype(float)
    features = rng.normal(size=(rows, 5)).astype(np.float32)
    features[:, 0] += 1.5 * labels
    numbers = np.repeat(np.arange(domains), patients * 2)
    features[:, 1] += numbers
    parts = np.array([Split.TRAIN, Split.TRAIN, Split.TRAIN, Split.VAL, Split.TEST], dtype=object)[who % 5]
    return Pooled(
        tuple("abc"[:domains]), (), "keep", ("finding",), features, labels[:, None],
        np.array([f"p{i}" for i in who]), numbers, parts, tuple(f"image{i}" for i in range(rows)), 1, (), {},
    )  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    labels = {name: name for name in COLOURS}
    return [clinic(root / name, labels=labels, seed=seed) for seed, name in enumerate(("near", "far"))]


@pytest.mark.parametrize("tested", ["test", "all"])
def test_nobody_stands_in_two_parts_and_nothing_of_the_target_is_learned_or_chosen_on(tested):
    rows = pooled()
    where = cut(rows, 1, [0, 2], tested)
    parts = [where.learn, where.val, where.tested, where.tuned]
    people = [set(rows.patients[p]) for p in parts]
    assert all(people[i].isdisjoint(people[j]) for i in range(4) for j in range(i))
    assert 1 not in rows.domains[np.concatenate(parts[:2])]
    assert set(rows.domains[np.concatenate(parts[2:])]) == {1}
    assert set(rows.splits[where.learn]) == {Split.TRAIN}
    assert set(rows.splits[where.tested]) == ({Split.TEST} if tested == "test" else {Split.TRAIN, Split.TEST})


def test_a_patient_with_images_in_two_domains_is_learned_on_in_neither_when_tested():
    rows = pooled()
    rows = dataclasses.replace(rows, domains=np.arange(len(rows.domains)) % 2, names=("OD", "OS"))
    where = cut(rows, 0, [1], "test")
    assert set(rows.patients[where.learn]).isdisjoint(rows.patients[where.tested])
    with pytest.raises(DataError, match="learn on"):  # all who could be learned from are tested
        cut(rows, 0, [1], "all")


def test_a_domain_without_test_patients_is_tested_but_for_its_validation_patients():
    rows = pooled()
    splits = rows.splits.copy()
    splits[(rows.domains == 2) & (splits == Split.TEST)] = Split.TRAIN
    where = cut(dataclasses.replace(rows, splits=splits), 2, [0, 1], "test")
    assert set(splits[where.tested]) == {Split.TRAIN}


def test_the_labels_of_the_tested_domain_change_no_score_and_no_choice_but_the_oracles():
    rows = pooled()
    where = cut(rows, 2, [0, 1], "test")
    turned = rows.labels.copy()
    turned[rows.domains == 2] = 1 - turned[rows.domains == 2]
    chosen: list[dict[tuple[str, str], str]] = []
    scores: list[dict[tuple[str, str], np.ndarray]] = []
    for labels in (rows.labels, turned):
        given = dataclasses.replace(rows, labels=labels)
        found, _ = chosen_for(
            given, where, ("erm", "vrex", "domain_standardised"), GRID, tuple(RULES), Learner(0, False, 0)
        )
        honest = [c for c in found if c.rule not in ("oracle", "")]
        chosen.append({(c.method, c.rule): str(c.run.setting) for c in honest})
        scores.append({(c.method, c.rule): c.run.tested for c in honest})
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 5  # V-REx has two domains to learn on, and none to leave out
    assert all(np.array_equal(scores[0][key], scores[1][key]) for key in scores[0])


def test_features_of_the_tested_domain_are_read_by_what_says_so_alone():
    rows = pooled()
    where = cut(rows, 2, [0, 1], "test")
    moved = rows.features.copy()
    others = np.setdiff1d(np.flatnonzero(rows.domains == 2), where.tested[:1])
    moved[others] += 7
    for name, told in (
        ("erm", False),
        ("nuisance_projection", False),
        ("domain_standardised", True),
        ("recoloured", True),
    ):
        found = [
            chosen_for(
                dataclasses.replace(rows, features=f), where, (name,), GRID, ("training_domain",), Learner(0, False, 0)
            )[0][0]
            for f in (rows.features, moved)
        ]
        first = [c.run.tested[0, 0] for c in found]
        assert (first[0] != first[1]) == told, name
        assert found[0].reads == told


def test_every_method_is_tried_with_as_many_settings_and_exists():
    grid = Grid((1e-3, 1e-2), (0.1, 1.0), (0.0, 0.1), 3, 32)
    seeing = dataclasses.replace(grid, mode="finetune")
    for name in NAMED:
        settings = settings_of(name, seeing if name in SEEING else grid)
        assert len({str(s) for s in settings}) == 4
        assert {s.pace.epochs for s in settings} == {3}
    assert needs_domains(settings_of("vrex", grid)[0])
    assert needs_domains(settings_of("group_dro", grid)[0])
    assert not needs_domains(settings_of("erm", grid)[0])
    assert reads_target(settings_of("recoloured", grid)[0])
    assert needs_domains(settings_of("domain_mixup", grid)[0])
    assert needs_domains(settings_of("mixstyle_crossdomain", seeing)[0])
    assert not needs_domains(settings_of("mixstyle", seeing)[0])
    assert not needs_domains(settings_of("mixup", grid)[0])
    assert {s.pace.offset_rate for s in settings_of("erm", grid)} == {30.0}
    assert "weight=1.0" in str(settings_of("vrex", grid)[0])  # the mildest first, times ten


@pytest.mark.parametrize("wrong", ["one_stage(invariance='corl')", "erm2", "one_stage(los='x')", "vrex(weight=1.0)"])
def test_an_unknown_method_is_refused_before_anything_is_learned(wrong):
    with pytest.raises(UsageError):
        settings_of(wrong, GRID)


def test_unequal_budgets_cannot_be_asked_for():
    with pytest.raises(UsageError, match="as many"):
        Grid((0.1,), (1.0, 2.0), (0.1,), 3, 32)


def test_macro_leaves_out_what_it_cannot_tell():
    logits = np.array([[0.1, 5.0], [0.4, 5.0], [0.3, 5.0], [0.9, np.nan]])
    labels = np.array([[0, 1.0], [0, 1.0], [1, 1.0], [1, 0]])
    assert macro(logits, labels) == 0.75
    assert np.isnan(macro(logits[:, 1:], labels[:, 1:]))


def test_a_finding_of_one_class_in_a_domain_is_left_out_and_named():
    rows = pooled()
    labels = np.concatenate([rows.labels, np.zeros(rows.labels.shape)], axis=1)
    several = dataclasses.replace(rows, labels=labels, findings=("finding", "never"))
    kept, notes = learnable(several, [cut(several, 0, [1, 2], "test")])
    assert kept.findings == ("finding",)
    assert "never" in notes[0]
    with pytest.raises(DataError):
        learnable(
            dataclasses.replace(several, labels=labels[:, 1:], findings=("never",)), [cut(several, 0, [1], "test")]
        )


def test_two_archives_are_two_domains_each_tested_once_and_counted(two):
    near, far = two
    spec = f"shift(domains=('{far.path}',), methods=('vrex', 'domain_standardised'), {OPTIONS})"
    before = [readings(a, "test") for a in two]
    results = run_bench(spec, near, CONFIG)
    assert [readings(a, "test") for a in two] == [n + 1 for n in before]
    assert results.find("macro", "auroc_score", row="far: erm, chosen on domains learned on").data == "far"
    assert results.find("macro", "auroc_score").interval.estimate > 0.8
    assert any("vrex: left out of far" in note for note in results.notes)  # one domain to learn on
    rows = {r.row for r in results.records}
    assert "near: domain_standardised (reads test images), oracle, not available in practice" in rows
    assert "near: learned there (reference)" in rows
    assert not any("vrex" in row for row in rows)
    held = {r.row: r for r in results.records if r.metric == "auroc_score" and r.finding == "macro"}
    worst, mean = (
        held[f"{w} domain: erm, chosen on domains learned on".replace("mean domain", "mean of domains")]
        for w in ("worst", "mean")
    )
    each = [held[f"{n}: erm, chosen on domains learned on"].interval.estimate for n in ("near", "far")]
    assert worst.interval.estimate == pytest.approx(min(each))
    assert mean.interval.estimate == pytest.approx(np.mean(each))


def test_another_archive_is_only_tested(two):
    near, far = two
    results = run_bench(f"shift(methods=('erm',), {OPTIONS})", near, CONFIG, test=far)
    assert {r.row.split(":")[0] for r in results.records} == {"mean of domains", "worst domain", "far"}
    assert {r.digests["test"] for r in results.records} == {far.digest}


def test_what_cannot_be_told_apart_is_refused(two, tmp_path):
    near, far = two
    for spec, error in (
        ("shift()", UsageError),
        (f"shift(by='laterality', domains=('{far.path}',))", UsageError),
        ("shift(by='device')", UsageError),
        (f"shift(domains=('{near.path}',))", UsageError),
        ("shift(by='laterality', rules=('best',))", UsageError),
        ("shift(by='laterality', held_out=('OU',))", UsageError),
        ("shift(by='laterality', tested='some')", UsageError),
    ):
        with pytest.raises(error):
            run_bench(spec, near, CONFIG)
    with pytest.raises(UsageError, match="ordinal"):
        run_bench("shift(by='laterality')", near, dataclasses.replace(CONFIG, ordinal=True))
    again = clinic(tmp_path / "again", labels={name: name for name in COLOURS}, patients=50)  # images of `near`
    with pytest.raises(LeakageError):
        pooled_of(trial_of(near, CONFIG), (str(again.path),), "", ("cataract",))


def test_own_standardisation_takes_a_camera_that_scales_a_column_away():
    """The third domain writes the telling column ten times as small and a noisy one ten times as large."""
    rows = pooled()
    features = rows.features.copy()
    features[rows.domains == 2] *= np.array([0.1, 1, 10, 1, 1], dtype=np.float32)
    given = dataclasses.replace(rows, features=features)
    where = cut(given, 2, [0, 1], "test")
    found, _ = chosen_for(given, where, ("erm", "erm@own"), GRID, ("training_domain",), Learner(0, False, 0))
    truth = given.labels[where.tested]
    values = {c.method: macro(c.run.tested, truth) for c in found if c.rule}
    assert values["erm@own"] > values["erm"] + 0.1
    assert {c.method: c.reads for c in found if c.rule} == {"erm": False, "erm@own": True}
    view = Learner(0, False, 0).view(given, where.learn, where.tested)
    assert np.allclose(view[where.tested].mean(0), 0, atol=0.2)
    assert np.allclose(view[where.tested].std(0), view[where.learn].std(0), rtol=0.2)


def test_a_picture_that_looks_like_one_of_another_archive_is_not_tested(two):
    """Copies across archives are searched once; the crossing ones are left out of the tested rows."""
    near, far = two
    rows = pooled_of(
        trial_of(near, dataclasses.replace(CONFIG, copies="leave_out")), (str(far.path),), "", ("cataract",)
    )
    where = cut(dataclasses.replace(rows, crossing={}, copies="keep"), 1, [0], "test")
    first = rows.images[where.tested[0]]
    crossing = {(near.digest, far.digest): frozenset({first})}
    again = cut(dataclasses.replace(rows, crossing=crossing), 1, [0], "test")
    assert first not in {rows.images[i] for i in again.tested}
    assert len(again.tested) == len(where.tested) - 1
    with pytest.raises(LeakageError):
        cut(dataclasses.replace(rows, crossing=crossing, copies="refuse"), 1, [0], "test")


@pytest.mark.parametrize(
    ("name", "mode"), [(n, "frozen") for n in SEEING] + [(n, "finetune") for n in (*STAYING, "coral@own")]
)
def test_a_method_in_the_mode_that_it_is_not_for_is_refused_before_anything_is_read(name, mode, two):
    other = {"frozen": "finetune", "finetune": "frozen"}[mode]
    before = readings(two[0], "test")
    spec, config = (
        f"shift(by='laterality', methods=('erm', '{name}'), {OPTIONS})",
        dataclasses.replace(CONFIG, mode=mode),
    )
    with pytest.raises(UsageError, match=f"mode={other}"):
        run_bench(spec, two[0], config)
    assert readings(two[0], "test") == before


def test_no_method_on_frozen_features_is_erm_in_disguise():
    """In one batch, whatever the order: who falls back to cross-entropy gives its logits to the last digits."""
    rows = pooled()
    rng = np.random.default_rng(1)
    rows = dataclasses.replace(rows, features=rows.features + rng.normal(size=rows.features.shape).astype(np.float32))
    learn = np.flatnonzero((rows.splits == Split.TRAIN) & (rows.domains < 2))
    learn = learn[rng.random(len(learn)) < np.where(rows.domains[learn] == 1, 0.4, 1.0)]
    asked = np.flatnonzero(rows.domains == 2)
    how, found = Learner(0, False, 0), {}
    for name in (*(n for n in NAMED if n not in SEEING), "erm@own"):
        (setting,) = settings_of(name, Grid((0.05,), (1.0,), (0.1,), 10, 10_000))
        view = how.view(rows, learn, asked if setting.own else None)
        (found[name],) = how.logits(rows, view, learn, [asked], setting)
    for name, logits in found.items():
        assert (np.abs(logits - found["erm"]).max() > 1e-3) == (name != "erm"), name


def test_a_tower_that_learns_on_archives_of_their_own(two):
    """Two archives, all that a tower can learn by; the labels of the tested one play no part in what is chosen."""
    near, far = two
    methods = ("gdrnet", "mixstyle", "sagnet", "mixup", "domain_mixup")
    config = dataclasses.replace(CONFIG, findings=("cataract",))
    rest = f"held_out=('far',), rules=('training_domain',), augment='', {OPTIONS}, epochs=3"
    results, frozen = (
        run_bench(
            f"shift(domains=('{far.path}',), methods={asked}, {rest})", near, dataclasses.replace(config, mode=mode)
        )
        for asked, mode in ((methods, "finetune"), (("erm",), "frozen"))
    )
    values = {
        r.row: r.interval.estimate
        for r in results.records
        if (r.finding, r.metric) == ("macro", "auroc_score") and r.row.startswith("far")
    }
    told = "chosen on domains learned on"
    assert {f"far: {m}, {told}" for m in ("erm", *methods) if m != "domain_mixup"} < set(values)
    assert not any("domain_mixup" in row for row in values)  # one domain to learn on
    assert any("domain_mixup: left out of far" in note for note in results.notes)
    assert any("finetune" in note for note in results.notes)
    assert values[f"far: erm, {told}"] > 0.8
    assert values["far: learned there (reference)"] > 0.8
    digests = [
        next(r.digests["model"] for r in found.records if r.row == f"far: erm, {told}") for found in (results, frozen)
    ]
    assert digests[0] != digests[1]


def test_where_no_rule_can_choose_that_is_said(two):
    near, _ = two
    spec = "shift(by='laterality', rules=('leave_one_domain_out',), rates=(0.03,), strengths=(1.0,), decays=(0.1,))"
    with pytest.raises(DataError, match="no rule could choose"):
        run_bench(spec, near, CONFIG)
