"""Reads notebooks for the tests: cells by tag, runs with other parameters."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
PYTORCH = "SemanticSegmentationPytorch.ipynb"
TENSORFLOW = "SemanticSegmentationTF.ipynb"
NAMES = [PYTORCH, TENSORFLOW]


def read(name):
    """The saved notebook of this name at the top of the repository."""
    return nbformat.read(ROOT / name, as_version=4)


def tags_of(cell):
    """The tags of a cell, a list that may be empty."""
    return cell.metadata.get("tags", [])


def code_cells(notebook, *tags):
    """The code cells of a notebook; only those with one of the tags."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"
            and (not tags or set(tags) & set(tags_of(cell)))]


def lifted(name, *tags):
    """Run a notebook's imports, and then only the cells with these tags.

    Returns the names that they define; change one, and the functions
    among them see it.
    """
    namespace = {}
    for cell in code_cells(read(name), "imports", *tags):
        exec(cell.source, namespace)
    return namespace


def prepared(name, samples, train, valid, **parameters):
    """A notebook's definitions and its batches, made of these samples.

    train, valid: rows of the samples; parameters replace the notebook's.
    Returns names as `lifted` does. No network is trained.
    """
    names = lifted(name, "parameters")
    _, height, width, _ = samples.images.shape
    names.update(samples=samples, train=train, valid=valid, HEIGHT=height,
                 WIDTH=width, **parameters)
    notebook = read(name)
    for cell in [*code_cells(notebook, "training", "augmentation", "batches",
                             "model", "load"),
                 code_cells(notebook, "metrics")[0]]:
        exec(cell.source, names)
    return names


def add_cells(notebook, parameters, last_cell):
    """Add code that sets other parameters, and one more cell at the end."""
    place = notebook.cells.index(code_cells(notebook, "parameters")[0])
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(parameters))
    notebook.cells.append(nbformat.v4.new_code_cell(last_cell))


def run(name, parameters, last_cell):
    """Run a notebook with other parameters and one more cell at its end.

    Returns what the last cell printed. Any error in a cell is raised.
    """
    notebook = read(name)
    add_cells(notebook, parameters, last_cell)
    NotebookClient(notebook, timeout=600, kernel_name="python3",
                   resources={"metadata": {"path": str(ROOT)}}).execute()
    return "".join(output.text for output in notebook.cells[-1].outputs
                   if output.output_type == "stream"
                   and output.name == "stdout")
