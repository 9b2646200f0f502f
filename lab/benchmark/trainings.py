"""One training of the benchmark, and the scores of each of its test images.

`Training` says what is trained, from where, and with which images and
random numbers; `run` trains it as the notebook does, and scores it on the
fold that it has not seen.
"""

import contextlib
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import torch
from scipy import ndimage

from data import ph2
from data.splits import stratified_split
from lab.benchmark import networks, older
from lab.benchmark.levers import LEVERS
from lab.benchmark.record import NOTEBOOKS, about, looked_at
from lab.lesson import PYTORCH, definitions, prepared
from lab.segment import one_piece, predict_flips

SPLIT = 42  # the seed of the folds, the same for all trainings
SOURCES = {"PH2": "download", "sample": "sample"}
EPOCHS = {"PH2": 40, "sample": 18}
RATE = {"PH2": 1e-3, "sample": 3e-3}
FLOORS = "Otsu", "mean mask"  # what learns next to nothing


@dataclass(frozen=True)
class Training:
    """What distinguishes one training from another.

    framework  "pytorch" or "tf"
    network    "SegNet", "UNet", a key of `networks.PEERS`, `older.NAME`, or
               one of FLOORS
    start      "scratch", "synthetic" or "ImageNet"; "" for FLOORS
    change     what differs from the lesson's recipe, a key of LEVERS; of
               the older lesson's, a key of `older.SIZES`; or ""
    rate       the highest learning rate
    fold       the fifth of the images that is tested
    seed       of the random numbers
    data       "PH2" or "sample"
    epochs     passes over the training images, if nothing changes them
    """

    framework: str
    network: str
    start: str = "scratch"
    change: str = ""
    rate: float = RATE["PH2"]
    fold: int = 0
    seed: int = 0
    data: str = "PH2"
    epochs: int = EPOCHS["PH2"]

    @property
    def key(self):
        """A name for files."""
        return "-".join(str(value) for value in asdict(self).values())


def run(training):
    """Train and score. Returns a dict that JSON can hold.

    Raises DataError if the images cannot be had.
    """
    samples, found, scores = KINDS.get(training.network, trained)(training)
    names = np.array(samples.names)[looked_at(samples)]
    scores["looked at"] = scores["image"].isin(names)
    return {**asdict(training), **found, "scores": scores.to_dict("list")}


def parts_of(training, size):
    """The samples at a size (H, W), and the rows of train, valid, test."""
    samples = ph2.load(size, SOURCES[training.data])
    return samples, stratified_split(samples.groups, SPLIT,
                                     fold=training.fold)


def trained(training):
    """A network: the samples, how training went, scores of test images."""
    lever = LEVERS[training.change]
    samples, (train, valid, test) = parts_of(training, lever.size)
    if lever.images:
        samples = lever.images(samples)
    lesson = prepared(NOTEBOOKS[training.framework], samples, train, valid,
                      SEED=training.seed, LEARNING_RATE=training.rate)
    if lever.define:
        lever.define(lesson)
    model = networks.start(lesson, training.network, training.start)
    history = lesson.fit(model, training.key, train,
                         lever.epochs or training.epochs)
    images = samples.images[test]
    maps = predict_flips(lesson, model, images)
    return samples, course(
        lesson, model, history["valid_dice"], history["seconds"],
        -(-len(train) // lesson.BATCH_SIZE)), pd.concat([
            scored(lesson, "one look", test, lesson.predict(model, images)),
            scored(lesson, "flips", test, maps),
            scored(lesson, "flips, one piece", test, maps, one_piece)])


def as_before(training):
    """The same of the older lesson, with its pixels or with ours."""
    samples, (train, valid, test) = parts_of(training,
                                             older.SIZES[training.change])
    lesson = prepared(PYTORCH, samples, train, valid)
    torch.manual_seed(training.seed)
    model = older.OlderUNet()
    valid_dice, seconds = older.fit(model, lesson, min(older.EPOCHS,
                                                       training.epochs))
    return samples, course(
        lesson, model, valid_dice, seconds, -(-len(train) // 32)), scored(
            lesson, "one look", test, older.predict(model, samples, test))


def floor(training):
    """The same of what learns nothing from an image and its mask."""
    samples, (train, valid, test) = parts_of(training, LEVERS[""].size)
    with contextlib.redirect_stdout(None):  # the cell prints a score
        lesson = definitions(PYTORCH, "parameters", "metrics", "scoring",
                             "baseline", samples=samples, valid=valid)
    images = samples.images[test]
    if training.network == "mean mask":
        mean = samples.masks[train].mean(axis=0)
        return samples, {}, scored(lesson, "one look", test,
                                   [mean] * len(test))
    smooth = ndimage.gaussian_filter(images, (0, 2, 2, 0))
    return samples, {}, pd.concat([
        scored(lesson, "one look", test, map(lesson.otsu, images)),
        scored(lesson, "smooth, one piece", test, map(lesson.otsu, smooth),
               one_piece)])


KINDS = {**dict.fromkeys(FLOORS, floor), older.NAME: as_before}


def course(lesson, model, valid_dice, seconds, steps):
    """How a training went.

    valid_dice, seconds: after each epoch; steps: of one epoch.
    """
    return {"epochs": len(valid_dice), "steps": steps * len(valid_dice),
            "weights": networks.count(model),
            "seconds": round(max(seconds), 1), "about": about(lesson),
            "valid_dice": [round(dice, 4) for dice in valid_dice]}


def scored(lesson, variant, rows, maps, tidy=np.asarray):
    """A table of scores of probability maps (H, W) of these rows.

    tidy: what is done to each mask, at its original size, before it is
    scored. HD95 is the 95 % Hausdorff distance in pixels of the original
    size, and the picture's diagonal if one of the masks is empty.
    """
    samples, table = lesson.samples, []
    for row, probability in zip(rows, maps):
        predicted, truth = lesson.original_masks(row,
                                                 np.float32(probability))
        predicted = tidy(predicted)
        distance = min(lesson.border_distance(predicted, truth),
                       np.hypot(*truth.shape))
        table.append({"variant": variant, "image": samples.names[row],
                      "diagnosis": str(samples.groups[row]),
                      **{name: round(score, 4) for name, score
                         in lesson.scores(predicted, truth).items()},
                      "HD95": round(float(distance), 1)})
    return pd.DataFrame(table)
