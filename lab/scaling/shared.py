"""What both programs share: their arguments, and the notebook's code."""

import argparse
import sys
from pathlib import Path

from data import DataError, ph2, storage
from data.splits import stratified_split
from lab.lesson import prepared

SEED = 42
WORKERS = 1, 2, 4  # divide a batch of 8 and the training images equally


def lesson_on(notebook, options, **parameters):
    """A Lesson: what a notebook defines up to its networks.

    options: source and size of the images; parameters replace those of
    the notebook. No network is trained.
    """
    try:
        samples = ph2.load(tuple(options.size), options.source)
    except DataError as error:
        sys.exit(str(error))
    train, valid, _ = stratified_split(samples.groups, SEED)
    return prepared(notebook, samples, train, valid, SEED=SEED,
                    **parameters)


def arguments(description):
    """A parser with the arguments that both programs have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128),
                        metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--source", default="sample",
                        choices=["sample", "auto", "download"])
    parser.add_argument("--checkpoint", required=True, metavar="FILE",
                        type=Path,
                        help="kept up to date after each epoch; if it is "
                        "there, the training goes on from it")
    return parser


def checked(options):
    """The options, if they make sense; ends the program if not."""
    if options.epochs < 1:
        sys.exit("--epochs must be 1 or more.")
    if any(side < 32 or side % 16 for side in options.size):
        sys.exit("--size needs multiples of 16, from 32 on: the U-Net "
                 "halves the images four times.")
    if not options.checkpoint.absolute().parent.is_dir():
        sys.exit(f"The folder of {options.checkpoint} does not exist; make "
                 "it first.")
    height, width = options.size
    # What must be the same when a training is taken up again.
    options.settings = (f"--epochs {options.epochs} --size {height} {width} "
                        f"--source {options.source}")
    return options


def resume(training, options, speaks=True):
    """Go on from the checkpoint, if it is there.

    speaks: whether this process is the one that prints.
    """
    file = options.checkpoint
    if speaks:
        storage.clear_leftovers(file)
    if not file.exists():
        return
    try:
        settings = training.load(file)
    except Exception as error:  # whatever another file may cause
        sys.exit(f"{file} is not a checkpoint of this program "
                 f"({type(error).__name__}); remove it, or name another "
                 "file.")
    if settings != training.settings:
        sys.exit(f"{file} began with {settings}; go on with these, or name "
                 "another file.")
    if speaks and len(training.rows) >= options.epochs:
        print(f"{file} holds all {options.epochs} epochs already; name "
              "another file to train anew.")
