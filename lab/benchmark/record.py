"""Runs in a notebook, as its last cell: measure what it left behind.

`record` scores the networks that the notebook trained, trains them once
more from the weights that were learned from synthetic images, and writes
it all into one JSON file.
"""

import json
import platform
import re
import time
from importlib import import_module
from pathlib import Path

import numpy as np

from data import DataError, storage
from lab.lesson import PYTORCH, TENSORFLOW, Lesson, machine
from lab.segment import one_piece, predict_flips

# As the command lines name them.
NOTEBOOKS = {"pytorch": PYTORCH, "tf": TENSORFLOW}
ENOUGH = 0.90  # the validation Dice whose time is noted


def lesson_of(names):
    """The Lesson of a running notebook, from its `globals()`."""
    return Lesson(PYTORCH if "torch" in names else TENSORFLOW, names)


def train_networks(lesson, networks=("SegNet", "U-Net")):
    """The notebook's networks, and the same from pre-trained weights.

    Returns two dicts, models and their histories.
    """
    models = {name: lesson.models[name] for name in networks}
    history = {name: lesson.history[name] for name in networks}
    for network in networks:
        name = f"{network}, pre-trained"
        models[name] = lesson.pretrained(
            lesson.SegNet if network == "SegNet" else lesson.UNet)
        history[name] = lesson.fit(models[name], name, lesson.train,
                                   lesson.EPOCHS)
    return models, history


def record(names, file, networks=("SegNet", "U-Net")):
    """Write the results of one notebook as JSON.

    names: what the notebook defined, its `globals()`; file: the path;
    networks: those that count. The file appears whole or not at all.
    """
    lesson = lesson_of(names)
    models, history = train_networks(lesson, networks)
    images = lesson.samples.images[lesson.test]
    rows = scored(lesson, "Otsu", [lesson.otsu(image) for image in images])
    for name, model in models.items():
        maps = predict_flips(lesson, model, images)
        rows += scored(lesson, name, lesson.predict(model, images))
        rows += scored(lesson, f"{name}, flips", maps)
        rows += scored(lesson, f"{name}, flips, one piece", maps, one_piece)
    write(file, {
        "about": about(lesson), "per_image": rows,
        "training": [training(lesson, name, models[name], history[name])
                     for name in models]})


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
    return {"source": lesson.samples.source,
            "epochs": lesson.EPOCHS, "precision": "float32",
            "framework": f"{framework.__name__} {framework.__version__}",
            "python": platform.python_version(), **machine(),
            "date": time.strftime("%Y-%m-%d"), "peak_memory": peak_memory()}


def peak_memory():
    """The most memory that this process has used, in bytes; Linux only."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB",
                      status.read_text(encoding="utf-8"))
    return found and 1024 * int(found[1])


def scored(lesson, method, maps, tidy=np.asarray):
    """Scores and pixel counts of probability maps of the test images.

    tidy: what is done to each mask before it is scored.
    """
    samples, rows = lesson.samples, []
    for row, probability in zip(lesson.test, maps):
        predicted, truth = lesson.original_masks(row,
                                                 np.float32(probability))
        predicted = tidy(predicted)
        rows.append({"method": method, "name": samples.names[row],
                     "diagnosis": str(samples.groups[row]),
                     **lesson.scores(predicted, truth),
                     "TP": int(np.sum(predicted & truth)),
                     "FP": int(np.sum(predicted & ~truth)),
                     "FN": int(np.sum(~predicted & truth)),
                     "TN": int(np.sum(~predicted & ~truth))})
    return rows


def course(history):
    """How long one training took, and how good it got."""
    seconds = history["seconds"]
    good = history["valid_dice"] >= ENOUGH
    return {"seconds": float(seconds.iloc[-1]),
            "epoch": float(np.median(np.diff(seconds, prepend=0))),
            "enough": float(seconds[good].iloc[0]) if good.any() else None}


def training(lesson, method, model, history):
    """How one training went, and how fast its network predicts."""
    images = lesson.samples.images[lesson.test]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        lesson.predict(model, images)
        times.append(time.perf_counter() - start)
    return {"method": method, **course(history),
            "weights": int(lesson.count_weights(model)),
            "images_per_second": len(images) / float(np.median(times))}
