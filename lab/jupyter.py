"""Keeps a notebook quiet, and says what to do when a cell comes too early."""

import contextlib
import os
import sys

HINT = ("This cell needs what an earlier cell makes. Choose Run → Run All "
        "Above Selected Cell, then run this cell again.")


@contextlib.contextmanager
def without_native_log():
    """Discard what C++ code writes to the error output (descriptor 2).

    TensorFlow logs so while it loads, before it reads
    TF_CPP_MIN_LOG_LEVEL; no setting of Python reaches these lines.
    Python's own exceptions are raised and shown as always.
    """
    error_output = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(error_output, 2)
        os.close(error_output)


def explain_missing_names():
    """Let this notebook add HINT to every NameError and KeyError.

    `models["U-Net"]` before its training is a KeyError.
    """
    try:
        shell = get_ipython()
    except NameError:  # not in a notebook: there are no cells to run
        return
    shell.set_custom_exc((NameError, KeyError), show_with_hint)


def show_with_hint(shell, kind, error, traceback, tb_offset=None):
    """Show an error as IPython does, and then HINT."""
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)
    print(HINT, file=sys.stderr)
