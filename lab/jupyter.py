"""Keeps a notebook quiet, checks its parameters and Keras' settings, and
says what to do when a cell comes too early.
"""

import contextlib
import os
import sys
from numbers import Real

from data import DataError

WHOLE = {"HEIGHT": (32, 2048), "WIDTH": (32, 2048), "SEED": (0, 2**32 - 1),
         "BATCH_SIZE": (1, 10**4), "FOLD": (0, 4), "EPOCHS": (1, 10**4),
         "FEW_STEPS": (1, 10**5)}
MAY_BE_NONE = {"FOLD", "EPOCHS", "LEARNING_RATE"}
SHARES = "LEARNING_RATE", "WEIGHT_DECAY"
HINT = ("This cell needs what an earlier cell makes. Choose Run → Run All "
        "Above Selected Cell, then run this cell again.")


@contextlib.contextmanager
def quietly():
    """Discard what C++ code writes to the error output (descriptor 2).

    TensorFlow logs so while it loads, before it reads
    TF_CPP_MIN_LOG_LEVEL; no setting of Python reaches these lines.
    Python's own exceptions are raised and shown as always.
    """
    error_output = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(error_output, 2)
        os.close(error_output)


def use_tensorflow():
    """Let Keras use TensorFlow, whatever ~/.keras/keras.json says.

    Raises DataError if KERAS_BACKEND names another framework.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise DataError(f"KERAS_BACKEND is set to {backend}, but this is "
                        "about TensorFlow: remove this environment variable, "
                        "restart, and begin again.")


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


def check_parameters(names):
    """Raise ValueError with one sentence if a parameter makes no sense.

    names: the notebook's `globals()`, from which the parameters are taken.
    """
    for name, (least, most) in WHOLE.items():
        value = names[name]
        if value is None and name in MAY_BE_NONE:
            continue
        if not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"{name} must be a whole number from {least} "
                             f"to {most}: change it in the cell above.")
    for name in ("HEIGHT", "WIDTH"):
        if names[name] % 16:
            raise ValueError(f"{name} must be a multiple of 16, because the "
                             "U-Net halves it four times: change it in the "
                             "cell above.")
    for name in SHARES:
        value = names[name]
        if value is None and name in MAY_BE_NONE:
            continue
        if not isinstance(value, Real) or not 0 <= value <= 1:
            raise ValueError(f"{name} must be a number from 0 to 1: change "
                             "it in the cell above.")
