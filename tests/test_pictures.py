"""A picture of one's own: every common kind is read right, or refused."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import TRIED, assert_one_sentence
from notebooks import NAMES, ROOT, run
from PIL import Image
from test_lesson import SHORT

import data
from data import DataError
from data.synthetic import dermoscopy

MOLE, _ = dermoscopy.draw(np.random.default_rng(0), 0, (48, 64))
COLOUR = Image.fromarray(MOLE)
GREY = COLOUR.convert("L")
DEEP = np.uint16(np.asarray(GREY)) * 257  # 0…255 becomes 0…65535


def saved(picture, kind, **options):
    """The bytes of a picture file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def frames():
    """Three frames of an animation; the first is the mole."""
    return {"save_all": True,
            "append_images": [Image.new("RGB", COLOUR.size, colour)
                              for colour in ("red", "blue")]}


def turned(orientation):
    """A JPEG as phones save it: the EXIF data say how to turn it."""
    back = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = COLOUR if back[orientation] is None \
        else COLOUR.transpose(back[orientation])
    return saved(stored, "JPEG", exif=exif, quality=95)


# name: (bytes, how far from the original the mean pixel may be)
READABLE = {
    "mole.bmp": (saved(COLOUR, "BMP"), 0),
    "mole.png": (saved(COLOUR, "PNG"), 0),
    "mole.tif": (saved(COLOUR, "TIFF"), 0),
    "mole.webp": (saved(COLOUR, "WEBP", lossless=True), 0),
    "mole.ppm": (saved(COLOUR, "PPM"), 0),
    "mole.jpg": (saved(COLOUR, "JPEG", quality=95), 3),
    "progressive.jpg": (saved(COLOUR, "JPEG", progressive=True,
                              quality=95), 3),
    "mole.avif": (saved(COLOUR, "AVIF", quality=95), 5),
    "mole.heic": (Path(__file__).with_name("mole.heic").read_bytes(), 5),
    "palette.png": (saved(COLOUR.quantize(255), "PNG"), 5),
    "animated.gif": (saved(COLOUR, "GIF", **frames()), 6),
    "animated.webp": (saved(COLOUR, "WEBP", lossless=True, **frames()), 0),
    "pages.tif": (saved(COLOUR, "TIFF", **frames()), 0),
    "cmyk.tif": (saved(COLOUR.convert("CMYK"), "TIFF"), 3),
    "cmyk.jpg": (saved(COLOUR.convert("CMYK"), "JPEG", quality=95), 5),
    "opaque.png": (saved(COLOUR.convert("RGBA"), "PNG"), 0),
    **{f"turned{number}.jpg": (turned(number), 3)
       for number in range(1, 9)}}
# The same in grey, where 16 and 32 bits are stretched to the full range.
GREYS = {
    "grey.png": saved(GREY, "PNG"),
    "grey alpha.png": saved(GREY.convert("LA"), "PNG"),
    "deep.png": saved(Image.fromarray(DEEP), "PNG"),
    "deep.tif": saved(Image.fromarray(DEEP), "TIFF"),
    "integer.tif": saved(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
    "float.tif": saved(Image.fromarray(DEEP.astype(np.float32)), "TIFF")}
ODD_SHAPES = {
    "1x1.png": saved(COLOUR.resize((1, 1)), "PNG"),
    "1x3000.png": saved(COLOUR.resize((1, 3000)), "PNG"),
    "3000x1.jpg": saved(COLOUR.resize((3000, 1)), "JPEG"),
    "black.png": saved(Image.new("I;16", (9, 9)), "PNG")}


def png_of(width, height):
    """A black 1-bit PNG of any size, which is tiny when compressed."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content \
            + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = [packer.compress(row * 100) for _ in range(height // 100)]
    return (b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0,
                                         0, 0))
            + chunk(b"IDAT", b"".join(rows) + packer.flush())
            + chunk(b"IEND", b""))


UNREADABLE = {
    "20000x20000.png": png_of(20_000, 20_000),
    "10000x9000.png": png_of(10_000, 9_000),
    "text.jpg": b"This is no picture.",
    "page.png": b"<!doctype html><title>Sign in</title>",
    "empty.png": b"",
    "cut.png": saved(COLOUR, "PNG")[:900],
    "cut.jpg": saved(COLOUR, "JPEG")[:300],
    "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
                   b"(hacked) (w) file closefile\n%%EOF\n"}


@pytest.mark.parametrize("name", READABLE)
def test_a_picture_is_read_right(name):
    content, tolerance = READABLE[name]
    image = data.read_image(io.BytesIO(content))
    assert image.shape == MOLE.shape and image.dtype == np.uint8
    error = np.abs(image.astype(float) - MOLE).mean()
    assert error <= tolerance
    TRIED["kinds of pictures"] += 1


@pytest.mark.parametrize("name", GREYS)
def test_a_grey_picture_is_read_right(name):
    image = data.read_image(io.BytesIO(GREYS[name]))
    assert image.shape == MOLE.shape
    assert (image == image[..., :1]).all()
    grey = np.asarray(GREY).astype(float)
    if not name.startswith("grey"):
        grey = 255 * (grey - grey.min()) / np.ptp(grey)
    assert np.abs(image[..., 0] - grey).max() <= 1
    TRIED["kinds of pictures"] += 1


def test_what_is_transparent_becomes_white():
    picture = COLOUR.convert("RGBA")
    picture.putalpha(Image.new("L", COLOUR.size, 0))
    for kind in ("PNG", "WEBP", "TIFF"):
        image = data.read_image(io.BytesIO(saved(picture, kind)))
        assert (image == 255).all()


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_picture_gets_a_sentence(name):
    with pytest.raises(DataError, match=name) as error:
        data.read_image(io.BytesIO(UNREADABLE[name]), name)
    assert_one_sentence(error.value)
    assert "Ghostscript" not in str(error.value)  # nor is it looked for
    assert ("million pixels" in str(error.value)) == ("0000x" in name)
    TRIED["kinds of pictures"] += 1


def test_a_missing_picture_and_a_folder_get_a_sentence(tmp_path):
    for path in (tmp_path / "nowhere.png", tmp_path):
        with pytest.raises(DataError, match="cannot be read") as error:
            data.read_image(path)
        assert_one_sentence(error.value)


PEAK = """
import re, sys
from pathlib import Path
import data
data.read_image(sys.argv[1])
status = Path("/proc/self/status").read_text()
[kilobytes] = re.findall(r"VmHWM:\\s*(\\d+)", status)
print(int(kilobytes) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(),
                    reason="Linux tells how much memory was used")
def test_the_largest_picture_takes_the_memory_that_is_promised(tmp_path):
    largest = tmp_path / "largest.png"
    largest.write_bytes(png_of(9400, 9500))
    gigabytes = subprocess.run(
        [sys.executable, "-c", PEAK, largest], cwd=ROOT, check=True,
        capture_output=True, text=True).stdout
    assert float(gigabytes) < 1.5


SEGMENT_ALL = """
plt.show = lambda: print("a mask")
for path in sorted(Path({folder!r}).iterdir()):
    segment_file(path, path.name)
    plt.close("all")
for path in sorted(Path({folder!r}).iterdir()):  # as the button does
    segment_file(io.BytesIO(path.read_bytes()), path.name)
    plt.close("all")
"""


@pytest.mark.parametrize("name", [
    NAMES[0], pytest.param(NAMES[1], marks=pytest.mark.slow)])
def test_the_notebook_gives_a_mask_or_a_sentence(name, tmp_path):
    readable = {kind: content for kind, (content, _) in READABLE.items()}
    readable |= GREYS | ODD_SHAPES
    for kind, content in (readable | UNREADABLE).items():
        (tmp_path / kind).write_bytes(content)
    printed = run(name, SHORT.format(picture=""),
                  SEGMENT_ALL.format(folder=str(tmp_path))).splitlines()
    expected = sorted(readable | UNREADABLE) * 2
    assert len(printed) == len(expected)
    for line, kind in zip(printed, expected, strict=True):
        if kind in readable:
            assert line == "a mask", kind
        else:
            assert line.startswith(kind), line
            assert_one_sentence(line)
    TRIED["pictures segmented or refused by a notebook"] += len(printed)
