"""An archive arrives whole or not at all, and never writes elsewhere."""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections import namedtuple
from functools import partial

import pytest
import rars

from data import DataError, archive


def tree(folder):
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def visible(folder):
    """What a user sees in a folder: no lock files."""
    return sorted(path.name for path in folder.iterdir()
                  if not path.name.endswith(".lock"))


@pytest.fixture
def target(tmp_path):
    """Where to unpack to; its folder holds a file that must survive."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.txt").write_text("precious")
    return home / "target"


@pytest.mark.parametrize("kind", ["rar", "zip"])
def test_unpacks_every_byte(kind, request, whole_ph2, tmp_path, target):
    path = tmp_path / f"PH2.{kind}"
    path.write_bytes(request.getfixturevalue(f"{kind}_bytes"))
    archive.unpack(path, target)
    assert tree(target) == tree(whole_ph2)
    assert visible(target.parent) == ["mine.txt", "target"]


def link(name, to):
    """A zip entry that is a symbolic link."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, to


BAD_ENTRIES = {
    "parent": [("../up.txt", "x")],
    "deep parent": [("a/../../up.txt", "x")],
    "absolute": [("/abs.txt", "x")],
    "drive": [("C:\\win.txt", "x")],
    "backslashes": [("a\\..\\..\\up.txt", "x")],
    "link": [link("a/link", "b.txt"), ("a/b.txt", "x")],
    "link out": [link("a/link", "/tmp"), ("a/b.txt", "x")],
    "write through link": [link("a/link", ".."), ("a/link/up.txt", "x")],
}


@pytest.mark.parametrize("entries", BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_refuses_names_that_lead_outside(entries, tmp_path, target):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("good.txt", "good")
        for entry in entries:
            file.writestr(*entry)
    before = tree(tmp_path)
    with pytest.raises(DataError):
        archive.unpack(path, target)
    assert tree(tmp_path) == before
    assert visible(target.parent) == ["mine.txt"]


def test_refuses_a_link_in_a_rar(tmp_path, target):
    builder = rars.RarBuilder(format="rar50")
    builder.add_bytes(b"x", "a/b.txt")
    builder.add_unix_symlink("a/link", "b.txt")
    path = tmp_path / "bad.rar"
    path.write_bytes(bytes(builder.to_bytes()))
    with pytest.raises(DataError):
        archive.unpack(path, target)
    assert visible(target.parent) == ["mine.txt"]


@pytest.mark.parametrize("kind", ["rar", "zip"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_refuses_a_truncated_archive(kind, share, request, tmp_path, target):
    whole = request.getfixturevalue(f"{kind}_bytes")
    path = tmp_path / f"short.{kind}"
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(DataError, match="damaged or incomplete"):
        archive.unpack(path, target)
    assert visible(target.parent) == ["mine.txt"]


def test_refuses_a_web_page(tmp_path, target):
    path = tmp_path / "PH2.rar"
    path.write_text("<!doctype html><title>Sorry</title>")
    with pytest.raises(DataError, match="not a RAR or zip"):
        archive.unpack(path, target)


def test_refuses_what_does_not_fit_on_the_disk(zip_bytes, tmp_path, target,
                                               monkeypatch):
    path = tmp_path / "PH2.zip"
    path.write_bytes(zip_bytes)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 8, 1))
    with pytest.raises(DataError, match="disk is full"):
        archive.unpack(path, target)
    assert visible(target.parent) == ["mine.txt"]


@pytest.mark.skipif(not sys.platform.startswith("linux")
                    or os.geteuid() != 0, reason="mounts a small disk")
def test_survives_a_disk_that_becomes_full(zip_bytes, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk],
        capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a disk")
    try:
        (disk / "mine.txt").write_text("precious")
        path = tmp_path / "PH2.zip"
        path.write_bytes(zip_bytes)
        # Another program may take the space after we looked.
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage",
                            lambda _: usage(0, 0, 10**12))
        with pytest.raises(DataError, match="disk became full"):
            archive.unpack(path, disk / "target")
        assert visible(disk) == ["mine.txt"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_refuses_an_archive_that_grows_too_large(tmp_path, target,
                                                 monkeypatch):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(2_000_000))
    monkeypatch.setattr(archive, "LARGEST_BYTES", 1_000_000)
    with pytest.raises(DataError, match="would unpack to"):
        archive.unpack(path, target)


def test_fetches_from_the_first_mirror_that_works(server, zip_bytes,
                                                  whole_ph2, target):
    server.pages["page.rar"] = (200, b"<html>sign in</html>", None)
    server.pages["PH2.zip"] = (200, zip_bytes, None)
    checksum = "md5:" + hashlib.md5(zip_bytes).hexdigest()
    mirrors = [server.mirror("gone.rar"), server.mirror("page.rar"),
               server.mirror("PH2.zip", checksum)]
    archive.ensure(target, partial(archive.fetch, mirrors))
    assert server.requests == ["gone.rar", "page.rar", "PH2.zip"]
    assert tree(target) == tree(whole_ph2)
    assert visible(target.parent) == ["mine.txt", "target"]


def unused_port(server):
    """Close the server and return a mirror that nobody answers at."""
    server.shutdown()
    server.server_close()
    return server.mirror("PH2.zip")


@pytest.mark.parametrize(("page", "checksum", "reason"), [
    (None, None, "answered 404"),
    ((500, b"", None), None, "answered 500"),
    ((200, b"<html></html>", None), None, "web page"),
    ((200, b"PK too short", None), None, "damaged or incomplete"),
    ((200, b"PK broken off", 10**6), None, "broke off|no connection"),
    ((200, b"PK something", None), "md5:" + "0" * 32, "checksum"),
    ((302, b"", None), None, "in a circle"),
])
def test_says_why_a_download_failed(page, checksum, reason, server, target):
    if page:
        server.pages["PH2.zip"] = page
    with pytest.raises(DataError, match=reason):
        archive.fetch([server.mirror("PH2.zip", checksum)], target)
    assert not target.exists()
    assert (target.parent / "mine.txt").read_text() == "precious"
    assert not list(archive.download_folder(target).glob("*"))


def test_says_that_there_is_no_network(server, target):
    mirror = unused_port(server)
    with pytest.raises(DataError, match="no connection"):
        archive.fetch([mirror], target)


def test_a_silent_server_does_not_hang(server, target, monkeypatch):
    monkeypatch.setattr(archive, "READ_SECONDS", 1)
    release = threading.Event()
    monkeypatch.setattr(server.RequestHandlerClass, "do_GET",
                        lambda _: release.wait(20))
    start = time.monotonic()
    with pytest.raises(DataError, match="no connection"):
        archive.fetch([server.mirror("PH2.zip")], target)
    assert time.monotonic() - start < 10
    release.set()


UNPACK_IN_TURN = """
import sys
from pathlib import Path
from data import archive
target = Path(sys.argv[2])
archive.ensure(target, lambda _: archive.unpack(Path(sys.argv[1]), target))
print(sum(1 for path in target.rglob("*") if path.is_file()))
"""


def test_two_programs_do_not_disturb_each_other(rar_bytes, whole_ph2,
                                                tmp_path, target):
    path = tmp_path / "PH2.rar"
    path.write_bytes(rar_bytes)
    programs = [subprocess.Popen(
        [sys.executable, "-c", UNPACK_IN_TURN, path, target],
        stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [int(program.communicate(timeout=120)[0])
              for program in programs]
    assert counts == [len(tree(whole_ph2))] * 3


def test_clears_what_a_killed_run_left(zip_bytes, tmp_path, target):
    leftover = target.parent / ".target-part-abcd"
    leftover.mkdir()
    (leftover / "half.bmp").write_text("half")
    path = tmp_path / "PH2.zip"
    path.write_bytes(zip_bytes)
    archive.unpack(path, target)
    assert visible(target.parent) == ["mine.txt", "target"]
