"""What the tests share: small data sets, a server, limits, the tiers."""

import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rars
import torchvision  # noqa: F401  before TensorFlow, or LLVM aborts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data import archive, ph2, storage
from data.synthetic import moles
from lab.lesson import ROOT, code_cells

# Parameters with which a lesson notebook runs in seconds.
SHORT = ("SOURCE = 'sample'; EPOCHS = 1; HEIGHT, WIDTH = 48, 64; "
         "BATCH_SIZE = 50; FEW_STEPS = 2")
# What the tests of robustness tried, printed at the end: "archives": 60.
TRIED = Counter()
CHROMIUM = next(filter(None, map(shutil.which, [
    "chromium", "chromium-browser", "google-chrome"])), None)
NO_CHROMIUM = ("no Chromium here; on Debian or Ubuntu: "
               "sudo apt install chromium")
SECONDS = 20  # no damaged file may take longer to refuse
MEGABYTES = 1000  # that reading any of them may take
EXTREMES = [b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80",
            b"../", b"..\\", b"C:\\", b"/", b"\0", b"CON", b"\r\n", b"||"]


def pytest_collection_modifyitems(items):
    """The lab's solutions, which nbval runs, are of the fuller tier."""
    for item in items:
        if ROOT / "lab" in item.path.parents:
            item.add_marker(pytest.mark.full)


def pytest_terminal_summary(terminalreporter):
    """Print how much was tried."""
    if TRIED:
        terminalreporter.section("tried, and nothing broke unless it says "
                                 "so above")
        for what, count in sorted(TRIED.items()):
            terminalreporter.write_line(f"{count:7,} {what}")


def trials(few, more, many):
    """Run a test with few trials, with more in `full`, with many in `slow`.
    """
    return pytest.mark.parametrize("trials", [
        few, pytest.param(more, marks=pytest.mark.full),
        pytest.param(many, marks=pytest.mark.slow)])


def assert_one_sentence(error):
    """An error for people: one line, a full stop, no traceback."""
    text = str(error)
    assert "\n" not in text and "Traceback" not in text, text
    assert text.endswith(".") and 20 < len(text) < 1000, text


@st.composite
def changed(draw, originals):
    """The bytes of one of the originals, damaged in one to five places."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        stretch = content[place:place + draw(st.integers(1, 64))]
        damage = draw(st.sampled_from(
            ["flip", "flip", "overwrite", "overwrite", "cut", "lose",
             "double"]))
        if damage == "flip" and content:
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif damage == "overwrite":
            extreme = draw(st.sampled_from(EXTREMES))
            content[place:place + len(extreme)] = extreme
        elif damage == "cut":
            del content[place:]
        elif damage == "lose":
            del content[place:place + len(stretch)]
        elif damage == "double":
            content[place:place] = stretch
    return bytes(content)


def hammer(check, originals, count, what):
    """Call check(bytes) with damaged originals, within time and memory."""
    def timed(content):
        start = time.monotonic()
        check(content)
        assert time.monotonic() - start < SECONDS
        TRIED[what] += 1

    own, programs = most_memory()
    settings(max_examples=count, deadline=None, database=None,
             derandomize=True, suppress_health_check=list(HealthCheck))(
        given(changed(originals))(timed))()
    own_after, programs_after = most_memory()
    assert own_after < own + MEGABYTES
    # 7-Zip runs as a program of its own; it begins as a copy of this one.
    assert programs_after <= max(programs, own_after, MEGABYTES)


def most_memory():
    """The most that this process, and any one it started, has used, MB."""
    try:
        import resource
    except ImportError:  # Windows does not tell
        return 0, 0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return [resource.getrusage(who).ru_maxrss / unit
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def write_pair(folder, name, mask_mode="1"):
    """Write a tiny image and its mask in PH²'s layout."""
    mask = np.zeros((12, 16), bool)
    mask[3:8, 4:11] = True
    image = np.uint8(200 - 110 * mask)
    for layout, array, mode in [(ph2.IMAGE, image, "RGB"),
                                (ph2.MASK, np.uint8(255 * mask), mask_mode)]:
        path = folder / layout.format(name=name)
        path.parent.mkdir(parents=True)
        Image.fromarray(array).convert(mode).save(path)


def write_ph2(folder, count=200):
    """Write a tiny but whole PH²: 80, 80 and 40 pairs, one RGB mask."""
    lines = ["|| Name || Histological Diagnosis || Clinical Diagnosis ||"]
    for number in range(count):
        name = f"IMD{number:03}"
        write_pair(folder, name, mask_mode="RGB" if number == 2 else "1")
        # A region of interest, which is neither an image nor a mask.
        roi = folder / "PH2 Dataset images" / name / f"{name}_roi"
        roi.mkdir()
        (roi / f"{name}_R1_Label4.bmp").write_bytes(b"not read")
        lines.append(f"|| {name} ||  || {min(number // 80, 2)} || 0 | T ||")
    (folder / "PH2_dataset.txt").write_text("\n".join(lines))


@pytest.fixture(scope="session")
def whole_ph2(tmp_path_factory):
    """A tiny PH², not to be changed; copy it with `shutil.copytree`."""
    folder = tmp_path_factory.mktemp("whole") / "PH2Dataset"
    write_ph2(folder)
    return folder


def tree(folder):
    """Every file below a folder with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def visible(folder):
    """What a user sees in a folder, sorted: no lock files."""
    return sorted(path.name for path in folder.iterdir()
                  if path.suffix != ".lock")


def files_below(folder):
    """All (path relative to the parent, path) of files below a folder."""
    return [(str(path.relative_to(folder.parent)), path)
            for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.fixture(scope="session")
def rar_bytes(whole_ph2):
    """The tiny PH² as a RAR4 archive, the format of the real one."""
    builder = rars.RarBuilder(format="rar40")
    for name, path in files_below(whole_ph2):
        builder.add(str(path), name)
    return bytes(builder.to_bytes())


@pytest.fixture(scope="session")
def zip_bytes(whole_ph2, tmp_path_factory):
    """The tiny PH² as a zip archive."""
    path = tmp_path_factory.mktemp("zip") / "PH2.zip"
    with zipfile.ZipFile(path, "w") as archive_file:
        for name, file in files_below(whole_ph2):
            archive_file.write(file, name)
    return path.read_bytes()


@pytest.fixture(scope="session")
def drawn_sample(tmp_path_factory):
    """The synthetic sample, drawn once for all tests, in small."""
    folder = tmp_path_factory.mktemp("drawn") / "sample"
    moles.write_dataset(folder, size=(48, 64))
    return folder


@pytest.fixture
def data_folder(tmp_path, monkeypatch, drawn_sample):
    """An empty data/ folder, in which no test meets the network."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(storage, "ROOT", folder)
    monkeypatch.setattr(ph2, "MIRRORS", ())
    monkeypatch.setattr(ph2, "draw_sample", lambda home: drawn_sample)
    monkeypatch.delenv("SEGMENTATION_SOURCE", raising=False)
    monkeypatch.delenv("SEGMENTATION_DATA", raising=False)
    return folder


class Server(ThreadingHTTPServer):
    """A web server on this machine: `pages` maps a path to its answer.

    An answer is (status, body, declared length or None), or a function
    of the handler that answers as it likes.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = {}
        self.requests = []

    def mirror(self, path, checksum=None):
        """The Mirror for a path on this server."""
        url = f"http://127.0.0.1:{self.server_port}/{path}"
        return archive.Mirror(url, Path(path).name, checksum)


class Handler(BaseHTTPRequestHandler):
    """Answers from `Server.pages`; 404 where there is nothing."""

    def do_GET(self):
        name = self.path.strip("/")
        self.server.requests.append(name)
        answer = self.server.pages.get(name, (404, b"not found", None))
        if callable(answer):
            answer(self)
            return
        status, body, length = answer
        self.send_response(status)
        if status in {301, 302}:
            self.send_header("Location", self.path)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_):
        """Keep the test output free of requests."""


@pytest.fixture
def server():
    """A running web server, stopped after the test."""
    running = Server()
    thread = threading.Thread(target=running.serve_forever, args=(0.02,),
                              daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def repository(*patterns):
    """The files of the repository, and new ones, as git lists them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard",
         "-z", *patterns], cwd=ROOT, check=True, capture_output=True,
        encoding="utf-8").stdout
    return sorted({name for name in listed.split("\0")
                   if name and (ROOT / name).is_file()})


def shortened(notebook, parameters=SHORT):
    """A notebook whose cell of parameters ends with others."""
    [cell] = code_cells(notebook, "parameters")
    cell.source += f"\n{parameters}"
    return notebook
