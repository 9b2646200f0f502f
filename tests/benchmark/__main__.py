"""Run the notebooks with cross-validation and tabulate what they reach.

    python -m tests.benchmark --data PH2 --folds 5 --framework pytorch tf
    python -m tests.benchmark --folds 1 --set EPOCHS=80
    python -m tests.benchmark --publish   put the tables into the README

Each run is one notebook with one fifth of the images as its test set. Its
results go into a file in data/benchmark/, so that a benchmark that was
interrupted goes on where it was.
"""

import argparse
import hashlib
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

from tests.benchmark import report
from tests.notebooks import (
    PYTORCH,
    ROOT,
    TENSORFLOW,
    add_cells,
    code_cells,
    read,
    tags_of,
)

NOTEBOOKS = {"pytorch": PYTORCH, "tf": TENSORFLOW}
SOURCES = {"PH2": "download", "sample": "sample"}
# Cells with these tags decide about the results.
RECIPE = ("parameters", "metrics", "model", "training", "augmentation",
          "batches", "load")
LAST = """from tests.benchmark.record import record
record(globals(), {file!r})"""


def shortened(name):
    """A notebook's code up to its results, and what loads weights."""
    cells = code_cells(read(name))
    last = next(i for i, cell in enumerate(cells)
                if cell.source.startswith("def predict_flips"))
    return cells[:last + 1] + [cell for cell in cells[last + 1:]
                               if "load" in tags_of(cell)]


def recipe_of(name):
    """A few characters that change when what is measured changes."""
    text = "\n".join(cell.source for cell in code_cells(read(name), *RECIPE))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def execute(name, parameters, last, progress):
    """Run the shortened notebook with parameters and a last cell."""
    notebook = nbformat.v4.new_notebook(cells=shortened(name))
    add_cells(notebook, parameters, last)
    progress.reset(len(notebook.cells))
    NotebookClient(notebook, timeout=None, kernel_name="python3",
                   resources={"metadata": {"path": str(ROOT)}},
                   on_cell_executed=lambda **_: progress.update()).execute()


def file_of(options, framework, fold, *settings):
    """Where one run's results are kept."""
    name = "-".join([options.data, framework, f"fold{fold}",
                     recipe_of(NOTEBOOKS[framework]), *settings])
    return options.out / f"{name}.json"


def parameters_of(options, fold):
    """One line of Python that sets a run's parameters."""
    return "; ".join([f"SOURCE={SOURCES[options.data]!r}", f"FOLD={fold}",
                      *options.set])


def do(options, framework, fold, file):
    """One run, unless its results are there already."""
    with tqdm(desc=f"{framework}, fold {fold + 1}", unit="cell") as progress:
        if not file.exists():
            execute(NOTEBOOKS[framework],
                    parameters_of(options, fold),
                    LAST.format(file=str(file)), progress)


def published(options):
    """All results that are there, as a summary."""
    runs, changed = [], {}
    for framework in NOTEBOOKS:
        for fold in range(5):
            base = file_of(options, framework, fold)
            runs.append(base)
            for file in sorted(options.out.glob(f"{base.stem}-*.json")):
                what = file.stem.removeprefix(f"{base.stem}-")
                changed.setdefault(what, []).append(file)
    return report.summary(
        report.read(runs), {what: report.read(files) for what, files
                            in changed.items()})


def main():
    """Do the runs that are missing, and print or publish the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=SOURCES, default="PH2")
    parser.add_argument("--folds", type=int, choices=range(1, 6), default=5,
                        help="how many of the five folds to run")
    parser.add_argument("--framework", nargs="+", choices=NOTEBOOKS,
                        default=list(NOTEBOOKS))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE",
                        help="other parameters of the notebook")
    parser.add_argument("--publish", action="store_true",
                        help="write the tables of all results into the pages")
    parser.add_argument("--out", type=Path, metavar="FOLDER",
                        default=ROOT / "data/benchmark")
    options = parser.parse_args()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.publish:
        report.publish(published(options))
    else:
        runs = [(framework, fold) for fold in range(options.folds)
                for framework in options.framework]
        files = [file_of(options, *run, *options.set) for run in runs]
        for run, file in zip(runs, files):
            do(options, *run, file)
        print(report.text(report.read(files)))


if __name__ == "__main__":
    main()
