"""Images and masks for the lesson: what every data set here looks like.

`data.ph2.load()` and `data.mads.load()` return `Samples`; the notebooks
need nothing else.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pi_heif
from PIL import Image, ImageOps
from sklearn.model_selection import StratifiedKFold, train_test_split

ROOT = Path(__file__).resolve().parent
# No others: Pillow reads some formats by starting other programs.
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
pi_heif.register_heif_opener()  # the pictures of many phones


class DataError(Exception):
    """Says in one sentence what is wrong with the data and what to do."""


@dataclass(frozen=True)
class Samples:
    """N images with their masks, resized to one common size.

    images      uint8 (N, H, W, 3), RGB
    masks       bool (N, H, W), True = lesion (or person)
    names       list of N names, sorted
    groups      (N,) what a split must respect: PH²'s diagnoses, MADS's
                sequences
    source      "PH2", "MADS" or "procedural sample"
    mask_files  list of N paths, the masks as they came
    threshold   what is brighter in these files is True, see `read_mask`
    """

    images: np.ndarray
    masks: np.ndarray
    names: list
    groups: np.ndarray
    source: str
    mask_files: list
    threshold: int = 127

    def __len__(self):
        return len(self.names)

    def native_mask(self, row):
        """The untouched mask of one row: bool (H₀, W₀), in its own size.

        A result is scored against this mask, not against the resized one.
        Raises DataError if the file is gone or unreadable.
        """
        return read_mask(self.mask_files[row], self.threshold)


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


def stratified_split(groups, seed, valid=0.1, test=0.2, fold=None):
    """Split rows so that every part has the same share of each group.

    groups: (N,) labels; valid, test: fractions of N, the rest is train;
    fold: for cross-validation, a number from 0 that chooses one of
    round(1 / test) test sets, which together hold every row once.
    Returns three sorted, disjoint arrays of row numbers: train, valid,
    test. The same seed gives the same rows on every machine.
    Raises DataError if a group is too small to be in all three parts.
    """
    groups = np.asarray(groups)
    n_valid, n_test = round(valid * len(groups)), round(test * len(groups))
    rows = np.arange(len(groups))
    try:
        if fold is None:
            rest, test_rows = train_test_split(
                rows, test_size=n_test, stratify=groups, random_state=seed)
        else:
            folds = StratifiedKFold(round(1 / test), shuffle=True,
                                    random_state=seed)
            rest, test_rows = list(folds.split(rows, groups))[fold]
        train_rows, valid_rows = train_test_split(
            rest, test_size=n_valid, stratify=groups[rest],
            random_state=seed)
    except ValueError as error:
        raise DataError(f"{len(groups)} rows cannot be split by group into "
                        f"train, valid and test ({error}); use more images "
                        "of each group.") from error
    return np.sort(train_rows), np.sort(valid_rows), np.sort(test_rows)


def group_split(groups, kinds, seed, valid=0.2, test=0.2):
    """Split rows so that no group is torn, and all parts have each kind.

    groups: (N,) labels of rows that belong together, such as the pictures
    of one sequence; kinds: (N,) labels, the same for all rows of a group;
    valid, test: fractions of the number of groups, the rest is train.
    Returns three sorted, disjoint arrays of row numbers: train, valid,
    test. The same seed gives the same rows on every machine.
    Raises DataError if there are too few groups of a kind.
    """
    # Not StratifiedGroupKFold: its rows differ between scikit-learn 1.6
    # and 1.9. Not GroupShuffleSplit: its parts may lack a kind.
    labels, first = np.unique(groups, return_index=True)
    try:
        parts = stratified_split(np.asarray(kinds)[first], seed, valid, test)
    except DataError as error:
        raise DataError(f"{len(labels)} groups of {len(np.unique(kinds))} "
                        "kinds are too few to have one of each kind in "
                        "train, valid and test; use more groups of each "
                        "kind, or larger parts.") from error
    return tuple(np.flatnonzero(np.isin(groups, labels[part]))
                 for part in parts)
