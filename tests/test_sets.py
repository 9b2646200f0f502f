"""PH² and MADS are read whole and right, or refused in one sentence."""

import errno
import logging.handlers
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import (
    assert_one_sentence,
    files_below,
    hammer,
    most_memory,
    tree,
    trials,
    visible,
    write_pair,
)
from joblib import Parallel
from PIL import ExifTags, Image, ImageOps

from data import DataError, archive, mads, ph2, pictures, storage
from data.synthetic import canvas, moles, people, scenes
from lab.lesson import ROOT

SIZE = (6, 8)
# Two pictures of three sequences of each category of MADS.
FEW = sorted(mads.Shot(category, f"{category}{number}", camera, 45).name
             for category in mads.EXPECTED
             for number in range(3) for camera in range(2))
PERSON = np.zeros((12, 16), bool)
PERSON[3:8, 4:11] = True  # and so is the lesion of `write_pair`
SHOWN = np.dstack([np.where(PERSON, np.uint8(90), np.uint8(200))] * 3)
KINDS = ("RGBA", "transparent", "RGB", "L", "faint", "1", "P")
# Before a fixture puts another in their place.
DRAW_SAMPLE = {ph2: ph2.draw_sample, mads: mads.draw_sample}


@pytest.fixture(scope="session")
def few_mads(tmp_path_factory):
    """A tiny MADS of FEW, not to be changed, with masks of all kinds."""
    folder = tmp_path_factory.mktemp("few") / "MADS"
    for kind in ("images", "masks", "collages"):
        (folder / kind).mkdir(parents=True)
    for row, name in enumerate(FEW):
        kind = KINDS[row % len(KINDS)]
        mask = Image.fromarray(np.uint8(PERSON) * (1 if kind == "faint"
                                                   else 255))
        if kind == "transparent":
            mask = mask.convert("RGBA")
            mask.putalpha(0)
        elif kind != "faint":
            mask = mask.convert(kind)
        mask.save(folder / f"masks/{name}.png")
        Image.fromarray(SHOWN).save(folder / f"images/{name}.png")
        (folder / f"collages/{name}.jpg").write_bytes(b"not read")
    (folder / "df.csv").write_text(mads.table_text(FEW))
    return folder


def zipped(folder, archive):
    """Write a zip archive as Kaggle's: twice wrapped, the table outside."""
    with zipfile.ZipFile(archive, "w") as file:
        for _, path in files_below(folder):
            inner = "" if path.name == "df.csv" else f"{mads.HOME}/" * 2
            file.write(path, f"{inner}{path.relative_to(folder)}")
    return archive.read_bytes()


@pytest.fixture(scope="session")
def drawn_people(tmp_path_factory):
    """The synthetic people, drawn once for all tests, in small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "write_dataset", partial(
            people.write_dataset, frames=2, size=(24, 32)))
        patch.setattr(people, "Parallel", lambda n_jobs, **more:
                      Parallel(n_jobs=1, **more))
        return DRAW_SAMPLE[mads](tmp_path_factory.mktemp("people"))


class Set:
    """One of the two sets: its module, a small copy, one pair to damage."""

    def __init__(self, name, root, request):
        self.name, self.root, self.request = name, root, request
        if name == "PH2":
            self.module, self.variable = ph2, "SEGMENTATION_DATA"
            self.whole = request.getfixturevalue("whole_ph2")
            self.names = [f"IMD{number:03}" for number in range(200)]
            layouts = ph2.IMAGE, ph2.MASK
        else:
            self.module, self.variable = mads, "SEGMENTATION_MADS"
            self.whole = request.getfixturevalue("few_mads")
            self.names = FEW
            layouts = "images/{name}.png", "masks/{name}.png"
        self.folder = root / self.whole.name
        self.pair = self.names[7]
        self.image, self.mask = (
            self.folder / layout.format(name=self.pair)
            for layout in layouts)
        self.table = self.folder / self.module.TABLE

    def put(self):
        """Put a copy into data/, free to be damaged."""
        shutil.copytree(self.whole, self.folder)

    def put_archive(self, name=None):
        """Put it into data/ as an archive, and return that."""
        path = self.root / (name or {"PH2": "PH2.zip"}.get(
            self.name, "MADS.zip"))
        if self.module is mads:
            zipped(self.whole, path)
        else:
            path.write_bytes(self.request.getfixturevalue(
                f"{path.suffix[1:].lower()}_bytes"))
        return path

    def load(self, source="download", size=SIZE):
        return self.module.load(size, source)

    def refusal(self, sentence):
        """The one sentence that `load` says instead."""
        with pytest.raises(DataError, match=sentence) as error:
            self.load()
        assert_one_sentence(error.value)
        return str(error.value)

    def assert_replaced(self, reason, printed):
        """The sample comes instead, and the reason is told."""
        assert self.load("auto").source == "synthetic sample"
        assert re.search(f"Using the synthetic sample instead of (PH²|MADS): "
                         f"{re.escape(reason)}\n", printed.readouterr().out)


@pytest.fixture(params=["PH2", "MADS"])
def one(request, data_folder, monkeypatch):
    """Each of the sets in turn, not yet in data/.

    A MADS of FEW counts as whole. Nobody listens where Kaggle should be.
    """
    monkeypatch.setattr(mads, "KAGGLE", "http://127.0.0.1:9")
    monkeypatch.setattr(archive, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(mads, "EXPECTED", dict.fromkeys(mads.EXPECTED, 6))
    monkeypatch.setattr(mads, "draw_sample", lambda home:
                        request.getfixturevalue("drawn_people"))
    monkeypatch.delenv("SEGMENTATION_MADS", raising=False)
    return Set(request.param, data_folder, request)


for_ph2, for_mads = (pytest.mark.parametrize("one", [name], indirect=True)
                     for name in ("PH2", "MADS"))


# --- What is there is read -----------------------------------------------

def test_reads_the_whole_set_and_every_kind_of_mask(one):
    one.put()
    samples = one.load()
    assert samples.source == one.name
    assert samples.names == one.names
    assert samples.images.shape == (len(samples), *SIZE, 3)
    assert samples.images.dtype == np.uint8
    assert samples.masks.shape == (len(samples), *SIZE)
    assert samples.masks.dtype == bool
    if one.module is ph2:
        assert Counter(samples.groups.tolist()) == ph2.EXPECTED
    else:
        assert samples.groups.tolist() == [
            name.split("_")[1] for name in FEW]
    for row, _ in enumerate(KINDS):  # PH²'s are 1-bit and RGB
        image, mask = samples.original_image(row), samples.original_mask(row)
        assert image.dtype == np.uint8 and np.array_equal(image, SHOWN)
        assert mask.dtype == bool and np.array_equal(mask, PERSON), row
        assert np.array_equal(samples.images[row],
                              pictures.resize_image(SHOWN, SIZE))
        assert np.array_equal(samples.masks[row],
                              pictures.resize_mask(PERSON, SIZE))
    shutil.rmtree(one.folder)
    for original in (samples.original_image, samples.original_mask):
        with pytest.raises(DataError, match="cannot be read") as error:
            original(0)
        assert_one_sentence(error.value)


@for_mads
@pytest.mark.parametrize(("inner", "table"), [
    ("a", "."), ("a", "a"), ("a/a", "."), ("a/a", "a"), ("a/a", "a/a")])
@pytest.mark.parametrize("name", mads.FOLDER_NAMES)
def test_reads_every_layout(inner, table, name, one):
    one.put()
    (one.folder / inner).mkdir(parents=True)
    for kind in ("images", "masks", "collages"):
        (one.folder / kind).rename(one.folder / inner / kind)
    one.table.rename(one.folder / table / "df.csv")
    renamed = one.folder.rename(one.root / name)
    assert one.load().names == FEW
    [table] = renamed.rglob("df.csv")
    assert mads.listed_names(table) == set(FEW)


@for_mads
def test_what_is_missing_or_of_no_use_there_does_not_matter(one):
    one.put()
    one.table.unlink()
    leftover = shutil.copytree(one.folder, one.folder / "__MACOSX" / "MADS")
    (leftover / "images" / f"{FEW[0]}.png").write_bytes(b"not a picture")
    (one.folder / f"images/._{FEW[0]}.png").write_bytes(b"not a picture")
    (one.folder / "masks/Thumbs.db").write_bytes(b"not a picture")
    assert one.load().names == FEW


@for_mads
@pytest.mark.parametrize("noise", ["JPEG", "PNG"])
def test_the_noise_of_jpeg_is_not_person(noise, one):
    one.put()
    for name in FEW:
        path = one.folder / f"masks/{name}.png"
        mask = np.uint8(255 * PERSON)
        if noise == "PNG":
            mask[~PERSON] = np.arange((~PERSON).sum()) % 10 + 1
        Image.fromarray(mask).save(path, noise)
    samples = one.load()
    for row in range(len(samples)):
        assert np.array_equal(samples.original_mask(row), PERSON)


def turned(pixels, turn):
    """The array that a picture holds which shows `pixels` when turned."""
    back = {5: 5, 6: 8, 8: 6}.get(turn, turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = back
    picture = Image.fromarray(pixels)
    picture.getexif().update(exif)
    return np.asarray(ImageOps.exif_transpose(picture))


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("turn", range(1, 9))
def test_image_and_mask_are_turned_alike_or_refused(turn, square, tmp_path):
    mask = PERSON[:, :12] if square else PERSON
    mask = mask & (np.arange(len(mask))[:, None] < 6)  # nowhere symmetric
    pixels = np.uint8(200 - 110 * mask)
    files = tmp_path / "image.png", tmp_path / "mask.png"

    def save(file, shown, stored, told):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = told
        Image.fromarray(turned(shown, stored)).save(file, exif=exif)

    # How the image is stored, and the mask, and what either tells.
    for stored in (1, turn):
        for told in (1, turn):
            save(files[0], pixels, turn, turn)
            save(files[1], np.uint8(255 * mask), stored, told)
            try:
                image, read = pictures.read_pair(*files, "lesion", 0.5)
            except DataError as error:
                assert_one_sentence(error)
                # Only what cannot be known, or cannot be, is refused.
                assert told != turn or stored != turn
            else:
                right = np.array_equal(read, image[:, :, 0] < 150)
                assert right or told == turn != stored


def test_the_cache_notices_every_change(one, monkeypatch):
    read = []
    read_pair = pictures.read_pair
    monkeypatch.setattr(pictures, "read_pair", lambda *files: read.append(
        files) or read_pair(*files))
    one.put()

    def load(times, size=SIZE):
        """Load; `times` is how often all files have been read since."""
        samples = one.load(size=size)
        assert len(read) == times * len(samples)
        return samples

    first, again = load(1), load(1)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.masks, again.masks)
    load(2, (3, 4))
    time.sleep(0.01)  # so that the date of the file differs
    Image.new("RGB", (16, 12), "white").save(one.image)
    assert (load(3).images[7] == 255).all()
    Image.fromarray(~PERSON).save(one.mask)
    assert load(4).masks[7, 0, 0] > first.masks[7, 0, 0]
    for cached in (one.root / "cache").glob("*.npz"):
        cached.write_bytes(b"damaged")
    assert (load(5).images[7] == 255).all()
    load(5)


@pytest.mark.parametrize(("size", "source"), [
    (SIZE, "dropbox"), ((6, 0), "sample"), ((6,), "sample"),
    ((6.0, 8), "sample"), (6, "sample"), ("68", "sample"),
    ((6, 10**6), "sample"), (None, "sample")])
def test_refuses_parameters_it_does_not_know(size, source, one):
    with pytest.raises(DataError, match="is not") as error:
        one.load(source, size)
    assert_one_sentence(error.value)


# --- What is damaged gets a sentence -------------------------------------

def remove(*files):
    """A fault: one pair's image or mask, or the table, are not there."""
    return lambda one: [getattr(one, file).unlink() for file in files]


def empty(one):
    shutil.rmtree(one.folder)
    one.folder.mkdir()


def masks_below(folder):
    """The files of all masks of either set."""
    return [path for path in folder.rglob("*")
            if path.parent.name == "masks" or "_lesion." in path.name]


def invert(one):
    """A fault: black and white are exchanged, in one mask of three."""
    for path in masks_below(one.folder)[::3]:
        with Image.open(path) as mask:
            shown = np.asarray(mask.convert("RGB")).max(axis=2) > 0
        Image.fromarray(~shown).save(path)


def add_table(place, content=None):
    """A fault: there is a second table, which says otherwise."""
    def add(one):
        path = one.folder / place / ph2.TABLE
        path.parent.mkdir(exist_ok=True)
        path.write_text(content or one.table.read_text().replace(
            "|| 1 ||", "|| 2 ||"))
    return add


def new_mask(value, size=(16, 12)):
    """A fault: the mask is all black or all white."""
    return lambda one: Image.new("L", size, value).save(one.mask)


def add_to_mads(one):
    for file in (one.image, one.mask):
        shutil.copy(file, file.with_name("Kata_F9_C0_00045.png"))


FAULTS = {
    "no mask": (remove("mask"), "the mask of {pair} is missing below"),
    "no image": (remove("image"), "the image of {pair} is missing below"),
    "mask of another size": (new_mask(255, (16, 13)),
                             "{mask} is .16, 13. pixels, its image .16, 12"),
    "empty mask": (new_mask(0), "{mask} marks no (lesion|person) or nothing"),
    "full mask": (new_mask(255), "{mask} marks no (lesion|person) or nothing"),
    "no picture": (lambda one: one.image.write_bytes(b"BM and no more"),
                   "{image} cannot be read as a picture"),
    "masks the other way round": (invert, "cover all four corners, so black"),
    "cut picture": (lambda one: one.image.write_bytes(
        one.image.read_bytes()[:60]), "{image} cannot be read as a picture"),
    "empty folder": (empty, "layout is not understood")}
PH2_FAULTS = FAULTS | {
    "image twice": (lambda one: shutil.copy(one.image, one.folder),
                    "are two files of one image"),
    "no pair": (remove("image", "mask"),
                "199 images .79 common nevus, 80 .* instead of 200"),
    "no table": (remove("table"), "PH2_dataset.txt is missing"),
    "tables that disagree": (add_table("PH2 Dataset images"),
                             "PH2_dataset.txt give other diagnoses"),
    "pair unknown to the table": (
        lambda one: write_pair(one.folder, "IMD999"),
        "no diagnosis of IMD999"),
    "two diagnoses": (lambda one: one.table.write_text(
        one.table.read_text() + "\n|| IMD007 || || 2 ||\n"),
        "two diagnoses of IMD007")}
MADS_FAULTS = FAULTS | {
    "no pair": (remove("image", "mask"),
                "{pair}, which df.csv lists, is missing"),
    "no pair, no table": (remove("image", "mask", "table"),
                          "29 images .6 HipHop, 5 Jazz, .* instead of 30"),
    "pair too many": (add_to_mads,
                      "31 images .6 HipHop, 6 Jazz, 7 Kata, .* of 30"),
    "damaged table": (lambda one: one.table.write_bytes(
        b"\xff images/Kata_F9_C0_00090.png \x00"),
        "Kata_F9_C0_00090, which df.csv lists, is missing"),
    "no masks": (lambda one: shutil.rmtree(one.mask.parent),
                 "side by side below .* layout is not understood")}


@pytest.mark.parametrize(
    ("one", "spoil", "sentence"),
    [pytest.param(name, *fault, id=f"{name}, {what}")
     for name, faults in [("PH2", PH2_FAULTS), ("MADS", MADS_FAULTS)]
     for what, fault in faults.items()], indirect=["one"])
def test_bad_input_gets_one_sentence(one, spoil, sentence, capsys):
    one.put()
    spoil(one)
    before = tree(one.folder)
    said = one.refusal(sentence.format(
        pair=one.pair, image=one.image.name, mask=one.mask.name))
    one.assert_replaced(said, capsys)
    assert tree(one.folder) == before


NAMES = [f"IMD{number:03}" for number in range(2, 40)]
ROWS = ["|| Name || Histological Diagnosis || Clinical ||"] + [
    f"|| {name} || Compound Nevus || {number % 3} || 0 | T | A ||"
    for number, name in enumerate(NAMES)]


@trials(200, 800, 3000)
def test_a_damaged_table_is_read_or_refused(trials, tmp_path):
    read = []

    def check(content):
        (tmp_path / "PH2_dataset.txt").write_bytes(content)
        try:
            codes = ph2.read_table_codes(tmp_path / ph2.TABLE, NAMES)
        except DataError as error:
            assert_one_sentence(error)
        else:
            assert len(codes) == len(NAMES) and set(codes) <= {0, 1, 2}
            read.append(1)

    hammer(check, ["\n".join(ROWS).encode(),
                   "\r\n".join(ROWS).encode("utf-16")], trials,
           "damaged tables")
    assert 0 < len(read) < trials


def test_a_huge_table_takes_little_memory(tmp_path):
    with open(tmp_path / "PH2_dataset.txt", "wb") as file:
        file.truncate(2**32)  # a file of zeros that takes no disk
    before, _ = most_memory()
    with pytest.raises(DataError, match="no diagnosis of IMD002"):
        ph2.read_table_codes(tmp_path / ph2.TABLE, ["IMD002"])
    after, _ = most_memory()
    assert after < before + 50


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_with_the_name_of_a_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "PH2_dataset.txt")
    os.mkfifo(tmp_path / "IMD002.bmp")
    (tmp_path / "IMD002_lesion.bmp").write_bytes(b"")
    with pytest.raises(DataError, match="image of IMD002 is missing"):
        ph2.find_pairs(tmp_path)
    with pytest.raises(DataError, match="PH2_dataset.txt is missing"):
        ph2.read_diagnoses(tmp_path, {"IMD002": [tmp_path / "IMD002.bmp"] * 2})


@for_ph2
@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16", "utf-16-le",
                                    "utf-16-be"])
@pytest.mark.parametrize("name", ["ph2_dataset.TXT", "PH2_dataset.txt"])
def test_a_table_is_read_in_any_writing(name, coding, one):
    one.put()
    text = one.table.read_text()
    one.table.unlink()
    one.table.with_name(name).write_text(text, coding)
    assert Counter(one.load().groups.tolist()) == ph2.EXPECTED


@for_ph2
def test_the_table_beside_the_images_counts(one):
    one.put()
    add_table("A copy")(one)
    assert Counter(one.load().groups.tolist()) == ph2.EXPECTED
    one.table.rename(one.folder / "Z copy.txt")  # now there is another only
    one.refusal("200 images .80 common nevus, 0 atypical")


def test_links_to_folders_are_followed_once(one, tmp_path):
    one.put()
    elsewhere = tmp_path / "elsewhere"
    inner = one.image.parent.parent if one.module is ph2 else one.mask.parent
    inner.rename(elsewhere)
    inner.symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(one.folder.parent)
    (one.folder / "round").symlink_to(one.folder)
    shutil.copytree(one.folder, one.root / "copy", symlinks=True)
    assert one.load().names == one.names


@pytest.fixture
def nobody():
    """Be a user whom permissions bind; root is not, until the test ends."""
    if not hasattr(os, "geteuid"):
        pytest.skip("Windows has no such permissions")
    user = os.geteuid()
    if user:
        yield
    else:
        os.seteuid(65534)
        yield
        os.seteuid(0)


@pytest.mark.parametrize("locked", ["folder", "inner", "listed", "linked",
                                    "table", "archive"])
def test_what_may_not_be_read_is_not_called_missing(locked, one, monkeypatch,
                                                    request):
    with tempfile.TemporaryDirectory() as open_to_all:
        root = Path(open_to_all)
        monkeypatch.setattr(storage, "ROOT", root)
        if locked == "archive":
            shutil.move(one.put_archive(), root)
            path = next(root.iterdir())
        else:
            shutil.copytree(one.whole, root / one.folder.name)
            moved = root / one.folder.name
            path = {"folder": moved, "table": moved / one.table.name}.get(
                locked, root / one.mask.parent.relative_to(one.root))
        root.chmod(0o777)
        name = path.name
        if locked == "linked":
            hidden = root / "hidden"
            shutil.move(path, hidden / "inner")
            path.symlink_to(hidden / "inner")
            path = hidden
        path.chmod(0o444 if locked == "listed" else 0)
        request.getfixturevalue("nobody")
        said = one.refusal(f"{name}.* cannot be read .Permission denied")
        assert "change its permissions" in said
        if locked == "folder":
            monkeypatch.setenv(one.variable, str(path))
            one.refusal(f"{one.variable} names .*Permission denied")
        os.seteuid(os.getuid())
        path.chmod(0o777)


# --- Where it is looked for ----------------------------------------------

@pytest.mark.parametrize(("one", "name"), [
    *(("PH2", name) for name in (
        "PH2Dataset.rar", "PH2Dataset.zip", "PH2.rar", "PH2.ZIP")),
    *(("MADS", name) for name in (
        "archive.zip", "MADS.ZIP", f"{mads.HOME}.zip",
        "segmentation-full-body-mads-dataset.zip"))], indirect=["one"])
def test_unpacks_what_somebody_put_into_data(one, name):
    own = one.put_archive(name)
    assert one.load().names == one.names
    own.unlink()  # it was still there, and is not needed again
    assert one.load("auto").source == one.name
    assert visible(one.root) == [one.folder.name, "cache"]


def test_a_bad_archive_is_in_nobodys_way(one):
    """Neither of a good one beside it, nor of the good one that follows."""
    bad = one.put_archive({"PH2": "PH2.rar"}.get(one.name, "archive.zip"))
    whole = bad.read_bytes()
    bad.write_bytes(whole[:len(whole) // 2])
    one.refusal(f"{bad.name} is damaged")
    good = one.put_archive()
    assert one.load().names == one.names
    shutil.rmtree(one.folder)
    bad.unlink()

    with zipfile.ZipFile(good) as file:
        inside = [(name, file.read(name)) for name in file.namelist()]
    with zipfile.ZipFile(good, "w") as file:  # no table, and no first pair
        for name, content in inside:
            if one.module.TABLE not in name and one.names[0] not in name:
                file.writestr(name, content)
    said = one.refusal(f"{good.name} is not the whole data set .*"
                       "(PH2_dataset.txt is missing|29 images)")
    assert f".{storage.NAME}" not in said
    assert set(visible(one.root)) == {"cache", good.name}
    one.put_archive()
    assert one.load().names == one.names


def test_reads_the_folder_that_the_environment_names(one, monkeypatch):
    monkeypatch.setenv(one.variable, str(one.whole.parent))
    assert one.load().names == one.names
    monkeypatch.setenv(one.variable, str(one.root / "nowhere"))
    one.refusal(f"{one.variable} names .*nowhere, which is not a folder")
    monkeypatch.setenv(one.variable, str(one.root / ("x" * 300)))
    one.refusal(f"{one.variable} names .* choose a shorter name")


def test_a_read_only_folder_is_worked_around(one, tmp_path, monkeypatch,
                                             capsys):
    own = one.put_archive()
    ours = tmp_path / "cache"
    temporary_file = storage.tempfile.TemporaryFile

    def refuse(dir):
        if dir == one.root:
            raise OSError(errno.EROFS, "Read-only file system")
        return temporary_file(dir=dir)

    monkeypatch.setattr(storage.pooch, "os_cache", lambda name: ours)
    monkeypatch.setattr(storage.tempfile, "TemporaryFile", refuse)
    assert one.load().names == one.names
    assert visible(one.root) == [own.name]
    assert visible(ours) == [one.folder.name, "cache"]
    assert capsys.readouterr().out == f"{one.root} cannot be written to, " \
        f"so what the lesson makes is kept in {ours}.\n"


# --- The sample ----------------------------------------------------------

def test_the_sample_is_read_and_its_masks_are_exact(one):
    samples = one.load("sample", (24, 32))
    assert samples.source == "synthetic sample"
    assert samples.names == sorted(set(samples.names))
    for row, (_, file) in enumerate(samples.files):
        with Image.open(file) as mask:
            drawn = np.asarray(mask.convert("L")) == 255
        assert np.array_equal(samples.original_mask(row), drawn)
        assert np.array_equal(samples.masks[row],
                              pictures.resize_mask(drawn, (24, 32)))
    if one.module is ph2:
        assert samples.original_image(0).shape == (48, 64, 3)
        assert Counter(samples.groups.tolist()) == ph2.EXPECTED
    else:
        shots = [mads.parse(name) for name in samples.names]
        assert {shot.frame for shot in shots} == {45, 90}
        cameras = Counter(shot.sequence for shot in shots if shot.frame > 45)
        assert len(cameras) == 30 and set(cameras.values()) == {2, 3}
        assert (file.parents[1] / "df.csv").read_text().splitlines() == [
            ",images,masks,collages"] + [
            f"{row},images/{name}.png,masks/{name}.png,"
            for row, name in enumerate(samples.names)]
        parts = mads.split(samples, seed=0)
        assert sorted(np.concatenate(parts)) == list(range(len(samples)))
        assert [len(set(samples.groups[part])) for part in parts] \
            == [18, 6, 6]  # of mads.SEQUENCES, so that none is torn


def test_the_sample_never_touches_the_network(one, monkeypatch):
    asked = []
    monkeypatch.setattr(socket.socket, "connect",
                        lambda *address: asked.append(address))
    assert one.load("sample").source == "synthetic sample"
    one.put()
    assert one.load("sample").source == "synthetic sample"
    monkeypatch.setenv("SEGMENTATION_SOURCE", "sample")
    assert one.load(None).source == "synthetic sample"
    assert one.load("auto").source == one.name
    assert asked == []


@pytest.mark.parametrize(("module", "writer", "program"), [
    (ph2, moles, canvas), (mads, people, scenes)])
def test_the_sample_is_drawn_once_for_each_program(
        module, writer, program, tmp_path, monkeypatch):
    drawn, draw_sample = [], DRAW_SAMPLE[module]
    monkeypatch.setattr(writer, "write_dataset", lambda folder, **more:
                        folder.mkdir() or drawn.append(folder.name))
    assert draw_sample(tmp_path) == draw_sample(tmp_path)
    changed = tmp_path / "changed.py"
    changed.write_text("another program")
    monkeypatch.setattr(program, "__file__", str(changed))
    draw_sample(tmp_path)
    assert len(drawn) == len(set(drawn)) == 2
    assert visible(tmp_path / "sample") == sorted(drawn)


def test_strangers_are_others_each_time_and_never_those_of_the_sample(
        drawn_people, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "writable_folder", lambda: tmp_path)
    monkeypatch.setattr(people, "write_dataset", partial(
        people.write_dataset, size=(24, 32)))
    sample = mads.read(drawn_people, (24, 32), "synthetic sample", tmp_path)
    sets = [sample, mads.strangers((24, 32)), mads.strangers((24, 32), 1),
            mads.strangers((24, 32), 1)]
    images = [{image.tobytes() for image in one.images} for one in sets]
    assert not images[0] & images[1] and not images[1] & images[2]
    assert images[2] == images[3]
    for strangers in sets[1:]:
        assert len(set(strangers.groups)) == mads.STRANGERS
        assert {mads.parse(name).category for name in strangers.names} \
            == set(mads.EXPECTED)
        assert strangers.source == "synthetic strangers"


# --- Downloading ---------------------------------------------------------

@pytest.fixture
def pages(one, server, tmp_path, rar_bytes, monkeypatch):
    """The pages that a set is downloaded from, on our server.

    Kaggle's own library takes it for Kaggle, and asks for two pages.
    """
    if one.module is ph2:
        monkeypatch.setattr(ph2, "MIRRORS", [server.mirror("here.rar")])
        server.pages["here.rar"] = (200, rar_bytes, None)
    else:
        monkeypatch.setenv("HOME", str(tmp_path))  # nobody's account
        monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        pytest.importorskip("kagglehub")
        from kagglesdk import kaggle_env
        url = server.mirror("").url.rstrip("/")
        monkeypatch.setattr(mads, "KAGGLE", url)
        monkeypatch.setitem(kaggle_env._env_to_endpoint,
                            kaggle_env.KaggleEnv.LOCAL, url)
        service = "api/v1/datasets.DatasetApiService"
        server.pages[f"{service}/GetDataset"] = (
            200, b'{"currentVersionNumber": 7}', None)
        server.pages[f"{service}/DownloadDataset"] = (
            200, zipped(one.whole, tmp_path / "served.zip"), None)
    return list(server.pages)


def test_downloads_once_when_nothing_is_there(one, pages, server,
                                              monkeypatch):
    said = logging.handlers.BufferingHandler(1000)
    monkeypatch.setattr(logging.getLogger("kagglehub"), "handlers", [said])
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: one.module.find(one.root), range(4)))
    assert found == [one.folder] * 4
    assert one.load().names == one.names
    assert one.load("auto").source == one.name
    assert server.requests == pages
    assert visible(one.root) == [one.folder.name, "cache"]
    assert said.buffer == []  # a bar shows the progress, that is enough


@for_mads
@pytest.mark.parametrize(("page", "sentence"), [
    ((403, b"{}", None), "the server answered 403"),
    ((404, b"{}", None), "the server answered 404"),
    ((500, b"<html>", None), "the server answered 500"),
    ((200, b"no archive", None), "Unsupported archive type"),
    ((200, b"PK\x03\x04 broken off", 10**6), "MADS could not be downloaded"),
])
def test_a_refusal_of_kaggle_gets_one_sentence(page, sentence, one, pages,
                                               server):
    server.pages[pages[-1]] = page
    one.refusal(sentence)
    assert visible(one.root) == []


@for_ph2
def test_names_the_official_page_when_nothing_works(one, server, monkeypatch,
                                                    capsys):
    monkeypatch.setattr(ph2, "MIRRORS", [server.mirror("PH2.zip")])
    said = one.refusal("PH² could not be downloaded .*answered 404.*by hand"
                       ".*fc.up.pt.*PH2Dataset.rar into .*data")
    one.assert_replaced(said, capsys)


@for_ph2
def test_a_download_that_was_unpacked_is_removed(one, server, monkeypatch):
    monkeypatch.setattr(ph2, "MIRRORS", [server.mirror("PH2Dataset.rar")])
    one.put()  # and killed before tidying
    download = archive.download_folder(one.folder) / "PH2Dataset.rar"
    download.parent.mkdir()
    download.write_bytes(b"unpacked already")
    assert one.load().names == one.names
    assert visible(one.root) == ["PH2Dataset", "cache"]


@pytest.fixture
def kaggle(one, server, monkeypatch):
    """kaggle(download) lets a function stand in for kagglehub's."""
    monkeypatch.setattr(mads, "KAGGLE", server.mirror("").url)
    return lambda download: monkeypatch.setitem(
        sys.modules, "kagglehub", SimpleNamespace(dataset_download=download))


@for_mads
def test_what_lies_ready_elsewhere_is_copied(one, kaggle):
    kaggle(lambda handle, output_dir: str(one.whole))  # as on Kaggle
    assert one.load().source == "MADS"
    assert tree(one.whole) == tree(one.folder)


FAILURES = {
    ValueError("Invalid credentials file at\n/home/me"):
        r"\(the download failed \(Invalid credentials file at /home/me\)\)",
    OSError(errno.ENOSPC, "No space left on device"):
        "MADS could not be made .No space left on device.; make room there",
    ImportError(): f"kagglehub is not installed.; .* sign in at {mads.PAGE}, "
                   "choose Download, and put archive.zip into .*data."}


@for_mads
@pytest.mark.parametrize(("failure", "sentence"), FAILURES.items(),
                         ids=lambda value: type(value).__name__)
def test_a_failed_download_gets_one_sentence(failure, sentence, one, kaggle,
                                             capsys):
    def fail(handle, output_dir):
        Path(output_dir).mkdir()
        raise failure

    kaggle(fail)
    said = one.refusal(sentence)
    assert visible(one.root) == []
    one.assert_replaced(said, capsys)


@for_mads
def test_without_a_network_kaggle_is_not_asked(one, kaggle, monkeypatch):
    kaggle(lambda *_, **__: pytest.fail("asked without a network"))
    monkeypatch.setattr(archive, "READ_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (9, silent.getsockname()[1]):
            monkeypatch.setattr(mads, "KAGGLE", f"http://127.0.0.1:{port}")
            start = time.monotonic()
            one.refusal("no connection")
            assert time.monotonic() - start < 20


# --- Commands ------------------------------------------------------------

def python(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, text=True,
                          capture_output=True)


def test_kagglehub_is_loaded_only_to_download():
    done = python("-c", "import sys, data.mads; "
                  "print('kagglehub' in sys.modules)")
    assert (done.stdout, done.returncode) == ("False\n", 0)


def test_the_old_command_says_what_replaced_it():
    done = python("-m", "data.pretrained", "mole.jpg")
    assert (done.stdout, done.returncode) == ("", 1)
    assert "python -m lab.segment" in done.stderr
    assert_one_sentence(done.stderr.strip())
