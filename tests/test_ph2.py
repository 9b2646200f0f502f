"""PH² is read whole and right, or refused in one clear sentence."""

import errno
import shutil
import time

import numpy as np
import pytest
from conftest import write_pair
from PIL import Image

import data
from data import DataError, ph2
from data.archive import ensure

SIZE = (6, 8)
# Part of the lesson: the validation rows of seed 0, on every machine.
VALID_ROWS = [30, 39, 50, 53, 56, 57, 61, 62, 90, 100,
              113, 128, 133, 136, 146, 154, 161, 177, 181, 183]


@pytest.fixture
def folder(data_folder, whole_ph2):
    """A tiny PH² in data/, free to be damaged."""
    return shutil.copytree(whole_ph2, data_folder / "PH2Dataset")


def lesion(folder, name="IMD007"):
    return folder / "PH2 Dataset images" / name / f"{name}_lesion" \
        / f"{name}_lesion.bmp"


def picture(folder, name="IMD007"):
    return folder / "PH2 Dataset images" / name \
        / f"{name}_Dermoscopic_Image" / f"{name}.bmp"


def test_reads_the_whole_set(folder):
    samples = ph2.load(SIZE)
    assert samples.source == "PH2"
    assert samples.images.shape == (200, 6, 8, 3)
    assert samples.images.dtype == np.uint8
    assert samples.masks.shape == (200, 6, 8)
    assert samples.masks.dtype == bool
    assert samples.names == [f"IMD{number:03}" for number in range(200)]
    names, counts = np.unique(samples.groups, return_counts=True)
    assert dict(zip(names, counts, strict=True)) == ph2.EXPECTED


def test_every_kind_of_mask_reads_alike(folder):
    samples = ph2.load(SIZE)
    expected = np.zeros((12, 16), bool)
    expected[3:8, 4:11] = True
    for row in (0, 2):  # 1-bit and RGB
        assert np.array_equal(samples.native_mask(row), expected)


def missing_mask(folder):
    lesion(folder).unlink()


def missing_image(folder):
    picture(folder).unlink()


def mask_of_another_size(folder):
    Image.new("1", (16, 13), 1).save(lesion(folder))


def empty_mask(folder):
    Image.new("1", (16, 12), 0).save(lesion(folder))


def full_mask(folder):
    Image.new("1", (16, 12), 1).save(lesion(folder))


def unreadable_image(folder):
    picture(folder).write_bytes(b"BM and nothing more")


def truncated_image(folder):
    picture(folder).write_bytes(picture(folder).read_bytes()[:200])


def image_twice(folder):
    shutil.copy(picture(folder), folder / "IMD007.bmp")


def one_pair_less(folder):
    shutil.rmtree(folder / "PH2 Dataset images" / "IMD007")


def no_table(folder):
    (folder / "PH2_dataset.txt").unlink()


def pair_that_the_table_lacks(folder):
    write_pair(folder, "IMD999")


def empty_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


FAULTS = {
    missing_mask: "mask of IMD007 is missing",
    missing_image: "image of IMD007 is missing",
    mask_of_another_size: "IMD007_lesion.bmp is .16, 13. pixels",
    empty_mask: "IMD007_lesion.bmp marks no lesion",
    full_mask: "IMD007_lesion.bmp marks no lesion or nothing else",
    unreadable_image: "IMD007.bmp cannot be read",
    truncated_image: "IMD007.bmp cannot be read",
    image_twice: "two files of one image",
    one_pair_less: "holds 199 images .79 common nevus",
    no_table: "PH2_dataset.txt is missing",
    pair_that_the_table_lacks: "no diagnosis of IMD999",
    empty_folder: "layout is not understood",
}


@pytest.mark.parametrize(("spoil", "sentence"), FAULTS.items(),
                         ids=lambda value: getattr(value, "__name__", ""))
def test_bad_input_gets_one_sentence(spoil, sentence, folder, capsys):
    spoil(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=sentence) as error:
        ph2.load(SIZE, source="download")
    assert "\n" not in str(error.value)

    samples = ph2.load(SIZE, source="auto")
    assert samples.source == "procedural sample"
    assert str(error.value) in capsys.readouterr().out
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("kind", ["rar", "zip"])
def test_unpacks_what_somebody_put_into_data(kind, request, data_folder):
    own = data_folder / f"PH2Dataset.{kind}"
    own.write_bytes(request.getfixturevalue(f"{kind}_bytes"))
    assert ph2.load(SIZE).source == "PH2"
    assert own.exists()
    own.unlink()
    assert ph2.load(SIZE).source == "PH2"  # unpacked, so not needed again


def test_downloads_when_nothing_is_there(server, rar_bytes, data_folder,
                                         monkeypatch):
    server.pages["PH2Dataset.rar"] = (200, rar_bytes, None)
    monkeypatch.setattr(ph2, "MIRRORS", [server.mirror("PH2Dataset.rar")])
    assert ph2.load(SIZE, source="download").source == "PH2"
    assert ph2.load(SIZE).source == "PH2"
    assert server.requests == ["PH2Dataset.rar"]


def test_names_the_official_page_when_nothing_works(server, data_folder,
                                                    monkeypatch, capsys):
    monkeypatch.setattr(ph2, "MIRRORS", [server.mirror("PH2.zip")])
    with pytest.raises(DataError, match="answered 404.*by hand.*fc.up.pt"):
        ph2.load(SIZE, source="download")
    assert ph2.load(SIZE).source == "procedural sample"
    assert "Using the procedural sample instead of PH²: PH² could not be " \
        "downloaded" in capsys.readouterr().out


def test_the_sample_never_touches_the_network(server, folder, monkeypatch):
    monkeypatch.setattr(ph2, "MIRRORS", [server.mirror("PH2.zip")])
    assert ph2.load(SIZE, source="sample").source == "procedural sample"
    monkeypatch.setenv("SEGMENTATION_SOURCE", "sample")
    assert ph2.load(SIZE).source == "procedural sample"
    assert ph2.load(SIZE, source="auto").source == "PH2"
    assert server.requests == []


def test_reads_the_folder_that_the_environment_names(data_folder, whole_ph2,
                                                     monkeypatch):
    monkeypatch.setenv("SEGMENTATION_DATA", str(whole_ph2.parent))
    assert ph2.load(SIZE).source == "PH2"
    monkeypatch.setenv("SEGMENTATION_DATA", str(data_folder / "nowhere"))
    with pytest.raises(DataError, match="SEGMENTATION_DATA names"):
        ph2.load(SIZE, source="download")


@pytest.mark.parametrize(("size", "source"), [
    (SIZE, "dropbox"), ((6, 0), "sample"), ((6,), "sample"),
    ((6.0, 8), "sample"), (6, "sample"), ("68", "sample"),
    ((6, 10**6), "sample"), (None, "sample")])
def test_refuses_parameters_it_does_not_know(size, source, data_folder):
    with pytest.raises(DataError):
        ph2.load(size, source)


def test_the_cache_notices_every_change(folder, monkeypatch):
    reads = []
    read_pairs = ph2.read_pairs
    monkeypatch.setattr(ph2, "read_pairs", lambda pairs, size: reads.append(
        size) or read_pairs(pairs, size))
    first = ph2.load(SIZE)
    again = ph2.load(SIZE)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.masks, again.masks)
    assert reads == [SIZE]

    ph2.load((3, 4))
    assert reads == [SIZE, (3, 4)]

    time.sleep(0.01)  # so that the date of the file differs
    Image.new("RGB", (16, 12), "white").save(picture(folder, "IMD000"))
    assert (ph2.load(SIZE).images[0] == 255).all()
    assert reads == [SIZE, (3, 4), SIZE]

    for cache in (ph2.ROOT / "cache").glob("*.npz"):
        cache.write_bytes(b"damaged")
    assert (ph2.load(SIZE).images[0] == 255).all()
    assert len(reads) == 4


def test_the_split_is_disjoint_stratified_and_always_the_same():
    groups = np.repeat(ph2.DIAGNOSES, [80, 80, 40])
    train, valid, test = data.stratified_split(groups, seed=0)
    assert sorted([*train, *valid, *test]) == list(range(200))
    for rows, counts in [(train, [56, 56, 28]), (valid, [8, 8, 4]),
                         (test, [16, 16, 8])]:
        assert [np.sum(groups[rows] == name)
                for name in ph2.DIAGNOSES] == counts
    assert list(valid) == VALID_ROWS
    other = data.stratified_split(groups, seed=1)
    assert not np.array_equal(test, other[2])


def test_the_folds_test_every_row_once_and_are_stratified():
    groups = np.repeat(ph2.DIAGNOSES, [80, 80, 40])
    folds = [data.stratified_split(groups, seed=0, fold=fold)
             for fold in range(5)]
    assert sorted(np.concatenate([test for *_, test in folds])) \
        == list(range(200))
    for train, valid, test in folds:
        assert sorted([*train, *valid, *test]) == list(range(200))
        for rows, counts in [(train, [56, 56, 28]), (valid, [8, 8, 4]),
                             (test, [16, 16, 8])]:
            assert [np.sum(groups[rows] == name)
                    for name in ph2.DIAGNOSES] == counts
    again = data.stratified_split(groups, seed=0, fold=3)
    assert all(map(np.array_equal, again, folds[3]))


def test_a_split_of_too_few_images_says_so():
    with pytest.raises(DataError, match="cannot be split"):
        data.stratified_split(np.array(["a", "a", "b"]), seed=0)


def test_an_anti_aliased_mask_is_cut_at_half():
    mask = np.zeros((4, 8), bool)
    mask[:, :5] = True
    small = data.resize_mask(mask, (2, 4))
    assert small.tolist() == [[True, True, True, False]] * 2


def test_a_sample_that_does_not_fit_gets_a_sentence(tmp_path, monkeypatch):
    def write_a_little(folder):
        folder.mkdir()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ph2.dermoscopy, "write_dataset", write_a_little)
    with pytest.raises(DataError, match="could not be made .No space"):
        ensure(tmp_path / "sample", ph2.write_sample)
    assert [path.name for path in tmp_path.iterdir()] == [".sample.lock"]
