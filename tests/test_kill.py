"""Killed, crowded, out of room or shut out: the next start puts it right."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import forkserver, get_context
from pathlib import Path

import children
import pytest
from conftest import TRIED, assert_one_sentence, tree, visible

from data import archive

linux = pytest.mark.skipif(not sys.platform.startswith("linux"),
                           reason="uses process groups and mounts")
full, slow = pytest.mark.full, pytest.mark.slow
SECONDS = 30  # for one load of a tiny set on a busy machine


def cases(names, full_cases, slow_cases=()):
    """Parameters for the tiers `full` and `slow`, on Linux."""
    tiers = (full, full_cases), (slow, slow_cases)
    return pytest.mark.parametrize(names, [
        pytest.param(*case, marks=[tier, linux])
        for tier, some in tiers for case in some])


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have `data.ph2` already imported."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["children"])
    tests = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        # Where it finds `children` and `data`; else it preloads nothing.
        patch.setenv("PYTHONPATH", f"{tests}{os.pathsep}{tests.parent}")
        forkserver.ensure_running()
    return context


class Child:
    """A process that loads the images, see `children.load`."""

    def __init__(self, processes, folder, url, source, **more):
        self.pipe, theirs = processes.Pipe()
        self.process = processes.Process(
            target=children.load, args=(folder, url, source, theirs),
            kwargs=more)
        self.process.start()
        theirs.close()
        assert self.receive() == "started"

    def receive(self):
        assert self.pipe.poll(SECONDS), "a process hangs"
        return self.pipe.recv()

    def result(self):
        """What `children.load` sends at its end."""
        self.printed = self.receive()
        result = self.receive()
        self.process.join(SECONDS)
        assert self.process.exitcode == 0
        return result

    def kill(self):
        """SIGKILL. Returns whether the process was still at work."""
        at_work = self.process.is_alive()
        self.process.kill()
        self.process.join(SECONDS)
        return at_work

    def kill_its_programs(self):
        """SIGKILL to 7-Zip or the workers that the process had started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture
def load(processes, server, rar_bytes):
    """load(folder): (source, digest), or a sentence. From our server."""
    server.pages["PH2Dataset.rar"] = (200, rar_bytes, None)
    url = server.mirror("PH2Dataset.rar").url

    def start(folder, source="download", **more):
        folder.mkdir(exist_ok=True)
        return Child(processes, folder, url, source, **more)

    return start


def without_cache(folder):
    """What is in a data/ folder, but for the cache and the sample."""
    return {name: content for name, content in tree(folder).items()
            if name.startswith("PH2Dataset") or name == "mine.txt"}


@cases(("source", "kills"), [("download", 8), ("sample", 1)],
       [("download", 200), ("sample", 50)])
def test_killed_at_any_moment_the_next_start_is_whole(
        source, kills, load, tmp_path):
    undisturbed = tmp_path / "undisturbed"
    child = load(undisturbed, source)
    start = time.monotonic()
    expected = child.result()
    duration = time.monotonic() - start
    dice = random.Random(0)
    trial = killed = 0
    while killed < kills:
        # A kill that comes too late tests nothing: most must not.
        assert trial < 2 * kills + 2
        trial += 1
        folder = tmp_path / str(trial)
        folder.mkdir()
        (folder / "mine.txt").write_text("precious")
        child = load(folder, source)
        time.sleep(dice.uniform(0, duration))
        killed += child.kill()
        if trial % 2:  # else they go on for a while
            child.kill_its_programs()
        assert load(folder, source).result() == expected
        assert without_cache(folder) == {
            **without_cache(undisturbed), "mine.txt": b"precious"}
        child.kill_its_programs()
        assert load(folder, source).result() == expected
        assert not list(folder.rglob(".*-*/*")), "half a folder is left"
        assert set(visible(folder)) <= {
            "mine.txt", "PH2Dataset", "cache", "sample"}
        shutil.rmtree(folder)
    TRIED["kills survived"] += killed


@cases(("source", "count"), [("download", 2), ("download", 8)],
       [("sample", 8)])
def test_many_at_once_get_the_same(source, count, load, server, tmp_path):
    crowd = [load(tmp_path / "data", source) for _ in range(count)]
    assert len({child.result() for child in crowd}) == 1
    assert len(server.requests) == (source == "download")
    TRIED["processes loading at once"] += count


@pytest.fixture
def mount(tmp_path):
    """mount(options): a small disk of its own, unmounted after the test."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=50k", "tmpfs", disk],
        capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a disk")
    yield lambda options: subprocess.run(
        ["mount", "-o", f"remount,{options}", disk], check=True)
    subprocess.run(["umount", disk], check=True)


@cases(("source", "kilobytes"), [
    *(("download", size) for size in (50, 150, 400, 1000, 2000, 3500)),
    ("sample", 50)], [("sample", 1000)])
def test_a_full_disk_gets_a_sentence_and_no_harm(source, kilobytes, mount,
                                                 load, tmp_path):
    expected = load(tmp_path / "roomy", source).result()
    disk = tmp_path / "disk"
    mount(f"size={kilobytes}k")
    (disk / "mine.txt").write_text("precious")
    sentence = load(disk, source).result()
    if sentence != expected:  # the room was just enough
        assert_one_sentence(sentence)
        assert "room" in sentence, sentence
        assert set(visible(disk)) <= {
            "mine.txt", ".PH2Dataset-download", "sample"}
    assert (disk / "mine.txt").read_text() == "precious"
    mount("size=50m")
    assert load(disk, source).result() == expected
    assert without_cache(disk)["mine.txt"] == b"precious"
    TRIED["full disks"] += 1


@full
@linux
def test_a_disk_that_becomes_full_while_unpacking(mount, zip_bytes, tmp_path,
                                                  monkeypatch):
    disk, path = tmp_path / "disk", tmp_path / "PH2.zip"
    mount("size=200k")
    path.write_bytes(zip_bytes)
    # There was room, but another program took it.
    monkeypatch.setattr(archive, "check_size", lambda *_: None)
    with pytest.raises(archive.DiskFull, match="became full") as error:
        archive.unpack(path, disk / "target")
    assert_one_sentence(error.value)
    assert list(disk.iterdir()) == []


@cases("source", [["sample"], ["auto"], ["download"]])
def test_a_read_only_disk_is_worked_around(source, mount, load, tmp_path):
    expected = load(tmp_path / "roomy", source).result()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    mount("ro")
    disk = tmp_path / "disk"
    child = load(disk, source, temporary=temporary)
    assert child.result() == expected
    assert list(disk.iterdir()) == []
    assert f"{disk} cannot be written to" in child.printed
    assert str(temporary) in child.printed
    if source == "sample":  # and where nothing can be written to
        sentence = load(disk, source, temporary=disk).result()
        assert "cannot be written to" in sentence
        assert_one_sentence(sentence)
