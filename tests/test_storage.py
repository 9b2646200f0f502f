"""Written whole or not at all, by one program at a time."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

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


@pytest.fixture(params=["links", "no links", "no locks"])
def disk(request, monkeypatch):
    """A disk that has it all, none of FAT's missing links, or no locks."""
    def refuse(*_, **__):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuse)
    if request.param == "no locks":
        monkeypatch.setattr(storage.FileLock, "acquire", refuse)


def at_once(count, work):
    """Call work(number) in threads that begin together."""
    ready = threading.Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: (ready.wait(), work(number))[1],
                             range(count)))


def test_many_at_once_write_one_file(disk, tmp_path):
    target = tmp_path / ("x" * 250 + ".npz")  # as long as a name may be

    def write(number):
        for _ in range(15):
            storage.clear_leftovers(target)
            with storage.whole(target) as part:
                part.write_text(str(number) * 10**5)
            storage.keep(target, np.zeros(9), np.ones(9))

    at_once(4, write)
    assert list(tmp_path.iterdir()) == [target]
    images, masks = storage.cached(target)
    assert not images.any() and masks.all()


def test_of_many_at_once_one_makes_a_new_file(disk, tmp_path):
    for trial in range(15):
        target = tmp_path / str(trial)

        def write(number, target=target):
            try:
                with storage.whole(target, new=True) as part:
                    part.write_text(str(number) * 10**4)
            except DataError as error:
                assert_one_sentence(error)
                return None
            return str(number) * 10**4

        [written] = filter(None, at_once(4, write))
        assert target.read_text() == written
    assert len(list(tmp_path.iterdir())) == 15


def test_what_looks_like_ours_but_is_not_stays(tmp_path):
    mine = ["x.part", ".x.lock", ".x-part-abcd/x", ".x-download/tmp1",
            f".{storage.NAME}-abcd/x", f".{storage.NAME}-efgh"]
    for name in mine:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    with storage.making(tmp_path / "x"), \
            storage.whole(tmp_path / "x") as part:
        part.write_text("new")
    assert tree(tmp_path) == before | {"x": b"new"}


# --- Folders --------------------------------------------------------------

@pytest.fixture
def places(tmp_path, monkeypatch):
    """data/, the user's cache and the temporary folder, in this order."""
    root, cache, temporary = (tmp_path / name for name in
                              ("data", "cache", "temporary"))
    root.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(storage, "ROOT", root)
    monkeypatch.setattr(storage.pooch, "os_cache", lambda name: cache / name)
    monkeypatch.setattr(storage.tempfile, "gettempdir",
                        lambda: str(temporary))
    return root, cache / storage.NAME, temporary


def test_other_folders_are_looked_for_only_if_need_be(places, monkeypatch):
    monkeypatch.setattr(storage.pooch, "os_cache", None)
    monkeypatch.setattr(storage.tempfile, "gettempdir", None)
    assert storage.writable_folder() == places[0]


@pytest.mark.parametrize("name", storage.MADE)
def test_what_cannot_be_kept_in_data_is_kept_elsewhere(name, places, capsys):
    root, cache, temporary = places
    (root / name).write_text("no folder, or somebody else's")
    assert storage.writable_folder() == cache
    assert capsys.readouterr().out == f"{root / name} cannot be written " \
        f"to, so what the lesson makes is kept in {cache}.\n"
    (cache / name).touch()
    own = storage.writable_folder()
    assert own.parent == temporary
    (own / name).touch()
    with pytest.raises(DataError, match="make room there") as error:
        storage.writable_folder()
    assert_one_sentence(error.value)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no modes")
def test_no_folder_that_others_prepared_is_trusted(places, monkeypatch):
    root, cache, temporary = places
    (root / "cache").touch()
    monkeypatch.setattr(storage.pooch, "os_cache",
                        Mock(side_effect=RuntimeError("no home")))
    own = storage.writable_folder()  # where nobody has a home
    assert own.parent == temporary and own.stat().st_mode & 0o777 == 0o700
    assert storage.writable_folder() == own
    for user, mode in [(os.geteuid(), 0o770), (os.geteuid(), 0o707),
                       (12345, 0o700)]:
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        theirs = temporary / f"{storage.NAME}-{user}"
        theirs.mkdir(exist_ok=True)
        theirs.chmod(mode)
        with pytest.raises(DataError, match="belongs to others") as error:
            storage.writable_folder()
        assert_one_sentence(error.value)


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
    write_folder(half / storage.CONTENT, "half")
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
