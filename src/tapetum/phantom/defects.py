"""What goes wrong in an export, planted on purpose and written down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Defect:
    """One planted defect: `defect` is `duplicate`, `wrong_laterality` or `truncated`; `detail` says what was true."""

    file: str
    defect: str
    detail: str


def plant(
    folder: Path,
    table: list[dict[str, str]],
    rng: np.random.Generator,
    *,
    duplicates: int,
    wrong_laterality: int,
    truncated: int,
) -> list[Defect]:
    """Spoil an export in place; each image gets one defect at most.

    Args:
        folder: where the files named in `table` lie.
        table: rows of `clinic.csv`; rows of duplicates are added, wrong eyes written.
        rng: chooses the victims.
        duplicates: number of images given to a second patient as well.
        wrong_laterality: number of rows that name the other eye.
        truncated: number of files cut off in the middle.

    Returns:
        What was done, in order.
    """
    defects: list[Defect] = []
    victims = [int(i) for i in rng.permutation(len(table))]
    images = len(table)
    for _ in range(truncated):
        file = folder / table[victims.pop()]["file"]
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) * 2 // 5])
        defects.append(Defect(str(file.relative_to(folder).as_posix()), "truncated", f"{len(whole)} bytes"))
    for _ in range(wrong_laterality):
        row = table[victims.pop()]
        defects.append(Defect(row["file"], "wrong_laterality", row["eye"]))
        row["eye"] = "OS" if row["eye"] == "OD" else "OD"
    for number in range(duplicates):
        source = table[victims.pop()]
        others = [row for row in table[:images] if row["patient"] != source["patient"]]
        host = others[int(rng.integers(len(others)))]
        copy = f"images/{images + number + 1:06d}{Path(source['file']).suffix}"
        (folder / copy).write_bytes((folder / source["file"]).read_bytes())
        table.append(host | {"file": copy, "eye": source["eye"]})
        defects.append(Defect(copy, "duplicate", source["file"]))
    return defects
