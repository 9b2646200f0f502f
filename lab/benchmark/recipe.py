"""What the parts of a training recipe are worth, over folds and seeds.

    python -m lab.benchmark.recipe --data PH2 --folds 5 --seeds 3
    python -m lab.benchmark.recipe --loss both       with the Dice loss
    python -m lab.benchmark.recipe --rate 2e-3 --seeds 1

One training gives four kinds of weights, so that they can be compared: the
last ones, the running average of all at the end, and of both those of the
epoch with the best validation Dice. Each training is a file in
data/benchmark/recipe/; what is there is not done again.
`lab.benchmark.run --publish` puts the table into its page.
"""

import copy
import sys
import time

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.benchmark.recipe in the lesson's folder.")

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from data import ph2, storage
from data.splits import stratified_split
from lab import arguments
from lab.benchmark.record import read, write
from lab.lesson import PYTORCH, prepared
from lab.pretraining.moles import cross_entropy_and_dice

FOLDER = storage.ROOT / "benchmark/recipe"
SIZE = (96, 128)


def averaged(average, new, step):
    """A running average that forgets; the first, worst weights soon fade."""
    decay = min(0.98, (1 + step) / (10 + step))
    return decay * average + (1 - decay) * new


def train(lesson, network, options):
    """Train a new PyTorch network. Returns {kind of weights: network}."""
    model = lesson.new_network(getattr(lesson, network),
                               lesson.samples.images[lesson.train])
    torch.manual_seed(lesson.SEED)
    batches = lesson.training_batches(lesson.train)
    optimizer, schedule = lesson.new_optimizer(
        model, options.epochs * len(batches), lesson.LEARNING_RATE)
    loss_of = cross_entropy_and_dice if options.loss == "both" \
        else lesson.cross_entropy
    average = AveragedModel(model, avg_fn=averaged, use_buffers=True)
    kept, best = {}, {}
    for _ in range(options.epochs):
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


def run(samples, network, fold, seed, options):
    """One training; returns what is kept of it."""
    rows, valid, test = stratified_split(samples.groups, 42, fold=fold)
    lesson = prepared(PYTORCH, samples, rows, valid,
                      SEED=seed, LEARNING_RATE=options.rate)
    start = time.perf_counter()
    kept = train(lesson, network, options)
    found = {"data": options.data, "network": network,
             "loss": options.loss, "rate": options.rate,
             "epochs": options.epochs, "fold": fold, "seed": seed,
             "seconds": time.perf_counter() - start}
    for kind, model in kept.items():
        found[kind] = {"valid": judged(lesson, model, valid),
                       "test": judged(lesson, model, test)}
    return found


def file_of(network, fold, seed, options):
    """Where the result of one training is kept."""
    return FOLDER / (f"{options.data}-{network}-{options.loss}-"
                     f"{options.rate:g}-{options.epochs}-"
                     f"fold{fold}-seed{seed}.json")


def results():
    """{name of its file: training} of all that are done."""
    return {file.stem: read(file, "network", "last")
            for file in sorted(FOLDER.glob("*.json"))}


@arguments.program
def main():
    """Do the trainings that are missing."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--data", choices=["PH2", "sample"], default="PH2")
    parser.add_argument("--network", nargs="+", default=["SegNet", "UNet"],
                        choices=["SegNet", "UNet"])
    parser.add_argument("--loss", choices=["cross-entropy", "both"],
                        default="cross-entropy")
    parser.add_argument("--rate", type=arguments.number, default=1e-3)
    parser.add_argument("--epochs", type=arguments.EPOCHS, default=40)
    parser.add_argument("--folds", type=int, choices=range(1, 6), default=5)
    parser.add_argument("--seeds", type=arguments.whole_number(1), default=3)
    options = parser.parse_args()
    arguments.make_folder(FOLDER)
    results()  # whoever has a damaged one learns it now
    samples = ph2.load(SIZE, "download" if options.data == "PH2"
                       else "sample")
    for seed in range(options.seeds):
        for fold in range(options.folds):
            for network in options.network:
                file = file_of(network, fold, seed, options)
                if not file.exists():
                    found = run(samples, network, fold, seed, options)
                    write(file, found)
                    print(file.stem, f"{found['last']['test']['dice']:.4f}",
                          flush=True)


if __name__ == "__main__":
    main()
