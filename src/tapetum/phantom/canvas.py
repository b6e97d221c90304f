"""The surface that signs paint on: exact shapes from supersampled drawing, colours laid over the retina in order."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32

from tapetum.phantom.anatomy import Anatomy, Vessel

FIXED = 4  # bits after the point in OpenCV's drawing coordinates
Plane = Float32[np.ndarray, "h w"]
Points = Float64[np.ndarray, "n 2"]


@dataclass(frozen=True)
class Pose:
    """How the camera stood: image = size/2 + reach * zoom * rotation(retina) + offset.

    Args:
        offset: of the retina in the image, in field radii. angle_deg: clockwise as seen. zoom: 1 for a 45° camera.
        reach: radius of the field of view over half the image's side.
    """

    offset: tuple[float, float] = (0.0, 0.0)
    angle_deg: float = 0.0
    zoom: float = 1.0
    reach: float = 0.96

    def to_pixels(self, points: Points, size: int) -> Points:
        """Retina coordinates (field radii) to pixel coordinates, x then y; the centre of the first pixel is (0, 0)."""
        angle = np.deg2rad(self.angle_deg)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return (points @ turn * self.zoom + np.array(self.offset)) * (size / 2 * self.reach) + (size - 1) / 2

    def scale(self, size: int) -> float:
        """Pixels per field radius on the retina."""
        return size / 2 * self.reach * self.zoom

    def grids(self, size: int) -> tuple[Plane, Plane]:
        """Retina coordinates of every pixel."""
        x, y = _pixel_grid(size)
        angle = np.deg2rad(self.angle_deg)
        unit = np.float32(1 / self.scale(size))
        a = x * unit - np.float32(self.offset[0] / self.zoom)
        b = y * unit - np.float32(self.offset[1] / self.zoom)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        return a * cos + b * sin, b * cos - a * sin


@functools.lru_cache(maxsize=4)
def _pixel_grid(size: int) -> tuple[Plane, Plane]:
    line = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
    x, y = np.meshgrid(line, line)
    x.flags.writeable = y.flags.writeable = False
    return x, y


@dataclass(frozen=True)
class Paint:
    """One colour over the retina: `alpha` in 0..1 per pixel, `colour` red, green, blue in 0..1."""

    alpha: Plane
    colour: tuple[float, float, float]


@dataclass
class Canvas:
    """One retina while it is painted.

    Attributes:
        x, y: retina coordinates of every pixel, in field radii.
        below: paints under the vessels, `above`: over them; in order.
        masks: exact pixels of everything painted, by name.
        counts: number of single lesions painted, by name; `quadrants`: the same for each of the four quadrants.
        haze: opacity of the lens, 0 = clear, 1 = nothing seen.
    """

    size: int
    pose: Pose
    anatomy: Anatomy
    x: Plane
    y: Plane
    below: list[Paint] = field(default_factory=list[Paint])
    above: list[Paint] = field(default_factory=list[Paint])
    masks: dict[str, Bool[np.ndarray, "h w"]] = field(default_factory=dict[str, Bool[np.ndarray, "h w"]])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    quadrants: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    haze: float = 0.0

    @property
    def oversampling(self) -> int:
        """Drawn pixels per side of one image pixel."""
        return 2

    @property
    def disc_radius(self) -> float:
        """Mean radius of the optic disc, field radii."""
        return float(self.anatomy.disc_axes.mean())

    def at_size(self, size: int) -> Canvas:
        """An empty canvas of another size over the same retina."""
        x, y = self.pose.grids(size)
        return Canvas(size, self.pose, self.anatomy, x, y)

    def distance(self, centre: Sequence[float] | Float64[np.ndarray, "2"]) -> Plane:
        """Distance of every pixel from a point of the retina, field radii."""
        dx, dy = self.x - np.float32(centre[0]), self.y - np.float32(centre[1])
        return np.sqrt(dx * dx + dy * dy)

    def ellipse(self, centre: Float64[np.ndarray, "2"], axes: Float64[np.ndarray, "2"]) -> Plane:
        """Coverage of one upright ellipse, from its equation and not drawn: the finest there is."""
        dx = (self.x - np.float32(centre[0])) * np.float32(1 / axes[0])
        dy = (self.y - np.float32(centre[1])) * np.float32(1 / axes[1])
        slope = np.float32(float(axes.mean()) * self.pose.scale(self.size))
        return np.clip((1 - np.sqrt(dx * dx + dy * dy)) * slope + np.float32(0.5), 0, 1)

    def ellipses(
        self,
        centres: Points,
        radii: Float64[np.ndarray, "n 2"] | Float64[np.ndarray, "n"],
        angles_deg: Float64[np.ndarray, "n"] | None = None,
        *,
        wobble: Float64[np.ndarray, "n 16"] | None = None,
    ) -> Plane:
        """Coverage of filled ellipses; `wobble` multiplies the radius along 16 directions for ragged outlines."""
        count = len(centres)
        if not count:
            return np.zeros((self.size, self.size), np.float32)
        axes = np.broadcast_to(radii[:, None] if radii.ndim == 1 else radii, (count, 2))
        corners = 16
        t = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        ring = np.stack([np.cos(t), np.sin(t)], axis=1)[None] * axes[:, None]
        if wobble is not None:
            ring = ring * wobble[:, :, None]
        angle = np.deg2rad(np.zeros(count) if angles_deg is None else angles_deg)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        turned = np.stack([ring[..., 0] * cos - ring[..., 1] * sin, ring[..., 0] * sin + ring[..., 1] * cos], axis=-1)
        return self.polygons([*(turned + centres[:, None])])

    def polygons(self, shapes: Sequence[Float64[np.ndarray, "_ 2"]]) -> Plane:
        """Coverage in 0..1 of filled shapes given in retina coordinates; overlaps count once."""
        if not shapes:
            return np.zeros((self.size, self.size), np.float32)
        ends = np.cumsum([len(shape) for shape in shapes])[:-1]
        return self._filled(np.split(self._fixed(np.concatenate(list(shapes))), ends))

    def strokes(self, vessels: Sequence[Vessel], *, share: float = 1.0, thinnest_px: float = 0.0) -> Plane:
        """Coverage of lines of varying width.

        Args:
            vessels: in field radii.
            share: fraction of the width that is drawn.
            thinnest_px: vessels that are narrower than this many pixels at their start are left out.
        """
        scale = self.pose.scale(self.size)
        drawn = [v for v in vessels if float(v.width[0]) * scale >= thinnest_px and len(v.points) > 1]
        if not drawn:
            return np.zeros((self.size, self.size), np.float32)
        # OpenCV fills the outline too: one drawn pixel too much in all.
        fat = 1.0 / (scale * self.oversampling)
        lengths = np.array([len(v.points) for v in drawn])
        ends = np.cumsum(lengths)
        points, width = np.concatenate([v.points for v in drawn]), np.concatenate([v.width for v in drawn])
        index = np.arange(len(points))
        after = np.minimum(index + 1, np.repeat(ends - 1, lengths))
        before = np.maximum(index - 1, np.repeat(ends - lengths, lengths))
        along = points[after] - points[before]
        along *= (np.maximum(width * share - fat, 0.0) / 2 / (np.hypot(along[:, 0], along[:, 1]) + 1e-12))[:, None]
        side = np.stack([-along[:, 1], along[:, 0]], axis=1)
        left, right = self._fixed(points + side), self._fixed(points - side)
        start = 0
        shapes: list[Int32[np.ndarray, "_ 2"]] = []
        for end in ends.tolist():
            shapes.append(np.concatenate([left[start:end], right[start:end][::-1]]))
            start = end
        return self._filled(shapes)

    def paint(self, alpha: Plane, colour: tuple[float, float, float], *, below: bool = False) -> None:
        """Lay a colour over the retina, under the vessels if `below`."""
        (self.below if below else self.above).append(Paint(alpha, colour))

    def mark(self, name: str, shape: Plane | Bool[np.ndarray, "h w"]) -> None:
        """Declare the pixels of `name`: where coverage exceeds one half; adds to what was marked before."""
        pixels = shape if shape.dtype == np.bool_ else shape > 0.5
        self.masks[name] = (self.masks[name] | pixels) if name in self.masks else pixels

    def soften(self, plane: Plane, radius: float) -> Plane:
        """Blur by a Gaussian whose standard deviation is given in field radii."""
        sigma = radius * self.pose.scale(self.size)
        return plane if sigma < 0.2 else np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)

    def noise(self, rng: np.random.Generator, cells: int) -> Plane:
        """Smooth noise of unit variance at its grid points that stays with the retina; `cells` per two field radii."""
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        half = (cells - 1) / 2
        return np.asarray(
            cv2.remap(
                grid,
                self.x * np.float32(half / 1.15) + np.float32(half),
                self.y * np.float32(half / 1.15) + np.float32(half),
                cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REFLECT,
            ),
            np.float32,
        )

    def _fixed(self, points: Points) -> Int32[np.ndarray, "n 2"]:
        """Retina coordinates to OpenCV's fixed-point coordinates in the oversampled layer."""
        pixels = self.pose.to_pixels(points, self.size)
        return np.round(((pixels + 0.5) * self.oversampling - 0.5) * (1 << FIXED)).astype(np.int32)

    def _filled(self, shapes: Sequence[Int32[np.ndarray, "_ 2"]]) -> Plane:
        side = self.size * self.oversampling
        layer = np.zeros((side, side), np.uint8)
        for shape in shapes:
            # One by one: together, overlapping shapes would cut holes into each other.
            cv2.fillPoly(layer, [shape], 255, shift=FIXED)
        small = cv2.resize(layer, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return small.astype(np.float32) * np.float32(1 / 255)


def ramp(plane: Plane, low: float, high: float) -> Plane:
    """0 up to `low`, 1 from `high`, a smooth step between; `low` above `high` runs the other way."""
    t = np.clip((plane - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)
