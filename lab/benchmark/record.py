"""What the benchmark's programs share: files of results, the machine.
"""

import json
import platform
import time
from importlib import import_module
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from data import DataError, storage
from lab.lesson import PYTORCH, TENSORFLOW, machine

RESULTS = Path(__file__).with_name("results.json")
# As the command lines name them.
NOTEBOOKS = {"pytorch": PYTORCH, "tf": TENSORFLOW}


def looked_at(samples):
    """Which images of PH² had a part in developing the synthetic ones.

    Returns bool (N,), True for 67 of the 200.
    """
    rows = np.arange(len(samples))
    developed, _ = train_test_split(rows, train_size=67, random_state=4,
                                    stratify=samples.groups)
    return np.isin(rows, developed)


def write(file, content):
    """Write JSON whole or not at all."""
    with storage.whole(Path(file)) as part:
        part.write_text(json.dumps(content), encoding="utf-8")


def read(file, *keys):
    """What `write` has written, a dict that has these keys.

    Raises DataError if it is not whole.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:  # cut, or not JSON
        found = {}
    if not isinstance(found, dict) or not {*keys} <= found.keys():
        raise DataError(f"{file} is not a whole result; restore it, or "
                        "remove it and measure again.")
    return found


def about(lesson):
    """On what machine, with what, and when."""
    framework = import_module("torch" if lesson.name == PYTORCH
                              else "tensorflow")
    return {"framework": f"{framework.__name__} {framework.__version__}",
            "python": platform.python_version(), **machine(),
            "date": time.strftime("%Y-%m-%d")}
