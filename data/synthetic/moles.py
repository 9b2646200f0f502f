"""Synthetic dermoscopy images of moles, each with its exact mask.

A dermoscope is a lit magnifying glass pressed onto the skin. Every
picture here is drawn by code: skin, a lesion coloured by light-absorbing
pigment, then what lies between skin and camera (see covers.py). No real
picture went into it.

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
from skimage import draw as shapes
from skimage import measure
from tqdm.auto import tqdm

from data import ph2
from data.synthetic import covers
from data.synthetic.canvas import (
    blank,
    coordinates,
    dots,
    mix,
    noise,
    ramp,
    spread,
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
    passed = np.exp(spread(-pigment, absorption))
    return GLARE + (image - GLARE) * passed


# --- Skin ----------------------------------------------------------------

def skin(generator, size):
    """Skin: one tone, uneven blood and tan, fine grain, freckles."""
    red = np.clip(generator.normal(0.92, 0.05), 0.75, 1.0)
    warmth = generator.lognormal(0, 0.3)
    green = red - 0.16 * warmth
    blue = green - generator.normal(0.1 * warmth, 0.05)
    image = blank(size, [red, green, blue])
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


def dark_skin(generator, image):
    """Skin of a darker tone."""
    tone = np.full(image.shape[:2], generator.uniform(0.2, 1.6), np.float32)
    return absorb(image, tone, BROWN)


def flushed(generator, image):
    """Very red skin."""
    blood = np.full(image.shape[:2], generator.uniform(0.15, 0.9), np.float32)
    return absorb(image, blood, RED)


def mottled(generator, image):
    """Skin that the sun has aged: blotches, vessels, brown spots, scales."""
    size = image.shape[:2]
    blotches = ramp(noise(generator, size, generator.uniform(0.06, 0.3), 4),
                    -0.5, 2)
    vessels = np.abs(noise(generator, size, 0.15, 3))
    vessels = (1 - ramp(vessels, 0, 0.1)) * ramp(
        noise(generator, size, 0.4, 2), -0.5, 1.5)
    spots = ramp(noise(generator, size, generator.uniform(0.05, 0.25), 4),
                 generator.uniform(0.3, 1.2), 1.8)
    for amount, where, absorption in zip(
            generator.uniform(0, [0.5, 0.5, 0.6]),
            [blotches, vessels, spots], [RED, RED, TAN], strict=True):
        image = absorb(image, np.float32(amount) * where, absorption)
    scales = generator.uniform(0, 0.06) * noise(generator, size, 0.02, 2)
    return image * (1 + scales)[..., None]


# --- Lesion --------------------------------------------------------------

def usual_area(generator, traits):
    """The fraction of the picture that the lesion covers."""
    area = 1 / (1 + np.exp(-generator.normal(*traits.area)))
    return np.clip(area, 0.04, 0.9)


def tiny_area(generator):
    """The same, of a lesion far away or under a weakly magnifying lens."""
    return np.exp(generator.uniform(np.log(0.008), np.log(0.12)))


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
    return ndimage.binary_fill_holes((pieces == sizes.argmax())
                                     & (soft > 0.5))


def outline(generator, mask):
    """The same as somebody else draws it: tight or wide, bent, in corners."""
    depth = depth_inside(mask)
    wide = generator.uniform(-0.005, 0.03)
    shaky = generator.uniform(0, 0.006) * noise(generator, mask.shape, 0.15)
    drawn = annotated(depth + wide + shaky > 0)
    if generator.random() < 0.6:
        return drawn
    # Corners far apart cut off little: the tolerance grows with the lesion.
    contour = max(measure.find_contours(np.pad(drawn, 1)), key=len) - 1
    corners = measure.approximate_polygon(
        contour, generator.uniform(0.05, 0.15) * np.sqrt(drawn.sum() / np.pi))
    return annotated(shapes.polygon2mask(mask.shape, corners))


def depth_inside(mask):
    """Signed distance to the contour, positive inside, in heights."""
    inside = ndimage.distance_transform_edt(mask)
    outside = ndimage.distance_transform_edt(~mask)
    return np.float32((inside - outside) / mask.shape[0])


def pale(traits):
    """A lesion hardly darker than the skin."""
    return replace(traits, darkness=(0.15, 0.7))


def pink(traits):
    """A lesion without brown pigment, coloured by blood alone."""
    return replace(traits, darkness=(0.2, 1.2), colours=(0, 0, 0, 1, 0),
                   veil=0)


def two_colours(generator, depth):
    """A pale lesion with one dark part: share of the pigment (H, W)."""
    rows, columns = np.nonzero(depth > 0)
    centre = generator.integers(rows.size)
    y, x = np.mgrid[:depth.shape[0], :depth.shape[1]].astype(np.float32)
    away = np.hypot(y - rows[centre], x - columns[centre]) \
        / np.float32(np.sqrt(rows.size / np.pi))
    away = away + 0.2 * noise(generator, depth.shape, 0.2, 3)
    near = generator.uniform(0.2, 0.8)
    dark = 1 - ramp(away, near, near + generator.uniform(0.1, 0.6))
    faint = generator.uniform(0.08, 0.35)
    return faint + (1 - faint) * dark


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
    return first + spread(share, second - first)


def lesion(generator, image, depth, traits, two=False):
    """Colour the skin by the pigment of the lesion; two: `two_colours`."""
    amount = pigment(generator, depth, traits)
    if two:
        amount = amount * two_colours(generator, depth)
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


def halo(generator, image, depth):
    """A pale ring around the lesion, which is not part of it."""
    reach = generator.uniform(0.03, 0.12)
    ring = ramp(depth, -reach, -0.5 * reach) * (1 - ramp(depth, -0.01, 0.01))
    return mix(image, generator.uniform(0.85, 1) * np.array([1, 0.93, 0.9]),
               generator.uniform(0.2, 0.6) * ring)


def crust(generator, image, depth):
    """Scales, a crust or an ulcer on the lesion: patches, light or dark."""
    size = depth.shape
    start = generator.uniform(-1, 1)
    patches = ramp(noise(generator, size, generator.uniform(0.04, 0.2), 4),
                   start, start + generator.uniform(0.3, 1.5))
    colour = np.float32(generator.choice(
        [[0.92, 0.88, 0.78], [0.75, 0.6, 0.35], [0.45, 0.12, 0.1],
         [0.4, 0.36, 0.34]])) * generator.uniform(0.8, 1.1)
    rough = 1 + generator.uniform(0, 0.3) * noise(generator, size, 0.02, 2)
    return mix(image, colour * rough[..., None], generator.uniform(0.2, 0.9)
               * patches * ramp(depth, -0.01, 0.02))


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


# --- One picture, many pictures ------------------------------------------

PLAIN = 0.25  # of varied pictures: all that PH² shows, and no more
# How often the others show what PH²'s seldom do; a frame stands in the
# place of dark corners.
VARIED = {
    tiny_area: 0.4, pale: 0.1, pink: 0.15, two_colours: 0.08, crust: 0.12,
    halo: 0.05, neighbour: 0.2, inflammation: 0.15, outline: 0.5,
    dark_skin: 0.06, flushed: 0.12, mottled: 0.35,
    covers.rim: 0.2, covers.ruler: 0.05, covers.scale_bar: 0.25,
    covers.ink: 0.04, covers.ink_ring: 0.06, covers.ink_spots: 0.08,
    covers.hair: 0.06, covers.uneven_light: 0.4, covers.cast: 0.3,
    covers.specular: 0.1, covers.sticker: 0.03, covers.discs: 0.16,
    covers.cloth: 0.08, covers.frame: 0.4, covers.grainy: 0.15,
    covers.jpeg: 0.3, covers.squeezed: 0.2}


def others(generator):
    """The effects of VARIED that one picture shows."""
    varied = generator.random() > PLAIN
    return {effect for effect, share in VARIED.items()
            if varied and generator.random() < share}


def scene(generator, traits, size, chosen=(), coarse_hair=False):
    """What `draw` and `draw_classes` show, and where hairs changed it.

    chosen: effects of VARIED. Returns image uint8 (H, W, 3), mask bool
    (H, W), hairs bool (H, W).
    """
    def also(image, effects, *more):
        """The image after those of the effects that were chosen."""
        for effect in effects:
            if effect in chosen:
                image = effect(generator, image, *more)
        return image

    shown = size
    if covers.squeezed in chosen:
        size = covers.squeezed(generator, size)
    for change in [pale, pink]:
        traits = change(traits) if change in chosen else traits
    area = (tiny_area(generator) if tiny_area in chosen
            else usual_area(generator, traits))
    mask = lesion_shape(generator, size, traits, area)
    depth = depth_inside(mask)
    image = also(skin(generator, size), [dark_skin, flushed, mottled])
    image = also(image, [neighbour, inflammation, halo], depth)
    image = lesion(generator, image, depth, traits, two_colours in chosen)
    image = covers.gel(generator, also(image, [crust], depth))
    image = also(image, [covers.rim, covers.ruler, covers.scale_bar,
                         covers.ink])
    image = also(image, [covers.ink_ring, covers.ink_spots], depth)
    hairless, image = image, covers.hair(generator, image, coarse_hair,
                                         dense=covers.hair in chosen)
    hairs = np.abs(image - hairless).max(axis=2) > 0.08
    image = also(covers.illumination(generator, image),
                 [covers.uneven_light, covers.cast, covers.specular])
    if outline in chosen:
        mask = outline(generator, mask)
    corners = covers.frame not in chosen \
        and generator.random() < traits.field_stop
    stop = covers.field_stop if corners else covers.frame
    aside = [covers.sticker, covers.discs, covers.cloth]
    for cover in [*(one for one in aside if one in chosen), stop]:
        opaque, colour = cover(generator, size)
        image = mix(image, colour, opaque)
        mask, hairs = mask & (opaque < 0.7), hairs & (opaque < 0.7)
    image = covers.camera(generator, also(image, [covers.grainy]))
    if covers.squeezed in chosen:
        image, mask, hairs = (
            np.asarray(Image.fromarray(part).resize(shown[::-1]))
            for part in (image, mask, hairs))
    return also(image, [covers.jpeg]), annotated(mask), hairs


def dark_enough(diagnosis):
    """Its traits: the palest cannot be learned from few pictures."""
    traits = TRAITS[diagnosis]
    return replace(traits, darkness=(1, traits.darkness[1]))


def draw(generator, diagnosis, size=(192, 256), varied=False):
    """Draw one lesion of a diagnosis (index into ph2.DIAGNOSES).

    varied  also draw what other collections than PH² show, see VARIED
    Returns image uint8 (H, W, 3) and mask bool (H, W).
    """
    image, mask, _ = (
        scene(generator, TRAITS[diagnosis], size, others(generator))
        if varied else scene(generator, dark_enough(diagnosis), size))
    return image, mask


def draw_classes(generator, diagnosis, size=(192, 256)):
    """Draw one lesion under coarse hairs, and the class of each pixel.

    Returns image uint8 (H, W, 3) and classes uint8 (H, W): 0 skin,
    1 lesion, 2 hair.
    """
    image, mask, hairs = scene(generator, dark_enough(diagnosis), size,
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
