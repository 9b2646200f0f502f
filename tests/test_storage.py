"""Written whole or not at all, by one program at a time."""

import errno
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import assert_one_sentence, tree, visible

from data import DataError, storage


def write_file(path, text):
    path.write_text(text)


def write_folder(path, text):
    (path / "inner").mkdir(parents=True)
    (path / "inner/file").write_text(text)


@pytest.mark.parametrize("write", [write_file, write_folder])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_is_written_is_whole_or_not_there(write, error, tmp_path):
    target = tmp_path / "target"

    def interrupted():
        before = tree(tmp_path)
        with pytest.raises(error), storage.whole(target) as part:
            write(part, "half")
            raise error
        assert tree(tmp_path) == before
        assert list(tmp_path.iterdir()) == [target] * len(before)

    interrupted()
    with storage.whole(target) as part:
        write(part, "whole")
        assert not target.exists()
    assert set(tree(tmp_path).values()) == {b"whole"}
    interrupted()
    if write is write_file:  # is replaced in one step
        with storage.whole(target) as part:
            write(part, "new")
            assert target.read_text() == "whole"
        assert tree(tmp_path) == {"target": b"new"}


def test_many_at_once_make_a_folder_once(tmp_path):
    folder, made = tmp_path / "below" / "folder", []
    ready = threading.Barrier(4)

    def make(_):
        ready.wait()
        with storage.making(folder) as missing:
            if missing:
                made.append(1)
                with storage.whole(folder) as part:
                    write_folder(part, "text")
        return tree(folder)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(make, range(4)))
    assert found == [{"inner/file": b"text"}] * 4
    assert made == [1]
    assert visible(folder.parent) == ["folder"]


def leave(folder):
    """Leave there what a killed program leaves."""
    half = folder / f".{storage.NAME}-abcd"
    write_folder(half, "half")
    (half / storage.LOCK).touch()
    (folder / f".{storage.NAME}-efgh").mkdir()  # killed a moment earlier


@pytest.mark.parametrize("there", [False, True])
def test_what_killed_programs_left_is_removed(there, tmp_path):
    folder = tmp_path / "folder"
    leave(tmp_path)
    if there:
        folder.mkdir()
    with storage.making(folder) as missing:
        assert missing != there
        folder.mkdir(exist_ok=True)
    assert visible(tmp_path) == ["folder"]


def test_the_cache_removes_what_killed_programs_left(tmp_path):
    file = tmp_path / "cache" / "images.npz"
    file.parent.mkdir()
    leave(file.parent)
    storage.keep(file, np.zeros(1), np.ones(1))
    assert visible(file.parent) == [file.name]
    images, masks = storage.cached(file)
    assert not images.any() and masks.all()


def test_what_cannot_be_made_gets_a_sentence(tmp_path, monkeypatch):
    def refused(folder, sentence):
        with (pytest.raises(DataError, match=sentence) as error,
              storage.making(folder)):
            raise OSError(errno.ENOSPC, "No space left on device")
        assert_one_sentence(error.value)

    folder = tmp_path / "folder"
    refused(folder, "could not be made .No space left on device.; make room")
    monkeypatch.setattr(storage, "LOCK_SECONDS", 0.1)
    with storage.locked(folder):
        refused(folder, "another program has been preparing")
    with storage.making(folder) as missing:  # no lock is left
        assert missing
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "file" / "folder", "cannot be written to")
    for name in ("file", "link"):  # in the place of the folder
        with (pytest.raises(DataError, match="rename what is in") as error,
              storage.making(tmp_path / name),
              storage.whole(tmp_path / name) as part):
            part.mkdir()
        assert_one_sentence(error.value)
    assert visible(tmp_path) == ["file", "link"]
