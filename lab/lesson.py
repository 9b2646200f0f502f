"""The door to the notebooks' code, for programs and tests.

The notebooks are the only source of networks, loss, training and metrics.
`definitions` runs tagged cells in this process and hands out what they
define; `run` runs a whole notebook in a kernel of its own.

    python -m lab.lesson SemanticSegmentationPytorch.ipynb …

runs notebooks on the synthetic sample and saves them with their outputs,
a fingerprint of their code, and how long each section took.
"""

import argparse
import contextlib
import hashlib
import os
import platform
import re
import sys
from datetime import datetime
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.lesson in the lesson's folder.")

import joblib
import nbformat
import numpy as np
from nbclient import NotebookClient

from data import DataError, storage
from lab import arguments
from lab.jupyter import use_tensorflow

ROOT = Path(__file__).resolve().parent.parent
PYTORCH = "SemanticSegmentationPytorch.ipynb"
TENSORFLOW = "SemanticSegmentationTF.ipynb"
NOTEBOOKS = [PYTORCH, TENSORFLOW]
WIDGET = "application/vnd.jupyter.widget-view+json"
TIMES_PAGE = ROOT / "lab/teaching/INSTRUCTORS.md"

# What the door hands out: the names that the cells with a tag define.
BOTH = {
    "parameters": "SOURCE PICTURE HEIGHT WIDTH SEED FOLD EPOCHS BATCH_SIZE "
                  "LEARNING_RATE WEIGHT_DECAY FEW_STEPS",
    "samples": "samples",
    "split": "train valid test",
    "metrics": "scores border_distance",
    "scoring": "original_masks",
    "baseline": "otsu",
    "batches": "training_batches validation_batches",
    "training": "cross_entropy training_step dice new_optimizer fit predict",
    "model": "conv_block SegNet UNet new_network",
    "count": "count_weights models history",
    "results": "original_scores results",
    "load": "load_network pretrained_file pretrained",
}
ONE = {
    PYTORCH: {"imports": "DEVICE", "augmentation": "augment",
              "batches": "LesionDataset",
              "training": "evaluate train_epoch",
              "model": "Standardise"},
    TENSORFLOW: {"augmentation": "new_augmentation",
                 "batches": "pairs as_tuple",
                 "model": "MaxPoolWithIndices MaxUnpool head"},
}
# Enough to train networks, to use them and to score them.
RECIPE = ("parameters", "metrics", "scoring", "training", "augmentation",
          "batches", "model", "load")


class LessonError(DataError):
    """Says in one sentence what a notebook no longer defines."""


def declared(name):
    """{tag: list of names} that the door hands out of a notebook."""
    tags = BOTH.keys() | ONE[name].keys()
    return {tag: f"{BOTH.get(tag, '')} {ONE[name].get(tag, '')}".split()
            for tag in tags}


def parameters(name):
    """{parameter: its value} as a saved notebook has them."""
    found = {}
    for cell in code_cells(read(name), "parameters"):
        execute(cell, found)
    return {key: found[key] for key in declared(name)["parameters"]}


# --- Cells ----------------------------------------------------------------

def read(name):
    """The saved notebook of this name, seen from the top folder."""
    return nbformat.read(ROOT / name, as_version=4)


def tags_of(cell):
    """The tags of a cell, a list that may be empty."""
    return cell.metadata.get("tags", [])


def code_cells(notebook, *tags):
    """The code cells of a notebook; only those with one of the tags."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"
            and (not tags or set(tags) & set(tags_of(cell)))]


def fingerprint(notebook):
    """A text that changes when the code of a notebook changes."""
    code = [cell.source for cell in code_cells(notebook)]
    return hashlib.sha256(repr(code).encode()).hexdigest()[:16]


# --- In this process ------------------------------------------------------

class Lesson:
    """What a notebook's cells define, as attributes: `lesson.UNet()`.

    Set one, as in `lesson.EPOCHS = 1`, and its functions see it. Only
    declared names can be had.
    """

    def __init__(self, name, namespace):
        vars(self).update(name=name, _namespace=namespace,
                          _known=set(sum(declared(name).values(), [])))

    def __getattr__(self, name):
        if name not in self._known or name not in self._namespace:
            raise AttributeError(f"{self.name} has not defined {name!r}, "
                                 "or lab/lesson.py does not declare it")
        return self._namespace[name]

    def __setattr__(self, name, value):
        if name not in self._known:
            raise AttributeError(f"lab/lesson.py does not declare {name!r}")
        self._namespace[name] = value

    def run(self, tag):
        """Run the cells with a tag after all others."""
        for cell in code_cells(read(self.name), tag):
            execute(cell, self._namespace)


def execute(cell, namespace):
    """Run one cell with these names, which it may change."""
    exec(cell.source, namespace)


def definitions(name, *tags, **given):
    """Run the imports and the cells with these tags, in their order.

    given: names that the cells find, in the place of the parameters.
    Returns a Lesson; raises LessonError if a declared name is missing, and
    DataError if Keras is told to use another framework than TensorFlow.
    """
    if name == TENSORFLOW:
        use_tensorflow()
    notebook, namespace = read(name), {}
    parameters = code_cells(notebook, "parameters") \
        if "parameters" in tags else []
    with contextlib.redirect_stdout(None):  # the imports name versions
        for cell in [*code_cells(notebook, "imports"), *parameters]:
            execute(cell, namespace)
    namespace.update(given)
    others = set(tags) - {"imports", "parameters"}
    for cell in code_cells(notebook, *others) if others else []:
        execute(cell, namespace)
    for tag in tags:
        for missing in set(declared(name)[tag]) - namespace.keys():
            raise LessonError(
                f"{name} no longer defines {missing} in a cell with the tag "
                f"{tag!r}; give it back, or change lab/lesson.py.")
    return Lesson(name, namespace)


def prepared(name, samples, train, valid, **parameters):
    """A notebook's definitions and its batches, made of these samples.

    train, valid: rows of the samples; parameters replace the notebook's,
    and the learning rate is 1e-3 if they say nothing else. Returns a
    Lesson. No network is trained.
    """
    _, height, width, _ = samples.images.shape
    return definitions(name, *RECIPE, samples=samples, train=train,
                       valid=valid, HEIGHT=height, WIDTH=width,
                       **{"LEARNING_RATE": 1e-3, **parameters})


# --- In a kernel of its own -----------------------------------------------

def client(notebook, folder=ROOT, seconds=600, **options):
    """An nbclient for a notebook that lies in a folder."""
    return NotebookClient(notebook, timeout=seconds, kernel_name="python3",
                          resources={"metadata": {"path": str(folder)}},
                          **options)


def insert_after(notebook, tag, code):
    """Put a new cell behind the only one with a tag."""
    [cell] = code_cells(notebook, tag)
    notebook.cells.insert(notebook.cells.index(cell) + 1,
                          nbformat.v4.new_code_cell(code))


def run(notebook, after, last, **options):
    """Run a notebook with other code put in; returns what `last` prints.

    after: {tag: code for a cell behind the one with this tag}; last: the
    code of one more cell; options: those of `client`. Any error in a cell
    is raised.
    """
    for tag, code in after.items():
        insert_after(notebook, tag, code)
    notebook.cells.append(nbformat.v4.new_code_cell(last))
    client(notebook, **options).execute()
    return "".join(output.text for output in notebook.cells[-1].outputs
                   if output.output_type == "stream"
                   and output.name == "stdout")


# --- Saving ---------------------------------------------------------------

def machine():
    """The processor's name, and how many of its cores may be used."""
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text(
            encoding="utf-8").splitlines()
        model = next((line.split(": ")[1] for line in lines
                      if line.startswith("model name")), model)
    return {"processor": model, "cores": joblib.cpu_count()}


def save(path):
    """Run a notebook on the sample and save it with its outputs.

    Raises DataError if it was changed while it ran.
    """
    before, notebook = path.read_bytes(), read(path)
    os.environ["SEGMENTATION_SOURCE"] = "sample"
    about = dict(notebook.metadata)  # to which the run would add
    client(notebook, path.parent, seconds=1800).execute()
    notebook.metadata = about | {"lesson": {
        "fingerprint": fingerprint(notebook), "seconds": seconds(notebook),
        "date": f"{datetime.now():%Y-%m-%d}", **machine()}}
    for cell in code_cells(notebook):
        cell.metadata.pop("execution")
        # Bars and buttons are alive in a running notebook only.
        cell.outputs = [output for output in cell.outputs if WIDGET
                        not in output.get("data", {})]
    if path.read_bytes() != before:
        raise DataError(f"{path} was changed while it ran, so it is not "
                        "saved; run it again.")
    with storage.whole(path) as part:
        nbformat.write(notebook, part)


def seconds(notebook):
    """[heading, seconds that the cells below it took], as just executed."""
    times, heading = {}, "before the first section"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found = re.findall(r"^###? (\d.+)$", cell.source, re.MULTILINE)
            heading = found[-1] if found else heading
        else:
            start, end = (datetime.fromisoformat(cell.metadata.execution[at])
                          for at in ("iopub.execute_input",
                                     "shell.execute_reply"))
            times[heading] = times.get(heading, 0) \
                + (end - start).total_seconds()
    return [[heading, round(time, 1)] for heading, time in times.items()]


def times_table():
    """The running times of both lesson notebooks as a Markdown table."""
    saved = [read(name).metadata["lesson"] for name in NOTEBOOKS]
    lines = ["| section | PyTorch | TensorFlow |", "|---|---|---|"]
    totals = np.zeros(2)
    for (heading, first), (_, second) in zip(*[one["seconds"]
                                               for one in saved]):
        totals += first, second
        if max(first, second) >= 2:
            lines.append(f"| {heading} | {first:.0f} s | {second:.0f} s |")
    lines.append("| **the whole notebook** | **{:.1f} minutes** | "
                 "**{:.1f} minutes** |".format(*totals / 60))
    where = {f"{one['processor']}, {one['cores']} cores, {one['date']}"
             for one in saved}
    return "\n".join([*lines, "", f"*{'; '.join(sorted(where))}; the "
                      "sample; sections of less than 2 seconds are left "
                      "out.*"])


def with_table(page, mark, table):
    """The text of a page, with a table between its marks."""
    return re.sub(f"<!-- {mark} -->.*?<!-- end -->",
                  lambda _: f"<!-- {mark} -->\n\n{table}\n\n<!-- end -->",
                  page, flags=re.DOTALL)


def with_times(page):
    """The text of a page, with the running times between its marks."""
    return with_table(page, "times", times_table())


def notebook_file(text):
    """The type of arguments that name a notebook, to be replaced."""
    try:
        read(Path(text).resolve())
    except Exception as error:  # not there, or damaged in one of many ways
        raise argparse.ArgumentTypeError(f"{text} is not a notebook "
                                         "that can be read") from error
    return arguments.output(text)


@arguments.program
def main():
    """Run and save the notebooks that the command line names."""
    parser = arguments.parser("Run notebooks on the sample and save them.")
    parser.add_argument("notebook", nargs="+", type=notebook_file)
    files = parser.parse_args().notebook
    for file in files:
        save(file.resolve())
        print(file, "is saved with its outputs.")
    if {file.resolve() for file in files} & {ROOT / name
                                             for name in NOTEBOOKS}:
        page = with_times(TIMES_PAGE.read_text(encoding="utf-8"))
        with storage.whole(TIMES_PAGE) as part:
            part.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
