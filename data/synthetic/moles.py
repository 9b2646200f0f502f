"""Synthetic dermoscopy images of moles, each with its exact mask.

A dermoscope is a lit magnifying glass pressed onto the skin. Every
picture here is drawn by code: skin, a lesion coloured by light-absorbing
pigment, then what lies between skin and camera (gel, hair, a ruler, ink,
stickers, dark corners). No real picture went into it.

The mask is what an annotator would outline: a closed contour where the
border has about half of its darkness, faint skirts and pale middles
included, holes filled, one connected piece, cut where something opaque
covers it. Of several lesions only the central one is outlined.

Lengths are fractions of the picture height, colours are RGB from 0 to 1.
To look at one:

    image, mask = draw(np.random.default_rng(0), diagnosis=2)
    plt.imshow(image)
    plt.contour(mask, [0.5])
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from scipy import ndimage
from tqdm.auto import tqdm

from data import ph2
from data.synthetic.canvas import (
    coordinates,
    dots,
    mix,
    noise,
    ramp,
    strokes,
)

SHARES = (0.4, 0.4, 0.2)  # of PH²'s diagnoses
PATTERNS = ("even", "core", "ring", "halves", "islands")

# Absorption of red, green and blue light per unit of pigment. Melanin
# absorbs about as wavelength^-3.48 (S. L. Jacques 1998,
# omlc.org/spectra/melanin/mua.html), so what passes looks brown; melanin
# deep in the skin looks grey to blue, dense melanin black.
TAN = np.float32([0.13, 0.58, 1.35])
BROWN = np.float32([0.30, 0.68, 1.10])
GREY = np.float32([0.60, 0.75, 0.80])
RED = np.float32([0.12, 0.70, 0.70])
SLATE = np.float32([0.95, 0.85, 0.72])
PALETTE = np.stack([TAN, BROWN, GREY, RED, SLATE])
BLACK = np.float32([1.00, 1.05, 0.95])
# Milky tissue above the pigment: blue-white veil, scar of regression.
BLUE = np.float32([0.43, 0.45, 0.51])
PINK = np.float32([0.80, 0.66, 0.66])
# Light scattered by the surface: even black pigment is not quite black.
GLARE = np.float32([0.15, 0.11, 0.09])


@dataclass(frozen=True)
class Traits:
    """What distinguishes the diagnoses; pairs are (lowest, highest)."""

    area: tuple  # mean and spread of the logit of the covered fraction
    offset: float  # spread of the centre, fraction of height
    irregularity: tuple  # of the contour, fraction of the lesion radius
    darkness: tuple  # peak pigment
    colours: tuple  # weights of the PALETTE
    variegation: tuple  # unevenness of the pigment
    patterns: tuple  # probability of each of PATTERNS
    veil: float  # probabilities
    regression: float
    field_stop: float


TRAITS = (
    Traits(area=(-1.5, 0.9), offset=0.05, irregularity=(0.06, 0.2),
           darkness=(0.5, 2.2), colours=(3, 2, 0.6, 0.4, 0.2),
           variegation=(0.05, 0.25), patterns=(0.3, 0.45, 0.05, 0.15, 0.05),
           veil=0.03, regression=0.03, field_stop=0.9),
    Traits(area=(-1.15, 0.85), offset=0.06, irregularity=(0.08, 0.25),
           darkness=(0.6, 2.4), colours=(2, 3, 0.7, 0.5, 0.3),
           variegation=(0.1, 0.35), patterns=(0.2, 0.4, 0.12, 0.15, 0.13),
           veil=0.1, regression=0.06, field_stop=0.8),
    Traits(area=(0.7, 1.3), offset=0.13, irregularity=(0.1, 0.3),
           darkness=(0.7, 2.5), colours=(1, 3, 2, 0.6, 0.5),
           variegation=(0.25, 0.5), patterns=(0.15, 0.35, 0.05, 0.2, 0.25),
           veil=0.45, regression=0.35, field_stop=0.7),
)


def absorb(image, pigment, absorption):
    """Darken by pigment: Beer-Lambert law down to a floor of glare."""
    passed = np.exp(-pigment[..., None] * absorption)
    return GLARE + (image - GLARE) * passed


# --- Skin ----------------------------------------------------------------

def skin(generator, size):
    """Skin: one tone, uneven blood and tan, fine grain, freckles."""
    red = np.clip(generator.normal(0.92, 0.05), 0.75, 1.0)
    warmth = generator.lognormal(0, 0.3)
    green = red - 0.16 * warmth
    blue = green - generator.normal(0.1 * warmth, 0.05)
    image = np.full((*size, 3), [red, green, blue], np.float32)
    blood = 0.03 * noise(generator, size, 0.15, 4)
    if generator.random() < 0.25:
        patch = ramp(noise(generator, size, 0.8, 3), 0, 2.5)
        blood = blood + generator.uniform(0.1, 0.5) * patch
    image = absorb(image, blood, generator.choice([RED, TAN], p=[0.7, 0.3]))
    tone = generator.exponential(0.06)  # seldom dark
    fine, coarse = generator.uniform([0.02, 0.01], 0.05)
    grain = (fine * noise(generator, size, 0.015, 2)
             + coarse * noise(generator, size, 0.3, 5))
    image = absorb(image, tone + grain, BROWN)
    suntan = generator.uniform(0, 0.15) * noise(generator, size, 0.5, 3)
    image = absorb(image, suntan, TAN)
    count = generator.poisson(generator.choice([1, 6, 25]))
    freckles = dots(generator, np.ones_like(grain), count, (0.01, 0.03))
    return absorb(image, generator.uniform(0.05, 0.35) * freckles, TAN)


# --- Lesion --------------------------------------------------------------

def usual_area(generator, traits):
    """The fraction of the picture that the lesion covers."""
    area = 1 / (1 + np.exp(-generator.normal(*traits.area)))
    return np.clip(area, 0.04, 0.9)


def tiny_area(generator):
    """The same, of a lesion far away or under a weakly magnifying lens."""
    return np.exp(generator.uniform(np.log(0.01), np.log(0.08)))


def lesion_shape(generator, size, traits, area):
    """The region of the lesion, as annotated: bool (H, W).

    The contour is a level line of an elliptic cone bent by noise; the
    level is chosen so that the lesion covers the fraction `area`.
    """
    radius = float(np.sqrt(area * size[1] / size[0] / np.pi))
    angle = generator.uniform(0, np.pi)
    stretch = generator.uniform(0.95, 1.3)
    x, y = coordinates(size)
    # Never so far aside that a sticker could hide all of a small lesion.
    aside = generator.normal(0, traits.offset, 2).clip(-0.25, 0.25)
    x, y = x - np.float32(1.2 * aside[0]), y - np.float32(aside[1])
    along = (x * np.cos(angle) + y * np.sin(angle)) / stretch
    across = (y * np.cos(angle) - x * np.sin(angle)) * stretch
    bend = generator.uniform(*traits.irregularity) * radius
    wiggle = generator.uniform(0.03, 0.12) * radius
    level = (bend * noise(generator, size, 1.1 * radius)
             + wiggle * noise(generator, size, 0.35 * radius, 3)
             - np.hypot(along, across))
    return annotated(level > np.quantile(level, 1 - area))


def annotated(region):
    """The outline somebody draws: smooth, filled, the largest piece."""
    soft = ndimage.gaussian_filter(region.astype(np.float32),
                                   0.01 * region.shape[0], mode="nearest")
    pieces, _ = ndimage.label(soft > 0.5)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return ndimage.binary_fill_holes(pieces == sizes.argmax())


def depth_inside(mask):
    """Signed distance to the contour, positive inside, in heights."""
    inside = ndimage.distance_transform_edt(mask)
    outside = ndimage.distance_transform_edt(~mask)
    return np.float32((inside - outside) / mask.shape[0])


def pigment(generator, depth, traits):
    """How much pigment lies where: (H, W), 0 on the skin, 1 is typical."""
    size = depth.shape
    uneven = generator.uniform(*traits.variegation)
    clouds = (0.8 * noise(generator, size, 0.3, 3)
              + 0.4 * noise(generator, size, 0.03, 2))
    centre = ramp(depth, 0, float(depth.max())) * generator.uniform(-0.5, 0.9)
    body = (border(generator, depth) * pattern(generator, depth, traits)
            * np.exp(uneven * clouds) * (1 + centre))
    # Skin scatters light, so that the lesion shades its surroundings.
    reach = generator.uniform(0.02, 0.06)
    shade = generator.uniform(0, 0.2) * np.exp(np.minimum(depth, 0) / reach)
    return np.maximum(body, shade) * generator.uniform(*traits.darkness)


def border(generator, depth):
    """How the lesion fades into the skin: (H, W), 1 inside, 0 outside.

    Its middle lies a little inside the outline, which people draw wide.
    """
    soft = float(np.exp(generator.uniform(np.log(0.018), np.log(0.09))))
    margin = 0.003 + generator.uniform(0, 0.45) * soft
    rough = generator.uniform(0.1, 0.4) * soft
    rim = depth - margin + rough * noise(generator, depth.shape, 0.06, 4)
    if generator.random() < 0.25:
        rim = rim + streaks(generator, depth)
    return ramp(rim, -soft, soft)


def pattern(generator, depth, traits):
    """How dark which part of the lesion is: (H, W), at most 1.

    The faint parts belong to the lesion all the same: the skirt around a
    core, the pale middle of a ring, the gaps between islands.
    """
    size = depth.shape
    kind = generator.choice(PATTERNS, p=traits.patterns)
    if kind == "even":
        return np.ones_like(depth)
    if kind in ("core", "ring"):
        start = generator.uniform(-0.1, 0.4)
        wander = 0.3 * noise(generator, size, 0.35, 4)
        dark = ramp(depth / depth.max() + wander, start,
                    start + generator.uniform(0.2, 0.8))
        dark = dark if kind == "core" else 1 - dark
    else:
        scale = 0.8 if kind == "halves" else generator.uniform(0.1, 0.3)
        sharp = generator.uniform(0.2, 1.2)
        dark = ramp(noise(generator, size, scale, 4), -sharp, sharp)
    sparse = kind in ("ring", "islands")
    faint = generator.uniform(*((0.05, 0.5) if sparse else (0.25, 0.75)))
    return faint + (1 - faint) * dark


def streaks(generator, depth):
    """Streaks: radial fingers that make the border advance and retreat."""
    x, y = coordinates(depth.shape)
    inside = depth > 0
    angle = np.arctan2(y - y[inside].mean(), x - x[inside].mean())
    fingers = generator.normal(0, 0.007, generator.integers(20, 90))
    fingers[-1] = fingers[0]  # both ends are the same direction
    around = np.linspace(-np.pi, np.pi, fingers.size)
    return np.float32(np.interp(angle, around, fingers))


def network(generator, amount):
    """Pigment network: a honeycomb of dark lines around paler holes."""
    size = amount.shape
    x, y = coordinates(size)
    spacing = generator.uniform(0.014, 0.03)
    x = x + 0.4 * spacing * noise(generator, size, 3 * spacing, 2)
    y = y + 0.4 * spacing * noise(generator, size, 3 * spacing, 2)
    holes = 0.3 * noise(generator, size, 0.6 * spacing)
    first = generator.uniform(0, np.pi)
    for angle in (first, first + np.pi / 3, first + 2 * np.pi / 3):
        across = x * float(np.cos(angle)) + y * float(np.sin(angle))
        holes += np.cos(across * (2 * np.pi / spacing)) / 3
    patchy = ramp(noise(generator, size, 0.2, 3), -1, 1.5)
    return amount * (1 - generator.uniform(0.05, 0.4) * patchy * holes)


def globules(generator, amount):
    """Dots and globules: round dark clumps of pigment, often patchy."""
    size = amount.shape
    where = amount * ramp(noise(generator, size, 0.3, 2), -1, 1) + 1e-6
    large = generator.uniform(0.006, 0.03)
    count = int(generator.uniform(0.02, 0.15) * (amount > 0.2).mean()
                / large ** 2)
    spots = dots(generator, where, count, (0.004, large))
    return amount + generator.uniform(0.2, 0.8) * spots * (amount > 0.1)


def hue(generator, size, traits):
    """Absorption (H, W, 3): two mixtures of the palette share a lesion."""
    first, second = np.float32(generator.dirichlet(traits.colours, 2)
                               @ PALETTE)
    share = ramp(noise(generator, size, 0.3, 3), -1, 1)
    return first + (second - first) * share[..., None]


def lesion(generator, image, depth, traits):
    """Colour the skin by the pigment of the lesion."""
    amount = pigment(generator, depth, traits)
    if generator.random() < 0.8:
        amount = network(generator, amount)
    if generator.random() < 0.6:
        amount = globules(generator, amount)
    # Dense pigment no longer gets browner, it turns black.
    shallow = 1.3 * np.tanh(amount / 1.3)
    image = absorb(image, shallow, hue(generator, depth.shape, traits))
    image = absorb(image, 0.8 * (amount - shallow), BLACK)
    if generator.random() < traits.veil:
        image = haze(generator, image, ramp(amount, 0.2, 1), BLUE)
    if generator.random() < traits.regression:
        image = haze(generator, image, ramp(depth, 0, 0.08), PINK)
    return image


def inflammation(generator, image, depth):
    """Reddened skin around the lesion, which is not part of it."""
    reach = generator.uniform(0.05, 0.25)
    ragged = depth + 0.03 * noise(generator, depth.shape, 0.2, 3)
    redness = generator.uniform(0.1, 0.5) * ramp(ragged, -reach, 0)
    return absorb(image, redness, RED)


def neighbour(generator, image, depth):
    """Small lesions that lie aside, if there is room; not outlined."""
    shape = noise(generator, depth.shape, 0.2, 3)
    x, y = coordinates(depth.shape)
    mask = (shape > generator.uniform(1.5, 2.5)) & (depth < -0.06) \
        & (np.hypot(x, y) > 0.35)
    if not mask.any():
        return image
    traits = replace(TRAITS[0], darkness=(0.2, 2))
    return lesion(generator, image, depth_inside(mask), traits)


def haze(generator, image, where, colour):
    """A milky patch: blue-white veil, or the pale scar of regression."""
    patch = ramp(noise(generator, where.shape, 0.5, 4), -0.8, 2.2)
    strength = generator.uniform(0.3, 0.8)
    colour = generator.uniform(0.75, 1.15) * colour
    return mix(image, colour, strength * patch * where)


# --- Between skin and camera ---------------------------------------------

def strand(generator, start, angle, curl, width):
    """One hair as lines for `strokes`, thinner towards its tip."""
    turns = generator.normal(0, 0.1, 16) + generator.normal(0, curl) / 16
    angles = angle + np.cumsum(turns)
    step = generator.uniform(0.2, 1.2) / 16
    steps = step * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    curve = start + np.cumsum(steps, axis=0)
    return [(curve[index:index + 2], width * (1 - 0.04 * index))
            for index in range(len(curve) - 1)]


def hair(generator, image, coarse=False):
    """Hair: none or a fell, straight or curly, brown to black or grey.

    coarse: always about 15 hairs, thick and opaque, to be seen when small.
    """
    size = image.shape[:2]
    count = generator.poisson(generator.choice([0.5, 5, 20, 50],
                                               p=[0.4, 0.3, 0.2, 0.1]))
    width = np.exp(generator.uniform(np.log(0.002), np.log(0.012)))
    if coarse:
        count, width = generator.poisson(15), generator.uniform(0.015, 0.025)
    heading, spread = generator.uniform(0, [2 * np.pi, 1.5])
    curl = generator.uniform(0.1, 2)
    lines = []
    for _ in range(count):
        start = generator.uniform(-0.1, 1.1, 2) * [size[1] / size[0], 1]
        angle = heading + generator.normal(0, spread)
        lines += strand(generator, start, angle, curl,
                        width * generator.uniform(0.6, 1))
    colour = generator.uniform(0.1, 0.5) * generator.uniform(
        [1, 0.6, 0.35], [1, 0.9, 0.8])
    if generator.random() < 0.2:
        colour = generator.uniform(0.5, 0.95) * np.array([1, 0.97, 0.92])
    cover = strokes(size, lines) * generator.uniform(0.9 if coarse else 0.4,
                                                     0.95)
    return mix(image, colour, cover)


def bubbles(generator, size):
    """Rims of air bubbles, brighter on one side: (H, W), 0 to 1."""
    turn = np.linspace(0, 2 * np.pi, 60)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    lines = []
    for _ in range(generator.poisson(0.5)):
        middle = generator.uniform(0, 1, 2) * [size[1] / size[0], 1]
        radii = np.exp(generator.uniform(-4.5, -1.5)) \
            * generator.uniform(0.8, 1.2, 2)
        wobble = 1 + generator.normal(0, 0.1) * np.sin(3 * turn)[:, None]
        ring = middle + wobble * circle * radii
        lines += [(ring, 0.002), (ring[:25], 0.005)]
    return strokes(size, lines)


def gel(generator, image):
    """Contact gel: rims of bubbles and clusters of white glints."""
    size = image.shape[:2]
    image = mix(image, [1, 0.97, 0.92], 0.6 * bubbles(generator, size))
    # Glints are short bright lines: the zero line of a field, broken.
    ridge = np.abs(noise(generator, size, 0.06, 2))
    broken = ramp(noise(generator, size, 0.04, 2), 0.6, 1.2)
    cluster = ramp(noise(generator, size, 0.4, 2), 0, 2)
    strength = max(generator.uniform(-0.6, 0.8), 0)
    return mix(image, [1, 0.97, 0.95],
               strength * cluster * broken * (1 - ramp(ridge, 0, 0.15)))


def ruler(generator, image):
    """A scale along one side, black or white, every fifth tick longer."""
    size = image.shape[:2]
    width = size[1] / size[0]
    base = generator.uniform(0.9, 1.0)
    places = np.arange(0, width, generator.uniform(0.02, 0.06))
    lengths = np.resize([0.06] + 4 * [0.03], places.size)
    lines = [([(left, base), (left, base - length)], 0.004)
             for left, length in zip(places, lengths, strict=True)]
    lines.append(([(0, base), (width, base)], 0.004))
    cover = strokes(size, lines)[::generator.choice([-1, 1])]
    tone = generator.choice([0.1, 0.95])
    return mix(image, [tone] * 3, 0.8 * cover)


def ink(generator, image):
    """A surgeon's purple marks aside of the lesion: strokes, a smear."""
    size = image.shape[:2]
    x, y = coordinates(size)
    side = generator.choice([-1, 1])
    smear = ramp(side * x - 0.3 * y, 0.4, 0.6)
    smear *= ramp(noise(generator, size, 0.02, 3), -0.5, 3)
    starts = generator.uniform(0, 1, (3, 1, 2)) * [size[1] / size[0], 1]
    paths = starts + np.cumsum(generator.normal(0, 0.05, (3, 6, 2)), axis=1)
    pen = strokes(size, [(path, 0.02) for path in paths])
    pen *= ramp(noise(generator, size, 0.02, 3), -2, 0.5)
    pen *= ramp(np.hypot(x, y), 0.4, 0.5)
    colour = generator.uniform(0.6, 1.4) * np.array([0.35, 0.28, 0.62])
    return mix(image, colour,
               generator.uniform(0.4, 0.8) * np.maximum(smear, pen))


def illumination(generator, image):
    """Exposure, white balance, and light that fades from the middle."""
    x, y = coordinates(image.shape[:2])
    exposure = np.clip(generator.normal(0.96, 0.1), 0.7, 1.15)
    cast = exposure * generator.normal(1, [0.02, 0.03, 0.05])
    slope_x, slope_y = np.float32(generator.normal(0, 0.07, 2))
    # The edge of the field is often not only darker but also yellower.
    fall = generator.uniform(0, 1) * generator.normal(
        [0.8, 1, 1.15], [0.05, 0.1, 0.2])
    distance = (x * x + y * y) ** generator.uniform(1, 2.5)
    bowl = (0.15 - distance)[..., None] * np.float32(fall)
    light = 1 + bowl + (slope_x * x + slope_y * y)[..., None]
    return image * light * np.float32(cast)


def sticker(generator, size):
    """A coloured disc or a plaster that reaches in from one side.

    Returns how opaque it is, (H, W) from 0 to 1, and its colour.
    """
    x, y = coordinates(size)
    x = x * generator.choice([-1, 1])
    if generator.random() < 0.5:
        middle = np.float32(generator.normal(0, 0.3))
        edge = 0.3 - np.hypot(x - 0.75, y - middle)
        colour = generator.uniform(0.1, 0.95, 3)
    else:
        slope, start = np.float32(generator.uniform([-0.3, 0.4], [0.3, 0.6]))
        edge = x + slope * y - start
        colour = generator.uniform(0.75, 1) * np.array([1, 0.92, 0.82])
    return ramp(edge, 0, 0.01), colour


def field_stop(generator, size):
    """Dark corners around a round field of view; returns as `sticker`."""
    x, y = coordinates(size)
    centre_x, centre_y = np.float32(generator.normal(0, 0.02, 2))
    radius = generator.uniform(0.63, 0.76)
    if generator.random() < 0.1:
        radius = generator.uniform(0.45, 0.63)
    soft = generator.uniform(0.02, 0.12)
    distance = np.hypot(x - centre_x, y - centre_y)
    dark = generator.choice([0.2, 0.02], p=[0.85, 0.15])
    colour = dark * generator.uniform(0.7, 1.3) * np.array([1, 0.9, 0.85])
    return ramp(distance, radius - 1.5 * soft, radius + soft), colour


def frame(generator, size):
    """Sometimes black bars along sides; returns as `sticker`."""
    x, y = coordinates(size)
    half = 0.5 * size[1] / size[0]
    margins = np.stack([half - x, half + x, 0.5 - y, 0.5 + y])
    # Most bars have a negative width: they lie outside the picture.
    bars = generator.uniform(-0.5, 0.12, (4, 1, 1))
    return 1 - ramp((margins - bars).min(axis=0), -0.01, 0), np.full(3, 0.02)


def camera(generator, image):
    """Slight blur and sensor noise, then 8 bits."""
    blur = generator.uniform(0.0005, 0.0022) * image.shape[0]
    image = ndimage.gaussian_filter(image, (blur, blur, 0))
    grain = generator.standard_normal(image.shape, np.float32)
    image = image + generator.uniform(0.004, 0.012) * grain
    return np.uint8(np.clip(image, 0, 1) * 255 + 0.5)


# How often varied pictures show what PH²'s seldom do.
RARE = {tiny_area: 0.1, neighbour: 0.15, inflammation: 0.15, ruler: 0.05,
        ink: 0.05, sticker: 0.05}


# --- One picture, many pictures ------------------------------------------

def scene(generator, diagnosis, size, varied, coarse_hair=False):
    """What `draw` and `draw_classes` show, and where hairs changed it.

    Returns image uint8 (H, W, 3), mask bool (H, W), hairs bool (H, W).
    """
    rare = {effect for effect, share in RARE.items()
            if varied and generator.random() < share}
    traits = TRAITS[diagnosis]
    if not varied:  # the palest lesions cannot be learned from few pictures
        traits = replace(traits, darkness=(1, traits.darkness[1]))
    area = (tiny_area(generator) if tiny_area in rare
            else usual_area(generator, traits))
    mask = lesion_shape(generator, size, traits, area)
    depth = depth_inside(mask)
    image = skin(generator, size)
    for effect in [neighbour, inflammation]:
        if effect in rare:
            image = effect(generator, image, depth)
    image = lesion(generator, image, depth, traits)
    for effect in [gel, ruler, ink]:
        if effect in rare or effect not in RARE:
            image = effect(generator, image)
    hairless, image = image, hair(generator, image, coarse_hair)
    hairs = np.abs(image - hairless).max(axis=2) > 0.08
    image = illumination(generator, image)
    stop = field_stop if generator.random() < traits.field_stop else frame
    for cover in [sticker, stop] if sticker in rare else [stop]:
        opaque, colour = cover(generator, size)
        image = mix(image, colour, opaque)
        mask, hairs = mask & (opaque < 0.7), hairs & (opaque < 0.7)
    return camera(generator, image), annotated(mask), hairs


def draw(generator, diagnosis, size=(192, 256), varied=False):
    """Draw one lesion of a diagnosis (index into ph2.DIAGNOSES).

    varied  also draw what other collections than PH² show: tiny and very
            pale lesions, neighbours, inflamed skin, rulers, ink, stickers
    Returns image uint8 (H, W, 3) and mask bool (H, W).
    """
    image, mask, _ = scene(generator, diagnosis, size, varied)
    return image, mask


def draw_classes(generator, diagnosis, size=(192, 256)):
    """Draw one lesion under coarse hairs, and the class of each pixel.

    Returns image uint8 (H, W, 3) and classes uint8 (H, W): 0 skin,
    1 lesion, 2 hair.
    """
    image, mask, hairs = scene(generator, diagnosis, size, varied=False,
                               coarse_hair=True)
    return image, np.where(hairs, 2, mask).astype(np.uint8)


def draw_many(count, size=(192, 256), seed=0, varied=False):
    """Draw `count` pictures on all processor cores, with a progress bar.

    Yields (diagnosis, image, mask) as `draw` takes and returns them. The
    same seed gives the same pictures on any number of cores.
    """
    ends = np.round(np.cumsum(SHARES) * count)
    diagnoses = np.searchsorted(ends, np.arange(count), side="right")
    np.random.default_rng(seed).shuffle(diagnoses)
    generators = map(np.random.default_rng,
                     np.random.SeedSequence(seed).spawn(count))
    jobs = (delayed(draw)(generator, diagnosis, size, varied)
            for generator, diagnosis in zip(generators, diagnoses,
                                            strict=True))
    drawn = tqdm(Parallel(n_jobs=-1, return_as="generator")(jobs),
                 total=count, desc="Drawing", unit="picture")
    for diagnosis, (image, mask) in zip(diagnoses, drawn, strict=True):
        yield diagnosis, image, mask


def write_dataset(folder, count=200, size=(192, 256), seed=0):
    """Write `count` images, masks and a table in PH²'s own layout."""
    folder, diagnoses = Path(folder), {}
    for diagnosis, image, mask in draw_many(count, size, seed):
        name = f"MOLE{len(diagnoses) + 1:03d}"
        diagnoses[name] = diagnosis
        for layout, pixels in [(ph2.IMAGE, image), (ph2.MASK, mask)]:
            file = folder / layout.format(name=name)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    (folder / ph2.TABLE).write_text(ph2.table_text(diagnoses),
                                    encoding="utf-8")
