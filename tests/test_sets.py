"""PH² and MADS are read whole and right, or refused in one sentence."""

import errno
import logging.handlers
import os
import re
import shutil
import socket
import subprocess
import sys
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
from PIL import Image

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
                f"{path.suffix[1:]}_bytes"))
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
    "cut picture": (lambda one: one.image.write_bytes(
        one.image.read_bytes()[:60]), "{image} cannot be read as a picture"),
    "empty folder": (empty, "layout is not understood")}
PH2_FAULTS = FAULTS | {
    "image twice": (lambda one: shutil.copy(one.image, one.folder),
                    "are two files of one image"),
    "no pair": (remove("image", "mask"),
                "199 images .79 common nevus, 80 .* instead of 200"),
    "no table": (remove("table"), "PH2_dataset.txt is missing"),
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


# --- Where it is looked for ----------------------------------------------

@pytest.mark.parametrize(("one", "name"), [
    *(("PH2", name) for name in (
        "PH2Dataset.rar", "PH2Dataset.zip", "PH2.rar", "PH2.zip")),
    *(("MADS", name) for name in (
        "archive.zip", "MADS.zip", f"{mads.HOME}.zip",
        "segmentation-full-body-mads-dataset.zip"))], indirect=["one"])
def test_unpacks_what_somebody_put_into_data(one, name):
    own = one.put_archive(name)
    assert one.load().names == one.names
    own.unlink()  # it was still there, and is not needed again
    assert one.load("auto").source == one.name
    assert visible(one.root) == [one.folder.name, "cache"]


def test_reads_the_folder_that_the_environment_names(one, monkeypatch):
    monkeypatch.setenv(one.variable, str(one.whole.parent))
    assert one.load().names == one.names
    monkeypatch.setenv(one.variable, str(one.root / "nowhere"))
    one.refusal(f"{one.variable} names .*nowhere, which is not a folder")


def test_a_read_only_folder_is_worked_around(one, tmp_path, monkeypatch,
                                             capsys):
    own = one.put_archive()
    ours, read_only = tmp_path / "cache", [one.root]
    temporary_file = storage.tempfile.TemporaryFile

    def refuse(dir):
        if dir in read_only:
            raise OSError(errno.EROFS, "Read-only file system")
        return temporary_file(dir=dir)

    monkeypatch.setattr(storage.pooch, "os_cache", lambda name: ours)
    monkeypatch.setattr(storage.tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(storage.tempfile, "TemporaryFile", refuse)
    assert one.load().names == one.names
    assert visible(one.root) == [own.name]
    assert visible(ours) == [one.folder.name, "cache"]
    assert capsys.readouterr().out == f"{one.root} cannot be written to, " \
        f"so what the lesson makes is kept in {ours}.\n"
    read_only += [ours, *(tmp_path / "tmp").iterdir()]
    one.refusal("data cannot be written to, .* copy the lesson elsewhere")


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
    OSError(errno.ENOSPC, "No space left on device"): "the disk is full",
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
