"""An archive arrives whole or not at all, and never writes elsewhere.

Archives are damaged, cut and hostile; servers stall, lie and break off.
"""

import gzip
import hashlib
import io
import shutil
import socket
import stat
import struct
import time
import traceback
import warnings
import zipfile
import zlib
from collections import namedtuple
from unittest.mock import Mock

import numpy as np
import pytest
import rars
import requests
from conftest import (
    SECONDS,
    TRIED,
    assert_one_sentence,
    hammer,
    tree,
    trials,
    visible,
)

from data import DataError, archive, ph2, storage

MEMBERS = [("PH2/PH2_dataset.txt", b"|| IMD002 ||  || 0 ||\n" * 40),
           ("PH2/IMD002.bmp", bytes(range(256)) * 20),
           ("PH2/IMD002_lesion.bmp", bytes(5000)),
           ("PH2/more/ü.txt", "größer".encode())]


@pytest.fixture
def target(tmp_path):
    """Where to unpack to; its folder holds a file that must survive."""
    (tmp_path / "mine.txt").write_text("precious")
    return tmp_path / "target"


# --- Unpacking -----------------------------------------------------------

def as_rar(members, version="rar40"):
    builder = rars.RarBuilder(format=version)
    for name, content in members:
        builder.add_bytes(content, name)
    return bytes(builder.to_bytes())


def as_zip(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as opened, \
            warnings.catch_warnings(action="ignore"):  # of names that return
        for name, content in members:
            opened.writestr(name, content)
    return file.getvalue()


def archives():
    """The same small folder in every format that is accepted."""
    return [as_rar(MEMBERS, "rar40"), as_rar(MEMBERS, "rar50"),
            *(as_zip(MEMBERS, method) for method in
              (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2,
               zipfile.ZIP_LZMA))]


def unpacked_or_refused(content, folder):
    """Unpack these bytes: all inside the target, or a sentence and nothing.

    `folder` is a new one; all that it holds besides must stay as it is.
    Returns the sentence, "" if the archive was unpacked.
    """
    home = folder / "home"
    home.mkdir(parents=True)
    (home / "mine.txt").write_text("precious")
    path, target = folder / "archive", home / "target"
    path.write_bytes(content)
    before = tree(folder)
    try:
        archive.unpack(path, target)
    except DataError as error:
        assert_one_sentence(error)
        sentence = str(error)
    else:
        assert all(archive.is_plain(file) for file in target.rglob("*"))
        sentence = ""
    assert visible(home) == ["mine.txt"] + ["target"] * (sentence == "")
    after = tree(folder)
    assert {name: after[name] for name in before} == before
    assert all(name in before or name.startswith("home/target/")
               for name in after)
    return sentence


@trials(40, 400, 2000)
def test_a_damaged_archive_does_no_harm(trials, tmp_path):
    folders = (tmp_path / str(number) for number in range(10**6))
    sentences = []
    for content in archives():
        folder = next(folders)
        assert unpacked_or_refused(content, folder) == ""
        # The single folder around everything is left out.
        assert {f"PH2/{name}": content for name, content in
                tree(folder / "home/target").items()} == dict(MEMBERS)
    hammer(lambda content: sentences.append(unpacked_or_refused(
        content, next(folders))), archives(), trials, "damaged archives")
    # If all were refused, the damage would be too great to test much.
    assert "" in sentences and any(sentences)


@pytest.mark.parametrize("kind", ["rar40", "rar50", "zip"])
def test_an_archive_cut_anywhere_is_refused(kind, tmp_path):
    content = as_zip(MEMBERS) if kind == "zip" else as_rar(MEMBERS, kind)
    # A RAR without its last block, which only says "end", is whole.
    whole = len(content) - (0 if kind == "zip" else 20)
    for length in range(0, whole, 97):
        sentence = unpacked_or_refused(content[:length],
                                       tmp_path / str(length))
        assert ("damaged or incomplete" in sentence) == (length > 0)
        TRIED["cut archives"] += 1


ODD_NAMES = [
    "../up", "a/../../up", "..", "/absolute", "//server/share/file",
    "C:\\drive", "C:relative", "\\\\server\\share", "a\\..\\..\\up",
    "a:stream", "CON", "con.txt", "a/NUL", "Aux.bmp", "COM1", "lpt9.log",
    "dot.", "space ", "a/ /b", "a/./../../up", "que?tion", "st*r", "p|pe",
    "quo\"te", "<tag>", "new\nline", "escape\x1b[2J", "x" * 300,
    "d/" * 1500 + "x"]


def zip_with_name(name):
    return as_zip([("good.txt", b"good"), (name, b"x")])


def rar_with_name(name):
    """A RAR4 archive with a name that no honest program would write."""
    stand_in, raw = b"n" * len(name), name.encode()
    content = bytearray(as_rar([("good.txt", b"good"),
                                (stand_in.decode(), b"")]))
    place = content.index(stand_in)
    content[place:place + len(raw)] = raw
    # Before the name: 32 bytes of header, the first two of them its CRC.
    start = place - 32
    (length,) = struct.unpack_from("<H", content, start + 5)
    crc = zlib.crc32(content[start + 2:start + length]) & 0xFFFF
    struct.pack_into("<H", content, start, crc)
    return bytes(content)


@pytest.mark.parametrize("pack", [zip_with_name, rar_with_name])
def test_odd_names_are_refused(pack, tmp_path):
    # With any other name, such an archive is unpacked.
    assert unpacked_or_refused(pack("a.txt"), tmp_path / "good") == ""
    for number, name in enumerate(ODD_NAMES):
        sentence = unpacked_or_refused(pack(name), tmp_path / str(number))
        assert sentence, name
        assert ("bear only 200" in sentence) == (len(name) > 200)
        TRIED["odd names"] += 1


def test_good_names_are_kept(tmp_path):
    names = ["ä/ö.bmp", "日本/写真.bmp", "a b (1)/c+d,e.txt", ".hidden",
             "a..b/c", "🙂"]
    content = as_zip([(name, name) for name in names])
    assert unpacked_or_refused(content, tmp_path) == ""
    for name in names:
        path = tmp_path / "home/target" / name
        assert path.read_text(encoding="utf-8") == name


@pytest.mark.parametrize("names", [("a", "A"), ("ä", "a\u0308"), ("a", "a")])
def test_two_names_of_one_file_are_refused(names, tmp_path):
    content = as_zip([(name, name) for name in names])
    assert "2 files named" in unpacked_or_refused(content, tmp_path)


def zip_with_link(name, to, other):
    """A zip with a symbolic link, and another file that may go through it.
    """
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return as_zip([("good.txt", "good"), (info, to), (other, "x")])


def rar_with_link(kind):
    """A RAR5 archive with a link; 1 is a symbolic one, 4 a hard one."""
    builder = rars.RarBuilder(format="rar50")
    builder.add_bytes(b"secret", "b.txt")
    builder.add_unix_symlink("link", "b.txt")
    content = bytes(builder.to_bytes())
    # A record at the end of a header: type 5 "redirection", kind, flags,
    # length, target. (https://www.rarlab.com/technote.htm#linkrecord)
    record = b"\x05%c\x00\x05b.txt"
    end = content.index(record % 1) + len(record % 1)
    start = end - 31  # of the header, behind its CRC
    header = content[start:end].replace(record % 1, record % kind)
    return content[:start - 4] + struct.pack("<I", zlib.crc32(header)) \
        + header + content[end:]


def with_size(content, old, new):
    """The archive, with another declared size in both its headers."""
    old, new = struct.pack("<I", old), struct.pack("<I", new)
    assert content.count(old) == 2
    return content.replace(old, new)


def overlapping(copies):
    """A zip whose many entries all unpack the same data (Fifield, 2019)."""
    single = as_zip([("0000", bytes(10**6))])
    directory = single.index(b"PK\1\2")
    end = single.index(b"PK\5\6")
    entry = single[directory:end]
    entries = b"".join(entry.replace(b"0000", b"%04d" % number)
                       for number in range(copies))
    closing = bytearray(single[end:])
    struct.pack_into("<HHII", closing, 8, copies, copies, len(entries),
                     directory)
    return single[:directory] + entries + bytes(closing)


def locked():
    """A zip that wants a password."""
    content = bytearray(as_zip([("a.txt", b"x")]))
    for signature, offset in [(b"PK\3\4", 6), (b"PK\1\2", 8)]:
        content[content.index(signature) + offset] |= 1  # "encrypted"
    return bytes(content)


def test_hostile_archives_are_refused_before_they_grow(tmp_path,
                                                       monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_BYTES", 50 * 2**20)
    bomb = as_zip([("zeros", bytes(60 * 2**20))])
    many = as_zip([(str(number), b"") for number in range(20_001)])
    for content, reason in [
            (bomb, "would unpack to"),
            (with_size(bomb, 60 * 2**20, 2**32 - 2), "would unpack to"),
            (with_size(bomb, 60 * 2**20, 10), "is damaged"),
            (overlapping(100), "would unpack to"),
            (many, "in 20001 files"), (as_zip([]), "is empty"),
            (b"<!doctype html><title>Sorry</title>", "not a RAR or zip"),
            (locked(), "locked by a password"),
            (zip_with_link("a/link", "b.txt", "a/b.txt"), "contains links"),
            (zip_with_link("a/link", "/tmp", "a/b.txt"), "contains links"),
            (zip_with_link("a/link", "..", "a/link/up"), "is damaged"),
            (rar_with_link(1), "contains links"),  # symbolic
            (rar_with_link(4), "contains links")]:  # hard
        start = time.monotonic()
        sentence = unpacked_or_refused(content, tmp_path / str(start))
        assert reason in sentence
        assert time.monotonic() - start < SECONDS
        TRIED["hostile archives"] += 1


def test_what_other_systems_pack_is_unpacked(tmp_path):
    with_backslashes = [(name.replace("/", "\\"), content)
                        for name, content in MEMBERS]
    for members in [MEMBERS + [("PH2/Icon\r", b"")],
                    with_backslashes + [("PH2\\empty\\", b"")]]:
        folder = tmp_path / str(len(members[0][0]) + len(members))
        assert unpacked_or_refused(as_zip(members), folder) == ""
        assert {f"PH2/{name}": content for name, content in
                tree(folder / "home/target").items()} == dict(MEMBERS)
        shutil.rmtree(folder)


@pytest.mark.parametrize("version", ["rar40", "rar50"])
def test_a_locked_table_of_contents_is_called_locked(version, tmp_path):
    builder = rars.RarBuilder(format=version, password="x",
                              encrypt_headers=True)
    builder.add_bytes(b"text", "a.txt")
    assert "locked by a password" in unpacked_or_refused(
        bytes(builder.to_bytes()), tmp_path)


@pytest.mark.parametrize(("version", "names"), [
    ("rar50", ["PH2.part1.rar", "PH2.part2.rar", "PH2.part3.rar"]),
    ("rar40", ["PH2.rar", "PH2.r00", "PH2.r01"])])
def test_volumes_beside_each_other_are_one_archive(version, names, tmp_path):
    content = bytes(np.random.default_rng(0).bytes(40_000))
    builder = rars.RarBuilder(format=version, volume_size=15_000, store=True)
    builder.add_bytes(content, "a.bin")
    made = builder.write_volumes(str(tmp_path / names[0]))
    for path, name in zip(made, names, strict=True):
        path.rename(tmp_path / name)
    [first] = archive.put_here(tmp_path, ph2.ARCHIVES)
    archive.unpack(first, tmp_path / "target")
    assert tree(tmp_path / "target") == {"a.bin": content}
    (tmp_path / names[1]).unlink()
    with pytest.raises(DataError, match="another part is missing"):
        archive.unpack(first, tmp_path / "again")


def test_7_zip_gets_limited_time(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "UNPACK_SECONDS", -1)
    assert "not unpacked within" in unpacked_or_refused(as_zip(MEMBERS),
                                                        tmp_path)


def fill_disk(monkeypatch):
    """Let the system say that only one byte is free."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 8, 1))


def test_what_does_not_fit_on_the_disk_is_refused(tmp_path, monkeypatch):
    fill_disk(monkeypatch)
    assert "disk is full" in unpacked_or_refused(as_zip(MEMBERS), tmp_path)


# --- Downloading ---------------------------------------------------------

def sends(*pieces, pause=0):
    """A server's answer in pieces, with seconds of silence after each."""
    def send(handler):
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()
            time.sleep(pause)
    return send


def head(*lines, status=b"200 OK"):
    """The head of an answer."""
    return b"\r\n".join([b"HTTP/1.0 " + status, *lines, b"", b""])


LONG = head(b"Content-Length: 1000")


def resets(handler):
    sends(LONG, b"PK")(handler)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                  struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.connection.close()


BAD_SERVERS = {  # what it answers, see conftest.Server, and the reason told
    "has nothing": ((404, b"not found", None), "answered 404"),
    "is broken": ((500, b"", None), "answered 500"),
    "sends a page": ((200, b"<html></html>", None), "web page"),
    "sends half": ((200, b"PK too short", None), "damaged or incomplete"),
    "sends another": ((200, b"PK other", None), "does not match its checksum"),
    "breaks off": ((200, b"PK broken off", 10**6), "broke off"),
    "resets": (resets, "broke off"),
    "understates": ((200, b"PK and much more than three bytes", 3),
                    "damaged or incomplete"),
    "overstates": ((200, b"PK", 10**15), "broke off"),
    "says nonsense": (
        sends(head(b"Content-Length: -7", b"Content-Length: many"), b"PK"),
        "no connection|damaged"),
    "is no web server": (sends(b"220 ftp ready\r\n" * 100), "no connection"),
    "is not there": (None, "no connection"),
    "leads in a circle": ((302, b"", None), "in a circle"),
    "leads to a file": (sends(head(b"Location: file:///etc/passwd",
                                   status=b"302 Found")), "failed"),
    "leads nowhere": (sends(head(b"Location: http://[half",
                                 status=b"302 Found")), "failed"),
    "never ends": (sends(head(), *[bytes(2**20)] * 1000), "too much"),
    "inflates": (sends(head(b"Content-Encoding: gzip"),
                       200 * gzip.compress(bytes(2**20))), "too much"),
}
SLOW_SERVERS = {
    "stalls": (sends(LONG + b"PK", pause=12), "broke off"),
    "drips": (sends(LONG, *[b"P"] * 200, pause=0.05), "too slow"),
    "says nothing": (sends(b"", pause=12), "no connection")}


@pytest.mark.parametrize(("page", "reason"), [
    *(pytest.param(*bad, id=kind) for kind, bad in BAD_SERVERS.items()),
    *(pytest.param(*bad, id=kind, marks=pytest.mark.full)
      for kind, bad in SLOW_SERVERS.items())])
def test_a_bad_server_gets_a_sentence_and_the_next_is_tried(
        page, reason, server, zip_bytes, whole_ph2, target, monkeypatch):
    # Limits as they are, but of seconds and megabytes.
    monkeypatch.setattr(archive, "READ_SECONDS", 1)
    monkeypatch.setattr(archive, "DOWNLOAD_SECONDS", 2)
    monkeypatch.setattr(archive, "LARGEST_BYTES", 5 * 2**20)
    bad = server.mirror("bad.rar", "md5:" + "0" * 32
                        if "checksum" in reason else None)
    if page is None:  # nobody listens at this address
        bad = bad._replace(url="http://127.0.0.1:9/bad.rar")
    server.pages["bad.rar"] = page
    start = time.monotonic()
    with pytest.raises(DataError, match=reason) as error:
        archive.fetch([bad], target)
    assert time.monotonic() - start < 10
    assert_one_sentence(error.value)
    downloads = archive.download_folder(target)
    assert set(target.parent.iterdir()) <= {target.with_name("mine.txt"),
                                            downloads}
    assert not list(downloads.glob("*"))

    server.pages["PH2.zip"] = (200, zip_bytes, None)
    checksum = "md5:" + hashlib.md5(zip_bytes).hexdigest()
    mirrors = [bad, server.mirror("PH2.zip", checksum)]
    archive.fetch(mirrors, target)
    assert tree(target) == tree(whole_ph2)
    archive.forget_download(mirrors, target)
    assert visible(target.parent) == ["mine.txt", "target"]
    TRIED["bad servers"] += 1


@pytest.mark.full
def test_a_slow_server_is_given_its_time(server, zip_bytes, whole_ph2,
                                         target, monkeypatch):
    monkeypatch.setattr(archive, "READ_SECONDS", 1)
    step = len(zip_bytes) // 8 + 1
    server.pages["PH2.zip"] = sends(
        head(b"Content-Length: %d" % len(zip_bytes)),
        *(zip_bytes[place:place + step]
          for place in range(0, len(zip_bytes), step)), pause=0.3)
    archive.fetch([server.mirror("PH2.zip")], target)
    assert tree(target) == tree(whole_ph2)


def test_a_good_archive_is_kept_when_the_disk_is_full(
        server, zip_bytes, whole_ph2, target, monkeypatch):
    server.pages["PH2.zip"] = (200, zip_bytes, None)
    mirrors = [server.mirror("PH2.zip"), server.mirror("b.zip")]
    with monkeypatch.context() as patch, pytest.raises(archive.DiskFull):
        fill_disk(patch)
        archive.fetch(mirrors, target)
    archive.fetch(mirrors, target)
    assert tree(target) == tree(whole_ph2)
    # It was fetched once, and no other, which would not fit either.
    assert server.requests == ["PH2.zip"]


def test_of_downloads_only_our_own_are_removed(server, zip_bytes, target):
    folder = archive.download_folder(target)
    half = folder / f".{storage.NAME}-abcd" / storage.LOCK
    half.parent.mkdir(parents=True)
    half.write_text("of a killed run")
    mine = {"tmp1234": b"mine", "PH2.zip.part": b"mine"}
    for name, content in mine.items():
        (folder / name).write_bytes(content)
    server.pages["PH2.zip"] = (200, zip_bytes, None)
    archive.fetch([server.mirror("PH2.zip")], target)
    assert tree(folder) == {"PH2.zip": zip_bytes, **mine}
    archive.forget_download([server.mirror("PH2.zip")], target)
    assert tree(folder) == mine


NO_CERTIFICATE = requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAI")


@pytest.mark.parametrize("proxy", [
    "http://me:secret@127.0.0.1:9", "http://me:se cret/@[half",
    "http://me:secret@", "me:secret@127.0.0.1:9", "http://me:secret:x@y:z",
    "nonsense://me:secret@127.0.0.1", NO_CERTIFICATE])
def test_no_password_of_a_proxy_is_told(proxy, target, monkeypatch):
    """Not even in what the system says besides the sentence."""
    if proxy is NO_CERTIFICATE:
        monkeypatch.setattr(archive, "save", Mock(side_effect=proxy))
    else:
        monkeypatch.setenv("http_proxy", proxy)
    mirror = archive.Mirror("http://example.org/PH2.zip", "PH2.zip", None)
    with pytest.raises(DataError) as error:
        archive.fetch([mirror], target)
    assert_one_sentence(error.value)
    assert "proxy" in str(error.value) or proxy is NO_CERTIFICATE \
        and "certificate is not accepted" in str(error.value)
    assert "cret" not in "".join(traceback.format_exception(error.value))


def test_other_contents_than_those_known_are_refused(server, zip_bytes,
                                                     whole_ph2, target):
    """Where the archive has no checksum, its images and masks have one."""
    server.pages["PH2.zip"] = (200, zip_bytes, None)
    right = archive.digest(whole_ph2, ph2.FILE_NAME)
    for sha256, refused in [("0" * 64, True), (right, False)]:
        mirror = server.mirror("PH2.zip")._replace(
            contents=archive.Contents(ph2.FILE_NAME, sha256))
        if refused:
            with pytest.raises(DataError, match="does not hold the files"):
                archive.fetch([mirror], target)
            assert not target.exists()
        else:
            archive.fetch([mirror], target)
            assert tree(target) == tree(whole_ph2)
    # A folder that is called otherwise changes nothing, another mask does.
    other = shutil.copytree(whole_ph2, target.parent / "other")
    next(other.rglob("IMD007")).rename(other / "renamed")
    assert archive.digest(other, ph2.FILE_NAME) == right
    next(other.rglob("*_lesion.bmp")).write_bytes(b"another")
    assert archive.digest(other, ph2.FILE_NAME) != right


def test_every_mirror_of_ph2_has_a_checksum():
    for mirror in ph2.MIRRORS:
        assert mirror.checksum or mirror.contents
