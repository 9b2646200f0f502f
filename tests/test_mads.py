"""MADS is read whole and right, or refused in one clear sentence."""

import errno
import io
import logging.handlers
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from conftest import assert_one_sentence, files_below
from joblib import Parallel
from PIL import Image

import data
from data import DataError, loading, mads
from data.archive import beside
from data.synthetic import bodies

SIZE = (6, 8)
# Every sequence of MADS with the number of its pictures.
SEQUENCES = {
    "HipHop": {"HipHop1": 47, "HipHop2": 58, "HipHop3": 52, "HipHop4": 67,
               "HipHop5": 58, "HipHop6": 57},
    "Jazz": {"Jazz1": 40, "Jazz2": 48, "Jazz3": 48, "Jazz4": 50,
             "Jazz5": 44, "Jazz6": 40},
    "Kata": {"F2": 39, "F3": 39, "F4": 27, "N2": 8, "N3": 39, "P3": 38},
    "Sports": {"Badminton": 23, "Tennis": 12, "Volleyball": 63},
    "Taichi": {"S1": 52, "S2": 53, "S3": 48, "S4": 53, "S5": 53, "S6": 36}}
# Part of the lesson: the sequences of seed 0, on every machine.
VALID = {"HipHop2", "Jazz3", "N3", "S4", "Tennis"}
TEST = {"F2", "HipHop4", "Jazz6", "S2", "Volleyball"}


def names_of(sequences):
    """Names in which three cameras take turns, and the time goes on."""
    return sorted(
        f"{category}_{sequence}_C{number % 3}_{45 * (number // 3 + 1):05}"
        for category, counts in sequences.items()
        for sequence, count in counts.items() for number in range(count))


# Two pictures of three sequences of each category.
FEW = names_of({category: dict.fromkeys(list(counts)[:3], 2)
                for category, counts in SEQUENCES.items()})
PERSON = np.zeros((12, 16), bool)
PERSON[3:8, 4:11] = True
KINDS = ("RGBA", "transparent", "RGB", "L", "faint", "1", "P")


@cache
def png(kind):
    """The bytes of a picture, or of a kind of mask, of PERSON."""
    values = np.uint8(PERSON) * (1 if kind == "faint" else 255)
    if kind == "image":
        values = np.dstack([200 - 100 * PERSON] * 3).astype(np.uint8)
    picture = Image.fromarray(values)
    if kind in ("RGBA", "transparent", "RGB", "1", "P"):
        picture = picture.convert("RGBA" if kind == "transparent" else kind)
    if kind == "transparent":
        picture.putalpha(0)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def write_mads(folder, names):
    """Write images, masks of all kinds, collages and the table."""
    for kind in ("images", "masks", "collages"):
        (folder / kind).mkdir(parents=True)
    lines = [",images,masks,collages"]
    for row, name in enumerate(names):
        (folder / f"images/{name}.png").write_bytes(png("image"))
        (folder / f"masks/{name}.png").write_bytes(
            png(KINDS[row % len(KINDS)]))
        (folder / f"collages/{name}.jpg").write_bytes(b"not read")
        lines.append(f"{row},images/{name}.png,masks/{name}.png,"
                     f"collages/{name}.jpg")
    (folder / "df.csv").write_text("\n".join(lines))


@pytest.fixture(scope="session")
def few_mads(tmp_path_factory):
    """A tiny MADS of FEW, not to be changed."""
    folder = tmp_path_factory.mktemp("few") / "MADS"
    write_mads(folder, FEW)
    return folder


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """The procedural people, drawn once for all tests, in small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "write_dataset", partial(
            bodies.write_dataset, frames=2, size=(24, 32)))
        patch.setattr(bodies, "Parallel", lambda n_jobs, **more:
                      Parallel(n_jobs=1, **more))
        folder = tmp_path_factory.mktemp("people") / "sample"
        mads.write_sample(folder)
    return folder


@pytest.fixture
def root(tmp_path, monkeypatch, people):
    """An empty data/ folder, in which a MADS of FEW counts as whole.

    There is no Kaggle: nobody listens at this address.
    """
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(mads, "ROOT", folder)
    monkeypatch.setattr(mads, "KAGGLE", "http://127.0.0.1:9")
    monkeypatch.setattr(mads, "EXPECTED", Counter(
        name.split("_")[0] for name in FEW))
    monkeypatch.setattr(mads, "draw_sample", lambda: people)
    monkeypatch.setattr(mads, "CONNECT_SECONDS", 0.5)
    for variable in ("SOURCE", "MADS"):
        monkeypatch.delenv(f"SEGMENTATION_{variable}", raising=False)
    return folder


@pytest.fixture
def folder(root, few_mads):
    """A tiny MADS in data/, free to be damaged."""
    return shutil.copytree(few_mads, root / "MADS")


@pytest.fixture
def kaggle(root, server, monkeypatch):
    """kaggle(download) lets a function stand in for kagglehub's."""
    monkeypatch.setattr(mads, "KAGGLE", server.mirror("").url)

    def stand_in(download):
        monkeypatch.setitem(sys.modules, "kagglehub",
                            SimpleNamespace(dataset_download=download))
    return stand_in


def visible(folder):
    """The names in a folder but for locks, sorted."""
    return sorted(path.name for path in folder.iterdir()
                  if path.suffix != ".lock")


# Names

@pytest.mark.parametrize(("name", "shot"), [
    ("HipHop_HipHop1_C0_00180", ("HipHop", "HipHop1", 0, 180)),
    ("HipHop_HipHop1_C0_00180.png", ("HipHop", "HipHop1", 0, 180)),
    ("Sports_Badminton_C2_00045", ("Sports", "Badminton", 2, 45)),
    ("Kata_F4_C1_02250.png", ("Kata", "F4", 1, 2250)),
    ("Taichi_S12_C10_123456", ("Taichi", "S12", 10, 123456))])
def test_a_name_has_four_parts(name, shot):
    assert mads.parse(name) == shot
    assert mads.parse(name).sequence == shot[1]
    assert mads.parse(name).frame == shot[3]


@pytest.mark.parametrize("name", [
    "", "IMD002", "HipHop_HipHop1_C0", "HipHop_HipHop1_00180",
    "HipHop_HipHop1_C0_00180.jpg", "HipHop_HipHop1_C0_00180.png.png",
    "._HipHop_HipHop1_C0_00180", "HipHop_HipHop1_Cx_00180",
    "HipHop_HipHop1_C0_0018O", "HipHop_C0_00180", "a\nb_c_C0_1",
    "HipHop_HipHop1_C0_00180\n", "Kata_F2_C٣_00045", "x" * 10**5])
def test_other_names_get_a_sentence(name):
    with pytest.raises(DataError, match="is not like HipHop") as error:
        mads.parse(name)
    assert_one_sentence(error.value)


# Splits

def split(names, seed=0):
    """The parts of mads.split, and the names as four-part tuples."""
    shots = [mads.parse(name) for name in names]
    samples = SimpleNamespace(
        names=names, groups=np.array([shot.sequence for shot in shots]))
    return mads.split(samples, seed), shots


def assert_a_good_split(names, seed=0):
    """All rows once, no sequence torn, every category in every part."""
    parts, shots = split(names, seed)
    assert sorted(np.concatenate(parts)) == list(range(len(names)))
    assert all(sorted(part) == list(part) for part in parts)
    sequences = [{shots[row].sequence for row in part} for part in parts]
    assert sum(map(len, sequences)) == len(set.union(*sequences))
    for part in parts:
        assert {shots[row].category for row in part} == set(SEQUENCES)
    return sequences


@pytest.mark.parametrize("seed", range(10))
def test_the_split_tears_no_sequence_and_has_every_category(seed):
    names = names_of(SEQUENCES)
    assert len(names) == 1192
    train, valid, test = assert_a_good_split(names, seed)
    assert (len(train), len(valid), len(test)) == (17, 5, 5)
    assert (valid, test) == (VALID, TEST) or seed


def test_the_split_does_not_depend_on_the_order_of_the_rows():
    names = names_of(SEQUENCES)
    np.random.default_rng(0).shuffle(names)
    assert assert_a_good_split(names)[1:] == [VALID, TEST]


def test_a_split_of_too_few_sequences_says_so():
    with pytest.raises(DataError, match="15 groups of 5 kinds") as error:
        split(FEW)
    assert_one_sentence(error.value)
    for groups in (["one"], []):
        with pytest.raises(DataError, match="are too few"):
            data.group_split(groups, groups, seed=0)


def test_a_split_takes_the_fractions_it_is_given():
    groups = np.repeat(np.arange(20), 3)
    parts = data.group_split(groups, groups % 2, 0, valid=0.1, test=0.5)
    assert [len(part) for part in parts] == [24, 6, 30]


def test_the_sample_can_be_split(root):
    names = mads.load(SIZE, "sample").names
    train, valid, test = assert_a_good_split(names)
    assert (len(train), len(valid), len(test)) == (18, 6, 6)


@pytest.mark.skipif("MADS_TABLE" not in os.environ,
                    reason="MADS_TABLE does not name the df.csv of MADS")
def test_the_real_names(tmp_path):
    shutil.copy(os.environ["MADS_TABLE"], tmp_path / "df.csv")
    names = sorted(mads.listed_names(tmp_path))
    shots = [mads.parse(name) for name in names]
    assert len(names) == 1192
    assert Counter(shot.category for shot in shots) == mads.EXPECTED
    assert {category: Counter(
        shot.sequence for shot in shots if shot.category == category)
        for category in mads.EXPECTED} == SEQUENCES
    assert {shot.camera for shot in shots} == {0, 1, 2}
    assert {shot.frame % bodies.STEP for shot in shots} == {0}
    assert assert_a_good_split(names)[1:] == [VALID, TEST]


# Reading

def test_reads_the_whole_set(root, monkeypatch):
    monkeypatch.undo()  # MADS as large as it really is
    monkeypatch.setattr(mads, "ROOT", root)
    names = names_of(SEQUENCES)
    write_mads(root / "MADS", names)
    samples = mads.load(SIZE, "download")
    assert samples.source == "MADS"
    assert samples.names == names
    assert samples.images.shape == (1192, 6, 8, 3)
    assert samples.images.dtype == np.uint8
    assert samples.masks.shape == (1192, 6, 8)
    assert samples.masks.dtype == bool
    assert Counter(samples.groups.tolist()) == {
        sequence: count for counts in SEQUENCES.values()
        for sequence, count in counts.items()}


def test_every_kind_of_mask_reads_alike(folder):
    samples = mads.load(SIZE, "download")
    expected = data.resize_mask(PERSON, SIZE)
    for row, kind in enumerate(KINDS):
        assert np.array_equal(samples.native_mask(row), PERSON), kind
        assert np.array_equal(samples.masks[row], expected), kind


def around(folder, inner, table):
    """Move the pictures of a MADS into `inner` and the table to `table`."""
    (folder / inner).mkdir(parents=True, exist_ok=True)
    for kind in ("images", "masks", "collages"):
        (folder / kind).rename(folder / inner / kind)
    (folder / "df.csv").rename(folder / table / "df.csv")


@pytest.mark.parametrize(("inner", "table"), [
    ("a", "."), ("a", "a"), ("a/a", "."), ("a/a", "a"), ("a/a", "a/a")])
@pytest.mark.parametrize("name", ["MADS", bodies.HOME])
def test_reads_every_layout(inner, table, name, folder):
    around(folder, inner, table)
    renamed = folder.rename(folder.parent / name)
    assert mads.load(SIZE, "download").names == FEW
    assert mads.listed_names(renamed) == set(FEW)


def test_what_other_systems_leave_there_is_not_read(folder):
    leftover = shutil.copytree(folder, folder / "__MACOSX" / "MADS")
    (leftover / "images" / f"{FEW[0]}.png").write_bytes(b"not a picture")
    (folder / "images" / f"._{FEW[0]}.png").write_bytes(b"not a picture")
    (folder / "masks" / "Thumbs.db").write_bytes(b"not a picture")
    assert mads.load(SIZE, "download").names == FEW


def test_the_table_may_be_missing(folder):
    (folder / "df.csv").unlink()
    assert mads.load(SIZE, "download").names == FEW


def one_of(folder, kind):
    return folder / kind / f"{FEW[3]}.png"


def missing_mask(folder):
    one_of(folder, "masks").unlink()


def missing_image(folder):
    one_of(folder, "images").unlink()


def missing_pair(folder):
    missing_mask(folder)
    missing_image(folder)


def missing_pair_and_table(folder):
    missing_pair(folder)
    (folder / "df.csv").unlink()


def pair_too_many(folder):
    for kind in ("images", "masks"):
        shutil.copy(one_of(folder, kind),
                    folder / kind / "Kata_F9_C0_00045.png")


def mask_of_another_size(folder):
    Image.new("RGB", (16, 13), "white").save(one_of(folder, "masks"))


def empty_mask(folder):
    Image.new("RGBA", (16, 12), (0, 0, 0, 255)).save(one_of(folder, "masks"))


def full_mask(folder):
    Image.new("RGBA", (16, 12), (1, 1, 1, 0)).save(one_of(folder, "masks"))


def truncated_image(folder):
    picture = one_of(folder, "images")
    picture.write_bytes(picture.read_bytes()[:60])


def unreadable_table(folder):
    (folder / "df.csv").write_bytes(b"\xff images/Kata_F9_C0_00090.png \x00")


def no_masks(folder):
    shutil.rmtree(folder / "masks")


def empty_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


FAULTS = {
    missing_mask: f"the mask of {FEW[3]} is missing below",
    missing_image: f"the image of {FEW[3]} is missing below",
    missing_pair: f"{FEW[3]}, which df.csv lists, is missing",
    missing_pair_and_table: "29 images .5 HipHop, 6 Jazz, .* instead of 30",
    pair_too_many: "31 images .6 HipHop, 6 Jazz, 7 Kata, .* instead of 30",
    mask_of_another_size: f"{FEW[3]}.png is .16, 13. pixels, its image .16,",
    empty_mask: f"{FEW[3]}.png marks no person or nothing else",
    full_mask: f"{FEW[3]}.png marks no person or nothing else",
    truncated_image: f"{FEW[3]}.png cannot be read as a picture",
    unreadable_table: "Kata_F9_C0_00090, which df.csv lists, is missing",
    no_masks: "side by side below .* layout is not understood",
    empty_folder: "side by side below .* layout is not understood",
}


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS.items(),
                         ids=lambda value: getattr(value, "__name__", ""))
def test_bad_input_gets_one_sentence(spoil, sentence, folder, capsys):
    spoil(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=sentence) as error:
        mads.load(SIZE, source="download")
    assert_one_sentence(error.value)

    assert mads.load(SIZE, source="auto").source == "procedural sample"
    assert "Using the procedural sample instead of MADS: " \
        f"{error.value}\n" in capsys.readouterr().out
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("size", "source"), [
    (SIZE, "kaggle"), ((6, 0), "sample"), (None, "sample")])
def test_refuses_parameters_it_does_not_know(size, source, root):
    with pytest.raises(DataError):
        mads.load(size, source)


def test_the_cache_notices_every_change(folder, monkeypatch):
    reads = []
    read_pairs = loading.read_pairs
    monkeypatch.setattr(loading, "read_pairs", lambda *some, **more:
                        reads.append(1) or read_pairs(*some, **more))
    first, again = mads.load(SIZE), mads.load(SIZE)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.masks, again.masks)
    assert len(reads) == 1
    Image.fromarray(~PERSON).save(one_of(folder, "masks"))
    assert mads.load(SIZE).masks[3, 0, 0] > again.masks[3, 0, 0]
    assert len(reads) == 2


# Places

def zipped(folder, archive):
    """Write a zip archive as Kaggle's: twice wrapped, the table outside."""
    with zipfile.ZipFile(archive, "w") as file:
        for _, path in files_below(folder):
            name = str(path.relative_to(folder))
            file.write(path, name if name == "df.csv" else
                       f"{bodies.HOME}/{bodies.HOME}/{name}")
    return archive


@pytest.mark.parametrize("name", mads.ARCHIVE_NAMES)
def test_unpacks_what_somebody_put_into_data(name, root, few_mads):
    archive = zipped(few_mads, root / name)
    assert mads.load(SIZE, "download").names == FEW
    assert archive.exists()
    archive.unlink()
    assert mads.load(SIZE, "download").source == "MADS"  # is unpacked


def test_a_damaged_archive_leaves_nothing(root, few_mads):
    archive = zipped(few_mads, root / "archive.zip")
    archive.write_bytes(archive.read_bytes()[:-1000])
    with pytest.raises(DataError, match="damaged or incomplete") as error:
        mads.load(SIZE, "download")
    assert_one_sentence(error.value)
    assert visible(root) == ["archive.zip"]


def test_reads_the_folder_that_the_environment_names(root, few_mads,
                                                     monkeypatch):
    monkeypatch.setenv("SEGMENTATION_MADS", str(few_mads.parent))
    assert mads.load(SIZE, "download").names == FEW
    monkeypatch.setenv("SEGMENTATION_MADS", str(root / "nowhere"))
    with pytest.raises(DataError, match="SEGMENTATION_MADS names"):
        mads.load(SIZE, "download")


def test_a_read_only_folder_is_worked_around(root, few_mads, tmp_path,
                                             monkeypatch, capsys):
    zipped(few_mads, root / "archive.zip")
    ours = tmp_path / "cache"
    temporary_file = loading.tempfile.TemporaryFile

    def refuse(dir):
        if dir == root:
            raise OSError(errno.EROFS, "Read-only file system")
        return temporary_file(dir=dir)

    monkeypatch.setattr(loading.pooch, "os_cache", lambda name: ours)
    monkeypatch.setattr(loading.tempfile, "TemporaryFile", refuse)
    assert mads.load(SIZE, "download").names == FEW
    assert visible(root) == ["archive.zip"]
    assert visible(ours) == ["MADS", "cache"]
    assert f"{root} cannot be written to" in capsys.readouterr().out


# The sample

def test_the_sample_is_people_with_exact_masks(root, people):
    samples = mads.load((24, 32), "sample")
    assert samples.source == "procedural sample"
    assert 120 < len(samples) == len(set(samples.names)) <= 180
    assert len(set(samples.groups)) == mads.SEQUENCES
    assert samples.names == sorted(samples.names)
    for row, file in enumerate(samples.mask_files):
        with Image.open(file) as mask:
            drawn = np.asarray(mask.convert("L")) == 255
        assert np.array_equal(samples.native_mask(row), drawn)
        assert np.array_equal(samples.masks[row], drawn)


def test_the_sample_never_touches_the_network(folder, kaggle, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("touches the network")

    kaggle(refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert mads.load(SIZE, "sample").source == "procedural sample"
    monkeypatch.setenv("SEGMENTATION_SOURCE", "sample")
    assert mads.load(SIZE).source == "procedural sample"
    assert mads.load(SIZE, "auto").source == "MADS"


def test_the_sample_is_drawn_once_for_each_program(tmp_path, monkeypatch):
    drawn = []

    def draw(target):
        with beside(target) as temporary:
            temporary.rename(target)
        drawn.append(target.name)

    monkeypatch.setattr(mads, "ROOT", tmp_path)
    monkeypatch.setattr(mads, "write_sample", draw)
    assert mads.draw_sample() == mads.draw_sample()
    changed = tmp_path / "scenes.py"
    changed.write_text("other rooms")
    monkeypatch.setattr(mads.scenes, "__file__", str(changed))
    mads.draw_sample()
    assert len(drawn) == len(set(drawn)) == 2


# Kaggle

def test_downloads_when_nothing_is_there(root, kaggle, few_mads):
    asked = []

    def download(handle, output_dir):
        asked.append(handle)
        shutil.copytree(few_mads, output_dir)
        return output_dir

    kaggle(download)
    assert mads.load(SIZE, "download").names == FEW
    assert mads.load(SIZE).source == "MADS"
    assert asked == [mads.HANDLE]
    assert visible(root) == ["MADS", "cache"]


def test_what_lies_ready_elsewhere_is_copied(root, kaggle, few_mads):
    kaggle(lambda handle, output_dir: str(few_mads))
    assert mads.load(SIZE, "download").names == FEW
    assert len(files_below(few_mads)) == len(files_below(root / "MADS"))


def test_two_programs_download_once(root, kaggle, few_mads):
    asked = []

    def download(handle, output_dir):
        asked.append(handle)
        return str(few_mads)

    kaggle(download)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: mads.find(), range(4)))
    assert found == [root / "MADS"] * 4
    assert len(asked) == 1


def test_an_interrupted_download_leaves_nothing(root, kaggle, few_mads):
    def interrupted(handle, output_dir):
        Path(output_dir).mkdir()
        (Path(output_dir) / "1.archive").write_bytes(b"half")
        raise KeyboardInterrupt

    kaggle(interrupted)
    with pytest.raises(KeyboardInterrupt):
        mads.load(SIZE, "download")
    assert visible(root) == []
    kaggle(lambda handle, output_dir: str(few_mads))
    assert mads.load(SIZE, "download").source == "MADS"


def refusal(status):
    """As Kaggle's library reports an answer, in several lines."""
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} Client Error.\n\nYou don't have "
                              "permission.", response=response)


class UnauthenticatedError(Exception):
    """Named as Kaggle's library names it."""


FAILURES = {
    refusal(403): "the server answered 403.; .*sign in at .*kaggle.com",
    refusal(404): "the server answered 404",
    UnauthenticatedError("User is not authenticated"):
        r"\(the download failed \(User is not authenticated\)\)",
    ValueError("Invalid Kaggle credentials file at\n/home/me"):
        "Invalid Kaggle credentials file at /home/me",
    requests.ConnectionError("Max retries exceeded"): "no connection",
    requests.Timeout("timed out"): "no connection",
    zipfile.BadZipFile("Bad magic number"): "Bad magic number",
    OSError(errno.ENOSPC, "No space left on device"): "the disk is full",
}


@pytest.mark.parametrize(("failure", "sentence"), FAILURES.items(),
                         ids=lambda value: type(value).__name__)
def test_a_failed_download_gets_one_sentence(failure, sentence, root, kaggle,
                                             capsys):
    def fail(handle, output_dir):
        Path(output_dir).mkdir()
        raise failure

    kaggle(fail)
    with pytest.raises(DataError, match=sentence) as error:
        mads.load(SIZE, "download")
    assert_one_sentence(error.value)
    assert visible(root) == []
    assert mads.load(SIZE, "auto").source == "procedural sample"
    assert str(error.value) in capsys.readouterr().out


def test_says_where_to_click_and_where_to_put_it(root, kaggle, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match="not installed") as error:
        mads.load(SIZE, "download")
    assert_one_sentence(error.value)
    for words in (mads.PAGE, "choose Download", "put archive.zip",
                  f"into {root}."):
        assert words in str(error.value)


def test_a_silent_network_is_not_waited_for(root, kaggle, monkeypatch):
    kaggle(lambda *_, **__: pytest.fail("asked without a network"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(mads, "READ_SECONDS", 0.2)
        port = silent.getsockname()[1]
        monkeypatch.setattr(mads, "KAGGLE", f"http://127.0.0.1:{port}")
        start = time.monotonic()
        with pytest.raises(DataError, match="no connection"):
            mads.load(SIZE, "download")
    assert time.monotonic() - start < 20


def test_kagglehub_is_loaded_only_to_download():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, data.mads; "
         "print('kagglehub' in sys.modules)"], capture_output=True,
        text=True, cwd=Path(__file__).parent.parent, check=True)
    assert done.stdout == "False\n"


# Kaggle's own library, with a server on this machine in the place of Kaggle

@pytest.fixture
def real_library(root, server, tmp_path, monkeypatch):
    """Lets kagglehub, if it is installed, take our server for Kaggle."""
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

    def answer(*page):
        server.pages[f"{service}/DownloadDataset"] = page
    return answer


def test_the_real_library_brings_it(root, real_library, few_mads, tmp_path,
                                    server, monkeypatch):
    said = logging.handlers.BufferingHandler(1000)
    monkeypatch.setattr(logging.getLogger("kagglehub"), "handlers", [said])
    archive = zipped(few_mads, tmp_path / "served.zip").read_bytes()
    real_library(200, archive, None)
    assert mads.load(SIZE, "download").names == FEW
    assert mads.load(SIZE, "download").names == FEW
    assert len(server.requests) == 2
    assert visible(root) == ["MADS", "cache"]
    assert said.buffer == []  # a bar shows the progress, that is enough


@pytest.mark.parametrize(("page", "sentence"), [
    ((403, b"{}", None), "the server answered 403"),
    ((500, b"<html>", None), "the server answered 500"),
    ((200, b"no archive", None), "Unsupported archive type"),
    ((200, b"PK\x03\x04 broken off", 10**6), "MADS could not be downloaded"),
])
def test_the_real_library_fails(page, sentence, root, real_library):
    real_library(*page)
    with pytest.raises(DataError, match=sentence) as error:
        mads.load(SIZE, "download")
    assert_one_sentence(error.value)
    assert visible(root) == []
