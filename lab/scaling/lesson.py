"""The lesson's own code, lifted from its notebooks, for the two programs."""

import argparse
import sys
from pathlib import Path

from data import ph2, stratified_split
from tests.notebooks import code_cells, lifted, read


def lesson(notebook, **parameters):
    """Everything that a notebook defines up to its networks, as a dict.

    parameters replace those of the notebook. No network is trained.
    """
    names = lifted(notebook, "parameters")
    names.update(parameters, PRECISION="float32")
    samples = ph2.load((names["HEIGHT"], names["WIDTH"]), names["SOURCE"])
    train, valid, test = stratified_split(samples.groups, names["SEED"])
    names.update(samples=samples, train=train, valid=valid, test=test)
    for cell in code_cells(read(notebook), "training", "augmentation",
                           "batches", "model"):
        exec(cell.source, names)
    return names


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
