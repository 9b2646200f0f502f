"""A picture of one's own: every common kind is read right, or refused."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from conftest import (
    MEGABYTES,
    SHORT,
    TRIED,
    assert_one_sentence,
    hammer,
    most_memory,
    trials,
)
from PIL import Image

from data import DataError, pictures
from data.synthetic import moles
from lab import lesson

MOLE, LESION = moles.draw(np.random.default_rng(0), 0, (48, 64))
COLOUR, MASK = Image.fromarray(MOLE), Image.fromarray(LESION)
GREY = COLOUR.convert("L")
DEEP = np.uint16(np.asarray(GREY)) * 257  # 0…255 becomes 0…65535


def saved(picture, kind, **options):
    """The bytes of a picture file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


# Three frames of an animation; the first is the mole.
FRAMES = {"save_all": True,
          "append_images": [Image.new("RGB", COLOUR.size, colour)
                            for colour in ("red", "blue")]}
# How a phone turned the picture that it says to turn back, 2 to 8.
TURNS = [Image.Transpose[name] for name in (
    "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE",
    "ROTATE_90", "TRANSVERSE", "ROTATE_270")]


def turned(orientation):
    """A JPEG as phones save it: the EXIF data say how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = COLOUR if orientation == 1 \
        else COLOUR.transpose(TURNS[orientation - 2])
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
    "animated.gif": (saved(COLOUR, "GIF", **FRAMES), 6),
    "animated.webp": (saved(COLOUR, "WEBP", lossless=True, **FRAMES), 0),
    "pages.tif": (saved(COLOUR, "TIFF", **FRAMES), 0),
    "cmyk.tif": (saved(COLOUR.convert("CMYK"), "TIFF"), 3),
    "cmyk.jpg": (saved(COLOUR.convert("CMYK"), "JPEG", quality=95), 5),
    "opaque.png": (saved(COLOUR.convert("RGBA"), "PNG"), 0),
    **{f"turned{number}.jpg": (turned(number), 3)
       for number in range(1, 9)}}
# The same in grey.
GREYS = {
    "grey.png": saved(GREY, "PNG"),
    "grey alpha.png": saved(GREY.convert("LA"), "PNG"),
    "deep.png": saved(Image.fromarray(DEEP), "PNG"),
    "deep.tif": saved(Image.fromarray(DEEP), "TIFF"),
    "deep.pgm": b"P5 64 48 65535\n" + DEEP.astype(">u2").tobytes(),
    "10 bits.pgm": b"P5 64 48 1023\n" + (DEEP // 64).astype(">u2").tobytes(),
    "integer.tif": saved(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
    "float.tif": saved(Image.fromarray(DEEP.astype(np.float32)), "TIFF")}


def tiff(*pages, **options):
    """A TIFF file with these pages, the first of which may hold the rest."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in pages:
            writer.write(page, **{"photometric": "rgb", **options})
            options.pop("subifds", None)
    return file.getvalue()


def leading(content, place):
    """A TIFF whose first page, at byte 8, names the next one's place."""
    content = bytearray(content)
    [tags] = struct.unpack_from("<H", content, 8)
    struct.pack_into("<I", content, 10 + 12 * tags, place)
    return bytes(content)


def odd(values, *numbers):
    """A copy with rows of numbers at its top that are none of the picture's.
    """
    values = values.copy()
    values[:len(numbers)] = np.reshape(numbers, (-1, 1, 1))
    return values


def with_alpha(values, white):
    """Opaque, of which numbers up to `white` can say how much."""
    return np.dstack([values, np.full_like(values[..., 0], white)])


TWELVE = np.uint16(MOLE) * 16  # 12 bits of 16, as many cameras have them
HOT = TWELVE.copy()
HOT[0, 0, 0] = 60_000
PALE = np.uint16(MOLE // 4 + 150) * 257
LARGE = TWELVE // (1, 2, 4)  # and so red that channels are very different
LARGE = LARGE.astype(np.uint16).repeat(32, 0).repeat(32, 1)
INK = np.dstack([4095 - TWELVE, 0 * TWELVE[..., 0]])
PREMULTIPLIED = np.dstack([TWELVE, np.full_like(TWELVE[..., 0], 4095)])
PREMULTIPLIED[:24] //= 2
# The same in colours of more than 8 bits: (bytes, what they show).
DEEP_COLOURS = {
    "full range.tif": (tiff(np.uint16(MOLE) * 257), MOLE),
    "full range.png": (imagecodecs.png_encode(np.uint16(MOLE) * 257), MOLE),
    "32 bits.tif": (tiff(np.uint32(MOLE) * (2**24 + 2**16 + 2**8 + 1)), MOLE),
    "pale.tif": (tiff(PALE), PALE // 257),
    "12 bits.png": (imagecodecs.png_encode(TWELVE), MOLE),
    "12 bits.ppm": (b"P6 64 48 65535\n" + TWELVE.astype(">u2").tobytes(),
                    MOLE),
    "8 bits.tif": (tiff(MOLE.astype(np.int64)), MOLE),
    "opaque.png": (imagecodecs.png_encode(with_alpha(TWELVE, 65535)), MOLE),
    "opaque.tif": (tiff(with_alpha(TWELVE, 4095), extrasamples=[2]), MOLE),
    "half.tif": (tiff(PREMULTIPLIED, extrasamples=[1]),
                 np.vstack([MOLE[:24] // 2 + 128, MOLE[24:]])),
    "other end.tif": (tiff(TWELVE.astype(">u2")), MOLE),
    "lzw.tif": (tiff(TWELVE, compression="lzw", predictor=True), MOLE),
    "planes.tif": (tiff(TWELVE.transpose(2, 0, 1).copy(),
                        planarconfig="separate"), MOLE),
    "ink.tif": (tiff(INK, photometric="separated"), MOLE),
    "turned.tif": (tiff(np.rot90(TWELVE).copy(),
                        extratags=[(274, 3, 1, 6)]), MOLE),
    "large.tif": (tiff(LARGE), LARGE // 16),
    "hot.tif": (tiff(HOT), MOLE),
    "hot.png": (imagecodecs.png_encode(HOT), MOLE),
    "white rows.tif": (tiff(odd(TWELVE, 65535, 65535)), MOLE),
    "signed.tif": (tiff(odd(np.int16(TWELVE), -32768, -9999)), MOLE),
    "nodata.tif": (tiff(odd(np.float32(MOLE), np.inf, np.nan, -3.4e38, -7),
                        extratags=[(42113, 2, 0, "-7", True)]), MOLE),
    "double.tif": (tiff(MOLE / 255), MOLE),
    "half floats.tif": (tiff(np.float16(MOLE)), MOLE),
    "preview.tif": (tiff(MOLE[:9, :9], MOLE), MOLE),
    "deep preview.tif": (tiff(MOLE[:9, :9], TWELVE), MOLE),
    "pyramid.tif": (tiff(MOLE, MOLE[:9, :9], subifds=1), MOLE),
    "inside.tif": (tiff(MOLE[:9, :9], MOLE, subifds=1), MOLE),
    "flat.tif": (tiff(TWELVE * 0 + 40_000), MOLE * 0 + 156),
    "round.tif": (leading(tiff(MOLE), 8), MOLE)}
# Numbers that do not begin at black, or end at no usual white.
STRETCHED = {
    "below 0.tif": tiff(np.int16(TWELVE) - 1000),
    "far from 0.tif": tiff(TWELVE // 16 + 32768),
    "low.tif": tiff(np.float32(MOLE) / 1000),
    "large numbers.tif": tiff(TWELVE.astype(np.uint32) * 9999)}
ODD_SHAPES = {
    "1x1.png": saved(COLOUR.resize((1, 1)), "PNG"),
    "1x3000.png": saved(COLOUR.resize((1, 3000)), "PNG"),
    "3000x1.jpg": saved(COLOUR.resize((3000, 1)), "JPEG"),
    "black.png": saved(Image.new("I;16", (9, 9)), "PNG")}


def claiming(kind, width, height):
    """A small picture file whose header claims a huge size."""
    content = bytearray(saved(Image.new("RGB", (4, 4)), kind))
    if kind == "BMP":
        struct.pack_into("<ii", content, 18, width, height)
    elif kind == "GIF":
        struct.pack_into("<HH", content, 6, width, height)
    else:  # PNG: the size, and the CRC of the header chunk
        struct.pack_into(">II", content, 16, width, height)
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    return bytes(content)


UNREADABLE = {
    "20000x20000.png": claiming("PNG", 20_000, 20_000),
    "10000x9000.png": claiming("PNG", 10_000, 9_000),
    "text.jpg": b"This is no picture.",
    "page.png": b"<!doctype html><title>Sign in</title>",
    "empty.png": b"",
    "cut.png": saved(COLOUR, "PNG")[:900],
    "cut.jpg": saved(COLOUR, "JPEG")[:300],
    "raw.dng": tiff(MOLE[:9, :9, 0], TWELVE[..., 0], photometric="cfa",
                    subifds=1),
    "torn.tif": leading(tiff(MOLE), 10**6),  # only a preview may be left
    "channels.tif": tiff(np.zeros((9, 9, 7), np.uint16)),
    "huge.tif": tiff(np.zeros((9, 9, 3), np.uint16)).replace(
        struct.pack("<HHII", 256, 4, 1, 9),
        struct.pack("<HHII", 256, 4, 1, 9000)).replace(
        struct.pack("<HHII", 257, 4, 1, 9),
        struct.pack("<HHII", 257, 4, 1, 9000)),
    "program.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
                   b"(hacked) (w) file closefile\n%%EOF\n"}


@pytest.mark.parametrize("name", READABLE)
def test_a_picture_is_read_right(name):
    content, tolerance = READABLE[name]
    image = pictures.read_image(io.BytesIO(content))
    assert image.shape == MOLE.shape and image.dtype == np.uint8
    error = np.abs(image.astype(float) - MOLE).mean()
    assert error <= tolerance
    TRIED["kinds of pictures"] += 1


@pytest.mark.parametrize("name", GREYS)
def test_a_grey_picture_is_read_right(name):
    image = pictures.read_image(io.BytesIO(GREYS[name]))
    assert image.shape == MOLE.shape
    assert (image == image[..., :1]).all()
    grey = np.asarray(GREY).astype(float)
    assert np.abs(image[..., 0] - grey).max() <= 1
    TRIED["kinds of pictures"] += 1


@pytest.mark.parametrize("name", DEEP_COLOURS)
def test_deep_colours_look_like_those_of_8_bits(name):
    content, wanted = DEEP_COLOURS[name]
    image = pictures.read_image(io.BytesIO(content))
    assert image.shape == wanted.shape
    assert np.abs(image[4:] - wanted[4:].astype(float)).max() <= 2
    TRIED["kinds of pictures"] += 1


@pytest.mark.parametrize("name", STRETCHED)
def test_other_numbers_are_stretched(name):
    """All channels together, but for the brightest and darkest 0.5 %."""
    image = pictures.read_image(io.BytesIO(STRETCHED[name]))
    low, high = np.percentile(MOLE, [0.5, 99.5])
    wanted = 255 * (np.clip(MOLE, low, high) - low) / (high - low)
    assert np.abs(image - wanted).max() <= 1
    TRIED["kinds of pictures"] += 1


def test_what_is_transparent_becomes_white():
    picture = COLOUR.convert("RGBA")
    picture.putalpha(Image.new("L", COLOUR.size, 0))
    for kind in ("PNG", "WEBP", "TIFF"):
        image = pictures.read_image(io.BytesIO(saved(picture, kind)))
        assert (image == 255).all()


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_picture_gets_a_sentence(name):
    with pytest.raises(DataError, match=name) as error:
        pictures.read_image(io.BytesIO(UNREADABLE[name]), name)
    assert_one_sentence(error.value)
    assert "Ghostscript" not in str(error.value)  # nor is it looked for
    assert ("million pixels" in str(error.value)) == ("0000x" in name)
    TRIED["kinds of pictures"] += 1


def test_a_missing_picture_and_a_folder_get_a_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # waits for who writes
    for path in (tmp_path / "nowhere.png", tmp_path, tmp_path / "pipe",
                 "/dev/zero", ""):
        with pytest.raises(DataError, match="cannot be read") as error:
            pictures.read_image(path)
        assert_one_sentence(error.value)


def read_or_refused(content):
    """Read these bytes as an image and as a mask: an array or a sentence.

    Returns how often there was an array.
    """
    read = 0
    for reader, dtype, sides in [(pictures.read_image, np.uint8, 3),
                                 (pictures.read_mask, bool, 2)]:
        try:
            pixels = reader(io.BytesIO(content))
        except DataError as error:
            assert_one_sentence(error)
        else:
            assert pixels.dtype == dtype and pixels.ndim == sides
            read += 1
    return read


@trials(300, 1200, 4000)
def test_a_damaged_picture_is_read_or_refused(trials):
    originals = [content for content, _ in READABLE.values()]
    originals += [*GREYS.values(), saved(MASK, "BMP"), saved(MASK, "PNG")]
    originals += [content for content, _ in (
        DEEP_COLOURS[name] for name in ("12 bits.png", "12 bits.ppm",
                                        "lzw.tif", "preview.tif"))]
    assert {read_or_refused(content) for content in originals} == {2}
    read = []
    hammer(lambda content: read.append(read_or_refused(content)), originals,
           trials, "damaged pictures")
    assert 0 < sum(read) < 2 * len(read)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PNG"])
@pytest.mark.parametrize("size", [(65000, 65000), (12000, 12000),
                                  (9400, 9500), (60000, 1), (0, 7)])
def test_a_huge_declared_size_takes_little_memory(kind, size):
    before, _ = most_memory()
    read_or_refused(claiming(kind, *size))
    after, _ = most_memory()
    assert after < before + MEGABYTES
    TRIED["pictures with a false size"] += 1


def test_a_mask_that_is_shrunk_is_cut_at_half():
    for covered, expected in [(5, [True, True, True, False]),
                              (4, [True, True, False, False])]:
        mask = np.zeros((4, 8), bool)
        mask[:, :covered] = True
        small = pictures.resize_mask(mask, (2, 4))
        assert small.tolist() == [expected] * 2


PEAK = """
import data, re, sys
data.read_image(sys.argv[1])
print(*re.findall(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read()))
"""


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/status").exists(),
                    reason="Linux tells how much memory was used")
@pytest.mark.parametrize("name", ["largest.png", "turned.jpg", "deep.tif"])
def test_the_largest_picture_takes_the_memory_that_is_promised(tmp_path,
                                                               name):
    largest, size = tmp_path / name, (9400, 9500)
    if name == "largest.png":
        Image.new("1", size).save(largest)
    elif name == "turned.jpg":
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", size).save(largest, exif=exif)
    else:
        tifffile.imwrite(largest, np.zeros(size, np.uint16))
    kilobytes = subprocess.run(
        [sys.executable, "-c", PEAK, largest], cwd=lesson.ROOT, check=True,
        capture_output=True, text=True).stdout
    assert int(kilobytes) / 2**20 < 1.5


SEGMENT_ALL = """
plt.show = lambda: print("a mask")
for path in sorted(Path({folder!r}).iterdir()):
    for file in (path, io.BytesIO(path.read_bytes())):  # as the button does
        segment_file(file, path.name)
        plt.close("all")
"""


@pytest.mark.parametrize("name", [
    pytest.param(lesson.PYTORCH, marks=pytest.mark.full),
    pytest.param(lesson.TENSORFLOW, marks=pytest.mark.slow)])
def test_the_notebook_gives_a_mask_or_a_sentence(name, tmp_path):
    readable = {kind: content for kind, (content, _) in READABLE.items()}
    readable |= GREYS | ODD_SHAPES
    for kind, content in (readable | UNREADABLE).items():
        (tmp_path / kind).write_bytes(content)
    notebook = lesson.read(name)
    [cell] = lesson.code_cells(notebook, "picture")
    del notebook.cells[notebook.cells.index(cell) + 1:]
    printed = lesson.run(
        notebook, after={"parameters": SHORT},
        last=SEGMENT_ALL.format(folder=str(tmp_path))).splitlines()
    expected = sorted([*readable, *UNREADABLE] * 2)
    assert len(printed) == len(expected)
    for line, kind in zip(printed, expected):
        if kind in readable:
            assert line == "a mask", kind
        else:
            assert line.startswith(kind), line
            assert_one_sentence(line)
    TRIED["pictures segmented or refused by a notebook"] += len(printed)
