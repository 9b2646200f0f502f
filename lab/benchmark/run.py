"""Run the notebooks with cross-validation and tabulate what they reach.

    python -m lab.benchmark.run --data PH2 --folds 5 --framework pytorch tf
    python -m lab.benchmark.run --folds 1 --set EPOCHS=60
    python -m lab.benchmark.run --lever "80 epochs"   the U-Net, changed
    python -m lab.benchmark.run --peer   beside others' networks
    python -m lab.benchmark.run --publish   put the tables into the pages

Each run is one notebook with one fifth of the images as its test set. Its
results go into a file in data/benchmark/, so that a benchmark that was
interrupted goes on where it was.
"""

import argparse
import ast
import contextlib
import functools
import hashlib
import importlib.util
import re
import sys
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.benchmark.run in the lesson's folder.")

from tqdm import tqdm

from data import DataError, ph2, storage
from lab import arguments, lesson
from lab.benchmark import hardware, recipe, record, report
from lab.benchmark.levers import LEVERS, ONE_NETWORK
from lab.benchmark.record import NOTEBOOKS
from lab.jupyter import check_parameters, use_tensorflow
from lab.lesson import PYTORCH, ROOT

SOURCES = {"PH2": "download", "sample": "sample"}
LAST = """from lab.benchmark.record import record
record(globals(), {file!r}, networks={networks!r})"""
PEERS = """from lab.benchmark.peers import compare
compare(globals(), {file!r})"""


@functools.cache
def recipe_of(name):
    """A few characters that change when what is measured changes."""
    code = [cell.source for cell in lesson.code_cells(lesson.read(name),
                                                      *lesson.RECIPE)]
    weights = [(storage.ROOT / f"weights/{network}.safetensors").read_bytes()
               for network in ("segnet", "unet")]
    return hashlib.sha256(b"".join([*map(str.encode, code), *weights])) \
        .hexdigest()[:8]


def execute(name, parameters, last, progress, lever=None):
    """Run the shortened notebook with parameters and a last cell."""
    notebook = lesson.without_the_rest(lesson.read(name))
    after = {"parameters": parameters}
    if lever:
        after["fit"] = ONE_NETWORK
        if lever.code:
            after[lever.after] = after.get(lever.after, "") + lever.code
    progress.reset(len(notebook.cells) + len(after) + 1)
    lesson.run(notebook, after, last, seconds=None,
               on_cell_executed=lambda **_: progress.update())


def file_of(options, framework, fold, *changes):
    """Where one run's results are kept."""
    name = "-".join([options.data, framework, f"fold{fold}",
                     recipe_of(NOTEBOOKS[framework]), *changes])
    return options.out / f"{name}.json"


def parameters_of(options, fold, lever=None):
    """One line of Python that sets a run's parameters."""
    return "; ".join([f"SOURCE={SOURCES[options.data]!r}", f"FOLD={fold}",
                      *options.set, *(lever.parameters if lever else ())])


def do(options, framework, fold, file):
    """One run, unless its results are there already."""
    lever = LEVERS.get(options.lever)
    networks = ("U-Net",) if lever else ("SegNet", "U-Net")
    with tqdm(desc=f"{framework}, fold {fold + 1}", unit="cell") as progress:
        if not file.exists():
            execute(NOTEBOOKS[framework],
                    parameters_of(options, fold, lever),
                    LAST.format(file=str(file), networks=networks),
                    progress, lever)


def peers_file(options):
    """Where the results of the lesson and its peers are kept."""
    return options.out / f"peers-{options.data}-{recipe_of(PYTORCH)}.json"


def compare_with_peers(options):
    """Train the lesson's networks and others in one run."""
    missing = [name for name in ("monai", "segmentation_models_pytorch")
               if not importlib.util.find_spec(name)]
    if missing:
        sys.exit(f"--peer needs {' and '.join(missing)}; run "
                 f"{sys.executable} -m pip install -r "
                 "lab/benchmark/peers.txt first.")
    file = peers_file(options)
    with tqdm(desc="peers", unit="cell") as progress:
        if not file.exists():
            execute(PYTORCH, parameters_of(options, 0),
                    PEERS.format(file=str(file)), progress)
    print(report.peers_table({"peers": report.peers(file)}))


def cross_validated(options):
    """The results of all folds and changes; {} if a fold is missing."""
    runs = [file_of(options, framework, fold)
            for framework in NOTEBOOKS for fold in range(5)]
    if not all(base.exists() for base in runs):
        return {}
    changed = {}
    for base in runs:
        for file in sorted(options.out.glob(f"{base.stem}-*.json")):
            what = file.stem.removeprefix(f"{base.stem}-")
            changed.setdefault(what, []).append(file)
    return report.summary(
        report.read(runs),
        {what: report.read(files) for what, files in changed.items()})


def published(options):
    """What there are new results of, as parts of the summary."""
    parts = cross_validated(options)
    if peers_file(options).exists():
        parts["peers"] = report.peers(peers_file(options))
    if recipe.results():
        parts["recipe"] = recipe.results()
    if hardware.FILE.exists():
        parts["limits"] = record.read(hardware.FILE, "about", "closeness")
    return parts


def setting(text):
    """NAME=VALUE, if the notebooks take it for such a parameter."""
    name, _, value = text.partition("=")
    parameters = lesson.parameters(PYTORCH)
    known = [name for name in parameters
             if name not in ("SOURCE", "PICTURE", "FOLD")]
    # The text becomes a part of a file's name.
    if name not in known or not re.fullmatch(r"[\w.+-]+", value):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=VALUE with one of {', '.join(known)}, "
            "and a plain number")
    with contextlib.suppress(ValueError, SyntaxError):
        value = ast.literal_eval(value)
    try:
        check_parameters({**parameters, name: value})
    except ValueError as error:
        sentence, _, _ = str(error).partition(":")
        raise argparse.ArgumentTypeError(sentence) from error
    return text


def checked(parser):
    """The options, if they make sense; ends the program if not."""
    options = parser.parse_args()
    lever = LEVERS.get(options.lever)
    if options.framework is None:
        options.framework = ["pytorch"] if lever else list(NOTEBOOKS)
    if lever and lever.code and "tf" in options.framework:
        parser.error(f"the code of --lever {options.lever!r} is for "
                     "--framework pytorch only")
    if options.peer and (options.set or lever):
        parser.error("--peer trains by the lesson's own recipe; leave --set "
                     "and --lever out")
    if options.publish and options.data != "PH2":
        parser.error("--publish is for results on PH2")
    options.out = options.out.resolve()
    try:
        arguments.make_folder(options.out)
        if "tf" in options.framework and not (options.publish
                                              or options.peer):
            use_tensorflow()
    except DataError as error:
        parser.error(str(error))
    if options.data == "PH2" and not options.publish:
        ph2.find(storage.writable_folder())
    return options


@arguments.program
def main():
    """Do the runs that are missing, and print or publish the tables."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--data", choices=SOURCES, default="PH2")
    parser.add_argument("--folds", type=int, choices=range(1, 6), default=5,
                        help="how many of the five folds to run")
    parser.add_argument("--framework", nargs="+", choices=NOTEBOOKS,
                        help="both, if it is left out")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE",
                        type=setting, help="other parameters of the notebook")
    parser.add_argument("--lever", choices=LEVERS, metavar="NAME",
                        help="only the U-Net, with one change: "
                        + ", ".join(LEVERS))
    parser.add_argument("--peer", action="store_true",
                        help="train networks of others beside the lesson's")
    parser.add_argument("--publish", action="store_true",
                        help="write the tables of all results into the pages")
    parser.add_argument("--out", type=Path, metavar="FOLDER",
                        default=ROOT / "data/benchmark")
    options = checked(parser)
    if options.publish:
        parts = published(options)
        report.publish(parts)
        print("New:", ", ".join(parts) or "nothing")
    elif options.peer:
        compare_with_peers(options)
    else:
        runs = [(framework, fold) for fold in range(options.folds)
                for framework in options.framework]
        changes = [*options.set, *filter(None, [options.lever])]
        files = [file_of(options, *run, *changes) for run in runs]
        report.read(files)  # whoever has a damaged one learns it now
        for run, file in zip(runs, files):
            do(options, *run, file)
        print(report.text(report.read(files)))


if __name__ == "__main__":
    main()
