"""What is the same for every data set: choose a source, keep, read, cache."""

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import pooch
from tqdm.auto import tqdm

from data import DataError, read_image, read_mask, resize_image, resize_mask
from data.archive import beside, ensure, unpack

NAME = "segmentation-lesson"  # of folders elsewhere than in data/
SOURCES = ("auto", "download", "sample")


def load(title, size, source, root, real, sample):
    """Return what `real` or `sample` gives, as the source demands.

    title   of the data set, in sentences
    size    (H, W) in pixels, checked here
    source  "auto", "download", "sample", or None: see `ph2.load`
    root    the folder data/
    real    gives the Samples of the data set itself, or a DataError
    sample  gives the Samples of the procedural sample
    """
    source = source or os.environ.get("SEGMENTATION_SOURCE") or "auto"
    if source not in SOURCES:
        raise DataError(f"the source {source!r} is not known; use one of "
                        f"{', '.join(SOURCES)}.")
    if not (isinstance(size, tuple) and len(size) == 2 and all(
            isinstance(side, int) and 1 <= side <= 2048 for side in size)):
        raise DataError(f"the size {size} is not (height, width) in pixels, "
                        "two whole numbers from 1 to 2048.")
    folder = writable_folder(root)
    if folder != root:
        print(f"{root} cannot be written to, so what the lesson makes is "
              f"kept in {folder}.")
    if source == "sample":
        return sample()
    try:
        return real()
    except DataError as error:
        if source == "download":
            raise
        print(f"Using the procedural sample instead of {title}: {error}")
        return sample()


def writable_folder(root):
    """root, or the user's cache, or a temporary folder: the first that
    can be written to. Raises DataError if none can."""
    temporary = Path(tempfile.gettempdir()) / NAME
    for folder in (root, pooch.os_cache(NAME), temporary):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    raise DataError(f"neither {root} nor {temporary} can be written to; "
                    "make room, or copy the lesson elsewhere.")


def named_folder(variable):
    """The folder that an environment variable names, None if it is unset.

    Raises DataError if there is no such folder.
    """
    named = os.environ.get(variable)
    if not named:
        return None
    if not Path(named).is_dir():
        raise DataError(f"{variable} names {named}, which is not a folder; "
                        "correct it or unset it.")
    return Path(named)


def unpack_first(archives, target):
    """Unpack the first of these archives that is there to `target`.

    Returns whether there was one; raises DataError if it is bad.
    """
    for archive in archives:
        if archive.is_file():
            unpack(archive, target)
            return True
    return False


def sample_folder(home, name, programs, write):
    """Return the folder of a procedural sample; write(folder) if need be.

    Its name changes with the programs that draw it, so that an older
    sample is never taken for the present one.
    """
    source = b"".join(Path(program.__file__).read_bytes()
                      for program in programs)
    version = hashlib.sha256(source).hexdigest()[:8]
    return ensure(home / "procedural" / f"{name}-{version}", write)


def write_whole(target, write):
    """Let write(folder) make the new folder `target`, or nothing at all."""
    with beside(target) as temporary:
        write(temporary / "sample")
        (temporary / "sample").rename(target)


def read_table(path):
    """The text of a data set's table, which is less than a megabyte long."""
    try:
        with open(path, errors="replace") as file:
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


def read_cached(pairs, size, folder, read):
    """Return read(pairs, size), or what is kept from the last time.

    The name of the cache depends on every file's path, length and date and
    on the size, so it never hides a change. Returns images, masks.
    """
    cache = folder / f"{fingerprint(pairs, size)}.npz"
    try:
        with np.load(cache) as stored:
            return stored["images"], stored["masks"]
    except Exception:  # no cache, or a damaged one: read the files
        images, masks = read(pairs, size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            part = Path(temporary) / cache.name
            np.savez(part, images=images, masks=masks)
            part.replace(cache)
    except OSError:  # a full disk only makes the next start slower
        pass
    return images, masks


def fingerprint(pairs, size):
    """A short text that changes when the files or the size change."""
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns)
              for pair in pairs for path in pair]
    return hashlib.sha256(repr((tuple(size), states)).encode()).hexdigest()


def read_pairs(pairs, size, what="lesion", threshold=127):
    """Read, check and resize: uint8 (N, H, W, 3) and bool (N, H, W).

    pairs: N (image file, mask file); what: a mask shows, in sentences;
    threshold: see `data.read_mask`.
    """
    images = np.empty((len(pairs), *size, 3), np.uint8)
    masks = np.empty((len(pairs), *size), bool)
    for row, (image_file, mask_file) in enumerate(
            tqdm(pairs, desc="Reading images", unit="image")):
        image = read_image(image_file)
        mask = read_mask(mask_file, threshold)
        if mask.shape != image.shape[:2]:
            raise DataError(f"{mask_file} is {mask.shape[::-1]} pixels, its "
                            f"image {image.shape[1::-1]}; restore both from "
                            "the archive.")
        if mask.all() or not mask.any():
            raise DataError(f"{mask_file} marks no {what} or nothing else; "
                            "restore it from the archive.")
        images[row] = resize_image(image, size)
        masks[row] = resize_mask(mask, size)
    return images, masks
