"""From files to arrays: pictures, pairs of image and mask, other sizes."""

import warnings

import numpy as np
import pi_heif
from PIL import Image, ImageOps
from tqdm.auto import tqdm

from data import DataError, storage

# No others: Pillow reads some formats by starting other programs.
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
pi_heif.register_heif_opener()  # the pictures of many phones


def read_image(file, name=None):
    """One picture as uint8 (H, W, 3), RGB, upright, on white if transparent.

    file is a path or an open file, name what to call it in a sentence.
    Raises DataError if it is unreadable or larger than Pillow's limit of
    89 million pixels, which takes up to 1.5 GB to read.
    """
    return np.asarray(_open(file, _to_rgb, name))


def read_mask(path, threshold=127):
    """One mask as bool (H, W), white = True; DataError if unreadable.

    True is what is brighter than the threshold, from 0 to 255. 1-bit, grey
    and RGB files all come out alike; transparency is ignored.
    """
    grey = _open(path, lambda mask: mask.convert("L"))
    return np.asarray(grey) > threshold


def _open(file, convert, name=None):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage that it can bear
            # Between its limit and twice that, Pillow would only warn.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as picture:
                return convert(picture)
    except (Image.DecompressionBombWarning,
            Image.DecompressionBombError) as error:
        raise DataError(f"{name or file} has more than "
                        f"{Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels;"
                        " shrink it first.") from error
    # Pillow's readers report a damaged file by almost any exception.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{name or file} cannot be read as a picture "
                        f"({reason}); get it again, or save it as JPEG or "
                        "PNG.") from error


def _to_rgb(picture):
    picture = ImageOps.exif_transpose(picture)  # phones store how to turn it
    if picture.mode.startswith(("I", "F")):  # 16 or 32 bits: stretch
        values = np.nan_to_num(np.asarray(picture, np.float64))
        values = values - values.min()
        picture = Image.fromarray(
            np.uint8(255 * values / max(values.max(), 1e-300)))
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

def read_pairs(pairs, size, home, what, threshold=127):
    """Read, check and resize: uint8 (N, H, W, 3) and bool (N, H, W).

    pairs: N (image file, mask file); home: the folder of the cache; what:
    a mask shows, in sentences; threshold: see `read_mask`.
    """
    cache = storage.cache_file(home, pairs, size)
    known = storage.cached(cache)
    if known:
        return known
    images = np.empty((len(pairs), *size, 3), np.uint8)
    masks = np.empty((len(pairs), *size), bool)
    for row, files in enumerate(
            tqdm(pairs, desc="Reading images", unit="image")):
        image, mask = read_pair(*files, what, threshold)
        images[row], masks[row] = (resize_image(image, size),
                                   resize_mask(mask, size))
    storage.keep(cache, images, masks)
    return images, masks


def read_pair(image_file, mask_file, what, threshold):
    """One image and its mask as they came, if they belong together."""
    image = read_image(image_file)
    mask = read_mask(mask_file, threshold)
    if mask.shape != image.shape[:2]:
        raise DataError(f"{mask_file} is {mask.shape[::-1]} pixels, its "
                        f"image {image.shape[1::-1]}; restore both from "
                        "the archive.")
    if mask.all() or not mask.any():
        raise DataError(f"{mask_file} marks no {what} or nothing else; "
                        "restore it from the archive.")
    return image, mask


def read_table(path):
    """The text of a data set's table, which is less than a megabyte long."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(10**6)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); restore "
                        "it from the archive.") from error


def check_mates(images, masks, folder):
    """Refuse an image without a mask, and a mask without an image.

    images, masks: names, found below `folder`.
    """
    for name in sorted(set(images) ^ set(masks)):
        missing = "mask" if name in images else "image"
        raise DataError(f"the {missing} of {name} is missing below {folder};"
                        " restore it from the archive.")
