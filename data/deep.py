"""Pictures of more than 8 bits, and the pages of TIFF files.

Pillow keeps 8 bits of each colour, and takes a TIFF's first page, which may
be a small preview of the picture.
"""

import logging
import struct

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image

from data import DataError

MOST_BYTES = 250_000_000  # of a deep picture's numbers
# What is white in numbers of so many bits; 1 is so in fractions, too.
WHITES = [2**bits - 1 for bits in (1, *range(8, 17), 31, 32)]
HUGE = 1e30  # nothing in a picture is as bright
NODATA = -9999  # by custom, a pixel without a value
# What the numbers of a TIFF's page mean.
INVERTED, GREY, COLOURS, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
SENSOR = (32803, 34892)  # what a camera's sensor saw
MULTIPLIED, SEPARATE = 1, 2  # are colours multiplied by their opacity?
# What it thinks of a damaged file is not for readers.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


def eight_bits(values, alpha=None, missing=0):
    """Numbers of any kind as a Pillow picture of 8 bits.

    values: (H, W), (H, W, 3) or, of CMYK, (H, W, 4); alpha: opacity,
    (H, W), or None; missing: the number of pixels without a value.
    Numbers from 0 to a usual white, such as 1 or that of 12 bits, keep
    their meaning; of others the middle 99 % are stretched, all channels
    together. Odd ones, such as infinite ones, become black or white.
    """
    values = np.atleast_3d(values)
    low, high = _black_and_white(values, missing)
    bands = [_stretched(band, low, high) for band in np.moveaxis(values, 2, 0)]
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[len(bands)]
    if alpha is not None:
        mode += "A"
        bands.append(_stretched(alpha, 0, _white(alpha.max())))
    return Image.merge(mode, [Image.fromarray(band) for band in bands])


def _white(high):
    """The least usual white that is not below a number, else the number."""
    return next((white for white in WHITES if white >= high), high)


def _black_and_white(values, missing):
    """The numbers that become 0 and 255."""
    if values.dtype == np.uint8:
        return 0, 255
    step = 1 + int((values.size / 10**6) ** 0.5)
    some = values[::step, ::step]
    least, most = -HUGE, HUGE
    if some.dtype.kind in "iu":  # the extremes mark missing pixels
        least, most = np.iinfo(some.dtype).min, np.iinfo(some.dtype).max
    some = some[(some > least) & (some < most)
                & ~np.isin(some, (missing, NODATA))]
    if not some.size:
        return 0, _white(1 if most == HUGE else most)
    low, high = np.percentile(some.astype(float), [0.5, 99.5])
    if low == high:  # nearly all are equal
        low, high = float(some.min()), float(some.max())
    white = _white(high)
    # Neither dark for it, nor below black, nor with hardly any contrast?
    little = white / 16
    if white < 2 * high and low > -little \
            and not 0 < high - low < little:
        return 0, white
    return low, high


def _stretched(band, low, high):
    """low…high becomes 0…255; what is no number becomes 0."""
    band = np.nan_to_num(np.clip(band, low, high).astype(np.float32), nan=low)
    return np.uint8((band - np.float32(low))
                    * np.float32(255 / ((high - low) or 1)) + 0.5)


def check_size(height, width, bytes_each):
    """Raise an exception if so many numbers would take too much memory.

    Above Pillow's limit that is its DecompressionBombError, else DataError.
    """
    if height * width > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    if height * width * bytes_each > MOST_BYTES:
        raise DataError(
            f"is too large, {width}×{height} pixels of {bytes_each} bytes; "
            "save it with 8 bits for each colour, or shrink it first.")


def png(stream):
    """A PNG of 16 bits as a picture of 8 bits."""
    stream.seek(0)
    values = np.atleast_3d(imagecodecs.png_decode(stream.read()))
    if values.shape[2] in (2, 4):
        return eight_bits(values[..., :-1], values[..., -1])
    return eight_bits(values)


def ppm(stream, start, shape):
    """A PPM or PGM of 16 bits as a picture of 8 bits.

    shape: (H, W, channels) of the numbers, which begin at `start`.
    """
    stream.seek(start)
    values = np.frombuffer(stream.read(), ">u2", np.prod(shape))
    return eight_bits(values.reshape(shape))


def largest_page(stream):
    """(number, page) of the largest page in a TIFF file.

    The number is None if the page lies inside of another.
    Raises DataError if it is the data of a camera's sensor.
    """
    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        pages = list(enumerate(_each_once(file.pages)))
        if _next(file, pages[-1][1]) not in {0, *(page.offset for _, page
                                                  in pages)}:
            raise DataError("is damaged, and its largest page may be "
                            "missing; get it again.")
        inner = [(None, page) for _, outer in pages
                 for page in _each_once(outer.pages or ())]
        number, page = max(
            pages + inner,
            key=lambda one: one[1].imagewidth * one[1].imagelength)
        if page.photometric in SENSOR:
            raise DataError(
                "holds the raw data of a camera, and small previews of "
                "them; develop it by the camera's program and save it as "
                "JPEG, PNG or TIFF.")
        return number, page


def _each_once(pages):
    """Pages of a file, which may lead back to one of them for ever."""
    seen = set()
    for page in pages:
        if page.offset in seen:
            return
        seen.add(page.offset)
        yield page


def _next(file, page):
    """Where the page after this one is in a file; 0 if there is none."""
    layout, content = file.tiff, file.filehandle
    content.seek(page.offset)
    [tags] = struct.unpack(layout.tagnoformat, content.read(layout.tagnosize))
    content.seek(page.offset + layout.tagnosize + tags * layout.tagsize)
    return struct.unpack(layout.offsetformat,
                         content.read(layout.offsetsize))[0]


def is_deep(page):
    """Has a TIFF's page numbers of more than 8 bits, or signed ones?"""
    return page.photometric not in (PALETTE, YCBCR, LAB) \
        and (page.bitspersample > 8 or page.sampleformat != 1)


def tiff(page):
    """A page of a TIFF file as a picture of 8 bits.

    Raises DataError if it has other channels than grey or colours.
    """
    check_size(page.imagelength, page.imagewidth,
               page.samplesperpixel * page.dtype.itemsize)
    values = page.asarray()
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    values = np.atleast_3d(values)
    extra = page.extrasamples
    colours = values.shape[2] - len(extra)
    kinds = {INVERTED: 1, GREY: 1, COLOURS: 3, CMYK: 4, YCBCR: 3}
    if kinds.get(page.photometric) != colours \
            or len(extra) > (colours < 4) or values.dtype.kind == "c":
        raise DataError(f"has {values.shape[2]} channels of an unusual kind;"
                        " save it in grey, or in red, green and blue.")
    alpha = values[..., colours] if set(extra) & {MULTIPLIED, SEPARATE} \
        else None
    picture = eight_bits(values[..., :colours], alpha, page.nodata)
    if MULTIPLIED in extra:
        picture = Image.merge(f"{picture.mode[:-1]}a",
                              picture.split()).convert(picture.mode)
    if page.photometric == INVERTED:
        picture = Image.eval(picture, lambda grey: 255 - grey)
    orientation = page.tags.get("Orientation")
    if orientation:
        picture.getexif()[ExifTags.Base.Orientation] = orientation.value
    return picture
