"""Duplicates: planted copies of ODIR's photographs, pairs found among them, and the known copies of other sets.

python recipes/measures/duplicates.py [dev]    `dev`: the half of ODIR's patients that thresholds were chosen on

Patients are halved by the first byte of SHA-256 of their number. Every found ODIR pair was looked at (as two pictures
side by side) before it stands in `LOOKED_AT`, which holds digests of file names, no image and no name.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tapetum.archive import IngestConfig, decode, ingest, open_archive
from tapetum.archive.duplicates import Textures, describe, groups, pairs_of
from tapetum.archive.duplicates.pairs import EMBEDDING_THRESHOLD, centred
from tapetum.archive.duplicates.texture import field_of_view
from tapetum.learn import embed

EVERY = 12  # one photograph in twelve is copied
CONFIRMED = 60  # photographs whose copies are embedded
# Digest of the two file names → whether the two show one eye, or in brain_tumor/ one slice: neighbouring slices of one
# head, which are a leak as well, count as wrong.
_ONE = """
2c1f172097ff
00ed940dba0f 054580dce208 09cee4e80c92 0fb8aa63e007 13bf0c708c69 2131a090d80d 250611bab298 381a364d32c4
3a66be81b4f6 3ab0a6cfeca3 3cdc8e83c81a 42f8ef0c90c7 455b91e062cd 4aece9724193 4b63cd537e54 4c0a5a6e8781
5a841f74a19b 6a891c751dc0 7436dd74baab 78f5a8e4b6bc 7f526068e569 81c1ddbd63eb 831ed0321440 84a61f65d7c0
885bf3962f75 8bbf5ec7dd75 92a7bffed5fc 9a08f3c1bded 9c5ffa4675b3 9c73010aba78 a855c63c6442 b5255ac173f2
b756601c3876 c2a988571430 c5782e62af5e cabd4fe6a65b ce199191651e cf155ad25c88 d70b84d547d9 da0a6a3c2323
dd63b4c6dba9 e5892c9508ce e62fa75fdd1c e631e90cdf68 e96b3629b88a ecbb18bcab56 fab9e06e9e2d
"""
_NOT_ONE = """
402a80d31df7 4fc5b5f056d1 87a74ad3568a 9c57f2dd2919 a2a9293311cc b6feb13d732f d22ae3b969b8
"""
LOOKED_AT = dict.fromkeys(_ONE.split(), True) | dict.fromkeys(_NOT_ONE.split(), False)


def copies(image: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Copies of an RGB image of each kind that must be found."""
    height, width = image.shape[:2]
    for quality in (50, 75, 95):
        yield f"JPEG {quality}", _jpeg(image, quality)
    for scale in (0.5, 0.7, 2.0):
        size = (round(width * scale), round(height * scale))
        yield f"size × {scale}", np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    field = field_of_view(image)
    yield "cut to the field, JPEG 80", _jpeg(field, 80)
    rows, columns = field.shape[:2]
    for kept in (0.95, 0.9, 0.85):
        high, wide = round(rows * kept), round(columns * kept)
        y, x = int(rng.integers(0, rows - high + 1)), int(rng.integers(0, columns - wide + 1))
        yield f"random {kept:.0%} of each side, JPEG 80", _jpeg(field[y : y + high, x : x + wide], 80)
    yield "15 % cut off one side", field[:, round(columns * 0.15) :]
    yield "mirrored, JPEG 75", _jpeg(image[:, ::-1], 75)
    yield "turned by 180°", image[::-1, ::-1]
    yield "gamma 1.25", (255 * (image / 255.0) ** 1.25).astype(np.uint8)
    yield "20 % darker", (image * 0.8).astype(np.uint8)
    yield "15 % brighter", np.clip(image * 1.15, 0, 255).astype(np.uint8)


def textures_of(ids: Sequence[str], images: Iterator[np.ndarray]) -> Textures:
    """What a search needs to know."""
    values, digests = list[np.ndarray](), list[str]()
    for image in map(np.ascontiguousarray, images):
        values.append(describe(image).astype(np.float16))
        digests.append(hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest())
    return Textures(tuple(ids), np.stack(values), tuple(digests))


def key(first: str, second: str) -> str:
    """A digest of two names in any order."""
    return hashlib.sha256("\0".join(sorted((first, second))).encode()).hexdigest()[:12]


def read(path: Path) -> np.ndarray:
    """One image as the archive sees it."""
    return decode(path.read_bytes(), min_side=512)


def odir(data: Path, *, held_out: bool) -> str:
    """Recall on planted copies and precision among found pairs, on one half of the patients."""
    start = time.perf_counter()
    folder = data / "odir"
    with (folder / "pairs.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = [r for r in csv.DictReader(stream) if _odd(r["patient_id"]) == held_out]
    names = [r["file"] for r in rows]
    seen = textures_of(names, (read(folder / "images" / n) for n in names))
    rng, planted, of, kinds = np.random.default_rng(0), list[np.ndarray](), list[str](), list[str]()
    for name in names[::EVERY]:
        for kind, image in copies(read(folder / "images" / name), rng):
            planted.append(image), of.append(name), kinds.append(kind)
    copied = textures_of([f"copy {k}" for k in range(len(of))], iter(planted))
    found, whole = Counter[str](), Counter(kinds)
    for kind in whole:  # one kind at a time: copies of one photograph would help each other
        at = [k for k, x in enumerate(kinds) if x == kind]
        both = Textures(
            seen.ids + tuple(copied.ids[k] for k in at), np.concatenate([seen.values, copied.values[at]]),
            seen.digests + tuple(copied.digests[k] for k in at),
        )  # fmt: skip
        pairs = {(p.first, p.second) for p in pairs_of(both)}
        found[kind] = sum((min(copied.ids[k], of[k]), max(copied.ids[k], of[k])) in pairs for k in at)
    own = pairs_of(seen)
    verdicts = [LOOKED_AT.get(key(p.first, p.second)) for p in own]
    lines = [f"| {kind} | {found[kind]} of {n} | {found[kind] / n:.3f} |" for kind, n in whole.items()]
    recall = sum(found.values()) / len(of)
    if None in verdicts or "-v" in sys.argv:
        for p in own:
            print(key(p.first, p.second), p.first, p.second, p.kind, round(p.similarity, 3), file=sys.stderr)
    part = "held-out" if held_out else "development"
    return "\n".join([
        f"ODIR, {part} half: {len(names)} photographs, {len(of)} planted copies of {len(names[::EVERY])}.", "",
        "| copy | found | recall |", "|---|---|---|", *lines,
        f"| **all** | {sum(found.values())} of {len(of)} | {recall:.3f} |", "",
        f"Pairs found among the photographs themselves: {len(own)}; looked at: {sum(v is not None for v in verdicts)}, "
        f"one eye: {sum(v is True for v in verdicts)}. {time.perf_counter() - start:.0f} s.",
    ])  # fmt: skip


def confirmation(data: Path, *, held_out: bool) -> str:
    """Cosines of the default encoder between photographs and their copies, and between different photographs."""
    start, folder = time.perf_counter(), data / "odir"
    with (folder / "pairs.csv").open(encoding="utf-8-sig", newline="") as stream:
        names = [r["file"] for r in csv.DictReader(stream) if _odd(r["patient_id"]) == held_out]
    rng, of, kinds = np.random.default_rng(0), dict[str, str](), dict[str, str]()
    with tempfile.TemporaryDirectory() as temporary:
        export = Path(temporary) / "export"
        export.mkdir()
        for k, name in enumerate(names[:: EVERY // 2]):
            original = read(folder / "images" / name)
            Image.fromarray(original).save(export / f"{k}.png")
            for n, (kind, copy) in enumerate(copies(original, rng) if k < CONFIRMED else ()):
                of[f"{k}-{n}.png"], kinds[f"{k}-{n}.png"] = f"{k}.png", kind
                Image.fromarray(copy).save(export / f"{k}-{n}.png")
        table = "".join(f"{f.name},{f.stem}\n" for f in sorted(export.iterdir()))
        (export / "t.csv").write_text("file,patient\n" + table, encoding="utf-8")
        ingest([export], Path(temporary) / "a.tap", IngestConfig(modality="fundus"))
        archive = open_archive(Path(temporary) / "a.tap")
        features = centred(embed(archive), [r.image_id for r in archive.records])
    row = {r.source: features[k] for k, r in enumerate(archive.records)}
    cosines: dict[str, list[float]] = defaultdict(list)
    for copy, original in of.items():
        if copy in row and original in row:  # equal pixels are one image in an archive
            cosines[kinds[copy]].append(float(row[copy] @ row[original]))
    others = np.stack([row[f] for f in sorted(row) if f not in of])
    unlike = (others @ others.T)[np.triu_indices(len(others), 1)]
    every = np.concatenate(list(cosines.values()))
    least = EMBEDDING_THRESHOLD
    lines = [
        f"| {kind} | {len(v)} | {np.quantile(v, 0.05):.2f} | {np.median(v):.2f} | {np.mean(np.array(v) >= least):.3f} |"
        for kind, v in cosines.items()
    ]
    return "\n".join([
        f"Confirmation by embeddings, {'held-out' if held_out else 'development'} half, default encoder: cosines of "
        f"centred features; threshold {least:.2f}, chosen on the development half.", "",
        "| copy | n | 5th percentile | median | at or above |", "|---|---|---|---|---|", *lines,
        f"| **all copies** | {len(every)} | {np.quantile(every, 0.05):.2f} | {np.median(every):.2f} | "
        f"{np.mean(every >= least):.3f} |",
        f"| different photographs | {len(unlike)} | {np.quantile(unlike, 0.05):.2f} | {np.median(unlike):.2f} | "
        f"{np.mean(unlike >= least):.3f} |", "", f"{time.perf_counter() - start:.0f} s.",
    ])  # fmt: skip


def tumours(data: Path) -> str:
    """Pairs of the brain MR set, and those across its own split."""
    folder = data / "brain_tumor"
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    seen = textures_of(names, (read(folder / n) for n in names))
    pairs = pairs_of(seen)
    crossing = [p for p in pairs if p.first.split("/")[0] != p.second.split("/")[0]]
    told = ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(p.kind for p in pairs).items()))
    across = ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(p.kind for p in crossing).items()))
    every = np.random.default_rng(0).permutation(len(pairs))[:50]
    looked = [LOOKED_AT.get(key(pairs[k].first, pairs[k].second)) for k in every]
    return (
        f"`brain_tumor/`: {len(names)} images, {len(pairs)} pairs ({told}) in {len(groups(pairs))} groups; across "
        f"Training/Testing {len(crossing)} pairs ({across or 'none'}). Of 50 drawn at random "
        f"{sum(v is not None for v in looked)} were looked at, {sum(v is True for v in looked)} show one slice."
    )


def measure(data: Path) -> str:
    """The section of the results page."""
    return (
        "\n\n".join(["### Duplicates", odir(data, held_out=True), confirmation(data, held_out=True), tumours(data)])
        + "\n"
    )


def _odd(patient: str) -> bool:
    return hashlib.sha256(patient.encode()).digest()[0] % 2 == 1


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


if __name__ == "__main__":
    PLACE = Path(os.environ.get("TAPETUM_DATA", "../shared/data"))
    if "dev" in sys.argv:
        print(odir(PLACE, held_out=False), confirmation(PLACE, held_out=False), sep="\n\n")
    else:
        print(measure(PLACE))
