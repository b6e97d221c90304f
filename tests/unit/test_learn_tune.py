"""Tuning a network with labels: it learns, it stops, it says what went wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Split
from tapetum.learn import AdaptConfig, adapt, embed, load_model, zero_shot
from tapetum.learn.adapters.logistic import Logistic
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.training.checkpoint import Saving
from tapetum.learn.training.memory import memory_estimate
from tapetum.learn.training.out_of_memory import is_out_of_memory
from tapetum.learn.training.runlog import Curve, Watch
from tapetum.learn.tuning import tune as tune_module
from tapetum.learn.tuning.run import TuningRun
from tapetum.learn.tuning.tune import HEAD, TuneConfig, tune
from toy_nets import network
from toys import COLOURS, ENCODER

QUICK = TuneConfig(tuner="full", epochs=3, batch=16, augment="", threads=1)


@pytest.fixture(scope="module")
def labelled(toy_archive, toy_embeddings):
    """Features and labels of the training images."""
    return _labelled(toy_archive, toy_embeddings)


def _labelled(archive, embeddings):
    ids = [r.image_id for r in archive.in_split(Split.TRAIN)]
    return embeddings.rows(ids), archive.labels(archive.label_names, image_ids=ids)


@pytest.fixture(scope="module")
def vit(tmp_path_factory, toy_archive):
    """A small random transformer and its rows of the toy archive."""
    spec = network(tmp_path_factory.mktemp("net") / "vit")
    return spec, embed(toy_archive, spec, threads=1)


SMALLER = {"prompts": "prompts(count=2)", "dynamic_prompts": "dynamic_prompts(count=2, width=1)"}


@pytest.mark.parametrize("tuner", Family("tapetum.learn.tuners").names())
def test_training_lowers_the_held_out_loss(tuner, toy_archive, vit):
    rows, labels = _labelled(toy_archive, vit[1])
    config = TuneConfig(SMALLER.get(tuner, tuner), epochs=6, batch=12, augment="", threads=1, start="zero")
    tuned = tune(toy_archive, rows, labels, config)
    assert tuned.history.held_loss[tuned.history.best_epoch] < 0.9 * tuned.log["start_loss"]
    assert tuned.alarms == ()
    small = Family("tapetum.learn.tuners").build(tuner).PEFT
    assert bool(tuned.deltas) == small
    assert bool(tuned.towers) == (not small)
    assert 0 < tuned.log["trained"] <= (0.01 if small else 1) * tuned.log["frozen"]
    assert tuned.log["delta_bytes"] == (4 * tuned.log["trained"] if small else 0)


def test_a_tuned_model_beats_its_frozen_probe_and_survives_storing(toy_archive, vit, tmp_path):
    spec, frozen = vit
    config = AdaptConfig(
        encoders=spec, threads=1, tuner="lora", tuning="epochs=12, batch=12, augment='', learning_rate=3e-3"
    )
    model = adapt(toy_archive, config, embeddings=frozen)
    assert model.adapter_spec == HEAD
    assert list(model.deltas) == [0]
    assert model.operating is not None
    emb = embed(toy_archive, model.embedder(threads=1))
    assert not np.allclose(emb.features, frozen.features)
    test = [r.image_id for r in toy_archive.in_split(Split.TEST)]
    truth = toy_archive.labels(model.findings, image_ids=test)
    found = zero_shot(model, emb.rows(test), model.findings)
    assert (found.logits.argmax(1) == truth.argmax(1)).mean() > 0.8
    loaded = load_model(model.save(tmp_path / "model"))
    assert loaded.digest == model.digest
    again = zero_shot(loaded, embed(toy_archive, loaded.embedder(threads=1)).rows(test), model.findings)
    np.testing.assert_array_equal(again.logits, found.logits)
    np.testing.assert_array_equal(again.probs, found.probs)
    with pytest.raises(UsageError, match="tuned already"):
        adapt(toy_archive, config, model=loaded, embeddings=emb)


def test_whole_towers_are_stored_where_whole_towers_were_trained(toy_archive, toy_embeddings, tmp_path):
    config = AdaptConfig(encoders=ENCODER, threads=1, tuner="last", tuning="epochs=2, augment=''")
    model = adapt(toy_archive, config, embeddings=toy_embeddings)
    assert list(model.towers) == [0]
    assert not model.deltas
    loaded = load_model(model.save(tmp_path / "model"))
    images = [toy_archive.pixels(r.image_id, min_side=512) for r in toy_archive.records[:3]]
    np.testing.assert_array_equal(loaded.embedder().pixels(images), model.embedder().pixels(images))


def test_an_adapter_on_a_tuned_model_keeps_its_deltas(toy_archive, vit):
    spec, frozen = vit
    tuned = adapt(
        toy_archive, AdaptConfig(encoders=spec, threads=1, tuner="lora", tuning="epochs=1"), embeddings=frozen
    )
    probe = adapt(toy_archive, AdaptConfig(threads=1), model=tuned)
    assert probe.deltas == tuned.deltas
    assert probe.adapter_spec == "linear_probe"


def test_few_shots_and_val_only_choose(toy_archive, toy_embeddings):
    config = AdaptConfig(encoders=ENCODER, threads=1, tuner="full", tuning="epochs=1, augment=''", shots=3)
    model = adapt(toy_archive, config, embeddings=toy_embeddings)
    assert model.log["pairs"] <= 3 * 2 * len(COLOURS)
    val = sum(1 for r in toy_archive.in_split(Split.VAL))
    assert all(p + n == val for p, n in zip(model.operating.positives, model.operating.negatives, strict=True))


def test_equal_seeds_give_equal_networks(toy_archive, labelled):
    first, second, other = (
        tune(toy_archive, *labelled, dataclasses.replace(QUICK, seed=s, augment="geometric()", epochs=1))
        for s in (0, 0, 1)
    )
    state, twin, third = (t.towers[0] for t in (first, second, other))
    assert all(torch.equal(state[k], twin[k]) for k in state)
    assert not all(torch.equal(state[k], third[k]) for k in state)
    np.testing.assert_array_equal(first.head["weight"], second.head["weight"])


def test_a_run_that_was_stopped_goes_on_bit_by_bit(toy_archive, labelled, tmp_path):
    class Stop(Curve):
        def epoch(self, epoch, history):
            if epoch == 1:
                raise KeyboardInterrupt

    config = dataclasses.replace(QUICK, tuner="last", augment="geometric()")
    saving = Saving(tmp_path / "run", every_steps=1)
    whole = tune(toy_archive, *labelled, config)
    with pytest.raises(KeyboardInterrupt):
        tune(toy_archive, *labelled, config, saving=saving, watch=Watch((Stop(),)))
    resumed = tune(toy_archive, *labelled, config, saving=saving)
    assert resumed.history.held_loss == whole.history.held_loss
    assert all(torch.equal(resumed.towers[0][k], v) for k, v in whole.towers[0].items())
    np.testing.assert_array_equal(resumed.head["weight"], whole.head["weight"])


def test_the_seed_reaches_the_tuner_unless_it_has_its_own(toy_archive, vit):
    rows, labels = _labelled(toy_archive, vit[1])
    specs = []
    for tuner in ("lora", "lora(seed=5)"):
        config = TuneConfig(tuner, epochs=1, augment="", threads=1, seed=3)
        specs.append(tune(toy_archive, rows, labels, config).deltas[0].tuner)
    assert specs == ["lora(seed=3)", "lora(seed=5)"]


# --- the parts of a run ----------------------------------------------------------------------------------------------


def prepared(archive, labelled, **changed):
    rows, labels = labelled
    config = dataclasses.replace(QUICK, **changed)
    return TuningRun.prepared(archive, rows, labels, config, {})


def test_the_start_is_a_probe_on_frozen_features(toy_archive, labelled):
    run = prepared(toy_archive, labelled)
    rows, labels = labelled
    train = run.train
    probe = Logistic(power=1.0).fit(
        rows.features[train], labels[train], np.asarray(rows.patient_ids)[train], rows.blocks
    )
    with torch.no_grad():
        found = run.logits(run.held, -1).numpy()
        zero = prepared(toy_archive, labelled, start="zero")
        nothing = float(zero.loss_of(zero.train, -1).mean())
    np.testing.assert_allclose(found, probe(rows.features[run.held]), atol=1e-3)
    assert nothing == pytest.approx(zero.chance(zero.train), abs=1e-6)


def test_the_head_is_stored_as_a_logistic_adapter(toy_archive, labelled):
    run = prepared(toy_archive, labelled)
    with torch.no_grad():
        run.head.weight.add_(0.1)
        logits = run.logits(run.held, -1).numpy()
    stored = Family("tapetum.learn.adapters").build(HEAD).restore(run.head.plain())
    np.testing.assert_allclose(stored(labelled[0].features[run.held]), logits, atol=1e-3)
    assert np.isnan(stored.penalty_).all()
    assert stored.standardiser_.power == 1


def test_patients_that_stop_are_not_trained_on(toy_archive, labelled):
    run = prepared(toy_archive, labelled, held_out=0.25)
    patients = np.asarray(labelled[0].patient_ids)
    assert not set(patients[run.train]) & set(patients[run.held])
    assert len(run.train) + len(run.held) == len(patients)
    assert len(set(patients[run.held])) == pytest.approx(len(set(patients)) / 4, abs=1)
    assert len(prepared(toy_archive, labelled, held_out=0.0).held) == 0


def test_the_loss_is_the_mean_cross_entropy_of_what_is_known(toy_archive, labelled):
    rows, labels = labelled
    labels = labels.copy()
    labels[0, 1] = labels[0, 2] = np.nan
    labels[1] = np.nan
    run = prepared(toy_archive, (rows, labels))
    assert 1 not in {*run.train, *run.held}
    logits = run.logits(np.array([0]), -1).detach().numpy()[0].astype(float)
    each = np.log1p(np.exp(-np.where(labels[0] == 1, 1, -1) * logits))
    assert float(run.loss_of(np.array([0]), -1).detach()) == pytest.approx(each[[0, 3]].mean(), rel=1e-4)


def test_balance_weighs_the_positives(toy_archive, labelled):
    run = prepared(toy_archive, labelled, balance=True)
    labels = labelled[1][run.train]
    expected = (labels == 0).sum(0) / (labels == 1).sum(0)
    np.testing.assert_allclose(run.weight.numpy(), expected, rtol=1e-6)
    plain = prepared(toy_archive, labelled)
    row = np.array([int(np.flatnonzero(labelled[1][:, 0] == 1)[0])])
    logits = torch.zeros(1, 4)
    weights = torch.where(torch.from_numpy(labelled[1][row]) == 1, run.weight, torch.ones(4))
    ratio = run._loss(logits, row) / plain._loss(logits, row)
    assert float(ratio) == pytest.approx(float(weights.mean()), rel=1e-5)


def test_full_learns_at_its_rates_and_the_head_at_its_own(toy_archive, labelled):
    run = prepared(toy_archive, labelled, learning_rate=1e-4, head_rate=2e-3)
    assert [g.rate for g in run.groups] == pytest.approx([0.65**3, 0.65**2, 0.65, 20.0])
    assert run.settings.learning_rate == 1e-4
    assert prepared(toy_archive, labelled).settings.learning_rate == run.tuner.RATE


def test_memory_is_measured_before(toy_archive, labelled):
    run = prepared(toy_archive, labelled)
    need = run.memory()
    assert need == memory_estimate(run.module, need.batch, activations=need.activations)
    assert need.batch == 16 * 3 * 32 * 32 * 4
    # three maps of 12×16×16, 24×8×8 and 8×4×4 before and after their activation, and the input, at the least
    assert need.activations >= 16 * 4 * (12 * 256 + 24 * 64 + 8 * 16)
    frozen = prepared(toy_archive, labelled, tuner="last(share=0.3)").memory()
    assert frozen.gradients < need.gradients
    assert frozen.activations < need.activations


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_too_little_memory_is_told_before(toy_archive, labelled, monkeypatch):
    monkeypatch.setattr(tune_module, "free_memory", lambda: 1000)
    with pytest.warns(RuntimeWarning, match=r"full with batch=16 at 32 px needs about .* GB"):
        tune(toy_archive, *labelled, dataclasses.replace(QUICK, epochs=1))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to …"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_memory_that_runs_out_says_what_to_change(error, toy_archive, labelled, monkeypatch):
    def fail(self, rows, epoch):
        if epoch >= 0:
            raise error
        return original(self, rows, epoch)

    original = TuningRun.loss_of
    monkeypatch.setattr(TuningRun, "loss_of", fail)
    with pytest.raises(UsageError, match="out of memory: full on tiny") as caught:
        tune(toy_archive, *labelled, QUICK)
    assert "batch=8" in caught.value.next_step


def test_other_errors_pass(toy_archive, labelled, monkeypatch):
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))

    def fail(self, rows, epoch):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(TuningRun, "memory", lambda self: memory_estimate(self.module, 0))
    monkeypatch.setattr(TuningRun, "loss_of", fail)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        tune(toy_archive, *labelled, QUICK)


def test_a_loss_that_is_not_finite_names_and_saves_its_batch(toy_archive, labelled, tmp_path):
    config = dataclasses.replace(QUICK, learning_rate=1e30, clip_norm=1e30, epochs=4)
    with pytest.raises(DataError, match="not finite at step") as caught:
        tune(toy_archive, *labelled, config, beside=tmp_path / "out")
    with np.load(tmp_path / "out" / "bad_batch.npz") as saved:
        ids = saved["image_ids"].tolist()
        assert 1 <= len(ids) <= config.batch
        assert saved["input_0"].shape == (len(ids), 3, 32, 32)
        known = dict(zip(labelled[0].image_ids, labelled[1].tolist(), strict=True))
        assert saved["labels"].tolist() == [known[i] for i in ids]
    assert ids[0][:12] in caught.value.found
    assert "bad_batch.npz" in caught.value.found
    assert "learning_rate=" in caught.value.next_step


def test_what_does_not_help_is_not_kept(toy_archive, labelled):
    config = dataclasses.replace(QUICK, learning_rate=0.3, head_rate=1.0, epochs=2)
    before = prepared(toy_archive, labelled, learning_rate=0.3, head_rate=1.0)
    tuned = tune(toy_archive, *labelled, config)
    assert any("did not lower the held-out loss" in alarm for alarm in tuned.alarms)
    assert tuned.history.best_epoch == -1
    assert all(torch.equal(tuned.towers[0][k], v) for k, v in before.towers[0].state_dict().items())
    np.testing.assert_array_equal(tuned.head["weight"], before.head.plain()["weight"])


def test_labels_that_mean_nothing_raise_an_alarm(toy_archive, labelled):
    rows, labels = labelled
    rng = np.random.default_rng(0)
    noise = (rng.random(labels.shape) < 0.5).astype(float)
    tuned = tune(toy_archive, rows, noise, dataclasses.replace(QUICK, start="zero"))
    assert any("did not leave chance" in alarm for alarm in tuned.alarms)


def test_one_class_only_is_refused(toy_archive, labelled):
    rows, labels = labelled
    one = labels.copy()
    one[:, 2] = 0
    with pytest.raises(DataError, match=r"'c' has 0 positive and \d+ negative"):
        tune(toy_archive, rows, one, QUICK, findings=("a", "b", "c", "d"))


@pytest.mark.parametrize(
    "changed",
    [
        {"held_out": 0.6}, {"held_out": -0.1}, {"start": "random"}, {"epochs": 0}, {"batch": 0},
        {"learning_rate": -1.0}, {"head_rate": 0.0}, {"tuner": "lorra"}, {"tuner": "lora(ranks=3)"},
        {"tuner": "prompts"}, {"augment": "geo"},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(changed, toy_archive, labelled):
    with pytest.raises(UsageError):
        tune(toy_archive, *labelled, dataclasses.replace(QUICK, **changed))


def test_an_unknown_option_of_the_tuning_is_refused(toy_archive, toy_embeddings):
    config = AdaptConfig(encoders=ENCODER, threads=1, tuner="full", tuning="epoch=3")
    with pytest.raises(UsageError) as caught:
        adapt(toy_archive, config, embeddings=toy_embeddings)
    assert "epochs" in caught.value.expected


def test_from_scratch_nothing_of_the_old_weights_is_left_and_batch_statistics_are_learned(toy_archive):
    spec = "efficientnet_lite(size=64, stages='final')"
    rows = embed(toy_archive, spec, threads=1)
    rows, labels = _labelled(toy_archive, rows)
    run = TuningRun.prepared(toy_archive, rows, labels, dataclasses.replace(QUICK, tuner="scratch"), {})
    old = dict(Embedder(spec, backend="torch").runners[0].encoder.named_parameters())
    kept = [name for name, p in run.towers[0].named_parameters() if p.ndim > 1 and torch.equal(p, old[name])]
    assert kept == []
    assert not run.head.weight.any()
    norms = [m for m in run.towers.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    before = norms[0].running_mean.clone()
    run.loss_of(run.held[:4], -1)
    assert not any(m.training for m in norms)
    assert torch.equal(norms[0].running_mean, before)
    run.loss_of(run.train[:4], 0)
    assert all(m.training for m in norms)
    assert not torch.equal(norms[0].running_mean, before)
    again = TuningRun.prepared(toy_archive, rows, labels, dataclasses.replace(QUICK, tuner="scratch"), {})
    other = TuningRun.prepared(toy_archive, rows, labels, dataclasses.replace(QUICK, tuner="scratch", seed=1), {})
    same = [torch.equal(p, q) for p, q in zip(run.towers.parameters(), again.towers.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(p, q) for p, q in zip(run.towers.parameters(), other.towers.parameters(), strict=True))


TWO = f"{ENCODER} + tiny(dim=8, seed=3)"


def test_only_the_named_tower_is_tuned_and_the_other_is_looked_up(toy_archive):
    rows = embed(toy_archive, TWO, threads=1)
    model = adapt(
        toy_archive,
        AdaptConfig(encoders=TWO, threads=1, tuner="full", tuning="epochs=3, batch=16, augment='', only=(1,)"),
        embeddings=rows,
    )
    assert list(model.towers) == [1]
    tuned = embed(toy_archive, model.embedder(threads=1))
    first = rows.features.shape[1] - 8
    np.testing.assert_array_equal(tuned.features[:, :first], rows.features[:, :first])
    assert not np.allclose(tuned.features[:, first:], rows.features[:, first:])


def test_the_towers_that_are_not_tuned_give_what_they_were_embedded_with(toy_archive):
    rows, labels = _labelled(toy_archive, embed(toy_archive, TWO, threads=1))
    config = dataclasses.replace(QUICK, only=(1,))
    run = TuningRun.prepared(toy_archive, rows, labels, config, {})
    whole = TuningRun.prepared(toy_archive, rows, labels, QUICK, {})
    some = np.arange(5)
    np.testing.assert_allclose(
        run.logits(some, -1).detach().numpy(), whole.logits(some, -1).detach().numpy(), rtol=1e-4, atol=1e-4
    )
    assert len(run.towers) == 1
    assert run.frozen == whole.frozen


@pytest.mark.parametrize("only", [(2,), (-1,), (0, 0)])
def test_a_tower_that_is_not_there_is_refused(only, toy_archive):
    rows, labels = _labelled(toy_archive, embed(toy_archive, TWO, threads=1))
    with pytest.raises(UsageError, match="of 2 encoders"):
        tune(toy_archive, rows, labels, dataclasses.replace(QUICK, only=only))
