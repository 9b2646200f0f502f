"""The PH² data set: 200 dermoscopy images with hand-drawn lesion masks.

`load()` finds, downloads, checks and reads it, or falls back to the
synthetic sample. Sources, licence and layout: `data/README.md`.
"""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

from data import DataError, Samples, archive, storage
from data.pictures import check_mates, find_tables, read_pairs, read_table

# IMD002.bmp and IMD002_lesion.bmp, but not IMD002_R1_Label4.bmp; the
# sample's are called MOLE001.
FILE_NAME = re.compile(
    r"(?P<name>([A-Z]{3}|MOLE)\d{3})(?P<lesion>_lesion)?"
    r"\.(bmp|png|jpe?g|tiff?)", re.IGNORECASE | re.ASCII)

OFFICIAL_PAGE = "https://www.fc.up.pt/addi/ph2%20database.html"
MIRRORS = (
    archive.Mirror(
        "https://www.dropbox.com/s/k88qukc20ljnbuo/PH2Dataset.rar?dl=1",
        "PH2Dataset.rar", None, archive.Contents(
            FILE_NAME, "56d500e88adf20ca56b28a8dac9249131e1b9bf0398927a7"
            "05055fab8caeb300")),
    archive.Mirror(
        "https://zenodo.org/records/17498821/files/PH2.zip?download=1",
        "PH2.zip", "md5:a37f6a83c777ca861f055fdf49757991"),
)
ARCHIVES = re.compile(r"PH2(Dataset)?(\.part0*1)?\.(rar|zip)",
                      re.IGNORECASE)
# The index is the code in PH²'s table.
DIAGNOSES = np.array(["common nevus", "atypical nevus", "melanoma"])
EXPECTED = {"common nevus": 80, "atypical nevus": 80, "melanoma": 40}

# The share of masks that may cover all four corners. None of PH²'s 200 does
# (one covers a single corner); it is the other way round with black and
# white exchanged.
MOST_COVERED = 0.05

# The layout, as PH² has it and as the sample is written.
IMAGE = "PH2 Dataset images/{name}/{name}_Dermoscopic_Image/{name}.bmp"
MASK = "PH2 Dataset images/{name}/{name}_lesion/{name}_lesion.bmp"
TABLE = "PH2_dataset.txt"
TABLE_HEADER = (
    "||   Name ||   Histological Diagnosis || Clinical Diagnosis ||   "
    "Asymmetry | Pigment Network | Dots/Globules | Streaks | Regression "
    "Areas | Blue-Whitish Veil ||            Colors ||")


def load(size=(96, 128), source=None):
    """Return the 200 images of PH², or of the synthetic sample.

    size    (H, W) in pixels of the images and masks returned
    source  "auto": PH² from disk or from the network, else the sample;
            "download": PH², or DataError with the reason;
            "sample": the synthetic sample, never the network.
            None takes the environment variable SEGMENTATION_SOURCE, and
            "auto" if that is not set.
    """
    source = storage.checked_source(source)
    storage.check_size(size)
    home = storage.writable_folder()
    if source != "sample":
        try:
            return read(find(home), size, "PH2", home)
        except DataError as error:
            if source == "download":
                raise
            print(f"Using the synthetic sample instead of PH²: {error}")
    return read(draw_sample(home), size, "synthetic sample", home)


def find(home):
    """Return the folder of PH², which is unpacked or downloaded if need be.

    In this order: the folder named by SEGMENTATION_DATA, data/PH2Dataset/,
    an archive that somebody put into data/, the network. What is made is
    made in `home`.
    """
    named = storage.named_folder("SEGMENTATION_DATA")
    if named:
        return named
    here = storage.ROOT / "PH2Dataset"
    folder = here if here.is_dir() else home / "PH2Dataset"
    with storage.making(folder) as missing:
        if missing:
            get(folder)
    archive.forget_download(MIRRORS, folder)
    return folder


def get(folder):
    """Make the folder of PH² from an archive in data/, else from a mirror."""
    archives = archive.put_here(storage.ROOT, ARCHIVES)
    if archives:
        archive.unpack_first(archives, folder, find_all)
        return
    try:
        archive.fetch(MIRRORS, folder)
    except DataError as error:
        raise DataError(f"PH² could not be downloaded ({error}) To fetch it "
                        f"by hand: {OFFICIAL_PAGE}, and put PH2Dataset.rar "
                        f"into {storage.ROOT}.") from error


def draw_sample(home):
    """Return the folder of the synthetic sample, drawn if need be."""
    from data.synthetic import canvas, covers, moles  # moles imports ph2

    folder = storage.sample_folder(home, "moles", moles, covers, canvas)
    with storage.making(folder) as missing:
        if missing:
            with storage.whole(folder) as part:
                moles.write_dataset(part)
    return folder


def read(folder, size, source, home):
    """Read all pairs below a folder that has PH²'s layout, and check them.

    home: the folder of the cache. Raises DataError naming the first file
    that is missing or wrong.
    """
    pairs, groups = find_all(folder)
    files = list(pairs.values())
    images, masks = read_pairs(files, size, home, "lesion",
                               most_covered=MOST_COVERED)
    return Samples(images, masks, list(pairs), groups, source, files)


def find_all(folder):
    """The pairs of `find_pairs` and their diagnoses, if all are there.

    Raises DataError if not.
    """
    with storage.explained(folder):
        pairs = find_pairs(folder)
        groups = DIAGNOSES[read_diagnoses(folder, pairs)]
        check_whole(groups, folder)
        return pairs, groups


def find_pairs(folder):
    """Find {name: (image file, mask file)} anywhere below a folder, sorted.

    Raises DataError if there is none, or an image or a mask has no mate.
    """
    files = {"image": {}, "mask": {}}
    for path in storage.files_below(folder):
        match = FILE_NAME.fullmatch(path.name)
        if match:
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
            "copy of PH² there, or rename the folder.")
    check_mates(images, lesions, folder)
    return {name: (images[name], lesions[name]) for name in sorted(images)}


def read_diagnoses(folder, pairs):
    """Return the diagnosis codes 0, 1, 2 of `pairs` from PH2_dataset.txt.

    Raises DataError if there is no such table that knows them all, or if
    there are several that disagree, none of them beside the images.
    """
    images = [image.parent for image, _ in pairs.values()]
    tables = find_tables(storage.files_below(folder), TABLE,
                         Path(os.path.commonpath(images)))
    if not tables:
        raise DataError(f"{TABLE} is missing below {folder}; restore it from"
                        " the archive, or rename the folder to have the "
                        "archive unpacked again.")
    first, *others = (read_table_codes(table, pairs) for table in tables)
    for table, codes in zip(tables[1:], others):
        if codes != first:
            raise DataError(f"{tables[0]} and {table} give other diagnoses; "
                            "keep the one of the archive.")
    return first


def read_table_codes(table, names):
    """Return the diagnosis codes 0, 1, 2 of `names` from one table."""
    codes = {}
    for line in read_table(table).splitlines():
        # "|| IMD003 ||  || 0 || …": a name, its histology, its diagnosis
        cells = [cell.strip() for cell in line.split("||")]
        if len(cells) > 3 and cells[3] in {"0", "1", "2"}:
            name, code = cells[1].upper(), int(cells[3])
            if codes.setdefault(name, code) != code:
                raise DataError(f"{table} gives two diagnoses of "
                                f"{name[:40]}; restore it from the archive.")
    for name in names:
        if name not in codes:
            raise DataError(f"{table} has no diagnosis of {name}; "
                            "restore it from the archive.")
    return [codes[name] for name in names]


def table_text(diagnoses):
    """PH2_dataset.txt for {name: diagnosis code}.

    What nobody diagnosed in a synthetic image stays empty.
    """
    empty = f"|| {'|'.join([' ' * 8] * 6)} || {' ' * 17} ||"
    lines = [TABLE_HEADER] + [
        f"|| {name} || {' ' * 22} || {diagnosis:18d} {empty}"
        for name, diagnosis in diagnoses.items()]
    return "\n".join(lines) + "\n"


def check_whole(groups, folder):
    """Refuse a set that is not the whole PH²: 80, 80 and 40 images."""
    counts = Counter(groups.tolist())
    if counts != EXPECTED:
        found = ", ".join(f"{counts[name]} {name}" for name in EXPECTED)
        raise DataError(f"{folder} holds {len(groups)} images ({found}) "
                        "instead of 200 (80, 80, 40); restore the missing "
                        "ones from the archive, or rename the folder to have"
                        " the archive unpacked again.")
