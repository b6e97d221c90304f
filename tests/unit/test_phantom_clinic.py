"""The clinic on disk: same bytes from the same seed, and truth that agrees with table, images and reports."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.phantom import ClinicConfig, make_clinic
from tapetum.phantom.clinic import SENTENCES, TABLE, TRUTH
from tapetum.phantom.people import draw_patient
from tapetum.phantom.phrases import IMPLIED, NAMES
from tapetum.phantom.spec import sign_names

CONFIG = ClinicConfig(patients=40, visits=2, size=64, seed=3, masks=True)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clinic(tmp_path_factory.mktemp("phantom") / "clinic", CONFIG).path


def test_same_config_same_bytes(tmp_path: Path):
    config = ClinicConfig(patients=2, visits=2, size=64, masks=True, duplicates=1, truncated=1, shortcut=0.5)
    one, two = make_clinic(tmp_path / "one", config), make_clinic(tmp_path / "two", config)
    assert contents(one.path) == contents(two.path)
    assert one.images == 9
    assert one.reports == 4


def test_a_patient_does_not_depend_on_how_many_others_there_are(tmp_path: Path):
    few, more = (make_clinic(tmp_path / str(n), ClinicConfig(patients=n, size=64)).path for n in (2, 3))
    for name in ("images/000001.jpg", "images/000004.jpg"):
        assert (few / name).read_bytes() == (more / name).read_bytes()
    assert rows(few / "clinic.csv") == rows(more / "clinic.csv")[:4]


def test_another_seed_is_another_clinic(tmp_path: Path):
    one, two = (make_clinic(tmp_path / str(s), ClinicConfig(patients=1, size=64, seed=s)).path for s in (0, 1))
    assert (one / "images/000001.jpg").read_bytes() != (two / "images/000001.jpg").read_bytes()


def test_the_table_is_what_a_clinic_exports(clinic: Path):
    table = rows(clinic / "clinic.csv")
    assert tuple(table[0]) == TABLE
    assert len(table) == 160
    assert {row["eye"] for row in table} == {"OD", "OS"}
    assert {row["sex"] for row in table} == {"F", "M"}
    assert {row["camera"] for row in table} == {"cam_a", "cam_b"}
    assert len({row["patient"] for row in table}) == 40
    for row in table[:20]:
        image = cv2.imread(str(clinic / row["file"]))
        assert image is not None
        assert image.shape == (64, 64, 3)
    by_visit: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in table:
        by_visit[row["patient"], row["date"]].add(row["report"])
    assert len(by_visit) == 80
    assert all(len(reports) == 1 and next(iter(reports)) for reports in by_visit.values())


def test_truth_names_the_same_images_and_a_mask_for_every_sign(clinic: Path):
    table, truth = rows(clinic / "clinic.csv"), rows(clinic / "truth/findings.csv")
    assert tuple(truth[0]) == TRUTH
    assert [r["file"] for r in table] == [r["file"] for r in truth]
    for row in truth:
        findings = row["findings"].split(";")
        assert len(findings) == len(row["severity"].split(";"))
        assert all(0 < float(s) <= 1 for s in row["severity"].split(";"))
        stem = Path(row["file"]).stem
        drawn = {p.stem[7:] for p in (clinic / "truth/masks").glob(f"{stem}_*.png")}
        assert drawn >= {"optic_disc", "optic_cup", "arteries", "veins", "field_of_view"}
        alone = set(findings) & set(sign_names())
        if "branch_retinal_vein_occlusion" in findings:
            alone -= {"flame_haemorrhage", "dot_blot_haemorrhage"}
        assert drawn >= alone
        grades = [int(n in findings) for n in ("mild_npdr", "moderate_npdr", "severe_npdr", "proliferative_dr")]
        assert int(row["dr_grade"]) == (grades.index(1) + 1 if any(grades) else 0)
        assert sum(grades) <= 1
        assert ("normal_fundus" in findings) == (len(findings) == 1 and findings[0] == "normal_fundus")


def test_disease_does_not_heal_between_visits(clinic: Path):
    eyes: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for row in rows(clinic / "truth/findings.csv"):
        values = [float(s) for s in row["severity"].split(";")]
        found = dict(zip(row["findings"].split(";"), values, strict=True))
        eyes[row["patient"], row["eye"]].append({n: v for n, v in found.items() if n in sign_names()})
    for first, second in eyes.values():
        assert all(second.get(name, 0) >= severity for name, severity in first.items())


def test_every_finding_has_its_sentence_and_no_sentence_contradicts_the_truth(clinic: Path):
    said: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    sentences = rows(clinic / "truth/sentences.csv")
    assert tuple(sentences[0]) == SENTENCES
    for row in sentences:
        for eye in ("OD", "OS") if row["eye"] == "OU" else (row["eye"],):
            said[row["report_id"], eye][row["status"]].add(row["finding"])
    for row in rows(clinic / "truth/findings.csv"):
        findings, claims = set(row["findings"].split(";")), said[row["report_id"], row["eye"]]
        written = findings - set(IMPLIED)
        if "branch_retinal_vein_occlusion" in findings:
            written -= {"flame_haemorrhage", "dot_blot_haemorrhage"}
        assert written <= claims["present"] | claims["uncertain"]
        assert claims["present"] - {"low_image_quality"} <= findings
        assert row["quality"] != "good" or "low_image_quality" not in claims["present"]
        assert not claims["absent"] & findings


def test_sentences_stand_in_their_report_and_history_cannot_be_seen(clinic: Path):
    truth = {(r["report_id"]): r["file"] for r in rows(clinic / "truth/findings.csv")}
    text = {r["file"]: r["report"] for r in rows(clinic / "clinic.csv")}
    sentences = rows(clinic / "truth/sentences.csv")
    for row in sentences:
        assert row["sentence"] in text[truth[row["report_id"]]]
        assert row["visible"] == "1" or not row["finding"]
        if (
            any(word in row["sentence"] for word in ("mmHg", "iabet", "months", "previous visit"))
            and not row["finding"]
        ):
            assert row["visible"] == "0"
    statuses = Counter(row["status"] for row in sentences)
    assert statuses["present"] > 200
    assert statuses["absent"] > 20
    assert statuses["uncertain"] > 0


def test_reports_come_in_several_styles(clinic: Path):
    texts = {row["report"] for row in rows(clinic / "clinic.csv")}
    for start in ("HISTORY:", "OD:", "RE:", "Right eye:"):
        assert any(text.startswith(start) for text in texts), start
    assert any("\n" in text for text in texts)
    assert any("NPDR" in text for text in texts)
    assert any("non-proliferative" in text for text in texts)


def test_omission_leaves_signs_out(tmp_path: Path):
    config = ClinicConfig(patients=12, size=64, omission=1.0)
    sentences = rows(make_clinic(tmp_path / "c", config).path / "truth/sentences.csv")
    assert {r["finding"] for r in sentences if r["status"] == "present"} <= {"normal_fundus", "low_image_quality"}


def test_typos_come_with_noise():
    from tapetum.phantom.reports import Sentence, _typo  # pyright: ignore[reportPrivateUsage]

    plain = Sentence("Numerous microaneurysms seen.")
    assert _typo(plain, np.random.default_rng(0), 0.0) == plain
    wrong = _typo(plain, np.random.default_rng(0), 1.0).text
    assert wrong != plain.text
    assert sorted(wrong) == sorted(plain.text)


def test_prevalence_fits_a_demo():
    """Shares of eyes among 500 patients; rendering is not needed for them."""
    eyes = [
        set(draw_patient(np.random.default_rng([0, n, 0]), n, ("cam_a",)).courses[side])
        for n in range(1, 501)
        for side in (0, 1)
    ]
    share = {name: sum(name in eye for eye in eyes) / len(eyes) for name in sign_names()}
    assert 0.33 < sum(not eye for eye in eyes) / len(eyes) < 0.43
    wanted = {
        "microaneurysm": 0.20,
        "optic_disc_cupping": 0.11,
        "drusen": 0.12,
        "cataract": 0.11,
        "myopic_crescent": 0.10,
    }
    for name, value in wanted.items():
        assert share[name] == pytest.approx(value, abs=0.035), name
    assert min(share.values()) >= 0.004


def test_eyes_of_one_patient_resemble_each_other():
    patients = [draw_patient(np.random.default_rng([0, n, 0]), n, ("cam_a",)) for n in range(1, 301)]
    both = sum("drusen" in p.courses[0] and "drusen" in p.courses[1] for p in patients)
    one = sum(("drusen" in p.courses[0]) != ("drusen" in p.courses[1]) for p in patients)
    assert both > 2 * one


def test_comorbidity_drives_disease():
    patients = [draw_patient(np.random.default_rng([1, n, 0]), n, ("cam_a",)) for n in range(1, 301)]
    assert not any("microaneurysm" in p.courses[0] for p in patients if not p.diabetes)
    assert np.mean([p.age_years for p in patients if "drusen" in p.courses[0]]) > 5 + np.mean(
        [p.age_years for p in patients]
    )


def test_dicom_opens_and_carries_the_jpegs_pixels(tmp_path: Path):
    plain = make_clinic(tmp_path / "jpeg", ClinicConfig(patients=1, size=64))
    dicom = make_clinic(tmp_path / "dicom", ClinicConfig(patients=1, size=64, form="dicom"))
    uids: set[str] = set()
    for row in rows(dicom.table):
        data = pydicom.dcmread(dicom.path / row["file"])
        assert data.SOPClassUID == "1.2.840.10008.5.1.4.1.1.77.1.5.1"
        assert data.PatientID == row["patient"]
        assert data.ImageLaterality == {"OD": "R", "OS": "L"}[row["eye"]]
        assert data.StudyDate == row["date"].replace("-", "")
        assert data.PatientAge == f"{int(row['age']):03d}Y"
        assert "PixelSpacing" not in data
        jpeg = cv2.imread(str(plain.path / row["file"].replace(".dcm", ".jpg")))[:, :, ::-1]
        assert np.abs(data.pixel_array.astype(int) - jpeg).mean() < 1.0
        uids.add(data.SOPInstanceUID)
    assert len(uids) == 2
    again = make_clinic(tmp_path / "again", ClinicConfig(patients=1, size=64, form="dicom"))
    assert contents(dicom.path) == contents(again.path)


def test_a_full_shortcut_tells_the_disease_and_none_tells_nothing(tmp_path: Path):
    config = ClinicConfig(patients=12, size=64, shortcut=1.0, shortcut_finding="microaneurysm", shortcut_kind="cast")
    truth = rows(make_clinic(tmp_path / "all", config).path / "truth/findings.csv")
    marked = [row["marker"] == "cast" for row in truth]
    ill = ["microaneurysm" in row["findings"] for row in truth]
    assert marked == ill
    assert any(ill)
    truth = rows(make_clinic(tmp_path / "none", ClinicConfig(patients=3, size=64)).path / "truth/findings.csv")
    assert {row["marker"] for row in truth} == {"none"}


def test_planted_defects_are_real_and_written_down(tmp_path: Path):
    config = ClinicConfig(patients=6, size=64, duplicates=2, wrong_laterality=2, truncated=1)
    spoilt, clean = make_clinic(tmp_path / "s", config), make_clinic(tmp_path / "c", ClinicConfig(patients=6, size=64))
    defects = rows(spoilt.path / "truth/defects.csv")
    assert Counter(d["defect"] for d in defects) == {"duplicate": 2, "wrong_laterality": 2, "truncated": 1}
    table = {row["file"]: row for row in rows(spoilt.table)}
    for defect in defects:
        data = (spoilt.path / defect["file"]).read_bytes()
        if defect["defect"] == "duplicate":
            assert data == (spoilt.path / defect["detail"]).read_bytes()
            assert table[defect["file"]]["patient"] != table[defect["detail"]]["patient"]
        elif defect["defect"] == "truncated":
            assert len(data) < 0.5 * int(defect["detail"].split()[0])
        else:
            assert table[defect["file"]]["eye"] != defect["detail"]
    assert len(rows(clean.path / "truth/defects.csv")) == 0
    assert len(table) == 14


@pytest.mark.parametrize(
    "wrong",
    [
        {"patients": 0}, {"size": 10}, {"form": "png"}, {"shortcut": 1.5}, {"report_noise": -0.1}, {"cameras": ()},
        {"cameras": ("cam_z",)}, {"duplicates": 1000}, {"truncated": -1}, {"shortcut_finding": "glaucma"},
        {"shortcut_kind": "none"}, {"visits": 0}, {"patients": 1, "visits": 4, "duplicates": 1},
    ],
)  # fmt: skip
def test_an_impossible_clinic_is_refused(wrong: dict):
    with pytest.raises(UsageError):
        ClinicConfig(**wrong)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "photographs.txt").write_text("precious")
    with pytest.raises(ArtefactError, match="no phantom clinic"):
        make_clinic(tmp_path, ClinicConfig(patients=1, size=64))
    assert [p.name for p in tmp_path.iterdir()] == ["photographs.txt"]


def test_an_older_phantom_is_replaced_whole(tmp_path: Path):
    make_clinic(tmp_path / "c", ClinicConfig(patients=2, size=64))
    make_clinic(tmp_path / "c", ClinicConfig(patients=1, size=64))
    assert len(list((tmp_path / "c/images").iterdir())) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_it_says_that_nobody_is_real(clinic: Path):
    text = (clinic / "PHANTOM.md").read_text(encoding="utf-8")
    assert "nobody in it is real" in text
    assert "not a cleared device" in text
    assert "seed = 3" in text


def test_every_name_in_a_report_is_a_finding_of_the_fundus_pack():
    from tapetum.knowledge import load_pack

    pack = load_pack("fundus")
    assert set(NAMES) <= set(pack.findings)
    assert set(sign_names()) <= set(pack.findings)


def test_the_picture_sheet_shows_every_sign(tmp_path: Path):
    from tapetum.phantom import phantom_sheet

    sheet = cv2.imdecode(np.frombuffer(phantom_sheet(tmp_path / "s.jpg", tile=64).read_bytes(), np.uint8), 1)
    tiles = len(sign_names()) + 9
    assert sheet.shape == (-(-tiles // 8) * 80 + 22, 8 * 64, 3)
    assert io.BytesIO((tmp_path / "s.jpg").read_bytes()).getbuffer().nbytes < 250_000
