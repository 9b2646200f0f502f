"""Small stand-ins for what the lesson downloads, and a server for them."""

import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import rars
import torchvision  # noqa: F401  before TensorFlow, or LLVM aborts
from PIL import Image

from data import archive, ph2
from data.synthetic import dermoscopy

# What the tests of robustness tried, printed at the end: "archives": 60.
TRIED = Counter()


def pytest_terminal_summary(terminalreporter):
    """Print how much was tried."""
    if TRIED:
        terminalreporter.section("tried, and nothing broke unless it says "
                                 "so above")
        for what, count in sorted(TRIED.items()):
            terminalreporter.write_line(f"{count:7,} {what}")


def trials(few, many):
    """Run a test with few trials, and with many if asked for slow ones."""
    return pytest.mark.parametrize(
        "trials", [few, pytest.param(many, marks=pytest.mark.slow)])


def assert_one_sentence(error):
    """An error for people: one line, a full stop, no traceback."""
    text = str(error)
    assert "\n" not in text and "Traceback" not in text, text
    assert text.endswith(".") and 20 < len(text) < 1000, text


def write_pair(folder, name, mask_mode="1"):
    """Write a tiny image and its mask in PH²'s layout."""
    image = np.full((12, 16, 3), 200, np.uint8)
    mask = np.zeros((12, 16), np.uint8)
    image[3:8, 4:11] = 90
    mask[3:8, 4:11] = 255
    home = folder / "PH2 Dataset images" / name
    for kind, suffix, array, mode in [
            ("Dermoscopic_Image", "", image, "RGB"),
            ("lesion", "_lesion", mask, mask_mode)]:
        path = home / f"{name}_{kind}" / f"{name}{suffix}.bmp"
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
    """The procedural sample, drawn once for all tests, in small."""
    folder = tmp_path_factory.mktemp("procedural") / "sample"
    dermoscopy.write_dataset(folder, size=(48, 64))
    return folder


@pytest.fixture
def data_folder(tmp_path, monkeypatch, drawn_sample):
    """An empty data/ folder, in which no test meets the network."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setattr(ph2, "ROOT", folder)
    monkeypatch.setattr(ph2, "MIRRORS", ())
    monkeypatch.setattr(ph2, "draw_sample", lambda: drawn_sample)
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
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()
