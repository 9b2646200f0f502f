"""What lies between skin and camera in a dermoscopy image.

Gel, hair, rulers, ink, stickers, clothes, the light, the lens and the
sensor. The functions that take an image (H, W, 3) return it changed;
those that take a size return how opaque something is, (H, W) from 0 to
1, and its colour, for `mix`.

Lengths are fractions of the picture height, colours are RGB from 0 to 1.
"""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from data.synthetic.canvas import (
    coordinates,
    mix,
    noise,
    ramp,
    spread,
    strokes,
)

VIOLET = np.array([0.35, 0.28, 0.62])  # surgical ink

# --- Gel and hair ---------------------------------------------------------

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


def rim(generator, image):
    """The rim of a glass plate or of the gel: a bright and a dark line.

    Beyond it the skin is dry, and lighter or darker.
    """
    size = image.shape[:2]
    x, y = coordinates(size)
    x, y = x - generator.normal(0, 0.1), y - generator.normal(0, 0.06)
    ragged = generator.exponential(0.02) * noise(generator, size, 0.3, 3)
    beyond = np.hypot(x / generator.uniform(1, 1.3), y) + ragged \
        - generator.uniform(0.38, 0.62)
    dry = generator.uniform(0.8, 1.15, 3) * generator.uniform(0.8, 1.1)
    image = image * (1 + ramp(beyond, 0, 0.02)[..., None]
                     * np.float32(dry - 1))
    for tone in generator.uniform([0.7, 0], [1, 0.6]):
        line = np.abs(beyond + generator.normal(0, 0.015))
        line = 1 - ramp(line, 0, generator.uniform(0.006, 0.02))
        broken = ramp(noise(generator, size, 0.2, 3), -1.5, 0.5)
        image = mix(image, [tone] * 3,
                    generator.uniform(0.1, 0.8) * line * broken)
    return image


def strand(generator, start, angle, curl, width):
    """One hair as lines for `strokes`, thinner towards its tip."""
    turns = generator.normal(0, 0.1, 16) + generator.normal(0, curl) / 16
    angles = angle + np.cumsum(turns)
    step = generator.uniform(0.2, 1.2) / 16
    steps = step * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    curve = start + np.cumsum(steps, axis=0)
    return [(curve[index:index + 2], width * (1 - 0.04 * index))
            for index in range(len(curve) - 1)]


def hair(generator, image, coarse=False, dense=False):
    """Hair: from none to a coat, straight or curly, black, brown or grey.

    coarse: always about 15 hairs, thick and opaque, to be seen when small;
    dense: always about 100 hairs across everything.
    """
    size = image.shape[:2]
    count = generator.poisson(generator.choice([0.5, 5, 20, 50],
                                               p=[0.4, 0.3, 0.2, 0.1]))
    width = np.exp(generator.uniform(np.log(0.002), np.log(0.012)))
    if coarse:
        count, width = generator.poisson(15), generator.uniform(0.015, 0.025)
    if dense:
        count = generator.poisson(100)
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


# --- What people put there -----------------------------------------------

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


def scale_bar(generator, image):
    """A thin scale that lies in the picture, at any angle."""
    length = generator.uniform(0.3, 0.7)
    angle = generator.normal(0, 0.4)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = along[::-1] * [1, -1] * generator.uniform(0.01, 0.025)
    places = np.linspace(0, length, generator.integers(8, 22))[:, None]
    starts = generator.uniform([0.1, 0.6], [0.7, 0.95]) + places * along
    longer = np.resize([1.6, 1, 1, 1, 1], len(starts))
    width = generator.uniform(0.002, 0.006)
    lines = [([start, start + longer * across], width)
             for start, longer in zip(starts, longer, strict=True)]
    cover = strokes(image.shape[:2], [*lines, (starts[[0, -1]], width)])
    return mix(image, [generator.uniform(0, 0.4)] * 3,
               generator.uniform(0.4, 0.9) * cover)


def ink(generator, image):
    """A surgeon's purple marks away from the middle: strokes, a smear."""
    size = image.shape[:2]
    x, y = coordinates(size)
    side = generator.choice([-1, 1])
    smear = ramp(side * x - 0.3 * y, 0.4, 0.6)
    smear *= ramp(noise(generator, size, 0.02, 3), -0.5, 3)
    starts = generator.uniform(0, 1, (3, 1, 2)) * [size[1] / size[0], 1]
    paths = starts + np.cumsum(generator.normal(0, 0.05, (3, 6, 2)), axis=1)
    lines = strokes(size, [(path, 0.02) for path in paths])
    lines *= ramp(noise(generator, size, 0.02, 3), -2, 0.5)
    lines *= ramp(np.hypot(x, y), 0.4, 0.5)
    colour = generator.uniform(0.6, 1.4) * VIOLET
    return mix(image, colour,
               generator.uniform(0.4, 0.8) * np.maximum(smear, lines))


def pen(generator, image, cover):
    """What a surgeon's pen covers, (H, W), pale where it was wiped."""
    wiped = ramp(noise(generator, cover.shape, 0.05, 4), -2, 0.5)
    colour = generator.uniform(0.3, 1.4) * VIOLET
    return mix(image, colour, generator.uniform(0.3, 1) * cover * wiped)


def ink_ring(generator, image, depth):
    """A ring of ink around the lesion, drawn through or dotted."""
    size = depth.shape
    away = generator.uniform(0.04, 0.2)
    wander = generator.uniform(0, 0.02) * noise(generator, size, 0.3, 2)
    width = generator.uniform(0.006, 0.02)
    ring = 1 - ramp(np.abs(depth + away + wander), 0.5 * width, width)
    if generator.random() < 0.5:
        ring = ring * ramp(noise(generator, size, 0.06, 2), -0.3, 0.5)
    return pen(generator, image, ring)


def ink_spots(generator, image, depth):
    """Some spots or stars of ink, scribbled around the lesion."""
    rows, columns = np.nonzero((depth < -0.05) & (depth > -0.3))
    if not rows.size:
        return image
    lines = []
    for place in generator.integers(rows.size, size=generator.integers(1, 6)):
        middle = np.array([columns[place], rows[place]]) / depth.shape[0]
        reach = generator.uniform(0.01, 0.07, 2)
        ends = middle + generator.normal(0, reach, (generator.integers(
            4, 60), 2, 2))
        lines += [(pair, generator.uniform(0.004, 0.012)) for pair in ends]
    return pen(generator, image, strokes(depth.shape, lines))


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


def discs(generator, size):
    """Large round stickers of paper, cut by the edge of the picture.

    Returns as `sticker`; the colour is (H, W, 3).
    """
    x, y = coordinates(size)
    opaque = np.zeros(size, np.float32)
    colour = np.zeros((*size, 3), np.float32)
    for _ in range(generator.choice([1, 2, 3], p=[0.7, 0.2, 0.1])):
        angle, radius = generator.uniform([0, 0.2], [2 * np.pi, 0.45])
        away = generator.uniform(0.45, 0.6) + 0.6 * radius
        distance = np.hypot(x - 1.3 * away * np.cos(angle),
                            y - away * np.sin(angle))
        paper = vivid(generator) * (1 + 0.05 * noise(generator, size,
                                                     0.015))[..., None]
        if generator.random() < 0.3:
            paper = mix(paper, vivid(generator), ramp(
                -distance, -generator.uniform(0.3, 0.9) * radius, 0))
        disc = ramp(radius - distance, 0, 0.01)
        colour = mix(colour, 0, disc) + paper * disc[..., None]
        opaque = np.maximum(opaque, disc)
    return opaque, colour


def vivid(generator):
    """A random colour, mostly one that skin does not have: (3,)."""
    hue = generator.uniform(0, 2 * np.pi) + np.array([0, 2.1, 4.2])
    strength = generator.uniform(0.2, 0.9)
    return np.float32(generator.uniform(0.3, 1)
                      * (1 - strength * (0.5 - 0.5 * np.cos(hue))))


def cloth(generator, size):
    """Clothes, a glove, a bandage, or what is behind a finger.

    On one side, or on two as beside a finger; returns as `discs`.
    """
    x, y = coordinates(size)
    angle = generator.choice([0, np.pi, generator.uniform(0, 2 * np.pi)])
    across = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    if generator.random() < 0.3:
        across = np.abs(across)
    bend = generator.uniform(0, 0.04) * noise(generator, size, 0.5, 3)
    beyond = across + bend - generator.uniform(0.25, 0.5)
    tone = generator.choice([0, 1], p=[0.6, 0.4])
    colour = vivid(generator) if tone else generator.uniform(
        0.03, 1) * generator.uniform(0.85, 1, 3)
    folds = 0.15 * noise(generator, size, 0.3, 4) \
        + generator.uniform(0, 0.2) * noise(generator, size, 0.012)
    return ramp(beyond, 0, generator.uniform(0.01, 0.04)), \
        np.float32(colour) * (1 + folds)[..., None]


# --- Light and lens --------------------------------------------------------

def illumination(generator, image):
    """Exposure, white balance, and light that fades from the middle."""
    x, y = coordinates(image.shape[:2])
    exposure = np.clip(generator.normal(0.96, 0.1), 0.7, 1.15)
    tint = exposure * generator.normal(1, [0.02, 0.03, 0.05])
    slope_x, slope_y = np.float32(generator.normal(0, 0.07, 2))
    # The edge of the field is often not only darker but also yellower.
    fall = generator.uniform(0, 1) * generator.normal(
        [0.8, 1, 1.15], [0.05, 0.1, 0.2])
    distance = (x * x + y * y) ** generator.uniform(1, 2.5)
    bowl = spread(0.15 - distance, np.float32(fall))
    light = 1 + bowl + (slope_x * x + slope_y * y)[..., None]
    return image * light * np.float32(tint)


def uneven_light(generator, image):
    """Light that fades much to one side or to the borders."""
    x, y = coordinates(image.shape[:2])
    angle = generator.uniform(0, 2 * np.pi)
    side = generator.uniform(0, 0.9) * (x * np.float32(np.cos(angle))
                                         + y * np.float32(np.sin(angle)))
    borders = generator.uniform(0, 1.8) \
        * (x * x + y * y) ** generator.uniform(0.7, 2)
    fade = np.float32(generator.normal(1, [0.1, 0.1, 0.2]))
    return image * np.exp(spread(-(side + borders), fade))


def cast(generator, image):
    """A strong cast, and another contrast than usual."""
    gain = np.exp(generator.normal(0, [0.05, 0.07, 0.1]))
    gamma = np.exp(generator.normal(0, 0.2))
    return np.float32(gain) * np.maximum(image, 0) ** np.float32(gamma)


def specular(generator, image):
    """Spots of the lamp at the margins, white and blown out."""
    size = image.shape[:2]
    x, y = coordinates(size)
    half = 0.5 * size[1] / size[0]
    glare = np.zeros(size, np.float32)
    for side in generator.choice([-1, 1], generator.integers(1, 3)):
        height, spread = generator.uniform([-0.3, 0.03], [0.3, 0.12])
        for middle in height + generator.uniform(
                -0.12, 0.12, generator.integers(1, 4)):
            distance = np.hypot(x - side * half * generator.uniform(
                0.85, 1.1), y - middle)
            glare += 1.5 * np.exp(-(distance / np.float32(spread)) ** 2)
    rough = 1 + 0.5 * noise(generator, size, 0.02, 2)
    return image + (glare * np.maximum(rough, 0.3))[..., None]


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


def grainy(generator, image):
    """The sharp noise of a sensor in little light."""
    grain = generator.standard_normal(image.shape, np.float32)
    grey = generator.standard_normal((*image.shape[:2], 1), np.float32)
    return image + generator.uniform(0.01, 0.04) * (0.5 * grain + grey)


def jpeg(generator, image):
    """The blocks of strong compression, uint8 (H, W, 3)."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG",
                                quality=int(generator.integers(15, 80)))
    return np.asarray(Image.open(file))


def squeezed(generator, size):
    """The size (H, W) of a picture before it is squeezed, or stretched."""
    return size[0], round(size[1] * generator.uniform(0.75, 1.3))
