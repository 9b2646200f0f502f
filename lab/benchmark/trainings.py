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
from lab.benchmark.levers import LEVERS, Lever
from lab.benchmark.record import NOTEBOOKS, about, looked_at
from lab.lesson import PYTORCH, definitions, prepared
from lab.segment import one_piece, predict_flips

SPLIT = 42  # the seed of the folds, the same for all trainings
SOURCES = {"PH2": "download", "sample": "sample"}
EPOCHS = {"PH2": 40, "sample": 18}
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
    """

    framework: str
    network: str
    start: str = "scratch"
    change: str = ""
    rate: float = 1e-3
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
    lever = LEVERS.get(training.change, Lever())
    size = older.SIZES[training.change] if training.network == older.NAME \
        else lever.size
    samples = ph2.load(size, SOURCES[training.data])
    if lever.images:
        samples = lever.images(samples)
    method = METHODS.get(training.network, trained)
    found, scores = method(training, samples, lever)
    names = np.array(samples.names)[looked_at(samples)]
    scores["looked at"] = scores["image"].isin(names)
    return {**asdict(training), **found, "scores": scores.to_dict("list")}


def trained(training, samples, lever):
    """How one training went, and the scores of its test images."""
    train, valid, test = stratified_split(samples.groups, SPLIT,
                                          fold=training.fold)
    lesson = prepared(NOTEBOOKS[training.framework], samples, train, valid,
                      SEED=training.seed, LEARNING_RATE=training.rate)
    if lever.define:
        lever.define(lesson)
    model = networks.start(lesson, training.network, training.start)
    history = lesson.fit(model, training.key, train,
                         lever.epochs or training.epochs)
    images = samples.images[test]
    maps = predict_flips(lesson, model, images)
    return course(
        lesson, model, history["valid_dice"], history["seconds"],
        -(-len(train) // lesson.BATCH_SIZE)), pd.concat([
        scored(lesson, "one look", test, lesson.predict(model, images)),
        scored(lesson, "flips", test, maps),
        scored(lesson, "flips, one piece", test, maps, one_piece)])


def course(lesson, model, valid_dice, seconds, steps):
    """How a training went.

    valid_dice, seconds: after each epoch; steps: of one epoch.
    """
    return {"weights": networks.count(model), "about": about(lesson),
            "steps": steps * len(valid_dice),
            "seconds": round(max(seconds), 1),
            "valid_dice": [round(dice, 4) for dice in valid_dice]}


def as_before(training, samples, _):
    """The older lesson's training, with its pixels or with ours."""
    train, valid, test = stratified_split(samples.groups, SPLIT,
                                          fold=training.fold)
    lesson = prepared(PYTORCH, samples, train, valid)
    torch.manual_seed(training.seed)
    model = older.OlderUNet()
    valid_dice, seconds = older.fit(model, lesson, min(older.EPOCHS,
                                                       training.epochs))
    return course(lesson, model, valid_dice, seconds, -(-len(train) // 32)), \
        scored(lesson, "one look", test, older.predict(model, samples, test))


def floor(training, samples, _):
    """The same for what learns nothing from an image and its mask."""
    train, valid, test = stratified_split(samples.groups, SPLIT,
                                          fold=training.fold)
    with contextlib.redirect_stdout(None):  # the cell prints a score
        lesson = definitions(PYTORCH, "parameters", "metrics", "scoring",
                             "baseline", samples=samples, valid=valid)
    images = samples.images[test]
    if training.network == "mean mask":
        mean = samples.masks[train].mean(axis=0)
        return {}, scored(lesson, "one look", test, [mean] * len(test))
    smooth = ndimage.gaussian_filter(images, (0, 2, 2, 0))
    return {}, pd.concat([
        scored(lesson, "one look", test, map(lesson.otsu, images)),
        scored(lesson, "smooth, one piece", test, map(lesson.otsu, smooth),
               one_piece)])


METHODS = {**dict.fromkeys(FLOORS, floor), older.NAME: as_before}


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
