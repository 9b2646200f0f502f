"""Pictures of more than 8 bits, and the pages of TIFF files.

Pillow keeps 8 bits of each colour, and takes a TIFF's first page, which may
be a small preview of the picture.
"""

import logging

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image

from data import DataError

MOST_BYTES = 250_000_000  # of a deep picture's numbers
PLAIN = (0, 1, 2, 3, 5, 6, 8)  # photometric kinds; others are raw data
INVERTED, *COLOURS = 0, 1, 2  # white is 0; black is 0; red, green, blue
ALPHA = (1, 2)  # kinds of extra samples that are opacity
# What it thinks of a damaged file is not for readers.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


def eight_bits(values, alpha=None):
    """Numbers of any kind as a Pillow picture of 8 bits.

    values: (H, W) or (H, W, 3); alpha: opacity, (H, W), or None. The middle
    99 % of all numbers, colours together, are stretched to 0…255, so that
    a few odd ones, infinite or missing, do no harm. Where 16 bits are used
    in most of their range, they keep their meaning.
    """
    some = values.reshape(-1)[::max(1, values.size // 10**6)]
    some = some[np.isfinite(some)]
    low, high = np.percentile(some, [0.5, 99.5]) if some.size else (0, 1)
    if values.dtype == np.uint16 and high - low > 2**15:
        low, high = 0, 2**16 - 1
    if low == high and some.size:  # nearly all are equal
        low, high = float(some.min()), float(some.max())
    bands = [_stretched(band, low, high)
             for band in np.atleast_3d(values).transpose(2, 0, 1)]
    if alpha is not None:
        whole = np.iinfo(alpha.dtype).max if alpha.dtype.kind in "ui" else 1
        bands += [_stretched(alpha, 0, whole)]
    return Image.merge({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[len(bands)],
                       [Image.fromarray(band) for band in bands])


def _stretched(band, low, high):
    """low…high becomes 0…255; what is no number becomes 0."""
    band = np.nan_to_num(np.clip(band, low, high).astype(np.float32), nan=low)
    return np.uint8((band - np.float32(low))
                    * np.float32(255 / ((high - low) or 1)) + 0.5)


def check_size(height, width, bytes_each):
    """Raise DataError if so many deep numbers would take too much memory."""
    if height * width * bytes_each > MOST_BYTES:
        raise DataError(
            f"is too large for a picture of more than 8 bits, {width}×"
            f"{height} pixels; save it with 8 bits, or shrink it first.")


def png(stream):
    """A PNG of 16 bits as a picture of 8 bits."""
    stream.seek(0)
    values = imagecodecs.png_decode(stream.read())
    values = np.atleast_3d(values)
    if values.shape[2] in (2, 4):
        return eight_bits(values[..., :-1], values[..., -1])
    return eight_bits(values)


def largest_page(stream):
    """(number, page) of the largest page in a TIFF file.

    Raises DataError if it is the data of a camera's sensor, or of a kind
    that only special programs understand.
    """
    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        pages = [(number, page) for number, page in enumerate(file.pages)]
        inner = [(None, page) for _, outer in pages
                 for page in outer.pages or ()]
        number, page = max(
            pages + inner,
            key=lambda one: one[1].imagewidth * one[1].imagelength)
        if number is None or page.photometric not in PLAIN:
            raise DataError(
                "holds the raw data of a camera, and small previews of "
                "them; develop it by the camera's program and save it as "
                "JPEG, PNG or TIFF.")
        return number, page


def is_deep(page):
    """Has a TIFF's page grey or colours of more than 8 bits, or signed?"""
    return page.photometric in (INVERTED, *COLOURS) \
        and (page.bitspersample > 8 or page.sampleformat != 1)


def tiff(page):
    """A deep page of a TIFF file as a picture of 8 bits.

    Raises DataError if it has other channels than grey or colours.
    """
    check_size(page.imagelength, page.imagewidth,
               page.samplesperpixel * page.dtype.itemsize)
    values = page.asarray()
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    values = np.atleast_3d(values)
    colours = values.shape[2] - len(page.extrasamples)
    if colours not in (1, 3) or len(page.extrasamples) > 1:
        raise DataError(f"has {values.shape[-1]} channels; save it in grey, "
                        "or in red, green and blue.")
    alpha = values[..., colours] if set(page.extrasamples) & set(ALPHA) \
        else None
    picture = eight_bits(values[..., :colours], alpha)
    if page.photometric == INVERTED:
        picture = Image.eval(picture, lambda grey: 255 - grey)
    orientation = page.tags.get("Orientation")
    if orientation:
        picture.getexif()[ExifTags.Base.Orientation] = orientation.value
    return picture
