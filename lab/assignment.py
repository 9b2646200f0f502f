"""Make the assignment from the solution, with nbgrader's own steps.

    python -m lab.assignment

writes lab/*.ipynb from lab/solutions/bodies/*.ipynb: the same notebooks
without solutions and outputs.
"""

from pathlib import Path

import nbformat
from nbconvert.exporters import NotebookExporter
from nbgrader import preprocessors
from traitlets.config import Config

from data import storage

LAB = Path(__file__).resolve().parent
SOLUTIONS = sorted((LAB / "solutions" / "bodies").glob("*.ipynb"))
STEPS = [preprocessors.LockCells, preprocessors.ClearSolutions,
         preprocessors.ClearOutput, preprocessors.CheckCellMetadata,
         preprocessors.ComputeChecksums]


def assignment(solution):
    """What a learner gets of the notebook at this path, as text."""
    settings = Config()
    # As in nbgrader_config.py. The check says what to do: no error here.
    settings.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE"}
    exporter = NotebookExporter(config=settings)
    for step in STEPS:
        exporter.register_preprocessor(step(parent=exporter), enabled=True)
    notebook = nbformat.read(solution, as_version=4)
    del notebook.metadata["lesson"]  # how the solution was run
    # The assignment lies two folders higher.
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../../", "](")
    text, _ = exporter.from_notebook_node(notebook)
    return text


def main():
    """Write all assignments."""
    for solution in SOLUTIONS:
        with storage.whole(LAB / solution.name) as part:
            part.write_text(assignment(solution), encoding="utf-8")


if __name__ == "__main__":
    main()
