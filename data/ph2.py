"""The PH² data set: 200 dermoscopy images with hand-drawn lesion masks.

`load()` finds, downloads, checks and reads it, or falls back to the
procedural sample. Sources, licence and layout: `data/README.md`.
"""

import re
from collections import Counter

import numpy as np

from data import ROOT, DataError, Samples, loading
from data.archive import Mirror, ensure, fetch
from data.loading import read_pairs
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
    return loading.load(
        "PH²", size, source, ROOT, lambda: read(find(), size, "PH2"),
        lambda: read(draw_sample(), size, "procedural sample"))


def find():
    """Return the folder of PH², which is unpacked or downloaded if need be.

    In this order: the folder named by SEGMENTATION_DATA, data/PH2Dataset/,
    an archive that somebody put into data/, the network.
    """
    named = loading.named_folder("SEGMENTATION_DATA")
    if named:
        return named
    home = ROOT if (ROOT / "PH2Dataset").is_dir() else writable_folder()
    return ensure(home / "PH2Dataset", unpack_or_fetch)


def unpack_or_fetch(target):
    """Make the folder of PH² from a local archive, else from a mirror."""
    if loading.unpack_first([ROOT / name for name in ARCHIVE_NAMES], target):
        return
    try:
        fetch(MIRRORS, target)
    except DataError as error:
        raise DataError(f"PH² could not be downloaded ({error}) To fetch it "
                        f"by hand: {OFFICIAL_PAGE}, and put PH2Dataset.rar "
                        f"into {ROOT}.") from error


def draw_sample():
    """Return the folder of the procedural sample, drawn if need be."""
    return loading.sample_folder(writable_folder(), "dermoscopy",
                                 [dermoscopy], write_sample)


def write_sample(target):
    """Draw the procedural sample into the new folder `target`."""
    loading.write_whole(target, dermoscopy.write_dataset)


def writable_folder():
    """data/, or another folder where that cannot be written to."""
    return loading.writable_folder(ROOT)


def read(folder, size, source):
    """Read all pairs below a folder that has PH²'s layout, and check them.

    Raises DataError naming the first file that is missing or wrong.
    """
    pairs = find_pairs(folder)
    groups = DIAGNOSES[read_diagnoses(folder, pairs)]
    check_whole(groups, folder)
    mask_files = [lesion for _, lesion in pairs.values()]
    images, masks = loading.read_cached(
        list(pairs.values()), size, writable_folder() / "cache", read_pairs)
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
    loading.check_mates(images, lesions, folder)
    return {name: (images[name], lesions[name]) for name in sorted(images)}


def read_diagnoses(folder, names):
    """Return the diagnosis codes 0, 1, 2 of `names` from PH2_dataset.txt."""
    tables = [path for path in sorted(folder.rglob("PH2_dataset.txt"))
              if path.is_file()]
    if not tables:
        raise DataError(f"PH2_dataset.txt is missing below {folder}; restore"
                        " it from the archive.")
    codes = {}
    for line in loading.read_table(tables[0]).splitlines():
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


def check_whole(groups, folder):
    """Refuse a set that is not the whole PH²: 80, 80 and 40 images."""
    counts = Counter(groups.tolist())
    if counts != EXPECTED:
        found = ", ".join(f"{counts[name]} {name}" for name in EXPECTED)
        raise DataError(f"{folder} holds {len(groups)} images ({found}) "
                        "instead of 200 (80, 80, 40); restore the missing "
                        "ones from the archive.")
