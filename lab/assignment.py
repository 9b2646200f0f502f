"""Make the assignment from the solution, with nbgrader's own steps.

    python -m lab.assignment

writes lab/*.ipynb from lab/solutions/*/*.ipynb: the same notebooks without
solutions, hidden tests and outputs. An assignment that somebody has changed
since it was made stays as it is, unless --force is given.
"""

import hashlib
import re
import sys
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.assignment in the lesson's folder.")

import nbformat

from data import DataError, storage
from lab import arguments

LAB = Path(__file__).resolve().parent
SOLUTIONS = sorted((LAB / "solutions").glob("*/*.ipynb"))
STEPS = ["LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata",
         "ClearHiddenTests", "ComputeChecksums"]


def assignment(solution):
    """What a learner gets of the notebook at this path, as text."""
    # Here: learners need not have nbgrader.
    from nbconvert.exporters import NotebookExporter
    from nbgrader import preprocessors
    from traitlets.config import Config

    settings = Config()
    # As in nbgrader_config.py. The check says what to do: no error here.
    settings.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE"}
    exporter = NotebookExporter(config=settings)
    for step in STEPS:
        exporter.register_preprocessor(
            getattr(preprocessors, step)(parent=exporter), enabled=True)
    notebook = nbformat.read(solution, as_version=4)
    notebook.metadata.pop("lesson", None)  # how the solution was run
    # The assignments lie two folders higher, side by side.
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\(\.\./(\.\./|bodies-\w+/)", "](",
                                 cell.source)
    made = nbformat.reads(exporter.from_notebook_node(notebook)[0],
                          as_version=4)
    made.metadata["fingerprint"] = fingerprint(made)
    return nbformat.writes(made) + "\n"


def fingerprint(notebook):
    """A text that changes when somebody writes into any cell."""
    written = [cell.source for cell in notebook.cells]
    return hashlib.sha256(repr(written).encode()).hexdigest()[:16]


def untouched(file):
    """Whether nobody has changed this assignment since it was made."""
    try:
        notebook = nbformat.read(file, as_version=4)
        return notebook.metadata.get("fingerprint") == fingerprint(notebook)
    except Exception:  # not a notebook, for one of many reasons
        return not file.exists()


@arguments.program
def main():
    """Write all assignments, if nobody's answers are lost."""
    parser = arguments.parser(__doc__)
    parser.add_argument("--force", action="store_true", help="replace "
                        "assignments that somebody has changed, too")
    force = parser.parse_args().force
    made = {LAB / solution.name: assignment(solution)
            for solution in SOLUTIONS}
    for file in made:
        if not (force or untouched(file)):
            raise DataError(f"{file} was changed since it was made, and may "
                            "hold somebody's answers; move it away, or "
                            "replace it by --force.")
    for file, text in made.items():
        with storage.whole(file) as part:
            part.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
