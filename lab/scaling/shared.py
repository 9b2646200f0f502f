"""What both programs share: arguments, an end, and the notebook's code."""

import argparse
import os
import sys
import threading
import time

from data import ph2, storage
from data.splits import stratified_split
from lab import arguments
from lab.lesson import prepared
from lab.scaling import PARENT

SEED = 42
WORKERS = 1, 2, 4  # divide a batch of 8 and the training images equally


def lesson_on(notebook, options, **parameters):
    """A Lesson: what a notebook defines up to its networks.

    options: source and size of the images; parameters replace those of
    the notebook. No network is trained. Raises DataError if the images
    cannot be had.
    """
    samples = ph2.load(tuple(options.size), options.source)
    train, valid, _ = stratified_split(samples.groups, SEED)
    return prepared(notebook, samples, train, valid, SEED=SEED,
                    **parameters)


def end_with_parent():
    """End this process as soon as the one that started it has ended."""
    def watch():
        while os.getppid() == PARENT:
            time.sleep(0.5)
        os._exit(1)  # at once, whatever the other threads wait for

    threading.Thread(target=watch, daemon=True).start()


def side(text):
    """The type of heights and widths: the U-Net halves them four times."""
    pixels = arguments.whole_number(32, 2048)(text)
    if pixels % 16:
        raise argparse.ArgumentTypeError(f"{text} is not a multiple of 16")
    return pixels


def checkpoint(text):
    """The type of files that are written after each epoch."""
    file = arguments.output(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{file} is a folder; name a file "
                                         "in it")
    if not file.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder of {file} does not "
                                         "exist; make it first")
    return file


def parser_for(description):
    """A parser with the arguments that both programs have."""
    parser = arguments.parser(description)
    parser.add_argument("--epochs", type=arguments.EPOCHS, default=18)
    parser.add_argument("--size", type=side, nargs=2, default=(96, 128),
                        metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--source", default="sample",
                        choices=["sample", "auto", "download"])
    parser.add_argument("--checkpoint", required=True, metavar="FILE",
                        type=checkpoint,
                        help="kept up to date after each epoch; if it is "
                        "there, the training goes on from it")
    return parser


def settings(options):
    """What must be the same when a training is taken up again."""
    height, width = options.size
    return (f"--epochs {options.epochs} --size {height} {width} "
            f"--source {options.source}")


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
