"""Procedural dermoscopy pictures of moles, each with its exact mask.

A dermoscope is a lit magnifying glass pressed onto the skin. Every
picture here is drawn by code: skin, a lesion coloured by light-absorbing
pigment, then what lies between skin and camera (hair, gel, the round
field stop). No real picture went into it.

The mask is what an annotator would outline: a smooth closed contour a
little outside the visible border, faint skirts included, holes filled,
one connected piece, cut where the picture or its round field ends.

Lengths are fractions of the picture height, colours are RGB from 0 to 1.
To look at one:

    image, mask = draw(np.random.default_rng(0), diagnosis=2)
    plt.imshow(image)
    plt.contour(mask, [0.5])
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from PIL import Image, ImageDraw
from scipy import ndimage
from tqdm.auto import tqdm

DIAGNOSES = ("common nevus", "atypical nevus", "melanoma")
SHARES = (0.4, 0.4, 0.2)
TABLE_HEADER = (
    "||   Name ||   Histological Diagnosis || Clinical Diagnosis ||   "
    "Asymmetry | Pigment Network | Dots/Globules | Streaks | Regression "
    "Areas | Blue-Whitish Veil ||            Colors ||")

# Absorption of red, green and blue light per unit of pigment. Brown
# melanin near the surface absorbs blue most; dense melanin looks black.
TAN = np.float32([0.13, 0.58, 1.35])
BROWN = np.float32([0.30, 0.68, 1.10])
GREY = np.float32([0.60, 0.75, 0.80])
RED = np.float32([0.12, 0.70, 0.70])
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
    colours: tuple  # weights of TAN, BROWN, GREY and RED
    variegation: tuple  # unevenness of the pigment
    veil: float  # probabilities
    regression: float
    field_stop: float


TRAITS = (
    Traits((-1.5, 0.9), 0.05, (0.04, 0.14), (0.75, 2.2), (4, 1, 0.6, 0.3),
           (0.05, 0.25), 0.03, 0.03, 0.9),
    Traits((-1.15, 0.85), 0.06, (0.06, 0.2), (0.75, 2.5), (2, 2, 0.7, 0.3),
           (0.1, 0.35), 0.1, 0.06, 0.8),
    Traits((0.7, 1.3), 0.13, (0.1, 0.25), (0.75, 2.5), (1, 2, 2, 0.6),
           (0.25, 0.5), 0.45, 0.35, 0.7),
)


# --- Building blocks -----------------------------------------------------

def noise(generator, size, scale, octaves=1):
    """Smooth random field (H, W) of zero mean and unit spread.

    scale is the distance between hills as a fraction of the height;
    every further octave adds hills of half the size and half the height.
    """
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        step = max(scale * size[0] / 2 ** octave, 1.0)
        rows, columns = (int(np.ceil(side / step)) + 4 for side in size)
        coarse = generator.standard_normal((rows, columns), np.float32)
        left, top = generator.uniform(1, 2, 2)
        box = (left, top, left + size[1] / step, top + size[0] / step)
        fine = Image.fromarray(coarse).resize(
            size[::-1], Image.Resampling.BICUBIC, box=box)
        total += np.asarray(fine) / 2 ** octave
    return (total - total.mean()) / (total.std() + 1e-6)


def coordinates(size):
    """x and y (H, W) from the picture's centre, fractions of height."""
    y, x = np.mgrid[:size[0], :size[1]].astype(np.float32)
    return (x - size[1] / 2) / size[0], (y - size[0] / 2) / size[0]


def ramp(values, low, high):
    """0 below `low`, 1 above `high`, a smooth S between."""
    t = np.clip((values - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(image, colour, amount):
    """Blend a colour over the image; amount (H, W) from 0 to 1."""
    return image + (np.float32(colour) - image) * amount[..., None]


def absorb(image, pigment, absorption):
    """Darken by pigment: Beer-Lambert law down to a floor of glare."""
    passed = np.exp(-pigment[..., None] * absorption)
    return GLARE + (image - GLARE) * passed


def strokes(size, lines):
    """Antialiased coverage (H, W) of lines [(points, width), ...].

    Points are (x, y) in fractions of height from the top left corner.
    """
    zoom = 4 * size[0]  # drawn four times larger, then averaged
    canvas = Image.new("L", (4 * size[1], zoom))
    pen = ImageDraw.Draw(canvas)
    for points, width in lines:
        pen.line((np.asarray(points) * zoom).ravel().tolist(), fill=255,
                 width=max(1, round(width * zoom)))
    return np.asarray(canvas.reduce(4), np.float32) / 255


def dots(generator, where, count, radius):
    """Soft round dots at random places weighted by `where` (H, W)."""
    size = where.shape
    edges = np.cumsum(where, dtype=float)
    places = np.searchsorted(edges, generator.uniform(0, edges[-1], count))
    strength = generator.uniform(0.4, 1, count)
    kinds = generator.integers(0, 3, count)
    total = np.zeros(size, np.float32)
    for kind, spread in enumerate(np.linspace(*radius, 3) / 2 * size[0]):
        chosen = kinds == kind
        seeds = np.bincount(places[chosen], strength[chosen], where.size)
        seeds = np.float32(seeds[:where.size]).reshape(size)
        # A lone dot gets the height of its strength.
        peak = 2 * np.pi * max(spread, 0.4) ** 2
        total += ndimage.gaussian_filter(seeds, spread) * peak
    return np.minimum(total, 1.5)


# --- Skin ----------------------------------------------------------------

def skin(generator, size):
    """Skin: one tone, uneven blood supply, fine grain, freckles."""
    red = np.clip(generator.normal(0.92, 0.05), 0.75, 1.0)
    warmth = generator.lognormal(0, 0.3)
    green = red - 0.18 * warmth
    blue = green - generator.normal(0.09 * warmth, 0.045)
    image = np.full((*size, 3), [red, green, blue], np.float32)
    blood = 0.03 * noise(generator, size, 0.15, 4)
    if generator.random() < 0.15:
        patch = ramp(noise(generator, size, 0.8, 3), 0, 2.5)
        blood = blood + generator.uniform(0.1, 0.4) * patch
    image = absorb(image, blood, RED)
    roughness = generator.uniform(0.01, 0.035)
    grain = roughness * (noise(generator, size, 0.015, 2)
                         + noise(generator, size, 0.3, 5))
    image = absorb(image, grain, BROWN)
    count = generator.poisson(generator.choice([1, 6, 25]))
    freckles = dots(generator, np.ones_like(grain), count, (0.01, 0.03))
    return absorb(image, generator.uniform(0.05, 0.35) * freckles, TAN)


# --- Lesion --------------------------------------------------------------

def lesion_shape(generator, size, traits):
    """The region of the lesion, as annotated: bool (H, W).

    The contour is a level line of an elliptic cone bent by noise; the
    level is chosen so that the lesion covers the drawn area fraction.
    """
    area = 1 / (1 + np.exp(-generator.normal(*traits.area)))
    area = float(np.clip(area, 0.04, 0.9))
    radius = np.sqrt(area * size[1] / size[0] / np.pi)
    angle = generator.uniform(0, np.pi)
    stretch = generator.uniform(0.95, 1.3)
    x, y = coordinates(size)
    x = x - generator.normal(0, traits.offset * 1.3)
    y = y - generator.normal(0, traits.offset)
    along = (x * np.cos(angle) + y * np.sin(angle)) / stretch
    across = (y * np.cos(angle) - x * np.sin(angle)) * stretch
    bend = generator.uniform(*traits.irregularity) * radius
    wiggle = generator.uniform(0.05, 0.4) * bend
    level = (bend * noise(generator, size, 1.1 * radius)
             + wiggle * noise(generator, size, 0.4 * radius, 3)
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
    soft = float(np.exp(generator.uniform(np.log(0.018), np.log(0.09))))
    margin = generator.uniform(-0.005, 0.015) + 0.35 * soft
    rough = generator.uniform(0.1, 0.4) * soft
    rim = depth - margin + rough * noise(generator, size, 0.06, 4)
    if generator.random() < 0.25:
        rim = rim + streaks(generator, depth)
    body = ramp(rim, -soft, soft)
    deepest = float(depth.max())
    if generator.random() < 0.5:  # a dark core inside a faint skirt
        start = generator.uniform(-0.1, 0.4)
        wander = 0.3 * noise(generator, size, 0.35, 4)
        core = ramp(depth / deepest + wander, start,
                    start + generator.uniform(0.2, 0.8))
        faint = generator.uniform(0.3, 0.7)
        body = body * (faint + (1 - faint) * core)
    uneven = generator.uniform(*traits.variegation)
    clouds = (0.8 * noise(generator, size, 0.3, 3)
              + 0.4 * noise(generator, size, 0.03, 2))
    body = body * np.exp(uneven * clouds)
    centre = ramp(depth, 0, deepest) * generator.uniform(-0.5, 0.9)
    return body * (1 + centre) * generator.uniform(*traits.darkness)


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


def lesion(generator, image, depth, traits):
    """Colour the skin by the pigment of the lesion."""
    amount = pigment(generator, depth, traits)
    if generator.random() < 0.8:
        amount = network(generator, amount)
    if generator.random() < 0.6:
        amount = globules(generator, amount)
    # Two hues of brown share the lesion, so that it is rarely uniform.
    first, second = np.float32(generator.dirichlet(traits.colours, 2)
                               @ np.stack([TAN, BROWN, GREY, RED]))
    share = ramp(noise(generator, depth.shape, 0.3, 3), -1, 1)
    colour = first + (second - first) * share[..., None]
    # Dense pigment no longer gets browner, it turns black.
    shallow = 1.3 * np.tanh(amount / 1.3)
    image = absorb(image, shallow, colour)
    image = absorb(image, 0.8 * (amount - shallow), BLACK)
    if generator.random() < traits.veil:
        image = haze(generator, image, ramp(amount, 0.2, 1), BLUE)
    if generator.random() < traits.regression:
        image = haze(generator, image, ramp(depth, 0, 0.08), PINK)
    return image


def haze(generator, image, where, colour):
    """A milky patch: blue-white veil, or the pale scar of regression."""
    patch = ramp(noise(generator, where.shape, 0.5, 4), -0.8, 2.2)
    strength = generator.uniform(0.3, 0.8)
    colour = generator.uniform(0.75, 1.15) * colour
    return mix(image, colour, strength * patch * where)


# --- Between skin and camera ---------------------------------------------

def hair(generator, image):
    """Hair: thin curves that taper towards the tip."""
    size = image.shape[:2]
    count = generator.poisson(generator.choice([0.5, 5, 20], p=[.6, .3, .1]))
    width = generator.uniform(0.003, 0.008)
    heading = generator.uniform(0, 2 * np.pi)
    time = np.linspace(0, 1, 16)[:, None]
    lines = []
    for _ in range(count):
        start = generator.uniform(-0.1, 1.1, 2) * [size[1] / size[0], 1]
        angle = heading + generator.normal(0, 0.6)
        length = generator.uniform(0.3, 1.2)
        ahead = length * np.array([np.cos(angle), np.sin(angle)])
        sideways = ahead[::-1] * [-1, 1] * generator.normal(0, 0.6)
        curve = start + time * ahead + time * (1 - time) * sideways
        lines += [(curve[index:index + 2], width * (1 - 0.04 * index))
                  for index in range(len(curve) - 1)]
    colour = generator.uniform(0.15, 0.5) * np.array([1, 0.7, 0.5])
    cover = strokes(size, lines) * generator.uniform(0.4, 0.95)
    return mix(image, colour, cover)


def gel(generator, image):
    """Contact gel: outlines of bubbles and clusters of white glints."""
    size = image.shape[:2]
    lines = []
    turn = np.linspace(0, 2 * np.pi, 60)
    for _ in range(generator.poisson(0.4)):
        middle = generator.uniform(0, 1, 2) * [size[1] / size[0], 1]
        wobble = 1 + generator.normal(0, 0.1) * np.sin(3 * turn)
        radii = generator.uniform(0.01, 0.08, 2)
        ring = middle + np.stack([wobble * np.cos(turn),
                                  wobble * np.sin(turn)], 1) * radii
        lines += [(ring, 0.002), (ring[:25], 0.005)]
    image = mix(image, [1, 0.97, 0.92], 0.6 * strokes(size, lines))
    # Glints are short bright lines: the zero line of a field, broken.
    ridge = np.abs(noise(generator, size, 0.06, 2))
    broken = ramp(noise(generator, size, 0.04, 2), 0.6, 1.2)
    cluster = ramp(noise(generator, size, 0.4, 2), 0, 2)
    strength = max(generator.uniform(-0.6, 0.8), 0)
    return mix(image, [1, 0.97, 0.95],
               strength * cluster * broken * (1 - ramp(ridge, 0, 0.15)))


def accessories(generator, image):
    """Rarely: a ruler's ticks, a smear of purple ink or a sticker."""
    size = image.shape[:2]
    x, y = coordinates(size)
    side = generator.choice([-1, 1])
    kind = generator.random()
    if kind < 0.03:
        ticks = [([(left, 0.98), (left, 0.95)], 0.004)
                 for left in np.arange(0.05, size[1] / size[0], 0.05)]
        return mix(image, [0.1, 0.1, 0.1], 0.7 * strokes(size, ticks))
    if kind < 0.07:
        smear = ramp(side * x - 0.3 * y, 0.4, 0.6)
        smear *= ramp(noise(generator, size, 0.02, 3), -0.5, 3)
        return mix(image, [0.4, 0.28, 0.6], 0.7 * smear)
    if kind < 0.09:
        disc = ramp(0.3 - np.hypot(x - side * 0.75, y + 0.4), 0, 0.01)
        return mix(image, generator.uniform(0.2, 0.9, 3), disc)
    return image


def illumination(generator, image):
    """Exposure, white balance, and light that fades from the middle."""
    x, y = coordinates(image.shape[:2])
    exposure = np.clip(generator.normal(1.02, 0.1), 0.75, 1.2)
    cast = exposure * generator.normal(1, [0.02, 0.03, 0.05])
    slope_x, slope_y = np.float32(generator.normal(0, 0.07, 2))
    fall = generator.uniform(0.2, 1.1)
    light = 1 + fall * (0.15 - x * x - y * y) + slope_x * x + slope_y * y
    return image * light[..., None] * np.float32(cast)


def field_stop(generator, size):
    """The round field of view: (H, W), 1 inside, 0 in the dark corners."""
    x, y = coordinates(size)
    centre_x, centre_y = np.float32(generator.normal(0, 0.02, 2))
    radius = generator.uniform(0.63, 0.76)
    soft = generator.uniform(0.02, 0.07)
    distance = np.hypot(x - centre_x, y - centre_y)
    return 1 - ramp(distance, radius - 1.5 * soft, radius + soft)


def camera(generator, image):
    """Slight blur and sensor noise, then 8 bits."""
    blur = generator.uniform(0.0005, 0.0022) * image.shape[0]
    image = ndimage.gaussian_filter(image, (blur, blur, 0))
    grain = generator.standard_normal(image.shape, np.float32)
    image = image + generator.uniform(0.004, 0.012) * grain
    return np.uint8(np.clip(image, 0, 1) * 255 + 0.5)


# --- One picture, many pictures ------------------------------------------

def draw(generator, diagnosis, size=(192, 256)):
    """Draw one lesion of a diagnosis (index into DIAGNOSES).

    Returns image uint8 (H, W, 3) and mask bool (H, W).
    """
    traits = TRAITS[diagnosis]
    mask = lesion_shape(generator, size, traits)
    image = skin(generator, size)
    image = lesion(generator, image, depth_inside(mask), traits)
    for cover in (gel, accessories, hair, illumination):
        image = cover(generator, image)
    if generator.random() < traits.field_stop:
        light = field_stop(generator, size)
        dark = generator.uniform(0.7, 1.3) * np.array([0.2, 0.18, 0.17])
        image = mix(image, dark, 1 - light)
        mask = annotated(mask & (light > 0.3))
    return camera(generator, image), mask


def write_pair(folder, name, diagnosis, seed, size):
    """Draw one picture and save image and mask in PH2's folder layout."""
    image, mask = draw(np.random.default_rng(seed), diagnosis, size)
    for kind, file, pixels in (("Dermoscopic_Image", name, image),
                               ("lesion", f"{name}_lesion", mask)):
        target = folder / name / f"{name}_{kind}"
        target.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(target / f"{file}.bmp")


def write_dataset(folder, count=200, size=(192, 256), seed=0):
    """Write `count` pictures, masks and a table in PH2's own layout.

    The same seed gives the same files on any number of workers.
    """
    folder = Path(folder)
    seeds = np.random.SeedSequence(seed).spawn(count)
    ends = np.round(np.cumsum(SHARES) * count)
    diagnoses = np.searchsorted(ends, np.arange(count), side="right")
    np.random.default_rng(seed).shuffle(diagnoses)
    names = [f"SYN{index + 1:03d}" for index in range(count)]
    pictures = folder / "PH2 Dataset images"
    jobs = (delayed(write_pair)(pictures, *job, size)
            for job in zip(names, diagnoses.tolist(), seeds, strict=True))
    done = Parallel(n_jobs=-1, return_as="generator")(jobs)
    for _ in tqdm(done, total=count, desc="Drawing", unit="picture"):
        pass
    write_table(folder, names, diagnoses)


def write_table(folder, names, diagnoses):
    """Write PH2_dataset.txt; what nobody diagnosed here stays empty."""
    empty = f"|| {'|'.join([' ' * 8] * 6)} || {' ' * 17} ||"
    lines = [TABLE_HEADER] + [
        f"|| {name} || {' ' * 22} || {diagnosis:18d} {empty}"
        for name, diagnosis in zip(names, diagnoses, strict=True)]
    (folder / "PH2_dataset.txt").write_text("\n".join(lines) + "\n")
