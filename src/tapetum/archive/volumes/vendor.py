"""Heidelberg `.e2e` files as eyepy reads them, as plain values and arrays; runs in a child process.

Every value that eyepy gives is checked again here: the number of B-scans against the headers, the side against R and
L, spacings against zero. What does not fit refuses that volume, not the file.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core.errors import DataError, MissingExtraError

Facts = dict[str, Any]


def describe(place: str) -> list[Facts]:
    """Every volume of a file: its facts, or `{"error": reason}`.

    Args:
        place: path of the file.

    Raises:
        DataError: the file cannot be read at all. MissingExtraError: the extra `oct` is not installed.
    """
    found: list[Facts] = []
    for volume, facts in _volumes(Path(place)):
        found.append(facts if "error" in facts else {**facts, **_measured(volume, facts)})
    return found


def pixels(place: str, index: int, part: str) -> np.ndarray:
    """The B-scans (`part="bscans"`) or the localiser (`part="slo"`) of one volume, uint8 [n h w].

    Args:
        place: path of the file.
        index: of the volume in the file, from 0.
        part: which.

    Raises:
        DataError: no such volume, or pixels that do not fit.
    """
    for number, (volume, facts) in enumerate(_volumes(Path(place), only=index)):
        if number == index:
            if "error" in facts:
                raise DataError(facts["error"], "a volume that eyepy reads")
            data = volume.localizer.data[None] if part == "slo" else volume.data
            return grey(np.asarray(data))
    raise DataError(f"no volume {index} in the file", "the file as it was listed")


def grey(data: np.ndarray) -> np.ndarray:
    """Grey values of eyepy as uint8 [n h w].

    Raises:
        DataError: another shape, or values outside 0..255.
    """
    data = data[..., 0] if data.ndim == 4 else data
    if data.ndim != 3 or not data.size:
        raise DataError(f"pixels of shape {data.shape}", "B-scans of one size")
    values = np.nan_to_num(data.astype(np.float64), nan=0.0)
    if values.min() < 0 or values.max() > 255:
        raise DataError(f"grey values from {values.min():g} to {values.max():g}", "0 to 255")
    return np.rint(values).astype(np.uint8)


def _volumes(path: Path, only: int = -1) -> Iterator[tuple[Any, Facts]]:
    try:
        from eyepy.io.he import HeE2eReader
        from eyepy.io.he.e2e_format import TypesEnum
    except ImportError:
        raise MissingExtraError(f"{path.name} is a vendor OCT file", "eyepy", "pip install 'tapetum[oct]'") from None
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            reader = HeE2eReader(path)
        except Exception as error:  # eyepy parses by construct and raises what that raises
            raise DataError(f"the file does not open: {_said(error)}", "a whole, undamaged .e2e file") from None
        with reader:
            for index, series in enumerate(reader.series):
                if only in (-1, index):
                    yield _one(lambda s=series: (s.get_volume(), _e2e_facts(s, TypesEnum)))
                else:
                    yield None, {"error": "not asked for"}


def _one(read: Any) -> tuple[Any, Facts]:
    try:
        return read()
    except MemoryError:
        raise
    except Exception as error:  # one unreadable series must not hide the others
        return None, {"error": f"eyepy cannot read this volume: {_said(error)}"}


def _e2e_facts(series: Any, types: Any) -> Facts:
    facts: Facts = {"device": "Heidelberg Engineering", "n_said": int(series.n_bscans)}
    with contextlib.suppress(Exception):
        facts["laterality"] = str(series.laterality()).strip().upper()[:8]
    with contextlib.suppress(Exception):
        facts["device"] = f"Heidelberg Engineering {series._camera_model() or ''}".strip()
    with contextlib.suppress(Exception):
        facts["captured"] = str(series._series_date_iso() or "")[:10]
    with contextlib.suppress(Exception):
        person = series.patient.folders[types.patient][0].data
        facts["patient_id"] = str(person.patient_id).strip(" \0")
        facts["sex"] = str(person.sex).strip(" \0")[:8]
        facts["name"] = f"{person.firstname} {person.surname}".replace("\0", "").strip()
    return facts


def _measured(volume: Any, facts: Facts) -> Facts:
    """Counts and spacings of a volume; an error where the file contradicts itself."""
    try:
        count, rows, columns = (int(n) for n in volume.shape)
        said = int(facts.get("n_said", count))
        if said != count:
            return {"error": f"the header says {said} B-scans, the file holds {count}"}
        meta = volume.meta
        scales = {name: _positive(meta[f"scale_{name}"]) for name in ("x", "y", "z")}
        millimetres = str(meta["scale_unit"]).startswith("mm") if "scale_unit" in meta else True
        slo = volume.localizer
        slo_mm = [_positive(slo.meta[f"scale_{name}"]) for name in ("x", "y")] if slo is not None else [0.0, 0.0]
    except Exception as error:  # as above
        return {"error": f"eyepy gives no sizes of this volume: {_said(error)}"}
    return {
        "count": count, "rows": rows, "columns": columns, "second": "" if slo is None else "slo",
        "column_mm": scales["x"] if millimetres else 0.0, "row_mm": scales["y"] if millimetres else 0.0,
        "between_mm": scales["z"] if millimetres else 0.0, "second_mm": slo_mm[0] if slo_mm[0] == slo_mm[1] else 0.0,
    }  # fmt: skip


def _positive(value: Any) -> float:
    """The number, 0 where it is none or not positive."""
    number = float(value)
    return number if math.isfinite(number) and 0 < number < 100 else 0.0


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
