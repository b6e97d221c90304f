"""Trials: who is learned on, who is tested, what is refused, how often a test set was read."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from PIL import Image

from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.trial import code_digest, trial_of
from tapetum.core.errors import DataError, LeakageError, UsageError
from tapetum.core.types import Split
from tapetum.learn import pretrain
from toys import COLOURS, ENCODER, TEXT, clinic

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=50)
LABELS = {name: name for name in COLOURS}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return clinic(tmp_path_factory.mktemp("other") / "other", patients=24, seed=9, labels=LABELS)


def patients(archive, split):
    return {r.patient_id for r in archive.in_split(split)}


def test_tested_on_itself_the_test_patients_are_tested(toy_archive):
    trial = trial_of(toy_archive, CONFIG)
    assert not trial.external
    assert trial.test_records == list(toy_archive.in_split(Split.TEST))
    assert set(trial.findings) == set(COLOURS)


def test_on_val_the_tested_patients_choose_nothing(toy_archive):
    trial = trial_of(toy_archive, dataclasses.replace(CONFIG, test_split="val"))
    tested = {r.patient_id for r in trial.test_records}
    assert tested == patients(toy_archive, Split.VAL)
    train, val = patients(trial.archive, Split.TRAIN), patients(trial.archive, Split.VAL)
    assert val
    assert not tested & (train | val)
    assert not train & val
    assert train | val == patients(toy_archive, Split.TRAIN)
    assert not patients(toy_archive, Split.TEST) & (train | val | tested)
    assert len(val) == len(train | val) // 6


def test_on_val_the_labels_of_the_tested_change_no_threshold(toy_archive, toy_embeddings):
    config = dataclasses.replace(CONFIG, test_split="val")

    def digest(archive):
        trial = trial_of(archive, config)
        return pretrain(trial.archive, config, embeddings=toy_embeddings).digest

    turned = tuple(
        dataclasses.replace(r, labels=("glaucoma",)) if r.split == Split.VAL else r for r in toy_archive.records
    )
    assert digest(toy_archive) == digest(dataclasses.replace(toy_archive, records=turned))


def test_another_archive_is_tested_as_a_whole(toy_archive, other):
    trial = trial_of(toy_archive, CONFIG, test=other)
    assert trial.external
    assert trial.test_records == list(other.records)
    assert trial.test_embeddings.image_ids == tuple(r.image_id for r in other.records)


def test_nothing_is_fitted_on_the_other_archive(toy_archive, other):
    turned = dataclasses.replace(
        other, records=tuple(dataclasses.replace(r, report="drusen", labels=("glaucoma",)) for r in other.records)
    )
    digests = [
        run_bench("zero_shot(shuffles=0, unseen=False, compare=())", toy_archive, CONFIG, test=test).records[0].digests
        for test in (other, turned)
    ]
    assert digests[0]["model"] == digests[1]["model"]
    assert digests[0]["test"] == other.digest


def test_an_image_in_both_archives_is_a_leak(toy_archive, other):
    shared = dataclasses.replace(other, records=(*other.records, toy_archive.records[0]))
    with pytest.raises(LeakageError, match="1 images stand in both archives"):
        trial_of(toy_archive, CONFIG, test=shared)


def test_a_patient_in_two_splits_is_a_leak(toy_archive):
    first = toy_archive.in_split(Split.TRAIN)[0]
    records = tuple(
        dataclasses.replace(r, split=Split.TEST) if r.image_id == first.image_id else r for r in toy_archive.records
    )
    with pytest.raises(LeakageError, match="two splits"):
        trial_of(dataclasses.replace(toy_archive, records=records), CONFIG)


def test_a_model_is_not_tested_on_all_of_what_it_was_trained_on(toy_archive, other, toy_model):
    with pytest.raises(LeakageError, match="was trained on toy"):
        trial_of(other, CONFIG, test=toy_archive, model=toy_model)


def test_thresholds_chosen_on_val_are_not_tested_there(toy_archive, toy_model):
    config = dataclasses.replace(CONFIG, test_split="val")
    with pytest.raises(LeakageError, match="thresholds were chosen on the validation patients"):
        run_bench("zero_shot", toy_archive, config, model=toy_model)


def test_the_archive_itself_is_no_other_archive(toy_archive):
    with pytest.raises(UsageError, match="is the archive itself"):
        trial_of(toy_archive, CONFIG, test=toy_archive)


def test_wrong_splits_and_empty_ones_are_refused(toy_archive):
    with pytest.raises(UsageError, match="test_split"):
        trial_of(toy_archive, dataclasses.replace(CONFIG, test_split="tset"))
    train = dataclasses.replace(toy_archive, records=toy_archive.in_split(Split.TRAIN))
    with pytest.raises(DataError, match="no images in test"):
        _ = trial_of(train, CONFIG).test_records


def test_readings_are_counted_by_split_and_run(tmp_path):
    archive = clinic(tmp_path / "fresh", patients=4)
    val = dataclasses.replace(CONFIG, test_split="val")
    first = trial_of(archive, CONFIG)
    assert first.test_reads == 1
    assert first.test_reads == 1
    assert trial_of(archive, CONFIG).test_reads == 2
    assert trial_of(archive, val).test_reads == 1
    assert trial_of(archive, CONFIG).test_reads == 3


def test_digests_lead_back_to_everything(toy_archive, other, toy_model):
    digests = trial_of(toy_archive, CONFIG, test=other).digests(toy_model)
    assert digests["archive"] == toy_archive.digest
    assert digests["test"] == other.digest
    assert digests["model"] == toy_model.digest
    assert digests["split"] == "all"
    assert digests["code"] == code_digest()
    assert len(code_digest()) == 64
    changed = trial_of(toy_archive, dataclasses.replace(CONFIG, seed=1), test=other)
    assert changed.digests(None)["config"] != digests["config"]


def test_archives_without_a_common_finding_are_refused(toy_archive, tmp_path):
    bare = clinic(tmp_path / "bare", patients=4, seed=5, pack="", labels=dict.fromkeys(COLOURS, "x"))
    with pytest.raises(DataError, match="share no finding"):
        _ = trial_of(toy_archive, CONFIG, test=bare).findings


def test_a_tuned_tower_is_tested_with_its_own_features(toy_archive):
    config = dataclasses.replace(CONFIG, unfreeze="all", fine_tuning_epochs=1, fine_tuning_rate=0.05)
    trial = trial_of(toy_archive, config)
    model = pretrain(toy_archive, config, embeddings=trial.embeddings)
    own = trial.test_embeddings_of(model)
    assert own.image_ids == trial.test_embeddings.image_ids
    assert not (own.features == trial.test_embeddings.features).all()


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """Four patients to learn on and four to test on; a tested picture is a learned one, saved again and smaller."""
    root = tmp_path_factory.mktemp("copied")
    pictures = {f"p{i}": textured(i) for i in range(8)} | {"p4": textured(0).resize((140, 140)), "p5": textured(5)}
    folder = root / "export"
    folder.mkdir()
    for patient, picture in pictures.items():
        picture.save(folder / f"{patient}.jpg", quality=85)
    table = "".join(f"{p}.jpg,{p},{'glaucoma' if int(p[1]) % 2 else 'cataract'}\n" for p in pictures)
    (folder / "t.csv").write_text("file,patient,label\n" + table, encoding="utf-8")
    ingest(folder, root / "copied.tap", IngestConfig(pack="fundus", modality="fundus"))
    return split_at(open_archive(root / "copied.tap"), {f"p{i}" for i in range(4)})


def textured(number):
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:160, 0:160] / 80 - 1
    picture = 120.0 + cv2.GaussianBlur(rng.normal(0, 1, (160, 160)), (0, 0), 4) * 200
    picture[np.hypot(x, y) > 0.95] = 0
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).convert("RGB")


def split_at(archive, learned):
    records = (
        dataclasses.replace(r, split=Split.TRAIN if r.patient_id in learned else Split.TEST) for r in archive.records
    )
    return dataclasses.replace(archive, records=tuple(records))


def test_copies_of_learned_images_are_not_tested(copied):
    trial = trial_of(copied, CONFIG)
    assert {r.patient_id for r in trial.test_records} == {"p5", "p6", "p7"}
    assert trial.notes == ("1 of 4 test images left out: they look like images learned on",)
    leaky = trial_of(copied, dataclasses.replace(CONFIG, copies="keep"))
    assert {r.patient_id for r in leaky.test_records} == {"p4", "p5", "p6", "p7"}
    assert leaky.notes == ("copies=keep: tested images that look like learned ones were not looked for",)


def test_copies_in_another_archive_are_not_tested(copied, tmp_path):
    (tmp_path / "export").mkdir()
    textured(1).resize((150, 150)).save(tmp_path / "export" / "again.png")
    textured(30).save(tmp_path / "export" / "new.png")
    (tmp_path / "export" / "t.csv").write_text("file,patient,label\nagain.png,a,cataract\nnew.png,b,glaucoma\n")
    ingest(tmp_path / "export", tmp_path / "else.tap", IngestConfig(pack="fundus", modality="fundus"))
    trial = trial_of(copied, CONFIG, test=open_archive(tmp_path / "else.tap"))
    assert [r.source for r in trial.test_records] == ["new.png"]


def test_a_test_set_of_copies_alone_is_refused(copied):
    only = dataclasses.replace(copied, records=tuple(r for r in copied.records if r.patient_id in ("p0", "p4")))
    with pytest.raises(DataError, match="all 1 tested images look like"):
        _ = trial_of(only, CONFIG).test_records
