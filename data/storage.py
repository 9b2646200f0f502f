"""Folders, cache, and writing whole or not at all: one place for each."""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pooch
from filelock import FileLock, Timeout

from data import DataError

ROOT = Path(__file__).resolve().parent  # data/
NAME = "segmentation-lesson"  # of folders elsewhere than in data/
# In a temporary folder: a file that its program locks, and all the rest.
LOCK, CONTENT = "in-use", "content"
MADE = ("sample", "cache", "trained")  # folders that the lesson makes
SOURCES = ("auto", "download", "sample")
LOCK_SECONDS = 30 * 60  # a slow download in another notebook may take long
MOST_FILES = 100_000  # below a folder; no data set here has a tenth of it
REMEDIES = {
    errno.ENOENT: "check its name",
    errno.EACCES: "change its permissions, or ask its owner",
    errno.EPERM: "change its permissions, or ask its owner",
    errno.EROFS: "copy the lesson to a disk that can be written to",
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.ENAMETOOLONG: "choose a shorter name"}


def because(error, otherwise):
    """Why the system refused something, and what to do about it.

    error: an OSError; otherwise: what to do if its kind says nothing.
    """
    return f"({error.strerror or error}); " \
           f"{REMEDIES.get(error.errno, otherwise)}"


# --- What somebody asks for ----------------------------------------------

def checked_source(source):
    """The source of a data set; None takes SEGMENTATION_SOURCE, or "auto".

    Raises DataError if it is none of SOURCES.
    """
    source = source or os.environ.get("SEGMENTATION_SOURCE") or "auto"
    if source not in SOURCES:
        raise DataError(f"the source {source!r} is not known; use one of "
                        f"{', '.join(SOURCES)}.")
    return source


def check_size(size):
    """Raise DataError if this is not (height, width) in pixels."""
    if not (isinstance(size, tuple) and len(size) == 2 and all(
            isinstance(side, int) and 1 <= side <= 2048 for side in size)):
        raise DataError(f"the size {size} is not (height, width) in pixels, "
                        "two whole numbers from 1 to 2048.")


def named_folder(variable):
    """The folder that an environment variable names, None if it is unset.

    Raises DataError if there is no such folder, or it cannot be read.
    """
    named = os.environ.get(variable)
    if not named:
        return None
    try:
        os.listdir(named)
    except OSError as error:
        raise DataError(
            f"{variable} names {named[:300]}, which is not a folder that "
            f"can be read {because(error, 'correct it or unset it')}.") \
            from error
    return Path(named)


# --- What lies in a folder -----------------------------------------------

def files_below(folder):
    """All files below a folder, sorted; links to folders are followed.

    Folders that cannot be read are left out, see `explained`.
    """
    files = []
    for home, names in _walk(folder):
        files += [home / name for name in names
                  if os.path.isfile(home / name)]
        if len(files) > MOST_FILES:
            raise DataError(f"{folder} holds more than {MOST_FILES:,} files,"
                            " which no data set here does; name the folder "
                            "of the data set itself.")
    return sorted(files)


@contextmanager
def explained(folder):
    """If something is not found below a folder that cannot be read as a
    whole, let DataError say that instead of calling it missing.
    """
    def refuse(error):
        raise DataError(f"{error.filename} cannot be read "
                        f"{because(error, 'check its disk')}.") from error

    try:
        yield
    except DataError:
        for home, names in _walk(folder, refuse):
            for name in names:  # such as a link to a folder
                try:
                    os.stat(home / name)
                except PermissionError as error:
                    refuse(error)
        raise


def _walk(folder, onerror=None):
    """Each folder below a folder once, with the names of its files."""
    # A link back to where we came from would lead round in a circle.
    seen = set(folder.resolve().parents)
    for home, folders, names in os.walk(folder, True, onerror, True):
        real = Path(home).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        try:  # a folder that may be listed, but not entered
            os.stat(f"{home}/.")
        except OSError as error:
            if onerror:
                onerror(error)
            continue
        yield Path(home), names


# --- Where things are kept -----------------------------------------------

def writable_folder():
    """data/, or the user's cache, or a temporary folder of the user's own:
    the first that can be written to. Says so if it is not data/.

    Raises DataError if none can be written to.
    """
    refusals = []
    for folder in _candidates():
        refusal = _refusal(folder)
        if not refusal:
            break
        refusals.append(refusal)
    else:
        raise DataError(f"{', '.join(refusals)}; make room there, change the"
                        " permissions, or copy the lesson elsewhere.")
    if refusals:
        print(f"{refusals[0]}, so what the lesson makes is kept in {folder}.")
    return folder


def _candidates():
    """The folders to try, one after the other, as far as there are any."""
    yield ROOT
    with contextlib.suppress(RuntimeError):  # a user without a home
        yield Path(pooch.os_cache(NAME)).expanduser()
    with contextlib.suppress(FileNotFoundError):  # full, or not there
        user = os.geteuid() if hasattr(os, "geteuid") else "own"
        yield Path(tempfile.gettempdir()) / f"{NAME}-{user}"


def _refusal(folder):
    """Why the lesson does not keep things in a folder, "" if it can."""
    place = folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder != ROOT and not _is_ours(folder):
            return f"{folder} belongs to others, or they can write to it"
        made = filter(os.path.lexists, (folder / name for name in MADE))
        for place in (folder, *made):  # noqa: B007  for the sentence
            with tempfile.TemporaryFile(dir=place):
                pass
    except OSError:
        return f"{place} cannot be written to"
    return ""


def _is_ours(folder):
    """Whether nobody else can have put anything into a folder."""
    if not hasattr(os, "geteuid"):  # Windows keeps users apart by itself
        return True
    state = folder.stat()
    owners = {state.st_uid, folder.lstat().st_uid}  # and of a link to it
    writers = stat.S_IWGRP | stat.S_IWOTH
    return owners == {os.geteuid()} and not state.st_mode & writers


def version(*programs):
    """Eight letters that change with the text of these Python files."""
    source = b"".join(Path(program).read_bytes() for program in programs)
    return hashlib.sha256(source).hexdigest()[:8]


def sample_folder(home, name, *programs):
    """Where a synthetic sample is kept, below the writable folder `home`.

    Its name changes with the programs that draw it, so that an older
    sample is never taken for the present one.
    """
    files = (program.__file__ for program in programs)
    return home / "sample" / f"{name}-{version(*files)}"


# --- Whole or not at all, one program at a time --------------------------

@contextmanager
def whole(target, new=False):
    """Gives a path to write to, which becomes `target` at the end.

        with whole(file) as part:
            part.write_text(text)

    What is written there, a file or a folder, lies beside the target and
    is renamed, in a single step. So an error or an interruption leaves
    what was there before, and never half of something; when several
    programs write the same file, one of them wins. With `new`, a file that
    exists is never replaced, even if it appears meanwhile: raises
    DataError.
    """
    if new:
        check_new(target)
    clear_leftovers(target)
    with _temporary_folder(target.parent) as folder:
        part = folder / target.name
        yield part
        if new:
            _name_new(part, target)
        else:
            part.replace(target)


def check_new(target):
    """Raise DataError if this file exists, before work is spent on it."""
    if os.path.lexists(target):
        raise DataError(f"{target} is there already; rename or remove it.")


def _name_new(part, target):
    """Give a file its name, unless another file has taken it meanwhile."""
    # On Windows a file is never renamed to one that exists.
    name = os.rename if os.name == "nt" else _link
    try:
        name(part, target)
    except FileExistsError as error:
        raise DataError(f"{target} is there already; rename or remove it.") \
            from error


def _link(part, target):
    """Give a file a second name; raises FileExistsError if it is taken."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # no links on this disk, as on FAT
        target.touch(exist_ok=False)  # takes the name, for one program alone
        part.replace(target)


@contextmanager
def _temporary_folder(parent):
    """A hidden folder that is locked, and so in use, until it is removed."""
    while True:
        temporary = tempfile.TemporaryDirectory(
            prefix=f".{NAME}-", dir=parent, ignore_cleanup_errors=True)
        lock = FileLock(Path(temporary.name) / LOCK)
        try:
            Path(lock.lock_file).touch()
            lock.acquire()
        except (FileNotFoundError, FileExistsError):  # of a race for it
            continue
        except OSError:  # no locks on this disk, so leftovers will stay
            break
        if os.path.exists(lock.lock_file):  # else taken for a leftover
            break
    with temporary:
        try:
            content = Path(temporary.name) / CONTENT
            content.mkdir()
            yield content
        finally:
            lock.release()


def clear_leftovers(target):
    """Remove the temporary folders of killed programs beside `target`.

    A folder that somebody else made or that is still in use stays.
    """
    for folder in target.parent.glob(f".{NAME}-*"):
        lock = FileLock(folder / LOCK)
        with contextlib.suppress(OSError):  # Timeout, too: it is in use
            if os.path.exists(lock.lock_file):
                with lock.acquire(timeout=0):
                    _clear(folder, lock)
            folder.rmdir()  # if empty: killed before it was locked


def _clear(folder, lock):
    """Empty a temporary folder; the lock goes last, as it marks the rest.

    7-Zip outlives a killed notebook for a moment, and goes on writing.
    """
    shutil.rmtree(folder / CONTENT, ignore_errors=True)
    if not (folder / CONTENT).exists():
        if os.name == "nt":  # which removes no file that is open
            lock.release()
        os.remove(lock.lock_file)


@contextmanager
def making(folder):
    """Let one program at a time make a folder; others wait here.

        with making(folder) as missing:
            if missing:
                …

    Raises DataError, with the system's reason, if it cannot be made.
    """
    if folder.is_dir():
        yield False
    else:
        with locked(folder):
            missing = not folder.is_dir()  # or was made while we waited
            try:
                yield missing
            except OSError as error:
                reason = because(error, "rename what is in its place")
                raise DataError(f"{folder} could not be made {reason}.") \
                    from error
    clear_leftovers(folder)


@contextmanager
def locked(target):
    """Let one program at a time do something about `target`.

    Raises DataError if its folder is not writable, or after LOCK_SECONDS.
    """
    lock = FileLock(target.parent / f".{target.name}.lock",
                    mode=0o666)  # whoever shares the folder may lock it
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise DataError(f"another program has been preparing {target} for "
                        f"{LOCK_SECONDS // 60} minutes; close it and run "
                        "this again.") from error
    except OSError as error:
        reason = because(error, "copy the lesson elsewhere")
        raise DataError(f"{error.filename or target.parent} cannot be "
                        f"written to {reason}.") from error
    try:
        yield
    finally:
        lock.release()


# --- Cache ---------------------------------------------------------------

def cache_file(home, pairs, *settings):
    """Where images are kept that were read from pairs of files.

    The name depends on every file's path, length and date, and on how they
    were read, so the cache never hides a change.
    """
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns)
              for pair in pairs for path in pair]
    name = hashlib.sha256(repr((settings, states)).encode()).hexdigest()
    return home / "cache" / f"{name}.npz"


def cached(file):
    """The images and masks in a cache, None if there is no whole one."""
    clear_leftovers(file)
    try:
        with np.load(file) as stored:
            return stored["images"], stored["masks"]
    except Exception:  # not there, or damaged in one of many ways
        return None


def keep(file, images, masks):
    """Keep images and masks in a cache, if the disk allows it."""
    with contextlib.suppress(OSError):  # else the next start is slower
        file.parent.mkdir(exist_ok=True)
        with whole(file) as part:
            np.savez(part, images=images, masks=masks)
