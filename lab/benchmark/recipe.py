"""What the parts of a training recipe are worth, over folds and seeds.

    python -m lab.benchmark.recipe

One training gives four kinds of weights, so that they can be compared: the
last ones, the running average of all at the end, and of both those of the
epoch with the best validation Dice. Each training is a file in
data/benchmark/recipe/; what is there is not done again, nor, without
--anew, what is published. `lab.benchmark.run --publish` puts the table into
its page.
"""

import copy
import sys
import time
from itertools import product
from typing import NamedTuple

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.benchmark.recipe in the lesson's folder.")

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from data import ph2, storage
from data.splits import stratified_split
from lab import arguments
from lab.benchmark.record import RESULTS, read, write
from lab.lesson import PYTORCH, prepared
from lab.pretraining.moles import cross_entropy_and_dice

FOLDER = storage.ROOT / "benchmark/recipe"
SIZE = (96, 128)
SEEDS = 3


class Recipe(NamedTuple):
    """One way to train. loss: "cross-entropy", or "both" with Dice loss."""

    data: str
    loss: str
    rate: float
    epochs: int


RECIPES = (Recipe("PH2", "cross-entropy", 1e-3, 40),
           Recipe("PH2", "both", 1e-3, 40))


def averaged(average, new, step):
    """A running average that forgets; the first, worst weights soon fade."""
    decay = min(0.98, (1 + step) / (10 + step))
    return decay * average + (1 - decay) * new


def train(lesson, network, recipe):
    """Train a new PyTorch network. Returns {kind of weights: network}."""
    model = lesson.new_network(getattr(lesson, network),
                               lesson.samples.images[lesson.train])
    torch.manual_seed(lesson.SEED)
    batches = lesson.training_batches(lesson.train)
    optimizer, schedule = lesson.new_optimizer(
        model, recipe.epochs * len(batches), lesson.LEARNING_RATE)
    loss_of = cross_entropy_and_dice if recipe.loss == "both" \
        else lesson.cross_entropy
    average = AveragedModel(model, avg_fn=averaged, use_buffers=True)
    kept, best = {}, {}
    for _ in range(recipe.epochs):
        model.train()
        for images, masks in batches:
            loss = loss_of(model(images), masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
        for kind, one in (("best", model), ("best average", average.module)):
            _, dice = lesson.evaluate(one, lesson.validation_batches)
            if dice >= best.get(kind, 0):
                best[kind] = dice
                kept[kind] = copy.deepcopy(one)
    return {**kept, "last": model, "average": average.module}


def judged(lesson, model, rows):
    """Mean Dice at original size, and mean p of the background."""
    maps = lesson.predict(model, lesson.samples.images[rows])
    masks = lesson.samples.masks[rows]
    return {"dice": float(np.mean([
                lesson.scores(*lesson.original_masks(row, p))["Dice"]
                for row, p in zip(rows, maps)])),
            "background": float(np.mean([
                p[~mask].mean() for p, mask in zip(maps, masks)
                if not mask.all()]))}


def run(samples, recipe, network, fold, seed):
    """One training; returns what is kept of it."""
    rows, valid, test = stratified_split(samples.groups, 42, fold=fold)
    lesson = prepared(PYTORCH, samples, rows, valid, SEED=seed,
                      LEARNING_RATE=recipe.rate)
    start = time.perf_counter()
    kept = train(lesson, network, recipe)
    return {**recipe._asdict(), "network": network, "fold": fold,
            "seed": seed, "seconds": time.perf_counter() - start,
            **{kind: {"valid": judged(lesson, model, valid),
                      "test": judged(lesson, model, test)}
               for kind, model in kept.items()}}


def name(recipe, network, fold, seed):
    """What the result of one training is called."""
    return (f"{recipe.data}-{network}-{recipe.loss}-{recipe.rate:g}-"
            f"{recipe.epochs}-fold{fold}-seed{seed}")


def results():
    """{name: training} of all that are done."""
    return {file.stem: read(file, "network", "last")
            for file in sorted(FOLDER.glob("*.json"))}


@arguments.program
def main():
    """Do the trainings that are missing."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--anew", action="store_true",
                        help="do what is published already, too")
    anew = parser.parse_args().anew
    arguments.make_folder(FOLDER)
    done = {} if anew else read(RESULTS, "recipe")["recipe"]
    done |= results()  # whoever has a damaged one learns it now
    samples = ph2.load(SIZE, "download")
    for recipe, *one in product(RECIPES, ("SegNet", "UNet"), range(5),
                                range(SEEDS)):
        if name(recipe, *one) not in done:
            found = run(samples, recipe, *one)
            write(FOLDER / f"{name(recipe, *one)}.json", found)
            print(name(recipe, *one), flush=True)


if __name__ == "__main__":
    main()
