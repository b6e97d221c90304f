"""The model card: numbers only from Records of this very model, and what cannot be said from them."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

from tapetum.bench.pages.card import CONTROL, model_card, records_of_model
from tapetum.bench.tables.results import as_json
from tapetum.core.errors import ArtefactError
from tapetum.core.types import Interval, Record
from tapetum.learn import Model
from tapetum.learn.fitting.operate import Operating

OPERATING = Operating(
    ("drusen", "cataract"), "platt()", {}, np.array([0.31, np.nan]), 0.9, "labels", (12, 2), (40, 50)
)  # fmt: skip
MODEL = Model(
    "efficientnet_lite(size=224)", "minilm()", "fundus", operating=OPERATING,
    config={"archive": "clinic", "task": "ridge", "seed": 3, "text": "findings"}, log={"pairs": 321, "patients": 170},
    parents={"archive": "ab" * 32},
)  # fmt: skip
TOO_GOOD = "what was changed after a look at it makes its numbers too good."


def record(finding="drusen", metric="auroc_score", estimate=0.9, low=0.8, high=0.95, **changed):
    base = Record(
        "zero_shot", "ridge()", "report-supervised", finding, metric, Interval(estimate, low, high, "bootstrap"), 100,
        60, 30, (0,), "inner patient split", 1, {"model": MODEL.digest, "test": "cd" * 32, "split": "test"}, "odir",
        False,
    )  # fmt: skip
    return dataclasses.replace(base, **changed)


def saved(folder, *records):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text("".join(json.dumps(as_json(r)) + "\n" for r in records))
    return folder


def part(card, title):
    return next(p for p in card.parts if p.title.startswith(title))


def test_without_records_nothing_is_measured():
    card = model_card(MODEL)
    assert "Not measured. No number of this card says how well it detects." in card.markdown()
    assert card.records == ()
    assert not re.search(r"0\.\d{3} \[", card.markdown())


def test_the_numbers_are_those_of_the_records(tmp_path):
    place = saved(tmp_path, record(), record(metric="sensitivity_score", estimate=0.75, low=0.6, high=0.85))
    card = model_card(MODEL, [place])
    measured = part(card, "Measured results")
    assert measured.heads == ("finding", "images", "patients", "positive", "AUROC ↑", "sensitivity ↑")
    assert measured.rows == (("drusen", "100", "60", "30", "0.900 [0.800, 0.950]", "0.750 [0.600, 0.850]"),)
    facts = dict(measured.facts)
    assert facts["test set read"] == "1 time(s) when this was measured"
    assert (facts["chosen by"], facts["split"], facts["intervals"]) == ("inner patient split", "test", "95%, bootstrap")
    assert "| drusen | 100 | 60 | 30 | 0.900 [0.800, 0.950] | 0.750 [0.600, 0.850] |" in card.markdown()


def test_records_of_another_model_are_refused_by_name(tmp_path):
    other = record(digests={"model": "f" * 64})
    with pytest.raises(ArtefactError, match=f"measured {'f' * 16}, not {MODEL.digest[:16]}"):
        model_card(MODEL, [saved(tmp_path, other)])
    with pytest.raises(ArtefactError, match="measured no model"):
        model_card(MODEL, [saved(tmp_path, record(digests={}))])
    with pytest.raises(ArtefactError, match="nowhere"):
        model_card(MODEL, [tmp_path / "nowhere"])


def test_rivals_and_negative_controls_of_the_same_run_are_left_out(tmp_path):
    place = saved(tmp_path, record(), record(digests={"model": "f" * 64}), record(supervision=CONTROL))
    assert len(records_of_model(MODEL, place)) == 1


def test_sixteen_digits_name_a_model_and_fewer_do_not(tmp_path):
    assert records_of_model(MODEL, saved(tmp_path, record(digests={"model": MODEL.digest[:16]})))
    with pytest.raises(ArtefactError):
        records_of_model(MODEL, saved(tmp_path, record(digests={"model": MODEL.digest[:8]})))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"positives": 4}, "drusen on odir: too few to say, 4 with it among 100 images."),
        ({"positives": 96}, "drusen on odir: too few to say, 96 with it among 100 images."),
        ({"low": 0.5}, "drusen on odir: not shown to be better than chance, AUROC 0.900 [0.500, 0.950]."),
        ({"estimate": float("nan"), "low": float("nan"), "high": float("nan")}, "drusen on odir: undefined."),
        ({"test_reads": 4}, f"A test set was read 4 times: {TOO_GOOD}"),
    ],
)  # fmt: skip
def test_limits_say_what_the_numbers_cannot(tmp_path, changed, words):
    said = [v for _, v in part(model_card(MODEL, [saved(tmp_path, record(**changed))]), "Limits").facts]
    assert words in said
    assert part(model_card(MODEL, [saved(tmp_path, record())]), "Limits").facts[0][1].startswith("Measured on the data")


def test_operating_points_and_training_are_the_models_own():
    card = model_card(MODEL)
    assert part(card, "Operating points").rows == (
        ("drusen", "0.310", "12", "40"),
        ("cataract", "none: too few images", "2", "50"),
    )
    facts = dict(part(card, "Training").facts)
    assert facts["archive"] == f"clinic, digest `{'ab' * 32}`"
    assert (facts["rows learned from"], facts["patients learned from"], facts["learned by"]) == (
        "321",
        "170",
        "`ridge`",
    )
    assert part(model_card(dataclasses.replace(MODEL, operating=None)), "Operating points").rows == ()


def test_a_phantom_and_an_alarm_stand_at_the_top(tmp_path):
    model = dataclasses.replace(MODEL, log={**MODEL.log, "alarms": ["never left chance"]})
    card = model_card(model, [saved(tmp_path, record(phantom=True))])
    head = card.markdown().partition("## ")[0]
    assert "PHANTOM" in head
    assert "Alarm of the training: never left chance" in head


def test_licences_are_read_beside_the_weights_or_said_to_be_unknown(tmp_path):
    facts = dict(part(model_card(MODEL), "Licences").facts)
    assert facts["`efficientnet_lite(size=224)`"].startswith(
        "Apache-2.0 upstream; the package with the weights states none"
    )
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\ntags: [x]\n---\n# A tower\nlicense: mit\n")
    brought = dataclasses.replace(MODEL, encoders=f"transformer(path={str(tmp_path)!r})")
    assert next(iter(part(model_card(brought), "Licences").facts))[1] == "cc-by-nc-4.0, as its README states"
    (tmp_path / "README.md").write_text("# A tower\nlicense: mit\n")
    assert next(iter(part(model_card(brought), "Licences").facts))[1].startswith("not stated where Tapetum can read it")


def test_names_from_outside_make_no_markup(tmp_path):
    model = dataclasses.replace(MODEL, config={"archive": "<script>x</script> *b* [a](javascript:b)"})
    card = model_card(model, [saved(tmp_path, record(finding="a|b", data="<img src=x>"))])
    assert "<script" not in card.markdown() + card.html()
    assert "](javascript" not in card.markdown()
    assert "| a\\|b |" in card.markdown()
    assert "<img" not in card.html()


def test_the_page_says_what_the_markdown_says(tmp_path):
    card = model_card(MODEL, [saved(tmp_path, record())])
    page = card.html()
    assert "0.900 [0.800, 0.950]" in page
    assert f"<code>{MODEL.digest}</code>" in page
    assert not re.search(r'(?:src|href)="(?!#)', page)
