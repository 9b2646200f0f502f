"""What every synthetic image is drawn with: noise, ramps, strokes, dots.

Lengths are fractions of the picture height, colours are RGB from 0 to 1.
"""

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage


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


def blank(size, colour):
    """An image (H, W, 3) of one colour.

    In memory one channel follows the other, and so it is with what is
    computed from it; numpy is several times as fast with that.
    """
    return spread(np.ones(size, np.float32), np.float32(colour))


def spread(amount, colour):
    """Amount (H, W) times colour, (3,) or (H, W, 3): (H, W, 3)."""
    channels = [amount * channel for channel in np.moveaxis(colour, -1, 0)]
    return np.moveaxis(np.stack(channels), 0, -1)


def mix(image, colour, amount):
    """Blend a colour over the image; amount (H, W) from 0 to 1."""
    return image + (np.float32(colour) - image) * amount[..., None]


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
