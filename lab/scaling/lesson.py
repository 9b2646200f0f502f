"""The lesson's own code, lifted from its notebooks, for the two programs."""

import argparse
import sys
from pathlib import Path

from data import ph2, stratified_split
from tests.notebooks import lifted, prepared


def lesson(notebook, options, **parameters):
    """Everything that a notebook defines up to its networks, as a dict.

    options: source and size of the images; parameters replace those of
    the notebook. No network is trained.
    """
    samples = ph2.load(tuple(options.size), options.source)
    seed = lifted(notebook, "parameters")["SEED"]
    train, valid, _ = stratified_split(samples.groups, seed)
    return prepared(notebook, samples, train, valid, PRECISION="float32",
                    **parameters)


def arguments(description):
    """A parser with the arguments that both programs have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--epochs", type=int, default=16)
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
    return options


def resume(training, options, speaks=True):
    """Go on from the checkpoint, if it is there.

    speaks: whether this process is the one that prints.
    """
    file = options.checkpoint
    try:
        if file.exists():
            training.load(file)
    except Exception as error:  # whatever another file may cause
        sys.exit(f"{file} is not a checkpoint of this program "
                 f"({type(error).__name__}); remove it, or name another "
                 "file.")
    if speaks and len(training.rows) >= options.epochs:
        print(f"{file} holds {len(training.rows)} epochs already; ask for "
              "more, or name another file.")
