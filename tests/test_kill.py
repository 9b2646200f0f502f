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
from conftest import TRIED, assert_one_sentence
from test_archive import tree, visible

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="uses process groups and mounts")
SECONDS = 30  # for one load of a tiny set on a busy machine


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
    """What is in a data/ folder, but for the cache and drawn pictures."""
    return {name: content for name, content in tree(folder).items()
            if name.startswith("PH2Dataset") or name == "mine.txt"}


@pytest.mark.parametrize(("source", "kills"), [
    ("download", 8), ("sample", 1),
    pytest.param("download", 200, marks=pytest.mark.slow),
    pytest.param("sample", 50, marks=pytest.mark.slow)])
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
            "mine.txt", "PH2Dataset", "cache", "procedural"}
        shutil.rmtree(folder)
    TRIED["kills survived"] += killed


def test_killed_between_unpacking_and_tidying(load, tmp_path):
    folder = tmp_path / "data"
    expected = load(folder).result()
    archive = folder / ".PH2Dataset-download/PH2Dataset.rar"
    archive.parent.mkdir()
    archive.write_bytes(b"unpacked already")
    assert load(folder).result() == expected
    assert set(visible(folder)) <= {"PH2Dataset", "cache", "procedural"}


@pytest.mark.parametrize(("source", "count"), [
    ("download", 2), ("download", 8),
    pytest.param("sample", 8, marks=pytest.mark.slow)])
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


@pytest.mark.parametrize(("source", "kilobytes"), [
    *(("download", size) for size in (50, 150, 400, 1000, 2000, 3500)),
    ("sample", 50), pytest.param("sample", 1000, marks=pytest.mark.slow)])
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
            "mine.txt", ".PH2Dataset-download", "procedural"}
    assert (disk / "mine.txt").read_text() == "precious"
    mount("size=50m")
    assert load(disk, source).result() == expected
    assert without_cache(disk)["mine.txt"] == b"precious"
    TRIED["full disks"] += 1


@pytest.mark.parametrize("source", ["sample", "auto", "download"])
def test_a_read_only_folder_is_worked_around(source, mount, load, tmp_path):
    expected = load(tmp_path / "roomy", source).result()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    mount("ro")
    child = load(tmp_path / "disk", source, temporary=temporary)
    assert child.result() == expected
    assert list((tmp_path / "disk").iterdir()) == []
    assert f"{tmp_path / 'disk'} cannot be written to" in child.printed
    assert str(temporary) in child.printed


def test_no_writable_folder_at_all_gets_a_sentence(mount, load, tmp_path):
    mount("ro")
    sentence = load(tmp_path / "disk", "sample",
                    temporary=tmp_path / "disk").result()
    assert "can be written to" in sentence
    assert_one_sentence(sentence)


@pytest.mark.parametrize("content", ["a file", "a link to nowhere"])
def test_something_in_the_place_of_the_folder(content, load, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    place = folder / "PH2Dataset"
    if content == "a file":
        place.write_text("mine")
    else:
        place.symlink_to(tmp_path / "nowhere")
    sentence = load(folder).result()
    assert_one_sentence(sentence)
    assert "remove what is in its place" in sentence
    assert os.path.lexists(place)
