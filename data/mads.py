"""The MADS data set: 1,192 pictures of people in motion with their masks.

`load()` finds, downloads, checks and reads it, or falls back to synthetic
people. Sources, licence and layout: `data/README.md`.
"""

import logging
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import requests

from data import DataError, Samples, archive, storage
from data.pictures import check_mates, find_tables, read_pairs, read_table
from data.splits import group_split

HANDLE = "tapakah68/segmentation-full-body-mads-dataset"
PAGE = f"https://www.kaggle.com/datasets/{HANDLE}"
KAGGLE = "https://api.kaggle.com"
HOME = "segmentation_full_body_mads_dataset_1192_img"
FOLDER_NAMES = ("MADS", HOME)
# What Kaggle's page, Kaggle's command and people call it.
ARCHIVES = re.compile(
    rf"(archive|segmentation-full-body-mads-dataset|{HOME}|MADS)\.zip",
    re.IGNORECASE)
EXPECTED = {"HipHop": 339, "Jazz": 270, "Kata": 190, "Sports": 98,
            "Taichi": 295}
# How each category begins the names of its sequences, in the sample.
PREFIXES = {"HipHop": "HipHop", "Jazz": "Jazz", "Kata": "F",
            "Sports": "Tennis", "Taichi": "S"}
STEP = 45  # frames of the film from one picture to the next
TABLE = "df.csv"
# Whatever has a colour in a mask is person, but not the noise of JPEG.
THRESHOLD = 0.25
# The share of masks that may cover all four corners. Of 300 photographs of
# people and of all synthetic people, none covers even one.
MOST_COVERED = 0.05
SEQUENCES = 30  # of synthetic people, six of each category
SEED = 14  # of synthetic people, whose places are neither bare nor full
STRANGERS = 30  # sequences, six of each category, each in its own place
# HipHop_HipHop1_C0_00180: category, sequence, camera, frame
NAME = re.compile(r"([A-Za-z]+)_([A-Za-z]+\d*)_C(\d+)_(\d+)", re.ASCII)


class Shot(NamedTuple):
    """What the name of a picture says about it."""

    category: str
    sequence: str  # all cameras of a sequence see the same motion
    camera: int
    frame: int  # number of the picture in the film

    @property
    def name(self):
        """The name of the picture, without .png."""
        return "{}_{}_C{}_{:05d}".format(*self)


def parse(name):
    """Split a name, with or without .png, into its four parts: a Shot.

    Raises DataError if it is not a name like those of MADS.
    """
    match = NAME.fullmatch(name.removesuffix(".png"))
    if not match:
        raise DataError(f"the name {name[:80]!r} is not like "
                        "HipHop_HipHop1_C0_00180, that is category, "
                        "sequence, camera and frame.")
    category, sequence, camera, frame = match.groups()
    return Shot(category, sequence, int(camera), int(frame))


def load(size=(96, 128), source=None):
    """Return the 1,192 images of MADS, or synthetic people.

    size    (H, W) in pixels of the images and masks returned
    source  "auto": MADS from disk or from Kaggle, else the people;
            "download": MADS, or DataError with the reason;
            "sample": the synthetic people, never the network.
            None takes the environment variable SEGMENTATION_SOURCE, and
            "auto" if that is not set.
    """
    source = storage.checked_source(source)
    storage.check_size(size)
    home = storage.writable_folder()
    if source != "sample":
        try:
            return read(find(home), size, "MADS", home)
        except DataError as error:
            if source == "download":
                raise
            print(f"Using the synthetic sample instead of MADS: {error}")
    return read(draw_sample(home), size, "synthetic sample", home)


def strangers(size=(96, 128), seed=18):
    """Return synthetic people and places that the sample does not show.

    30 sequences, each in a place of its own; another seed gives others.
    size: (H, W) in pixels of the images and masks returned.
    """
    storage.check_size(size)
    home = storage.writable_folder()
    folder = drawn(home, f"strangers{seed}", sequences=STRANGERS, frames=1,
                   seed=seed, apart=True)
    return read(folder, size, "synthetic strangers", home)


def split(samples, seed, valid=0.2, test=0.2):
    """Split rows so that all of a sequence is in one part.

    Every part has sequences of each category; valid and test are fractions
    of the number of sequences. Returns rows and raises DataError as
    `data.group_split` does.
    """
    categories = [parse(name).category for name in samples.names]
    return group_split(samples.groups, categories, seed, valid, test)


def find(home):
    """Return the folder of MADS, which is unpacked or downloaded if need be.

    In this order: the folder named by SEGMENTATION_MADS, a folder or an
    archive that somebody put into data/, the network. What is made is
    made in `home`.
    """
    named = storage.named_folder("SEGMENTATION_MADS")
    if named:
        return named
    for name in FOLDER_NAMES:
        if (storage.ROOT / name).is_dir():
            return storage.ROOT / name
    folder = home / "MADS"
    with storage.making(folder) as missing:
        if missing:
            get(folder)
    return folder


def get(folder):
    """Make the folder of MADS from an archive in data/, else from Kaggle."""
    archives = archive.put_here(storage.ROOT, ARCHIVES)
    if archives:
        archive.unpack_first(archives, folder, find_all)
        return
    with storage.whole(folder) as part:
        download(part)


def download(folder):
    """Download MADS to the new folder `folder` by Kaggle's own library.

    Raises DataError if that is not installed, or Kaggle cannot be reached
    or refuses, and OSError if the disk does.
    """
    try:
        import kagglehub  # here, since most readers never need it
        # It would wait for a silent network without an end.
        requests.head(KAGGLE, timeout=(archive.CONNECT_SECONDS,
                                       archive.READ_SECONDS))
        logging.getLogger("kagglehub").setLevel("ERROR")
        found = Path(kagglehub.dataset_download(HANDLE,
                                                output_dir=str(folder)))
        if found != folder:  # on Kaggle and Colab it lies ready elsewhere
            shutil.copytree(found, folder)
    # kagglehub and what it uses report failure by almost any exception.
    except Exception as error:
        if getattr(error, "errno", None) in storage.REMEDIES:
            raise  # the disk refused: `storage.making` says where
        reason = "the package kagglehub is not installed" \
            if isinstance(error, ImportError) else archive.why(error)
        # Not "from error": it might show a proxy's password.
        raise DataError(f"MADS could not be downloaded from Kaggle "
                        f"({reason}); to fetch it by hand, sign in at "
                        f"{PAGE}, choose Download, and put archive.zip "
                        f"into {storage.ROOT}.") from None


def draw_sample(home):
    """Return the folder of the synthetic people, drawn if need be."""
    return drawn(home, "people", sequences=SEQUENCES, seed=SEED)


def drawn(home, name, **settings):
    """Return a folder of drawn people, made if need be.

    settings: what `people.write_dataset` is told.
    """
    from data.synthetic import (  # here: people imports mads
        canvas,
        people,
        scenes,
        solids,
    )

    folder = storage.sample_folder(home, name, people, scenes, solids, canvas)
    with storage.making(folder) as missing:
        if missing:
            with storage.whole(folder) as part:
                people.write_dataset(part, **settings)
    return folder


def read(folder, size, source, home):
    """Read all pairs below a folder that has MADS's layout, and check them.

    home: the folder of the cache. Raises DataError naming the first file
    that is missing or wrong.
    """
    pairs = find_all(folder) if source == "MADS" else find_pairs(folder)
    files = list(pairs.values())
    images, masks = read_pairs(files, size, home, "person", THRESHOLD,
                               MOST_COVERED)
    groups = np.array([parse(name).sequence for name in pairs])
    return Samples(images, masks, list(pairs), groups, source, files,
                   THRESHOLD)


def find_all(folder):
    """The pairs of `find_pairs`, if they are the whole MADS.

    Raises DataError if not.
    """
    with storage.explained(folder):
        pairs = find_pairs(folder)
        check_whole(pairs, folder)
        return pairs


def find_pairs(folder):
    """Find {name: (image file, mask file)} of a folder, sorted.

    Raises DataError if there is none, or an image or a mask has no mate,
    or one that df.csv lists is missing.
    """
    files = storage.files_below(folder)
    home = find_home(files, folder)
    images, masks = ({path.stem: path for path in files
                      if path.parent.parent == home
                      and path.parent.name.lower() == kind
                      and path.suffix.lower() == ".png"
                      and NAME.fullmatch(path.stem)}
                     for kind in ("images", "masks"))
    check_mates(images, masks, home)
    for table in find_tables(files, TABLE, home):
        for name in sorted(listed_names(table) - images.keys()):
            raise DataError(f"{name}, which {table.name} lists, is missing "
                            f"below {home}; restore it from the archive.")
    return {name: (images[name], masks[name]) for name in images}


def find_home(files, folder):
    """Find the folder that holds images/ and masks/: this one or one below.

    Copies of MADS differ in how many folders they wrap around these two.
    """
    images, masks = ({path.parent.parent for path in files
                      if path.parent.name.lower() == kind}
                     for kind in ("images", "masks"))
    if not images & masks:
        raise DataError(
            f"no folders images and masks were found side by side below "
            f"{folder}, so its layout is not understood; put an unchanged "
            "copy of MADS there, or rename the folder.")
    return min(images & masks, key=lambda home: (len(home.parts), home))


def listed_names(table):
    """The names that a df.csv lists."""
    return set(re.findall(r"images/(\w+)\.png", read_table(table)))


def table_text(names):
    """df.csv for these names; it has no collages."""
    lines = [",images,masks,collages"] + [
        f"{row},images/{name}.png,masks/{name}.png,"
        for row, name in enumerate(names)]
    return "\n".join(lines) + "\n"


def check_whole(names, folder):
    """Refuse a set that is not the whole MADS: 1,192 images."""
    counts = Counter(parse(name).category for name in names)
    if counts != EXPECTED:
        found = ", ".join(f"{counts[category]} {category}"
                          for category in EXPECTED)
        raise DataError(f"{folder} holds {len(names)} images ({found}) "
                        f"instead of {sum(EXPECTED.values())} "
                        f"({', '.join(map(str, EXPECTED.values()))}); "
                        "restore the missing ones from the archive, or "
                        "rename the folder to have the archive unpacked "
                        "again.")
