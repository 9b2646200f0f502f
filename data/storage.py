"""Folders, cache, and writing whole or not at all: one place for each."""

import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pooch
from filelock import FileLock, Timeout

from data import DataError

ROOT = Path(__file__).resolve().parent  # data/
NAME = "segmentation-lesson"  # of folders elsewhere than in data/
SOURCES = ("auto", "download", "sample")
LOCK_SECONDS = 30 * 60  # a slow download in another notebook may take long


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

    Raises DataError if there is no such folder.
    """
    named = os.environ.get(variable)
    if not named:
        return None
    if not Path(named).is_dir():
        raise DataError(f"{variable} names {named}, which is not a folder; "
                        "correct it or unset it.")
    return Path(named)


# --- Where things are kept -----------------------------------------------

def writable_folder():
    """data/, or the user's cache, or a temporary folder: the first that
    can be written to. Says so if it is not data/.

    Raises DataError if none can be written to.
    """
    temporary = Path(tempfile.gettempdir()) / NAME
    for folder in (ROOT, pooch.os_cache(NAME), temporary):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                break
        except OSError:
            continue
    else:
        raise DataError(f"neither {ROOT} nor {temporary} can be written to; "
                        "make room, or copy the lesson elsewhere.")
    if folder != ROOT:
        print(f"{ROOT} cannot be written to, so what the lesson makes is "
              f"kept in {folder}.")
    return folder


def sample_folder(home, name, *programs):
    """Where a synthetic sample is kept, below the writable folder `home`.

    Its name changes with the programs that draw it, so that an older
    sample is never taken for the present one.
    """
    source = b"".join(Path(program.__file__).read_bytes()
                      for program in programs)
    version = hashlib.sha256(source).hexdigest()[:8]
    return home / "sample" / f"{name}-{version}"


# --- Whole or not at all, one program at a time --------------------------

@contextmanager
def whole(target, new=False):
    """Gives a path to write to, which becomes `target` at the end.

        with whole(file) as part:
            part.write_text(text)

    What is written there, a file or a folder, lies beside the target and
    is renamed, in a single step. So an error or an interruption leaves
    what was there before, and never half of something. With `new`, a file
    that exists is never replaced, even if it appears meanwhile: raises
    DataError.
    """
    if new:
        check_new(target)
    with tempfile.TemporaryDirectory(
            prefix=f".{target.name}-part-", dir=target.parent,
            ignore_cleanup_errors=True) as folder:
        part = Path(folder) / target.name
        yield part
        if new:
            _link(part, target)
        else:
            part.replace(target)


def check_new(target):
    """Raise DataError if this file exists, before work is spent on it."""
    if os.path.lexists(target):
        raise DataError(f"{target} is there already; rename or remove it.")


def _link(part, target):
    """Give a file its name, unless another file has taken it meanwhile."""
    try:
        os.link(part, target)
    except FileExistsError:
        check_new(target)


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
                raise DataError(
                    f"{folder} could not be made ({error.strerror}); make "
                    "room there, or remove what is in its place.") from error
    # 7-Zip outlives a killed notebook for a moment, and goes on writing.
    clear_leftovers(folder)


@contextmanager
def locked(target):
    """Let one program at a time do something about `target`.

    First removes what killed programs left half-finished. Raises DataError
    if its folder is not writable, or after LOCK_SECONDS.
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
        clear_leftovers(target)
        yield
    finally:
        lock.release()


def clear_leftovers(target):
    """Remove the temporary folders of programs that were killed."""
    for leftover in target.parent.glob(f".{target.name}-part-*"):
        shutil.rmtree(leftover, ignore_errors=True)


# --- Cache ---------------------------------------------------------------

def cache_file(home, pairs, size):
    """Where images are kept that were read from pairs of files in a size.

    The name depends on every file's path, length and date and on the size,
    so the cache never hides a change.
    """
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns)
              for pair in pairs for path in pair]
    name = hashlib.sha256(repr((tuple(size), states)).encode()).hexdigest()
    return home / "cache" / f"{name}.npz"


def cached(file):
    """The images and masks in a cache, None if there is no whole one."""
    try:
        with np.load(file) as stored:
            return stored["images"], stored["masks"]
    except Exception:  # not there, or damaged in one of many ways
        return None


def keep(file, images, masks):
    """Keep images and masks in a cache, if the disk allows it."""
    try:
        with locked(file), whole(file) as part:
            np.savez(part, images=images, masks=masks)
    except (OSError, DataError):  # it only makes the next start slower
        pass
