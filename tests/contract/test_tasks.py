"""What every way to align promises; a new file in the family is tested by being there."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tapetum.core.errors import DataError, TapetumError, UsageError
from tapetum.core.registry import Family
from tapetum.learn.training.runlog import Curve, Watch
from toys import pairs

TASKS = Family("tapetum.learn.tasks")
SPECS = [
    "ridge",
    "contrastive(epochs=30, batch=32)",
    "contrastive(loss='siglip', epochs=30, batch=32)",
    "contrastive(start='ridge', epochs=5)",
    "contrastive(loss='convirt', matching='findings', sampler='no_duplicate_patients', epochs=15, batch=32)",
    "hierarchical(epochs=15, batch=32)",
    "multi_granular(epochs=15, batch=40, dim=32, count=8)",
    "patch_concept(epochs=15, batch=40, dim=32)",
    "refiner(epochs=12, batch=40, dim=32, width=16, start='ridge', sees='places', warm_up=4)",
    "hierarchy_graph(epochs=15, batch=40, dim=32)",
]
each_spec = pytest.mark.parametrize("spec", SPECS)
each_contrastive = pytest.mark.parametrize("spec", SPECS[1:])


@functools.cache
def fitted(spec, seed=0):
    return TASKS.build(spec).fit(pairs(tree=True, local=True), np.random.default_rng(seed))


def separation(aligner, found):
    """Mean AUROC with which a text separates its own images from the others."""
    _, first, own = np.unique(found.texts, return_index=True, return_inverse=True)
    with torch.no_grad():
        image = aligner.encode_image(torch.from_numpy(found.features))
        text = aligner.encode_text(torch.from_numpy(found.text_features[first].astype(np.float32)))
    scores = (image @ text.T).numpy()
    return float(np.mean([roc_auc_score(own == t, scores[:, t]) for t in range(len(first))]))


def test_every_member_that_learns_has_a_spec():
    learn = {name for name in TASKS.names() if "space" not in TASKS.member(name).NEEDS}
    assert {spec.partition("(")[0] for spec in SPECS} == learn


def test_what_is_taken_as_it_is_ranks_rows_that_share_a_space():
    whole = pairs(tree=True, local=True)
    rng = np.random.default_rng(1)
    noise = 0.1 * rng.normal(size=whole.text_features.shape)
    shared = dataclasses.replace(whole, features=(whole.text_features + noise).astype(np.float32))
    first, again = (TASKS.build("joint").fit(shared, np.random.default_rng(seed)) for seed in (0, 1))
    assert separation(first.aligner, shared) > 0.95
    assert first.log["pairs"] == 0  # nothing is learned from them
    assert not first.aligner.training
    for name, tensor in first.aligner.state_dict().items():
        torch.testing.assert_close(tensor, again.aligner.state_dict()[name], rtol=0, atol=0)


@each_spec
def test_texts_rank_their_own_images_first_on_held_out_patients(spec):
    whole = pairs(patients=160, tree=True, local=True)
    rows = np.arange(320)
    train, test = rows[:200], rows[200:]

    def part(rows):
        return dataclasses.replace(
            whole,
            features=whole.features[rows],
            texts=tuple(whole.texts[i] for i in rows),
            text_features=whole.text_features[rows],
            patient_ids=tuple(whole.patient_ids[i] for i in rows),
            image_ids=tuple(whole.image_ids[i] for i in rows),
            labels=whole.labels[rows],
            groups=whole.groups.rows(rows),
            tokens=whole.tokens.rows(rows),
        )

    result = TASKS.build(spec).fit(part(train), np.random.default_rng(0))
    assert separation(result.aligner, part(test)) > 0.95


@each_spec
def test_equal_generators_give_equal_aligners_watched_or_not(spec):
    curve = Curve()
    again = TASKS.build(spec).fit(pairs(tree=True, local=True), np.random.default_rng(0), Watch((curve,)))
    for name, tensor in fitted(spec).aligner.state_dict().items():
        torch.testing.assert_close(tensor, again.aligner.state_dict()[name], rtol=0, atol=0)
    assert curve.told() == again.log.get("curve", Curve().told()), "every step is told"


@each_spec
def test_the_log_tells_the_number_of_pairs(spec):
    assert fitted(spec).log["pairs"] == len(pairs().texts)


@each_spec
def test_the_aligner_is_ready_to_use(spec):
    aligner = fitted(spec).aligner
    assert not aligner.training
    with torch.no_grad():
        encoded = aligner.encode_image(torch.from_numpy(pairs().features))
    torch.testing.assert_close(encoded.norm(dim=1), torch.ones(len(encoded)))


@each_spec
def test_the_pairs_are_left_as_they_were(spec):
    mine = pairs(tree=True, local=True)
    before = mine.features.copy(), mine.text_features.copy()
    TASKS.build(spec).fit(mine, np.random.default_rng(0))
    np.testing.assert_array_equal(mine.features, before[0])
    np.testing.assert_array_equal(mine.text_features, before[1])


@each_contrastive
def test_no_alarm_on_real_pairs(spec):
    assert fitted(spec).alarms == ()


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_alarm_where_images_say_nothing_of_their_texts(loss):
    # 24 random features of 160 images: the training loss leaves chance all the same, the held-out loss does not.
    result = TASKS.build(f"contrastive(loss={loss!r}, batch=64)").fit(pairs(real=False), np.random.default_rng(0))
    assert min(result.log["train_loss"]) < 0.98 * result.log["chance"]
    assert len(result.alarms) == 1
    assert "held-out loss did not leave chance" in result.alarms[0]


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_a_diverging_run_stops_and_leaves_finite_weights(loss):
    result = TASKS.build(f"contrastive(loss={loss!r}, learning_rate=1e30)").fit(
        pairs(tree=True, local=True), np.random.default_rng(0)
    )
    assert "not finite" in result.alarms[0]
    assert all(torch.isfinite(p).all() for p in result.aligner.parameters())


def test_the_ridge_log_holds_what_was_tried():
    log = fitted("ridge").log
    assert log["penalty"] in log["inner_quality"]
    assert log["inner_quality"][log["penalty"]] == max(log["inner_quality"].values())


def test_a_given_penalty_is_used():
    result = TASKS.build("ridge(penalty=7.5)").fit(pairs(tree=True, local=True), np.random.default_rng(0))
    assert result.log["penalty"] == 7.5
    assert result.log["inner_quality"] == {}


@each_spec
def test_one_patient_is_too_few_to_choose_anything(spec):
    one = dataclasses.replace(pairs(tree=True, local=True), patient_ids=("p",) * 160)
    with pytest.raises(DataError):
        TASKS.build(spec).fit(one, np.random.default_rng(0))


def test_equal_texts_are_refused():
    same = dataclasses.replace(pairs(), texts=("normal",) * 160)
    with pytest.raises(DataError, match="all 160 texts are equal"):
        TASKS.build("ridge").fit(same, np.random.default_rng(0))


@pytest.mark.parametrize(
    "spec",
    [
        "contrastive(start='zero')",
        "contrastive(loss='clipp')",
        "contrastive(held_out=0.9)",
        "contrastive(matching='same')",
        "contrastive(sampler='shuffle')",
        "hierarchical(finest=0)",
        "hierarchical(start='zero')",
        "multi_granular(instance=-1)",
        "multi_granular(instance=0, tokens=0, prototypes=0)",
        "multi_granular(sides='left')",
        "multi_granular(rank=-1)",
        "multi_granular(count=1)",
        "patch_concept(patches=-1)",
        "patch_concept(pool='mean')",
        "refiner(causal=-1)",
        "refiner(hidden=0)",
        "refiner(words=2)",
        "refiner(width=10)",
        "refiner(negatives='same')",
        "refiner(sees='')",
        "hierarchy_graph(layers=0)",
        "hierarchy_graph(images=-1)",
        "hierarchy_graph(finest=0)",
        "ridge(shrinkage=0.0)",
        "ridge(power=2.0)",
    ],
)
def test_wrong_options_are_refused(spec):
    with pytest.raises(UsageError):
        TASKS.build(spec).fit(pairs(tree=True, local=True), np.random.default_rng(0))
    assert issubclass(UsageError, TapetumError)


def test_a_tree_is_needed_where_it_is_learned():
    with pytest.raises(UsageError, match="without a tree"):
        TASKS.build("hierarchical").fit(pairs(), np.random.default_rng(0))


@each_spec
def test_what_a_task_needs_is_told_before_the_pairs_are_made(spec):
    assert set(TASKS.build(spec).NEEDS) <= {"names", "space", "groups", "tokens"}
