"""Keeps the log lines of libraries out of a learner's way."""

import contextlib
import os


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
