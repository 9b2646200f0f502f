"""Damaged and hostile files: one sentence, no harm, no hang, no flood.

Files are real ones, made here and then changed by hypothesis: bits
flipped, cut, stretches lost, doubled or overwritten.
"""

import io
import os
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
import rars
from conftest import TRIED, assert_one_sentence, trials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_archive import tree, visible

import data
from data import DataError, archive, ph2
from data.synthetic import dermoscopy

resource = pytest.importorskip("resource")  # not on Windows

SECONDS = 20  # no file here may take longer to refuse
MEGABYTES = 1000  # that reading any of them may take
EXTREMES = [b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80",
            b"../", b"..\\", b"C:\\", b"/", b"\0", b"CON", b"\r\n", b"||"]


@st.composite
def changed(draw, originals):
    """The bytes of one of the originals, damaged in one to five places."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 64))
        stretch = content[place:place + length]
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
            del content[place:place + length]
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
    return [resource.getrusage(who).ru_maxrss / 1024
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


# --- Archives ------------------------------------------------------------

MEMBERS = {"PH2/PH2_dataset.txt": b"|| IMD002 ||  || 0 ||\n" * 40,
           "PH2/IMD002.bmp": bytes(range(256)) * 20,
           "PH2/IMD002_lesion.bmp": bytes(5000),
           "PH2/more/ü.txt": "größer".encode()}


def as_rar(members, version="rar40"):
    builder = rars.RarBuilder(format=version)
    for name, content in members.items():
        builder.add_bytes(content, name)
    return bytes(builder.to_bytes())


def as_zip(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return file.getvalue()


def archives():
    """The same small folder in every format that is accepted."""
    return [as_rar(MEMBERS, "rar40"), as_rar(MEMBERS, "rar50"),
            *(as_zip(MEMBERS, method) for method in
              (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2,
               zipfile.ZIP_LZMA))]


def assert_unpacked_or_refused(content, folder):
    """Unpack these bytes: all inside the target, or a sentence and nothing.

    `folder` is a new one; all that it holds besides must stay as it is.
    """
    home = folder / "home"
    home.mkdir(parents=True)
    (home / "mine.txt").write_text("precious")
    path = folder / "archive"
    path.write_bytes(content)
    before = tree(folder)
    target = home / "target"
    try:
        archive.unpack(path, target)
    except DataError as error:
        assert_one_sentence(error)
        assert visible(home) == ["mine.txt"]
    else:
        assert visible(home) == ["mine.txt", "target"]
        assert all(archive.is_plain(file) for file in target.rglob("*"))
    after = tree(folder)
    assert {name: after[name] for name in before} == before
    assert all(name in before or name.startswith("home/target/")
               for name in after)
    return target.exists()


@trials(40, 2000)
def test_a_damaged_archive_does_no_harm(trials, tmp_path):
    folders = (tmp_path / str(number) for number in range(10**6))
    unpacked = []
    for content in archives():
        assert assert_unpacked_or_refused(content, next(folders))
    hammer(lambda content: unpacked.append(assert_unpacked_or_refused(
        content, next(folders))), archives(), trials, "damaged archives")
    # If all were refused, the damage would be too great to test much.
    assert 0 < sum(unpacked) < len(unpacked)


@pytest.mark.parametrize("kind", ["rar40", "rar50", "zip"])
def test_an_archive_cut_anywhere_is_refused(kind, tmp_path):
    content = as_zip(MEMBERS) if kind == "zip" else as_rar(MEMBERS, kind)
    # A RAR without its last block, which only says "end", is whole.
    whole = len(content) - (0 if kind == "zip" else 20)
    for number, length in enumerate(range(0, whole, 97)):
        folder = tmp_path / str(number)
        assert not assert_unpacked_or_refused(content[:length], folder)
        TRIED["cut archives"] += 1


ODD_NAMES = [
    "../up", "a/../../up", "..", "/absolute", "//server/share/file",
    "C:\\drive", "C:relative", "\\\\server\\share", "a\\..\\..\\up",
    "a:stream", "CON", "con.txt", "a/NUL", "Aux.bmp", "COM1", "lpt9.log",
    "dot.", "space ", "a/ /b", "a/./../../up", "que?tion", "st*r", "p|pe",
    "quo\"te", "<tag>", "new\nline", "escape\x1b[2J", "x" * 300,
    "d/" * 1500 + "x"]


def zip_with_name(name):
    return as_zip({"good.txt": b"good", name: b"x"})


def rar_with_name(name):
    """A RAR4 archive with a name that no honest program would write."""
    stand_in, raw = b"n" * len(name), name.encode()
    content = bytearray(as_rar({"good.txt": b"good", stand_in.decode(): b""}))
    place = content.index(stand_in)
    content[place:place + len(raw)] = raw
    # Before the name: 32 bytes of header, the first two of them its CRC.
    start = place - 32
    (length,) = struct.unpack_from("<H", content, start + 5)
    crc = zlib.crc32(content[start + 2:start + length]) & 0xFFFF
    struct.pack_into("<H", content, start, crc)
    return bytes(content)


@pytest.mark.parametrize("name", ODD_NAMES,
                         ids=lambda name: ascii(name)[:24])
@pytest.mark.parametrize("pack", [zip_with_name, rar_with_name])
def test_an_odd_name_is_refused(pack, name, tmp_path):
    assert not assert_unpacked_or_refused(pack(name), tmp_path)
    TRIED["odd names"] += 1


def test_the_odd_names_are_what_is_refused(tmp_path):
    for number, pack in enumerate([zip_with_name, rar_with_name]):
        assert assert_unpacked_or_refused(pack("a.txt"),
                                          tmp_path / str(number))


@pytest.mark.parametrize("name", [
    "ä/ö.bmp", "日本/写真.bmp", "a b (1)/c+d,e.txt", ".hidden", "a..b/c",
    "🙂"])
def test_a_good_name_is_kept(name, tmp_path):
    assert assert_unpacked_or_refused(as_zip({name: b"x", "b": b"y"}),
                                      tmp_path)
    assert (tmp_path / "home/target" / name).read_bytes() == b"x"


@pytest.mark.parametrize("names", [("a", "A"), ("ä", "a\u0308"), ("a", "a")])
def test_two_names_of_one_file_are_refused(names, tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name in names:
            opened.writestr(name, name) if names[0] != names[1] else \
                opened.writestr(zipfile.ZipInfo(name), name)
    assert not assert_unpacked_or_refused(file.getvalue(), tmp_path)


def rar5_with_link(kind):
    """A RAR5 archive with a link; 1 is a symbolic one, 4 a hard one."""
    builder = rars.RarBuilder(format="rar50")
    builder.add_bytes(b"secret", "a/b.txt")
    builder.add_unix_symlink("a/link", "b.txt")
    content = bytearray(builder.to_bytes())
    # A record in the header: type 5 "redirection", kind, flags, length,
    # target. (https://www.rarlab.com/technote.htm#linkrecord)
    record = content.index(b"\x05\x01\x00\x05b.txt")
    content[record + 1] = kind
    # The header begins with its CRC, of all that follows up to its end.
    for start in range(record, 8, -1):
        size = content[start + 4]
        end = start + 5 + size
        old = bytes(content[start + 5:end])
        restored = old.replace(b"\x05" + bytes([kind]) + b"\x00\x05b.txt",
                               b"\x05\x01\x00\x05b.txt")
        if zlib.crc32(bytes([size]) + restored) \
                == struct.unpack_from("<I", content, start)[0]:
            struct.pack_into("<I", content, start,
                             zlib.crc32(bytes([size]) + old))
            return bytes(content)
    raise AssertionError("the header was not found")


@pytest.mark.parametrize("kind", [1, 4])
def test_a_link_in_a_rar_is_refused(kind, tmp_path):
    assert not assert_unpacked_or_refused(rar5_with_link(kind), tmp_path)


def zip_bomb(megabytes):
    """A zip of zeros, a thousandth of their size."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened, \
            opened.open("zeros", "w") as member:
        for _ in range(megabytes):
            member.write(bytes(2**20))
    return file.getvalue()


def with_size(content, old, new):
    """The archive, with another declared size in both its headers."""
    old, new = struct.pack("<I", old), struct.pack("<I", new)
    assert content.count(old) == 2
    return content.replace(old, new)


def overlapping(copies):
    """A zip whose many entries all unpack the same data (Fifield, 2019)."""
    single = as_zip({"0000": bytes(10**6)})
    directory = single.index(b"PK\1\2")
    end = single.index(b"PK\5\6")
    entry = single[directory:end]
    entries = b"".join(entry.replace(b"0000", b"%04d" % number)
                       for number in range(copies))
    closing = bytearray(single[end:])
    struct.pack_into("<HHII", closing, 8, copies, copies, len(entries),
                     directory)
    return single[:directory] + entries + bytes(closing)


def test_bombs_are_refused_before_they_grow(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_BYTES", 50 * 2**20)
    honest = zip_bomb(60)
    bombs = {
        "honest": honest,
        "understated": with_size(honest, 60 * 2**20, 10),
        "overstated": with_size(honest, 60 * 2**20, 2**32 - 2),
        "overlapping": overlapping(100),
        "many": as_zip({str(number): b"" for number in range(20_001)}),
        "empty": as_zip({})}
    for kind, content in bombs.items():
        start = time.monotonic()
        assert not assert_unpacked_or_refused(content, tmp_path / kind), kind
        assert time.monotonic() - start < SECONDS
        TRIED["archive bombs"] += 1


def test_a_locked_archive_is_refused_and_asks_nothing(tmp_path):
    content = bytearray(as_zip({"a.txt": b"x"}))
    for signature, offset in [(b"PK\3\4", 6), (b"PK\1\2", 8)]:
        content[content.index(signature) + offset] |= 1  # "encrypted"
    assert not assert_unpacked_or_refused(bytes(content), tmp_path)
    with pytest.raises(DataError, match="locked by a password"):
        archive.unpack(tmp_path / "archive", tmp_path / "home/target")


def test_7_zip_gets_limited_time(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "UNPACK_SECONDS", 0.0001)
    assert not assert_unpacked_or_refused(as_zip(MEMBERS), tmp_path)


# --- Pictures ------------------------------------------------------------

def small_pictures():
    """One small drawing in every format that PH² or a learner may have."""
    image, mask = dermoscopy.draw(np.random.default_rng(0), 0, (24, 32))
    picture = Image.fromarray(image)
    kinds = [(picture, kind) for kind in
             ("BMP", "PNG", "JPEG", "GIF", "TIFF", "WEBP", "AVIF", "PPM")]
    kinds += [(Image.fromarray(mask), "BMP"), (Image.fromarray(mask), "PNG"),
              (picture.convert("P"), "PNG"), (picture.convert("RGBA"), "PNG"),
              (Image.fromarray(np.uint16(image[..., 0]) << 8), "PNG"),
              (picture.convert("CMYK"), "TIFF")]
    contents = []
    for one, kind in kinds:
        file = io.BytesIO()
        one.save(file, kind)
        contents.append(file.getvalue())
    heic = os.path.join(os.path.dirname(__file__), "mole.heic")
    with open(heic, "rb") as file:
        contents.append(file.read())
    return contents


def assert_read_or_refused(content):
    """Read these bytes as an image and as a mask: an array or a sentence."""
    read = 0
    for reader, dtype, sides in [(data.read_image, np.uint8, 3),
                                 (data.read_mask, bool, 2)]:
        try:
            pixels = reader(io.BytesIO(content))
        except DataError as error:
            assert_one_sentence(error)
        else:
            assert pixels.dtype == dtype and pixels.ndim == sides
            read += 1
    return read


@trials(300, 4000)
def test_a_damaged_picture_is_read_or_refused(trials):
    read = []
    for content in small_pictures():
        assert assert_read_or_refused(content) == 2
    hammer(lambda content: read.append(assert_read_or_refused(content)),
           small_pictures(), trials, "damaged pictures")
    assert 0 < sum(read) < 2 * len(read)


def claiming(kind, width, height):
    """A small picture file whose header claims a huge size."""
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, kind)
    content = bytearray(file.getvalue())
    if kind == "BMP":
        struct.pack_into("<ii", content, 18, width, height)
    elif kind == "GIF":
        struct.pack_into("<HH", content, 6, width, height)
    else:  # PNG: the size, and the CRC of the header chunk
        struct.pack_into(">II", content, 16, width, height)
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PNG"])
@pytest.mark.parametrize("size", [(65000, 65000), (12000, 12000),
                                  (9400, 9500), (60000, 1), (0, 7)])
def test_a_huge_declared_size_takes_little_memory(kind, size):
    before, _ = most_memory()
    assert_read_or_refused(claiming(kind, *size))
    after, _ = most_memory()
    assert after < before + MEGABYTES
    TRIED["pictures with a false size"] += 1


# --- The table of PH² ----------------------------------------------------

def tables():
    """PH²'s table as it is, and as the sample's program writes it."""
    names = [f"IMD{number:03}" for number in range(2, 40)]
    rows = [f"|| {name} || Compound Nevus || {number % 3} || 0 | T | A ||"
            for number, name in enumerate(names)]
    text = "|| Name || Histological Diagnosis || Clinical ||\n"
    return [(text + "\n".join(rows)).encode(),
            (text + "\r\n".join(rows)).encode("utf-16")]


@trials(200, 3000)
def test_a_damaged_table_is_read_or_refused(trials, tmp_path):
    names = [f"IMD{number:03}" for number in range(2, 40)]
    read = []

    def check(content):
        (tmp_path / "PH2_dataset.txt").write_bytes(content)
        try:
            codes = ph2.read_diagnoses(tmp_path, names)
        except DataError as error:
            assert_one_sentence(error)
        else:
            assert len(codes) == len(names) and set(codes) <= {0, 1, 2}
            read.append(1)

    hammer(check, tables(), trials, "damaged tables")
    assert 0 < len(read) < trials


def test_two_diagnoses_of_one_image_are_refused(tmp_path):
    table = tmp_path / "PH2_dataset.txt"
    table.write_text("|| IMD002 || || 0 ||\n|| IMD002 || || 2 ||\n")
    with pytest.raises(DataError, match="two diagnoses of IMD002"):
        ph2.read_diagnoses(tmp_path, ["IMD002"])


def test_a_huge_table_takes_little_memory(tmp_path):
    with open(tmp_path / "PH2_dataset.txt", "wb") as file:
        file.truncate(2**32)  # a file of zeros that takes no disk
    before, _ = most_memory()
    with pytest.raises(DataError, match="no diagnosis of IMD002"):
        ph2.read_diagnoses(tmp_path, ["IMD002"])
    after, _ = most_memory()
    assert after < before + 50


def test_a_pipe_with_the_name_of_a_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "PH2_dataset.txt")
    os.mkfifo(tmp_path / "IMD002.bmp")
    (tmp_path / "IMD002_lesion.bmp").write_bytes(b"")
    with pytest.raises(DataError, match="image of IMD002 is missing"):
        ph2.find_pairs(tmp_path)
    with pytest.raises(DataError, match="PH2_dataset.txt is missing"):
        ph2.read_diagnoses(tmp_path, ["IMD002"])
