"""The PH² data set: 200 dermoscopy images with hand-drawn lesion masks.

`load()` finds, downloads, checks and reads it, or falls back to the
procedural sample. Sources, licence and layout: `data/README.md`.
"""

import hashlib
import os
import re
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pooch
from tqdm.auto import tqdm

from data import (
    ROOT,
    DataError,
    Samples,
    read_image,
    read_mask,
    resize_image,
    resize_mask,
)
from data.archive import Mirror, beside, ensure, fetch, unpack
from data.synthetic import dermoscopy

OFFICIAL_PAGE = "https://www.fc.up.pt/addi/ph2%20database.html"
MIRRORS = (
    Mirror("https://www.dropbox.com/s/k88qukc20ljnbuo/PH2Dataset.rar?dl=1",
           "PH2Dataset.rar", None),
    Mirror("https://zenodo.org/records/17498821/files/PH2.zip?download=1",
           "PH2.zip", "md5:a37f6a83c777ca861f055fdf49757991"),
)
ARCHIVE_NAMES = ("PH2Dataset.rar", "PH2Dataset.zip", "PH2.rar", "PH2.zip")
# The index is the code in PH²'s table.
DIAGNOSES = np.array(dermoscopy.DIAGNOSES)
EXPECTED = {"common nevus": 80, "atypical nevus": 80, "melanoma": 40}
NAME = "segmentation-lesson"  # of folders elsewhere than in data/
SOURCES = ("auto", "download", "sample")
# IMD002.bmp and IMD002_lesion.bmp, but not IMD002_R1_Label4.bmp.
FILE_NAME = re.compile(
    r"(?P<name>[A-Z]{3}\d{3})(?P<lesion>_lesion)?\.(bmp|png|jpe?g|tiff?)",
    re.IGNORECASE | re.ASCII)


def load(size=(96, 128), source=None):
    """Return the 200 images of PH², or of the procedural sample.

    size    (H, W) in pixels of the images and masks returned
    source  "auto": PH² from disk or from the network, else the sample;
            "download": PH², or DataError with the reason;
            "sample": the procedural sample, never the network.
            None takes the environment variable SEGMENTATION_SOURCE, and
            "auto" if that is not set.
    """
    source = source or os.environ.get("SEGMENTATION_SOURCE") or "auto"
    if source not in SOURCES:
        raise DataError(f"the source {source!r} is not known; use one of "
                        f"{', '.join(SOURCES)}.")
    if not (isinstance(size, tuple) and len(size) == 2 and all(
            isinstance(side, int) and 1 <= side <= 2048 for side in size)):
        raise DataError(f"the size {size} is not (height, width) in pixels, "
                        "two whole numbers from 1 to 2048.")
    folder = writable_folder()
    if folder != ROOT:
        print(f"{ROOT} cannot be written to, so what the lesson makes is "
              f"kept in {folder}.")
    if source == "sample":
        return load_sample(size)
    try:
        return read(find(), size, "PH2")
    except DataError as error:
        if source == "download":
            raise
        print(f"Using the procedural sample instead of PH²: {error}")
        return load_sample(size)


def load_sample(size):
    """Return the built-in procedural images, drawn at the first call."""
    return read(draw_sample(), size, "procedural sample")


def find():
    """Return the folder of PH², which is unpacked or downloaded if need be.

    In this order: the folder named by SEGMENTATION_DATA, data/PH2Dataset/,
    an archive that somebody put into data/, the network.
    """
    named = os.environ.get("SEGMENTATION_DATA")
    if named:
        if not Path(named).is_dir():
            raise DataError(f"SEGMENTATION_DATA names {named}, which is not "
                            "a folder; correct it or unset it.")
        return Path(named)
    home = ROOT if (ROOT / "PH2Dataset").is_dir() else writable_folder()
    return ensure(home / "PH2Dataset", unpack_or_fetch)


def unpack_or_fetch(target):
    """Make the folder of PH² from a local archive, else from a mirror."""
    for name in ARCHIVE_NAMES:
        if (ROOT / name).is_file():
            unpack(ROOT / name, target)
            return
    try:
        fetch(MIRRORS, target)
    except DataError as error:
        raise DataError(f"PH² could not be downloaded ({error}) To fetch it "
                        f"by hand: {OFFICIAL_PAGE}, and put PH2Dataset.rar "
                        f"into {ROOT}.") from error


def draw_sample():
    """Return the folder of the procedural sample, drawn if need be."""
    # The name changes with the program that draws, so that an older
    # sample is never taken for the present one.
    program = Path(dermoscopy.__file__).read_bytes()
    version = hashlib.sha256(program).hexdigest()[:8]
    target = writable_folder() / "procedural" / f"dermoscopy-{version}"
    return ensure(target, write_sample)


def write_sample(target):
    """Draw the procedural sample into the new folder `target`."""
    with beside(target) as temporary:
        dermoscopy.write_dataset(temporary / "sample")
        (temporary / "sample").rename(target)


def writable_folder():
    """data/, or the user's cache, or a temporary folder: the first that
    can be written to. Raises DataError if none can."""
    temporary = Path(tempfile.gettempdir()) / NAME
    for folder in (ROOT, pooch.os_cache(NAME), temporary):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    raise DataError(f"neither {ROOT} nor {temporary} can be written to; "
                    "make room, or copy the lesson elsewhere.")


def read(folder, size, source):
    """Read all pairs below a folder that has PH²'s layout, and check them.

    Raises DataError naming the first file that is missing or wrong.
    """
    pairs = find_pairs(folder)
    groups = DIAGNOSES[read_diagnoses(folder, pairs)]
    check_whole(groups, folder)
    mask_files = [lesion for _, lesion in pairs.values()]
    images, masks = read_cached(list(pairs.values()), size)
    return Samples(images, masks, list(pairs), groups, source, mask_files)


def find_pairs(folder):
    """Find {name: (image file, mask file)} anywhere below a folder, sorted.

    Raises DataError if there is none, or an image or a mask has no mate.
    """
    files = {"image": {}, "mask": {}}
    for path in sorted(folder.rglob("*")):
        match = FILE_NAME.fullmatch(path.name)
        if match and path.is_file():
            kind = "mask" if match["lesion"] else "image"
            name = match["name"].upper()
            if name in files[kind]:
                raise DataError(f"{path} and {files[kind][name]} are two "
                                f"files of one {kind}; keep one of them.")
            files[kind][name] = path
    images, lesions = files["image"], files["mask"]
    if not lesions:
        raise DataError(
            f"no pair like IMD002.bmp and IMD002_lesion.bmp was found below "
            f"{folder}, so its layout is not understood; put an unchanged "
            "copy of PH² there, or remove the folder.")
    for name in sorted(images.keys() ^ lesions.keys()):
        missing = "mask" if name in images else "image"
        raise DataError(f"the {missing} of {name} is missing below {folder};"
                        " restore it from the archive.")
    return {name: (images[name], lesions[name]) for name in sorted(images)}


def read_diagnoses(folder, names):
    """Return the diagnosis codes 0, 1, 2 of `names` from PH2_dataset.txt."""
    tables = [path for path in sorted(folder.rglob("PH2_dataset.txt"))
              if path.is_file()]
    if not tables:
        raise DataError(f"PH2_dataset.txt is missing below {folder}; restore"
                        " it from the archive.")
    codes = {}
    for line in read_table(tables[0]).splitlines():
        # "|| IMD003 ||  || 0 || …": a name, its histology, its diagnosis
        cells = [cell.strip() for cell in line.split("||")]
        if len(cells) > 3 and cells[3] in {"0", "1", "2"}:
            name, code = cells[1].upper(), int(cells[3])
            if codes.setdefault(name, code) != code:
                raise DataError(f"{tables[0]} gives two diagnoses of "
                                f"{name[:40]}; restore it from the archive.")
    for name in names:
        if name not in codes:
            raise DataError(f"{tables[0]} has no diagnosis of {name}; "
                            "restore it from the archive.")
    return [codes[name] for name in names]


def read_table(path):
    """The text of PH²'s table, which is less than a megabyte long."""
    try:
        with open(path, errors="replace") as file:
            return file.read(10**6)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); restore "
                        "it from the archive.") from error


def check_whole(groups, folder):
    """Refuse a set that is not the whole PH²: 80, 80 and 40 images."""
    counts = Counter(groups.tolist())
    if counts != EXPECTED:
        found = ", ".join(f"{counts[name]} {name}" for name in EXPECTED)
        raise DataError(f"{folder} holds {len(groups)} images ({found}) "
                        "instead of 200 (80, 80, 40); restore the missing "
                        "ones from the archive.")


def read_cached(pairs, size):
    """Read and resize all pairs, or take the result of the last time.

    The name of the cache depends on every file's path, length and date and
    on the size, so it never hides a change. Returns images, masks.
    """
    folder = writable_folder() / "cache"
    cache = folder / f"{fingerprint(pairs, size)}.npz"
    try:
        with np.load(cache) as stored:
            return stored["images"], stored["masks"]
    except Exception:  # no cache, or a damaged one: read the files
        images, masks = read_pairs(pairs, size)
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


def read_pairs(pairs, size):
    """Read, check and resize: uint8 (N, H, W, 3) and bool (N, H, W)."""
    images = np.empty((len(pairs), *size, 3), np.uint8)
    masks = np.empty((len(pairs), *size), bool)
    for row, (image_file, mask_file) in enumerate(
            tqdm(pairs, desc="Reading images", unit="image")):
        image, mask = read_image(image_file), read_mask(mask_file)
        if mask.shape != image.shape[:2]:
            raise DataError(f"{mask_file} is {mask.shape[::-1]} pixels, its "
                            f"image {image.shape[1::-1]}; restore both from "
                            "the archive.")
        if mask.all() or not mask.any():
            raise DataError(f"{mask_file} marks no lesion or nothing else; "
                            "restore it from the archive.")
        images[row] = resize_image(image, size)
        masks[row] = resize_mask(mask, size)
    return images, masks
