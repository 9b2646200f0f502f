"""What all programs share: how they check arguments, and how they end.

Whoever starts a program wrongly gets one sentence and the exit status 2,
before any work is done; whatever else goes wrong with files, one sentence
and 1.
"""

import argparse
import functools
import sys
import tempfile
from pathlib import Path

from data import DataError, storage


def program(main):
    """Let a program's `main` end with a sentence instead of a traceback."""
    @functools.wraps(main)
    def guarded():
        # Where the terminal has no ² or ×, a question mark is enough.
        sys.stdout.reconfigure(errors="replace")
        try:
            main()
        except DataError as error:
            sys.exit(str(error))
        except OSError as error:
            sys.exit(f"{error.filename or 'A file'} could not be read or "
                     f"written ({error.strerror or error}); make room or "
                     "choose another place, and start again.")
        except ModuleNotFoundError as error:
            sys.exit(f"{error.name} is not installed here; run "
                     f"{sys.executable} -m pip install -r requirements.txt.")
        except KeyboardInterrupt:
            sys.exit(130)  # as the shell calls it
    return guarded


def parser(description):
    """A parser that tells the first line of a docstring."""
    return argparse.ArgumentParser(description=description.split("\n")[0])


def make_folder(folder):
    """Make a folder for results, before work is spent on them.

    Raises DataError if nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise DataError(f"{folder} cannot be written to ({error.strerror}); "
                        "make room there, or name another folder.") from error


# --- Types of arguments: each raises ArgumentTypeError, with a sentence ----

def whole_number(least, most=10**6):
    """The type of whole numbers from `least` to `most`."""
    def number(text):
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return number


EPOCHS = whole_number(1, 10**4)
SEED = whole_number(0, 2**32 - 1)


def number(text):
    """The type of numbers above 0, up to 1."""
    if not 0 < float(text) <= 1:  # ValueError has its sentence, too
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number above 0, up to 1")
    return float(text)


def output(text):
    """A path that can be written to, once its missing folders are made."""
    path = Path(text)
    try:
        folder = next(folder for folder in path.absolute().parents
                      if folder.exists())
        with tempfile.TemporaryFile(dir=folder):
            return path
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{path} cannot be written ({error.strerror}); name another "
            "place") from error


def new_file(text):
    """A file that can be written to, and is not there yet."""
    try:
        storage.check_new(Path(text))
    except DataError as error:
        raise argparse.ArgumentTypeError(error) from error
    return output(text)
