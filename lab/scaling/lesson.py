"""The lesson's own code, lifted from its notebooks, for the two programs."""

import argparse

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
                        help="kept up to date after each epoch; if it is "
                        "there, the training goes on from it")
    return parser
