"""From files to arrays: pictures, pairs of image and mask, other sizes."""

import os
import stat
import warnings
from contextlib import contextmanager

import numpy as np
import pi_heif
from PIL import ExifTags, Image, ImageChops, ImageOps
from tqdm.auto import tqdm

from data import DataError, deep, storage

# No others: Pillow reads some formats by starting other programs.
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
VERSION = storage.version(__file__)  # images are read anew after a change
pi_heif.register_heif_opener()  # the pictures of many phones


def read_image(file, name=None):
    """One picture as uint8 (H, W, 3), RGB, upright, on white if transparent.

    file is a path or an open file, name what to call it in a sentence. Of
    several pages or frames it is the largest, else the first. More than 8
    bits are stretched to 8, see `deep.eight_bits`.
    Raises DataError if it is unreadable or too large: more than Pillow's
    limit of 89 million pixels, or 250 MB of numbers with more than 8 bits;
    reading takes up to 1.5 GB.
    """
    return np.asarray(_open(file, _to_rgb, name))


def read_mask(path, threshold=0.5):
    """One mask as bool (H, W), upright, white = True.

    True is what is brighter than this share of the mask's brightest pixel.
    1-bit, grey, 16-bit and RGB files all come out alike; a colour is as
    bright as its brightest channel; transparency is ignored.
    Raises DataError if it is unreadable.
    """
    return _open(path, lambda stream: _brighter(_pillow(stream), threshold))


def _brighter(mask, threshold):
    ImageOps.exif_transpose(mask, in_place=True)
    if not mask.mode.startswith(("I", "F")):  # these are grey, and deeper
        red, green, blue = mask.convert("RGB").split()
        mask = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    values = np.asarray(mask)
    return values > threshold * values.max()


def _open(file, convert, name=None):
    """What convert(stream) makes of a path or an open file."""
    name = name or file
    try:
        with warnings.catch_warnings(), _stream(file) as stream:
            warnings.simplefilter("ignore")  # of damage that it can bear
            # Between its limit and twice that, Pillow would only warn.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return convert(stream)
    except DataError as error:
        raise DataError(f"{name} {error}") from error
    except (Image.DecompressionBombWarning,
            Image.DecompressionBombError) as error:
        raise DataError(f"{name} has more than "
                        f"{Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels;"
                        " shrink it first.") from error
    # The readers report a damaged file by almost any exception.
    except Exception as error:
        if getattr(error, "errno", None):  # it was not even opened
            raise DataError(f"{name} cannot be read "
                            f"{storage.because(error, 'get it again')}.") \
                from error
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{name} cannot be read as a picture "
                        f"({reason}); get it again, or save it as JPEG or "
                        "PNG.") from error


@contextmanager
def _stream(file):
    """A path or an open file as an open file, from its beginning."""
    if hasattr(file, "read"):
        file.seek(0)
        yield file
    else:
        # Opening anything else may wait for ever.
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise DataError("cannot be read, it is no file; name "
                            "the picture itself.")
        with open(file, "rb") as stream:
            yield stream


def _pillow(stream):
    return Image.open(stream, formats=FORMATS)


def _picture(stream):
    """The largest picture of a file, with 8 bits, by Pillow."""
    number, start = 0, stream.read(2)
    if start in (b"II", b"MM"):  # a TIFF, or what cameras make of it
        number, page = deep.largest_page(stream)
        if number is None or deep.is_deep(page):
            return deep.tiff(page)
    picture = _pillow(stream)
    if number:  # else the main one, which need not be the first
        picture.seek(number)
    shallow = _shallow(picture, stream)
    if shallow is not picture:
        shallow.getexif().update(picture.getexif())
    return shallow


def _shallow(picture, stream):
    """A Pillow picture of 8 bits; Pillow itself cuts PNG and PPM to that."""
    sides, channels = (picture.height, picture.width), len(picture.getbands())
    codec, _, start, kind = picture.tile[0] if picture.tile else [""] * 4
    if picture.format == "PNG" and ";16" in str(kind):
        deep.check_size(*sides, 2 * channels)
        return deep.png(stream)
    if codec == "ppm" and kind[1] > 255:
        deep.check_size(*sides, 2 * channels)
        return deep.ppm(stream, start, (*sides, channels))
    if picture.mode.startswith(("I", "F")):
        deep.check_size(*sides, 4)
        return deep.eight_bits(np.asarray(picture))
    return picture


def _to_rgb(stream):
    picture = _picture(stream)
    # Phones store how to turn it.
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def resize_image(image, size):
    """Shrink or enlarge an image with anti-aliasing.

    image: uint8 (H₀, W₀, 3); size: (H, W). Returns uint8 (H, W, 3).
    """
    picture = Image.fromarray(image)
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def resize_mask(mask, size):
    """Resize a mask; a pixel is set where at least half of it was covered.

    mask: bool (H₀, W₀); size: (H, W). Returns bool (H, W).
    """
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    resized = picture.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized) >= 128


# --- Pairs of image and mask ----------------------------------------------

def read_pairs(pairs, size, home, what, threshold=0.5, most_covered=1):
    """Read, check and resize: uint8 (N, H, W, 3) and bool (N, H, W).

    pairs: N (image file, mask file); home: the folder of the cache; what:
    a mask shows, in sentences; threshold: see `read_mask`; most_covered:
    the largest share of the masks that may cover all four corners.
    Raises DataError naming the first file that is wrong.
    """
    cache = storage.cache_file(home, pairs, size, threshold, VERSION)
    known = storage.cached(cache)
    if known:
        return known
    images = np.empty((len(pairs), *size, 3), np.uint8)
    masks = np.empty((len(pairs), *size), bool)
    covered = np.empty(len(pairs), bool)
    for row, files in enumerate(
            tqdm(pairs, desc="Reading images", unit="image")):
        image, mask = read_pair(*files, what, threshold)
        images[row], masks[row] = (resize_image(image, size),
                                   resize_mask(mask, size))
        covered[row] = mask[np.ix_([0, -1], [0, -1])].all()
    if covered.mean() > most_covered:
        raise DataError(f"{covered.sum()} of {len(pairs)} masks, such as "
                        f"{pairs[covered.argmax()][1]}, cover all four "
                        f"corners, so black and white are exchanged; {what}"
                        " must be white: restore them from the archive.")
    storage.keep(cache, images, masks)
    return images, masks


def read_pair(image_file, mask_file, what, threshold=0.5,
              remedy="restore both from the archive"):
    """One image and its mask, both upright, if they belong together.

    what: a mask shows, and remedy: what to do if they do not belong
    together, both for sentences; threshold: see `read_mask`. Where only one
    of them says how to turn it, the other may be upright or not. Their
    sides tell, unless they fit both ways: raises DataError.
    """
    image = read_image(image_file)
    mask = read_mask(mask_file, threshold)
    fit = mask.shape == image.shape[:2]
    less, more = sorted([_open(image_file, _turn), _open(mask_file, _turn)])
    told_by_sides = fit and less == 1 and more >= 5 \
        and mask.shape[0] != mask.shape[1]
    if less != more and not told_by_sides:
        raise DataError(f"{mask_file} and its image are to be turned in "
                        "different ways (EXIF orientation); save both "
                        "upright.")
    if not fit:
        raise DataError(f"{mask_file} is {mask.shape[::-1]} pixels, its "
                        f"image {image.shape[1::-1]}; {remedy}.")
    if mask.all() or not mask.any():
        raise DataError(f"{mask_file} marks no {what} or nothing else; "
                        f"{remedy}.")
    return image, mask


def _turn(stream):
    """How a picture is to be turned: 1, not at all; from 5 on, its width
    becomes its height. (Values that EXIF does not define are ignored.)
    """
    turn = _pillow(stream).getexif().get(ExifTags.Base.Orientation, 1)
    return turn if turn in range(1, 9) else 1


def find_tables(files, name, home):
    """Find the table of the images below `home` among files, in any case.

    The one beside them or in a folder around counts, others only if there
    is none. Returns a list, since there may be several.
    """
    tables = [path for path in files if path.name.lower() == name.lower()]
    return [path for path in tables
            if home.is_relative_to(path.parent)] or tables


def read_table(path):
    """The text of a data set's table, which is less than a megabyte long.

    Raises DataError if it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(10**6)
    except OSError as error:
        reason = storage.because(error, "restore it from the archive")
        raise DataError(f"{path} cannot be read {reason}.") from error
    # In UTF-16, as Windows may save it, a zero lies beside each letter.
    return content.replace(b"\0", b"").decode(errors="replace")


def check_mates(images, masks, folder):
    """Refuse an image without a mask, and a mask without an image.

    images, masks: names, found below `folder`.
    """
    for name in sorted(set(images) ^ set(masks)):
        missing = "mask" if name in images else "image"
        raise DataError(f"the {missing} of {name} is missing below {folder};"
                        " restore it from the archive.")
