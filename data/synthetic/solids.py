"""Solid things to draw people and rooms with: surfaces, hulls, a camera.

A ball is x, y, z and a radius. The hull of two balls is a limb, that of
four a trunk, a skirt or a bag; a camera sees it as the hull of circles.

In the picture, x points right and y down from the centre, in fractions
of the picture height; colours are RGB from 0 to 1. In space, x points
right, y up and z to the camera; the unit is a person's height, the
stature. Angles are in degrees.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from data.synthetic.canvas import ramp

TILE = 64  # side of a pattern, in pixels
ROWS, COLUMNS = np.mgrid[:TILE, :TILE].astype(np.float32) / TILE
AROUND = np.linspace(0, 2 * np.pi, 16, endpoint=False)


def turned(axes, *angles):
    """The rotation matrix (3, 3) of angles about the named axes."""
    return Rotation.from_euler(axes, angles, degrees=True).as_matrix()


# --- Surfaces ------------------------------------------------------------

@dataclass(frozen=True)
class Surface:
    """What something is made of: two colours in a pattern, and relief."""

    colours: np.ndarray  # (2, 3)
    pattern: np.ndarray  # (TILE, TILE): the share of the second colour
    relief: np.ndarray  # (TILE, TILE): folds, strands, dents, 0 to 1
    period: float  # side of the pattern, in statures
    depth: float = 0.1  # strength of the relief
    gloss: float = 0.0
    rough: float = 0.0  # unevenness of the outline, in statures

    def sample(self, texture, u, v):
        """A texture at places u, v (in statures), repeated for ever."""
        return ndimage.map_coordinates(
            texture, np.stack([v, u]) * np.float32(TILE / self.period),
            order=1, mode="grid-wrap")

    def lay(self, u, v, fade=1):
        """Colours (..., 3) at places u, v; where fade is 0, the mean."""
        share = 0.5 + (self.sample(self.pattern, u, v) - 0.5) * fade
        bumps = 2 * self.sample(self.relief, u, v) - 1
        first, second = np.float32(self.colours)
        return ((first + (second - first) * share[..., None])
                * (1 + self.depth * fade * bumps)[..., None])


def hills(generator, spread):
    """Soft hills (TILE, TILE) from 0 to 1 that repeat without a seam.

    spread is their width in pixels, across and along.
    """
    field = generator.standard_normal((TILE, TILE), np.float32)
    field = ndimage.gaussian_filter(field, spread, mode="wrap")
    return np.clip(0.5 + 0.3 * field / field.std(), 0, 1)


def pattern(generator, kind, relief):
    """A pattern (TILE, TILE) from 0 to 1 that repeats without a seam.

    It bends where the relief is high.
    """
    count = 2 * generator.integers(1, 7)
    share = generator.uniform(0.15, 0.6)
    across = (COLUMNS * count + 0.5 * relief) % 1
    along = (ROWS * count + 0.5 * relief) % 1
    if kind == "stripes":
        return np.float32(across < share)
    if kind == "hoops":
        return np.float32(along < share)
    if kind == "checks":
        return np.float32((across < share) * 0.5 + (along < share) * 0.5)
    if kind == "dots":
        return np.float32(np.hypot(across - 0.5, along - 0.5) < 0.6 * share)
    if kind == "bricks":
        shifted = COLUMNS * count / 2 + ROWS * count // 1 % 2 / 2
        joints = (ROWS * count % 1 < 0.12) | (shifted % 1 < 0.06)
        return np.float32(0.8 * joints + 0.2 * relief)
    if kind == "blobs":
        return ramp(hills(generator, generator.uniform(2, 7)),
                    share, share + 0.15)
    if kind == "grain":
        return hills(generator, generator.uniform(0.4, 1.5))
    return 0.3 * relief  # plain, a little uneven


def colour(generator, vivid=0.3):
    """A random colour, mostly greyish; the more vivid the less so."""
    hue = generator.uniform(0, 2 * np.pi) + np.array([0, 2.1, 4.2])
    saturation = min(generator.exponential(vivid), 0.95)
    tint = 1 - saturation * (0.5 - 0.5 * np.cos(hue))
    return np.float32(generator.uniform(0.03, 0.97) * tint)


def surface(generator, kinds, vivid=0.3, first=None, period=0.4, **more):
    """A random surface with a pattern of one of the kinds."""
    kind = generator.choice(kinds)
    first = colour(generator, vivid) if first is None else first
    second = first * generator.uniform(0.6, 1.4)
    if kind not in ("plain", "grain", "bricks") and generator.random() < 0.5:
        second = colour(generator, vivid)
    relief = hills(generator, generator.uniform(1.5, 10, 2))
    return Surface(np.clip([first, second], 0, 1),
                   pattern(generator, kind, relief), relief,
                   period * generator.uniform(0.5, 1.5), **more)


# --- Camera and light ----------------------------------------------------

@dataclass(frozen=True)
class Camera:
    """A camera held level; its lens may be shifted."""

    scale: float  # picture heights per stature, where z is 0
    distance: float  # of that place
    height: float  # of the lens above the floor
    horizon: float  # y in the picture
    centre: float  # x in the picture

    def zoom(self, z):
        """Picture heights per stature at a place z in space."""
        return self.scale * self.distance / (self.distance - z)

    def project(self, balls):
        """The circles (n, 3: x, y, radius) that balls (n, 4) look like."""
        x, y, z, radii = np.asarray(balls).T
        zoom = self.zoom(z)
        return np.stack([self.centre + zoom * x,
                         self.horizon + zoom * (self.height - y),
                         zoom * radii], 1)


@dataclass(frozen=True)
class Light:
    """One lamp or the sun, and light from all around."""

    towards: np.ndarray  # unit vector to the lamp, in space
    ambient: float  # share of light from all around
    hard: float  # darkness of cast shadows


def lamp(generator):
    """Light from above, more often from the front than from behind."""
    towards = generator.normal([0, 0.9, 0.6], [0.7, 0.3, 0.4])
    towards[1] = max(towards[1], 0.3)
    return Light(towards / np.linalg.norm(towards),
                 generator.uniform(0.45, 0.8), generator.uniform(0, 0.8))


# --- Hulls ---------------------------------------------------------------

@dataclass(frozen=True)
class Part:
    """A union of hulls of balls, all made of the same."""

    hulls: list  # of arrays (n, 4)
    material: Surface
    lift: float = 0.0  # painted as if so much nearer, in statures


def bounds(circles):
    """The lines around a hull of circles: normals (n, 2), offsets (n,).

    A place is as far outside of a line as normal · place - offset.
    """
    centres, radii = circles[:, :2], circles[:, 2]
    i, j = np.triu_indices(len(circles), 1)
    x, y = (centres[j] - centres[i]).T
    # All lines that touch two circles, and sixteen that round the ends.
    lean = np.arccos(np.clip((radii[i] - radii[j])
                             / (np.hypot(x, y) + 1e-6), -1, 1))
    angles = np.concatenate([AROUND, np.arctan2(y, x) + lean,
                             np.arctan2(y, x) - lean])
    normals = np.stack([np.cos(angles), np.sin(angles)], 1)
    return np.float32(normals), np.float32(
        (normals @ centres.T + radii).max(1))


def relate(circles, x, y):
    """How places lie to the hull of circles: five values each (5, H, W).

    The distance outside of its outline; the tilt of its surface to the
    right and down, 1 at the outline, 0 in the middle; and where on its
    surface they are, across and along the line from first to last circle.
    """
    normals, offsets = bounds(circles)
    distances = np.stack([right * x + down * y - offset for (right, down),
                          offset in zip(normals, offsets)])
    outside = distances.max(0)
    tilt = np.clip(1 + outside / np.float32(circles[:, 2].max()), 0, 1)
    right, down = np.moveaxis(normals[distances.argmax(0)], -1, 0) * tilt
    left, top = np.float32(circles[0, :2])
    line = circles[-1, :2] - circles[0, :2]
    ahead, aside = np.float32(line / (np.hypot(*line) + 1e-6))
    x, y = x - left, y - top
    return np.stack([outside, right, down, x * aside - y * ahead,
                     x * ahead + y * aside])


def stamp(canvas, hulls, material, light, unit):
    """Paint a union of hulls of circles onto the canvas, which changes.

    The canvas (H, W, 4) holds colours times opacity, and opacity.
    unit is the length of a stature in the picture.
    """
    height, width = canvas.shape[:2]
    circles = np.concatenate(hulls)
    centres, radii = circles[:, :2], circles[:, 2:]
    ends = np.stack([(centres - radii).min(0), (centres + radii).max(0)])
    ends = ends * height + [width / 2, height / 2] + [[-1], [2]]
    (left, top), (right, bottom) = np.int32(np.clip(ends, 0,
                                                    [width, height]))
    if left >= right or top >= bottom:
        return
    x = (np.arange(left, right) + 0.5 - width / 2) / height
    y = (np.arange(top, bottom) + 0.5 - height / 2) / height
    places = np.stack([relate(hull, np.float32(x), np.float32(y)[:, None])
                       for hull in hulls])
    outside = places[:, 0].min(0)
    # Hulls of a union flow into each other as one cloth does.
    shares = np.exp((outside - places[:, 0]) / np.float32(0.01 * unit))
    shares /= shares.sum(0)
    tilts, (u, v) = np.split((shares[:, None] * places[:, 1:]).sum(0), 2)
    facing = np.sqrt(np.maximum(1 - (tilts ** 2).sum(0), 0))
    towards = np.float32(light.towards) * [1, -1, 1]
    shade = np.maximum(np.tensordot(towards, [*tilts, facing], 1), 0)
    u, v = u / unit, v / unit
    lit = light.ambient + (1 - light.ambient) * shade[..., None]
    colours = (material.lay(u, v) * lit
               + material.gloss * shade[..., None] ** 8)
    if material.rough:
        dents = material.sample(material.relief, 2 * u, 2 * v) - 0.5
        outside = outside + material.rough * unit * dents
    cover = np.clip(0.5 - outside * height, 0, 1)[..., None]
    painted = canvas[top:bottom, left:right]
    painted *= 1 - cover
    painted[..., :3] += colours * cover
    painted[..., 3:] += cover


def paint(size, parts, camera, light):
    """Paint parts from the farthest to the nearest: canvas (H, W, 4)."""
    def nearness(part):
        return np.concatenate(part.hulls)[:, 2].mean() + part.lift

    canvas = np.zeros((*size, 4), np.float32)
    for part in sorted(parts, key=nearness):
        stamp(canvas, [camera.project(hull) for hull in part.hulls],
              part.material, light, camera.zoom(part.hulls[0][0, 2]))
    return canvas


def over(scene, parts, camera, light):
    """The scene with parts painted into it."""
    painted = paint(scene.shape[:2], parts, camera, light)
    return scene * (1 - painted[..., 3:]) + painted[..., :3]
