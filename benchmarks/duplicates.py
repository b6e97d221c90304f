"""Search of duplicates among 100,000 textures, mirrored, turned and cropped copies included, against all comparisons.

    python benchmarks/duplicates.py [N]

The textures are made (independent band-passed noise) with 1,000 copies planted: noisy, mirrored or cut. The peer is the
matrix product of every texture with every other, upright and mirrored, which knows no crops; it is timed on 4 blocks of
1,024 rows and scaled, since the whole would take minutes. Real eyes resemble each other more than noise does: there
the registration of doubtful pairs adds up to 10,000 times about a millisecond.
"""

from __future__ import annotations

import resource
import sys
import time

import cv2
import numpy as np

from tapetum.archive.duplicates import Textures, pairs_of
from tapetum.archive.duplicates.search import windowed
from tapetum.archive.duplicates.texture import DIMENSIONS, KEPT, as_maps

PLANTED, BLOCK, BLOCKS = 1000, 1024, 4


def made(count: int, rng: np.random.Generator) -> np.ndarray:
    """Textures of noise between the scales that a real texture keeps."""
    values = np.empty((count, DIMENSIONS), np.float16)
    for k in range(count):
        noise = rng.standard_normal((32, 32), np.float32)
        band = cv2.GaussianBlur(noise, (0, 0), 0.8) - cv2.GaussianBlur(noise, (0, 0), 2)
        inside = band[KEPT] - band[KEPT].mean()
        values[k] = inside / np.linalg.norm(inside)
    return values


def plant(values: np.ndarray, rng: np.random.Generator) -> None:
    """The last rows become copies of the first: a third noisy, a third mirrored, a third cut by 8 %."""
    for k in range(PLANTED):
        one = as_maps(values[k : k + 1])
        if k % 3 == 1:
            one = one[:, :, ::-1]
        elif k % 3 == 2:
            one = windowed(one, (0.05, 0.02, 0.03, 0.06))
        copy = one[0, KEPT] + rng.normal(0, 0.01, DIMENSIONS)
        values[-1 - k] = copy / np.linalg.norm(copy)


def main(count: int) -> None:
    """Print seconds, the ratio and what was found."""
    rng = np.random.default_rng(0)
    values = made(count, rng)
    plant(values, rng)
    names = tuple(f"{k:06d}" for k in range(count))
    start = time.perf_counter()
    pairs = pairs_of(Textures(names, values, names))
    ours = time.perf_counter() - start
    peer, start = values.astype(np.float32), time.perf_counter()
    mirror = np.ascontiguousarray(as_maps(peer)[:, :, ::-1][:, KEPT])
    seen = set[tuple[int, int]]()
    for block in range(BLOCKS):
        rows = peer[block * BLOCK : (block + 1) * BLOCK]
        for other in (peer, mirror):
            near = rows @ other.T >= 0.7
            seen |= {(block * BLOCK + int(a), int(b)) for a, b in np.argwhere(near) if block * BLOCK + a < b}
    theirs = (time.perf_counter() - start) * count / (BLOCK * BLOCKS) / 2  # each pair once
    got = {(int(p.first), int(p.second)) for p in pairs}
    kinds = [np.mean([(k, count - 1 - k) in got for k in range(r, PLANTED, 3)]) for r in range(3)]
    peers = [np.mean([(k, count - 1 - k) in seen for k in range(r, PLANTED, 3)]) for r in range(3)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{count:,} textures: tapetum {ours:.1f} s, all comparisons {theirs:.1f} s, ratio {theirs / ours:.2f}")
    print(f"found of {PLANTED} planted, noisy / mirrored / cut: {kinds[0]:.3f} / {kinds[1]:.3f} / {kinds[2]:.3f}; "
          f"all comparisons {peers[0]:.3f} / {peers[1]:.3f} / {peers[2]:.3f}")  # fmt: skip
    print(f"of what all comparisons found, found here {len(seen & got) / max(len(seen), 1):.3f}; {len(pairs)} pairs")
    print(f"largest memory {memory:.2f} GiB (both sides)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
