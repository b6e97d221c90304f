"""From a description of an eye to its photograph and everything that is true about it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from tapetum.core.errors import UsageError
from tapetum.core.types import Laterality
from tapetum.phantom.anatomy import Anatomy, grow_anatomy
from tapetum.phantom.camera import photograph, stand
from tapetum.phantom.canvas import Canvas, Pose
from tapetum.phantom.retina import background, disc_paints, lay, vessel_paints
from tapetum.phantom.spec import ANATOMICAL, EyeSpec, painter

# Deep layers first; a sign that is not named here comes last.
ORDER = (
    "choroidal_naevus", "retinitis_pigmentosa", "chorioretinal_atrophy", "myopic_crescent", "drusen",
    "geographic_atrophy",
)  # fmt: skip


@dataclass(frozen=True)
class Course:
    """A vessel as drawn: centreline and calibre, both in pixels."""

    kind: str
    points: Float64[np.ndarray, "n 2"]
    width: Float64[np.ndarray, "n"]
    generation: int


@dataclass(frozen=True)
class RenderedEye:
    """A photograph and its truth.

    Attributes:
        image: red, green, blue.
        masks: structure or sign → its exact pixels inside the field of view (`field_of_view` among them).
        landmarks: `disc` (x, y, horizontal and vertical radius), `cup` (the same), `fovea` (x, y), all in pixels.
        counts: number of single lesions per sign. quadrants: haemorrhages in each quarter of the field.
        anatomy, pose, mirrored: the shape of the eye in field radii and how it was framed.
    """

    image: UInt8[np.ndarray, "h w 3"]
    masks: Mapping[str, Bool[np.ndarray, "h w"]]
    landmarks: Mapping[str, tuple[float, ...]]
    counts: Mapping[str, int]
    quadrants: Mapping[str, tuple[int, ...]]
    anatomy: Anatomy
    pose: Pose
    mirrored: bool

    @property
    def courses(self) -> tuple[Course, ...]:
        """Centreline and calibre of every vessel, in pixels of the image."""
        size = len(self.image)
        scale = self.pose.scale(size)
        return tuple(
            Course(
                kind, _mirror(self.pose.to_pixels(v.points, size), size, self.mirrored), v.width * scale, v.generation
            )
            for kind, vessels in (("artery", self.anatomy.arteries), ("vein", self.anatomy.veins))
            for v in vessels
        )


def render_eye(eye: EyeSpec, *, size: int, rng: np.random.Generator) -> RenderedEye:
    """Photograph one eye.

    Args:
        eye: what there is to see.
        size: side of the square picture in pixels, 64 to 4096.
        rng: what differs between two photographs of the same eye: framing, light, sensor noise.

    Returns:
        Picture and truth; disc on the right side of the picture for a right eye, on the left side for a left one.

    Raises:
        UsageError: `size` out of range.

    Example:
        >>> eye = EyeSpec(Laterality.RIGHT, identity=7)
        >>> seen = render_eye(eye, size=96, rng=np.random.default_rng(0))
        >>> seen.landmarks["disc"][0] > seen.landmarks["fovea"][0]
        True
    """
    if not 64 <= size <= 4096:
        raise UsageError(f"size={size}", "64 to 4096 pixels")
    pose, anatomy = stand(eye, rng), grow_anatomy(eye)
    x, y = pose.grids(size)
    canvas = Canvas(size, pose, anatomy, x, y)
    retina = background(canvas, eye, np.random.default_rng([eye.identity, 2]))
    painted = [name for name in ORDER if name in eye.signs]
    painted += [name for name in sorted(eye.signs) if name not in ORDER and name not in ANATOMICAL]
    for name in painted:
        own = np.random.default_rng([eye.identity, 3, zlib.crc32(name.encode())])
        painter(name)(canvas, severity=eye.signs[name], rng=own)
    disc = disc_paints(canvas, eye, np.random.default_rng([eye.identity, 4]))
    lay(retina, [*canvas.below, *disc, *vessel_paints(canvas, eye), *canvas.above])
    mirrored = eye.laterality is Laterality.LEFT
    if mirrored:
        retina = np.ascontiguousarray(retina[:, :, ::-1])
    plain_x, plain_y = Pose(reach=pose.reach).grids(size)
    image, field = photograph(retina, eye, canvas.haze, plain_x, plain_y, rng)
    masks = {name: (mask[:, ::-1] if mirrored else mask) & field for name, mask in sorted(canvas.masks.items())}
    masks["field_of_view"] = field
    return RenderedEye(
        image,
        masks,
        _landmarks(canvas, mirrored),
        canvas.counts,
        canvas.quadrants,
        anatomy,
        pose,
        mirrored,
    )


def _mirror(points: Float64[np.ndarray, "n 2"], size: int, mirrored: bool) -> Float64[np.ndarray, "n 2"]:
    return np.stack([size - 1 - points[:, 0], points[:, 1]], axis=1) if mirrored else points


def _landmarks(canvas: Canvas, mirrored: bool) -> dict[str, tuple[float, ...]]:
    anatomy, size = canvas.anatomy, canvas.size
    points = np.stack([anatomy.disc, anatomy.cup, anatomy.fovea])
    disc, cup, fovea = _mirror(canvas.pose.to_pixels(points, size), size, mirrored).tolist()
    scale = canvas.pose.scale(size)
    return {
        "disc": (*disc, *(anatomy.disc_axes * scale).tolist()),
        "cup": (*cup, *(anatomy.cup_axes * scale).tolist()),
        "fovea": tuple(fovea),
    }
