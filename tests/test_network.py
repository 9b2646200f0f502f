"""Servers that stall, break off, drip, lie or send too much."""

import gzip
import socket
import struct
import time
from functools import partial

import pytest
from conftest import TRIED, assert_one_sentence
from test_archive import tree, visible

from data import DataError, archive


@pytest.fixture
def target(tmp_path):
    """Where to unpack to."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.txt").write_text("precious")
    return home / "target"


@pytest.fixture
def impatient(monkeypatch):
    """Limits as they are, but of seconds and megabytes."""
    monkeypatch.setattr(archive, "READ_SECONDS", 1)
    monkeypatch.setattr(archive, "DOWNLOAD_SECONDS", 2)
    monkeypatch.setattr(archive, "LARGEST_BYTES", 5 * 2**20)


def answer(handler, *headers):
    """Send the head of an answer."""
    handler.send_response(200)
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()


def stalls(handler):
    answer(handler, ("Content-Length", "1000"))
    handler.wfile.write(b"PK")
    handler.wfile.flush()
    time.sleep(12)


def drips(handler):
    """One byte at a time: no silence is long, but it never ends."""
    answer(handler, ("Content-Length", "1000"))
    for _ in range(200):
        handler.wfile.write(b"P")
        handler.wfile.flush()
        time.sleep(0.05)


def resets(handler):
    answer(handler, ("Content-Length", "1000"))
    handler.wfile.write(b"PK")
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                  struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.connection.close()


def never_ends(handler):
    answer(handler)  # no length: until the connection is closed
    for _ in range(1000):
        handler.wfile.write(bytes(2**20))


def inflates(handler):
    """A small answer that unpacks to a large one on its way."""
    answer(handler, ("Content-Encoding", "gzip"))
    handler.wfile.write(200 * gzip.compress(bytes(2**20)))


def understates(handler):
    answer(handler, ("Content-Length", "3"))
    handler.wfile.write(b"PK and much more than three bytes")


def overstates(handler):
    answer(handler, ("Content-Length", str(10**15)))
    handler.wfile.write(b"PK")


def says_nonsense(handler):
    answer(handler, ("Content-Length", "-7"), ("Content-Length", "many"))
    handler.wfile.write(b"PK")


def is_no_web_server(handler):
    handler.wfile.write(b"220 ftp ready\r\n" * 100)


def leads_to_a_file(handler):
    handler.send_response(302)
    handler.send_header("Location", "file:///etc/passwd")
    handler.end_headers()


def leads_nowhere(handler):
    handler.send_response(302)
    handler.send_header("Location", "http://[half")
    handler.end_headers()


def says_nothing(handler):
    time.sleep(12)


FAULTS = {stalls: "broke off", drips: "too slow", resets: "broke off",
          never_ends: "too much", inflates: "too much",
          understates: "damaged or incomplete", overstates: "broke off",
          says_nonsense: "no connection|damaged",
          is_no_web_server: "no connection",
          leads_to_a_file: "failed", leads_nowhere: "failed",
          says_nothing: "no connection"}


@pytest.mark.parametrize(("fault", "reason"), FAULTS.items(),
                         ids=[fault.__name__ for fault in FAULTS])
def test_a_bad_server_gets_a_sentence_and_the_next_is_tried(
        fault, reason, server, zip_bytes, whole_ph2, target, impatient):
    server.pages["bad.rar"] = fault
    start = time.monotonic()
    with pytest.raises(DataError, match=reason) as error:
        archive.fetch([server.mirror("bad.rar")], target)
    assert time.monotonic() - start < 10
    assert_one_sentence(error.value)
    assert not target.exists()
    assert not list(archive.download_folder(target).glob("*"))

    server.pages["PH2.zip"] = (200, zip_bytes, None)
    mirrors = [server.mirror("bad.rar"), server.mirror("PH2.zip")]
    archive.ensure(target, partial(archive.fetch, mirrors))
    assert tree(target) == tree(whole_ph2)
    assert visible(target.parent) == ["mine.txt", "target"]
    TRIED["bad servers"] += 1


def test_a_slow_server_is_given_its_time(server, zip_bytes, whole_ph2,
                                         target, monkeypatch):
    monkeypatch.setattr(archive, "READ_SECONDS", 1)

    def slowly(handler):
        answer(handler, ("Content-Length", str(len(zip_bytes))))
        step = len(zip_bytes) // 8 + 1
        for place in range(0, len(zip_bytes), step):
            handler.wfile.write(zip_bytes[place:place + step])
            handler.wfile.flush()
            time.sleep(0.3)

    server.pages["PH2.zip"] = slowly
    archive.fetch([server.mirror("PH2.zip")], target)
    assert tree(target) == tree(whole_ph2)


def test_a_good_archive_is_kept_when_the_disk_is_full(
        server, zip_bytes, whole_ph2, target, monkeypatch):
    server.pages["PH2.zip"] = (200, zip_bytes, None)

    def full(*_):
        raise archive.DiskFull("the disk is full; make room.")

    with monkeypatch.context() as patch, pytest.raises(DataError):
        patch.setattr(archive, "check_size", full)
        archive.fetch([server.mirror("PH2.zip"), server.mirror("b.zip")],
                      target)
    # No other mirror is asked: its archive would not fit either.
    assert server.requests == ["PH2.zip"]
    archive.fetch([server.mirror("PH2.zip")], target)
    assert server.requests == ["PH2.zip"]  # fetched once, unpacked later
    assert tree(target) == tree(whole_ph2)


def test_half_a_download_of_a_killed_run_is_removed(server, target):
    downloads = archive.download_folder(target)
    downloads.mkdir()
    (downloads / "tmp1234").write_bytes(b"half")
    with pytest.raises(DataError, match="answered 404"):
        archive.fetch([server.mirror("gone.zip")], target)
    assert list(downloads.iterdir()) == []
