"""A whole phantom clinic on disk: images, a table with reports, and the truth in a folder of its own."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.registry import nearest
from tapetum.core.store import package_version
from tapetum.phantom.camera import camera_style
from tapetum.phantom.defects import Defect, plant
from tapetum.phantom.dicom import Header, wrap
from tapetum.phantom.grading import diagnose, grade_of
from tapetum.phantom.identifiers import (
    COLUMNS,
    INSIDE_EVERY,
    Identity,
    draw_identity,
    sign_jpeg,
    sign_object,
    sign_report,
    truth_rows,
    write_on,
)
from tapetum.phantom.people import EYES, Patient, draw_patient, eye_at
from tapetum.phantom.phrases import NAMES
from tapetum.phantom.render import RenderedEye, render_eye
from tapetum.phantom.reports import Report, Seen, author, check_authors, write_report
from tapetum.phantom.spec import MARKERS, EyeSpec

TABLE = ("file", "patient", "eye", "date", "age", "sex", "camera", "site", "report")
TRUTH = (
    "file", "patient", "visit", "eye", "date", "findings", "severity", "dr_grade", "cup_disc_ratio", "diabetes",
    "hypertension", "camera", "site", "quality", "marker", "report_id",
)  # fmt: skip
SENTENCES = ("report_id", "sentence", "eye", "finding", "status", "visible")
Row = dict[str, str]
_LATER = (("languages", ("en",)), ("styles", ()), ("identifiers", False))


@dataclass(frozen=True)
class ClinicConfig:
    """How large the clinic is and what goes wrong in it.

    Args:
        patients: number of patients. visits: per patient, a year apart. size: side of the images in pixels.
        form: `jpeg`, or `dicom` for Ophthalmic Photography 8 Bit objects that hold the same JPEG.
        masks: also write the truth's masks, one PNG per image and structure.
        cameras: one site for each; styles `cam_a`, `cam_b`, `cam_c`.
        shortcut: 0 = none; up to 1 = a marker that tells `shortcut_finding` without error.
        shortcut_kind: `corner` (a bright mark beside the field) or `cast` (a tint).
        report_noise: chance of a typo per sentence. omission: chance that a report leaves a sign out.
        degraded: factor on the share of bad images (about 9 % at 1).
        duplicates, wrong_laterality, truncated: number of images given to a second patient, with the wrong eye in the
            table, cut off in the middle.
        languages: of the reports, drawn visit by visit: `en`, `es`, `zh`.
        styles: authors of the English reports (`tapetum.phantom.styles`); none: the four plain styles.
        identifiers: invented names, numbers and addresses in every place where exports carry them, listed in
            `truth/identifiers.csv`: canaries for a test of de-identification.

    Raises:
        UsageError: a value outside its range or an unknown name.
    """

    patients: int = 120
    visits: int = 1
    size: int = 256
    seed: int = 0
    form: str = "jpeg"
    masks: bool = False
    cameras: tuple[str, ...] = ("cam_a", "cam_b")
    shortcut: float = 0.0
    shortcut_finding: str = "glaucoma"
    shortcut_kind: str = "corner"
    report_noise: float = 0.03
    omission: float = 0.0
    degraded: float = 1.0
    duplicates: int = 0
    wrong_laterality: int = 0
    truncated: int = 0
    languages: tuple[str, ...] = ("en",)
    styles: tuple[str, ...] = ()
    identifiers: bool = False

    def __post_init__(self) -> None:
        images = 2 * self.patients * self.visits
        few = max(0, images // 4)
        ranges = {
            "patients": (1, 9999), "visits": (1, 20), "size": (64, 4096), "seed": (0, 2**32), "shortcut": (0, 1),
            "report_noise": (0, 1), "omission": (0, 1), "degraded": (0, 10), "duplicates": (0, few),
            "wrong_laterality": (0, few), "truncated": (0, few),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name}={getattr(self, name)}", f"{low} to {high}", f"{name}={low}")
        if self.duplicates and self.patients < 2:
            raise UsageError("duplicates need a second patient", "patients=2 or more", "patients=2")
        for name, known in (("form", ("jpeg", "dicom")), ("shortcut_kind", MARKERS[1:])):
            if getattr(self, name) not in known:
                raise UsageError(f"unknown {name} {getattr(self, name)!r}", nearest(getattr(self, name), known))
        if self.shortcut_finding not in NAMES:
            raise UsageError(f"unknown finding {self.shortcut_finding!r}", nearest(self.shortcut_finding, tuple(NAMES)))
        if not self.cameras:
            raise UsageError("no camera", "at least one of cam_a, cam_b, cam_c")
        check_authors(self.languages, self.styles)
        for name in self.cameras:
            camera_style(name)


@dataclass(frozen=True)
class Clinic:
    """What was written: `path` holds `images/`, `clinic.csv`, `truth/` and `PHANTOM.md`."""

    path: Path
    config: ClinicConfig
    images: int
    patients: int
    reports: int

    @property
    def table(self) -> Path:
        """The clinic's own table: one row per image."""
        return self.path / "clinic.csv"


def make_clinic(out: Path, config: ClinicConfig = ClinicConfig()) -> Clinic:
    """Write a phantom clinic: images, `clinic.csv`, `truth/`, `PHANTOM.md`; the same bytes for the same config.

    Args:
        out: a new or empty folder, or an older phantom clinic, which is replaced.
        config: size, contents and defects.

    Returns:
        Where it is and how much there is.

    Raises:
        ArtefactError: `out` holds something that is no phantom clinic.
    """
    out = Path(out)
    if out.exists() and not (out / "PHANTOM.md").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ArtefactError(f"{out} exists and is no phantom clinic", "a new or empty folder", "choose another --out")
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "images").mkdir(parents=True)
    (part / "truth" / "masks").mkdir(parents=True) if config.masks else (part / "truth").mkdir()
    try:
        table, truth, sentences = _write_visits(part, config)
        defects = plant(
            part, table, np.random.default_rng([config.seed, 77]), duplicates=config.duplicates,
            wrong_laterality=config.wrong_laterality, truncated=config.truncated,
        )  # fmt: skip
        _write_csv(part / "clinic.csv", (*TABLE, *COLUMNS) if config.identifiers else TABLE, table)
        _write_csv(part / "truth" / "findings.csv", TRUTH, truth)
        _write_csv(part / "truth" / "sentences.csv", SENTENCES, sentences)
        _write_csv(part / "truth" / "defects.csv", ("file", "defect", "detail"), [asdict(d) for d in defects])
        if config.identifiers:
            said = [row for n in range(1, config.patients + 1) for row in _canaries(config, n, truth)]
            _write_csv(part / "truth" / "identifiers.csv", ("patient", "kind", "value", "file"), said)
        (part / "PHANTOM.md").write_text(_read_me(config, len(table), defects), encoding="utf-8", newline="\n")
        if out.exists():
            shutil.rmtree(out)
        part.replace(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Clinic(out, config, len(table), config.patients, config.patients * config.visits)


@dataclass(frozen=True)
class _Taken:
    """One picture with its description, findings and place in the clinic."""

    number: int
    eye: EyeSpec
    seen: RenderedEye
    findings: Mapping[str, float]


def _write_visits(part: Path, config: ClinicConfig) -> tuple[list[Row], list[Row], list[Row]]:
    table: list[Row] = []
    truth: list[Row] = []
    sentences: list[Row] = []
    for number in range(1, config.patients + 1):
        patient = draw_patient(np.random.default_rng([config.seed, number, 0]), number, config.cameras)
        identity = _identity(config, number, patient)
        grades: list[int] = []
        for visit in range(config.visits):
            taken = list(_photograph(patient, number, visit, config))
            grades.append(max(grade_of(t.findings) for t in taken))
            change = "" if not visit else ("worse" if grades[-1] > grades[-2] else "same")
            report = write_report(
                patient,
                [Seen(t.eye, t.findings) for t in taken],
                np.random.default_rng([config.seed, number, visit + 1, 9]),
                noise=config.report_noise,
                omission=config.omission,
                change=change,
                style=author(
                    config.languages, config.styles, np.random.default_rng([config.seed, number, visit + 1, 11])
                ),
            )
            report_id = f"{patient.name}-{visit + 1}"
            sentences += _sentence_rows(report_id, report)
            for one in taken:
                table.append(_table_row(one, patient, visit, report, config))
                if identity:
                    _sign_row(table[-1], identity, np.random.default_rng([config.seed, number, visit + 1, 56]))
                _write_image(part, one, patient, visit, config, table[-1], identity)
                truth.append(_truth_row(one, patient, visit, report_id, table[-1]))
    return table, truth, sentences


def _photograph(patient: Patient, number: int, visit: int, config: ClinicConfig) -> Iterator[_Taken]:
    for side in range(2):
        # One generator per picture: order and parallel work cannot change a byte.
        rng = np.random.default_rng([config.seed, number, visit + 1, side])
        eye = eye_at(patient, side, visit, rng, degraded=config.degraded)
        if config.shortcut > 0:
            ill = config.shortcut_finding in _findings(eye, render_eye(eye, size=64, rng=np.random.default_rng(0)))
            marked = rng.uniform() < 0.5 + (0.5 if ill else -0.5) * config.shortcut
            eye = eye_at(
                patient, side, visit, np.random.default_rng([config.seed, number, visit + 1, side]),
                config.shortcut_kind if marked else "none", config.degraded,
            )  # fmt: skip
        seen = render_eye(eye, size=config.size, rng=rng)
        image_number = ((number - 1) * config.visits + visit) * 2 + side + 1
        yield _Taken(image_number, eye, seen, _findings(eye, seen))


def _findings(eye: EyeSpec, seen: RenderedEye) -> dict[str, float]:
    quadrants = seen.quadrants.get("dot_blot_haemorrhage", (0, 0, 0, 0))
    return diagnose(eye.signs, seen.counts, quadrants, eye.cup_ratio)


def _file(one: _Taken, config: ClinicConfig) -> str:
    return f"images/{one.number:06d}.{'dcm' if config.form == 'dicom' else 'jpg'}"


def _identity(config: ClinicConfig, number: int, patient: Patient) -> Identity | None:
    if not config.identifiers:
        return None
    # A generator of its own: the pictures are those of the same clinic without identifiers.
    return draw_identity(np.random.default_rng([config.seed, number, 55]), patient.age_years, patient.first_visit)


def _sign_row(row: Row, identity: Identity, rng: np.random.Generator) -> None:
    row["file"] = row["file"].replace("images/", f"images/{identity.stem}_")
    row["patient"] = identity.patient_id
    row["report"] = sign_report(row["report"], identity, row["date"], rng)
    row.update(identity.cells())


def _canaries(config: ClinicConfig, number: int, truth: Sequence[Row]) -> Iterator[Row]:
    patient = draw_patient(np.random.default_rng([config.seed, number, 0]), number, config.cameras)
    identity = _identity(config, number, patient)
    if identity is None:
        return
    yield from truth_rows(identity, patient.name)
    for row in truth:
        if row["patient"] == identity.patient_id and _is_inside(row["file"]):
            yield {"patient": patient.name, "kind": "inside_the_field", "value": identity.family, "file": row["file"]}


def _is_inside(file: str) -> bool:
    return int(Path(file).stem[-6:]) % INSIDE_EVERY == 3


def _write_image(
    part: Path, one: _Taken, patient: Patient, visit: int, config: ClinicConfig, row: Row, identity: Identity | None
) -> None:
    quality = camera_style(one.eye.camera).jpeg_quality
    image = one.seen.image
    if identity:
        image = write_on(image, identity, inside=_is_inside(row["file"]))
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    data = sign_jpeg(data, identity) if identity else data
    if config.form == "dicom":
        header = Header(
            f"phantom-{config.seed}-{visit}", patient.name, patient.sex, int(row["age"]), row["eye"], row["date"],
            patient.camera, patient.site, EYES.index(one.eye.laterality) + 1,
        )  # fmt: skip
        data = wrap(data, config.size, header)
        data = sign_object(data, identity) if identity else data
    (part / row["file"]).write_bytes(data)
    if config.masks:
        for name, mask in one.seen.masks.items():
            coded = cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
            (part / "truth" / "masks" / f"{one.number:06d}_{name}.png").write_bytes(coded.tobytes())


def _table_row(one: _Taken, patient: Patient, visit: int, report: Report | None, config: ClinicConfig) -> Row:
    return {
        "file": _file(one, config),
        "patient": patient.name,
        "eye": one.eye.laterality.value,
        "date": (patient.first_visit + timedelta(days=365 * visit)).isoformat(),
        "age": str(patient.age_years + visit),
        "sex": patient.sex,
        "camera": patient.camera,
        "site": patient.site,
        "report": report.text if report else "",
    }


def _truth_row(one: _Taken, patient: Patient, visit: int, report_id: str, row: Row) -> Row:
    shared = {key: row[key] for key in ("file", "patient", "eye", "date", "camera", "site")}
    return shared | {
        "visit": str(visit + 1),
        "findings": ";".join(one.findings),
        "severity": ";".join(f"{value:.3f}" for value in one.findings.values()),
        "dr_grade": str(grade_of(one.findings)),
        "cup_disc_ratio": f"{one.eye.cup_ratio:.3f}",
        "diabetes": str(int(patient.diabetes)),
        "hypertension": str(int(patient.hypertension)),
        "quality": one.eye.quality,
        "marker": one.eye.marker,
        "report_id": report_id,
    }


def _sentence_rows(report_id: str, report: Report) -> Iterator[Row]:
    for sentence in report.sentences:
        shared = {"report_id": report_id, "sentence": sentence.text, "visible": str(int(sentence.visible))}
        if not sentence.facts:
            yield shared | {"eye": "", "finding": "", "status": ""}
        for fact in sentence.facts:
            yield shared | {"eye": fact.eye.value, "finding": fact.finding, "status": fact.status}


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(stream.getvalue(), encoding="utf-8", newline="\n")


def _read_me(config: ClinicConfig, images: int, defects: Sequence[Defect]) -> str:
    # Later options are named only where they were used: an older config keeps its bytes.
    used = {key: value for key, value in asdict(config).items() if (key, value) not in _LATER}
    settings = "\n".join(f"* {key} = {value!r}" for key, value in used.items())
    return f"""# A phantom clinic: nobody in it is real

{images} computed fundus photographs of {config.patients} patients who do not exist, with reports and known truth,
made by Tapetum {package_version()}. It proves that software works; it proves nothing about medicine. Numbers measured
here must be called phantom numbers. Intended use: research and second-reader support, not a cleared device.

* `clinic.csv`: what a clinic would export, one row per image; a report speaks of both eyes of a visit.
* `images/`: the photographs, unflipped: the disc lies on the right side in right eyes.
* `truth/findings.csv`: findings of each image, severities in the same order, diabetic grade 0 to 4, quality, marker.
* `truth/sentences.csv`: every sentence of every report: which eye, which finding, present, absent or uncertain, and
  whether a photograph could show it. `truth/defects.csv`: what was spoilt on purpose ({len(defects)}).
* `truth/masks/`: with `masks=true`, the exact pixels of every structure and sign.

Settings:

{settings}
"""
