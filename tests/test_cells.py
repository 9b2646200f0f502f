"""Notebooks: cells in any order, any parameters, no data folder to write."""

import random
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import TRIED
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from notebooks import NAMES, PYTORCH, ROOT, code_cells, read, run, tags_of
from test_lesson import SHORT

from data.hints import HINT


class Kernel:
    """A running kernel, in which any cells are run in any order."""

    def __init__(self, notebook):
        self.notebook = notebook
        self.client = NotebookClient(
            notebook, timeout=300, kernel_name="python3",
            resources={"metadata": {"path": str(ROOT)}})

    def __enter__(self):
        self.context = self.client.setup_kernel()
        self.context.__enter__()
        return self

    def __exit__(self, *error):
        self.context.__exit__(*error)

    def run(self, cell):
        self.client.execute_cell(cell, self.notebook.cells.index(cell))


def short_notebook(name):
    """A notebook that trains a little on small images."""
    notebook = read(name)
    [parameters] = code_cells(notebook, "parameters")
    parameters.source += "\n" + SHORT.format(picture="")
    return notebook


def error_output(cell):
    """What a cell wrote to the error output."""
    return "".join(output.text for output in cell.outputs
                   if output.get("name") == "stderr")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_twice_and_then_in_any_order(name):
    notebook = short_notebook(name)
    cells = code_cells(notebook)
    with Kernel(notebook) as kernel:
        for cell in cells:
            kernel.run(cell)
            kernel.run(cell)
        random.Random(0).shuffle(cells)
        for cell in cells:
            try:
                kernel.run(cell)
            except CellExecutionError as error:
                # A cell that empties what others need may come first.
                assert error.ename in {"KeyError", "NameError"}, error
                assert HINT in error_output(cell)
            TRIED["cells run out of order"] += 1


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_run_too_early_says_which_name_it_misses(name):
    """Each cell, straight after the imports and the parameters."""
    cells = code_cells(read(name))
    namespace = {}
    for cell in cells:
        if {"imports", "parameters"} & set(tags_of(cell)):
            exec(cell.source, namespace)
    defined, sources = set(namespace), []
    for cell in cells:
        try:
            exec(cell.source, dict(namespace))
        except NameError as error:
            sources.append(cell.source)
            assert re.search(rf"\b{error.name}\b", "".join(
                other.source for other in cells)), error
            assert error.name not in defined
        TRIED["cells run out of order"] += 1
    assert len(sources) > 20


def test_a_cell_run_too_early_says_what_to_do():
    notebook = read(PYTORCH)
    with Kernel(notebook) as kernel:
        kernel.run(code_cells(notebook, "imports")[0])
        for source in ['{}["U-Net"]', "nowhere"]:
            early = nbformat.v4.new_code_cell(source)
            notebook.cells.append(early)
            with pytest.raises(CellExecutionError):
                kernel.run(early)
            assert HINT in error_output(early)
            assert "error" in {output.output_type
                               for output in early.outputs}


def checked(name, **changes):
    """Run a notebook's parameters, changed, and the cell that checks them."""
    cells = code_cells(read(name))
    place = cells.index(code_cells(read(name), "parameters")[0])
    namespace = {}
    exec(cells[place].source, namespace)
    namespace.update(changes)
    exec(cells[place + 1].source, namespace)


BAD = [{"HEIGHT": 100}, {"WIDTH": 97}, {"HEIGHT": 0}, {"WIDTH": -16},
       {"HEIGHT": 16}, {"HEIGHT": 10**6}, {"HEIGHT": 96.0},
       {"WIDTH": "128"}, {"SEED": -1}, {"SEED": 2**32}, {"SEED": None},
       {"EPOCHS": 0}, {"EPOCHS": -3}, {"EPOCHS": 2.5},
       {"FEW_STEPS": 0}, {"BATCH_SIZE": 0},
       {"BATCH_SIZE": -8}, {"BATCH_SIZE": 8.0}, {"LEARNING_RATE": -1},
       {"LEARNING_RATE": float("nan")}, {"LEARNING_RATE": 5},
       {"FOLD": 5}, {"FOLD": -1}, {"PRECISION": "half"},
       {"WEIGHT_DECAY": -0.1}, {"EMA_DECAY": 1.5}, {"EMA_DECAY": -0.1}]


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_bad_parameter_gets_a_sentence(name, bad):
    [parameter] = bad
    with pytest.raises(AssertionError, match=f"{parameter}.* must be .*: "
                       "change (it|them) in the cell above"):
        checked(name, **bad)
    TRIED["bad parameters"] += 1


@pytest.mark.parametrize("name", NAMES)
def test_good_parameters_pass(name):
    checked(name)
    checked(name, HEIGHT=32, WIDTH=2048, SEED=0, EPOCHS=1, BATCH_SIZE=1,
            FOLD=4, PRECISION="bfloat16", LEARNING_RATE=0, WEIGHT_DECAY=0,
            EMA_DECAY=0)


FEW = """
import dataclasses
whole_load = ph2.load
def few(**options):
    whole = whole_load(**options)
    rows = np.concatenate([np.flatnonzero(whole.groups == name)[:count]
                           for name, count in zip(ph2.DIAGNOSES, (12, 12, 6))])
    return dataclasses.replace(
        whole, images=whole.images[rows], masks=whole.masks[rows],
        groups=whole.groups[rows], names=[whole.names[i] for i in rows],
        mask_files=[whole.mask_files[i] for i in rows])
ph2.load = few
"""
FINITE = """
ph2.load = whole_load if "whole_load" in globals() else ph2.load
for table in (*history.values(), results, per_image[METRICS], curves):
    assert np.isfinite(table.to_numpy()).all(), table
for model in models.values():
    assert np.isfinite(predict(model, samples.images[:2])).all()
print(len(samples), len(valid), samples.images.shape)
"""
EXTREMES = {
    "one image a batch": ("BATCH_SIZE = 1; HEIGHT, WIDTH = 32, 32", "32, 32"),
    "no improvement": ("BATCH_SIZE = 4; LEARNING_RATE = 0.0; "
                       "HEIGHT, WIDTH = 48, 32", "48, 32"),
    "steps too large": ("BATCH_SIZE = 4; LEARNING_RATE = 1.0; "
                        "HEIGHT, WIDTH = 32, 64", "32, 64"),
    "one large batch": ("BATCH_SIZE = 10_000; EMA_DECAY = 1.0; "
                        "HEIGHT, WIDTH = 64, 48", "64, 48"),
    "no average": ("BATCH_SIZE = 7; EMA_DECAY = 0.0; WEIGHT_DECAY = 1.0; "
                   "HEIGHT, WIDTH = 160, 208", "160, 208")}


SLOW_EXTREMES = [(name, extreme) for name in NAMES for extreme in EXTREMES
                 if (name, extreme) != (PYTORCH, "one image a batch")]


@pytest.mark.parametrize(("name", "extreme"), [
    (PYTORCH, "one image a batch"),
    *(pytest.param(*slow, marks=pytest.mark.slow) for slow in SLOW_EXTREMES)])
def test_extreme_parameters_with_30_images_give_finite_numbers(name, extreme):
    parameters, size = EXTREMES[extreme]
    printed = run(name, f"SOURCE = 'sample'; EPOCHS = 1; FEW_STEPS = 2; "
                  f"{parameters}\n"
                  + FEW, FINITE)
    assert printed == f"30 3 (30, {size}, 3)\n"
    TRIED["runs with extreme parameters"] += 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", NAMES)
def test_every_seed_reaches_what_the_lesson_promises(name, seed):
    """The last lines of section 12, each True."""
    printed = run(name, f"SOURCE = 'sample'; SEED = {seed}; FEW_STEPS = 1",
                  """
print(mean_dice.round(3).to_dict())
assert mean_dice["SegNet"] > mean_dice["Otsu"]
assert mean_dice["U-Net"] > mean_dice["Otsu"]
assert mean_dice["U-Net"] >= 0.90
assert mean_dice["SegNet"] >= 0.88
""")
    print(name, seed, printed)
    TRIED["full runs with other seeds"] += 1


IN_A_READ_ONLY_FOLDER = """
set -e
mount --bind "$1/data" "$1/data"
mount -o remount,ro,bind "$1/data"
! touch "$1/data/anything" 2> /dev/null
cd "$1"
exec "$2" -m jupyter execute --inplace "$3"
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None,
                    reason="mounts a folder for one program only")
@pytest.mark.parametrize("name", NAMES)
def test_the_lesson_runs_where_data_is_read_only(name, tmp_path):
    copy = tmp_path / "lesson"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True,
                             capture_output=True, text=True).stdout.split()
    for file in tracked:
        if (ROOT / file).is_file():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, copy / file)
    nbformat.write(short_notebook(name), copy / name)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", IN_A_READ_ONLY_FOLDER, "sh", copy,
         sys.executable, name], capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("this machine does not let us mount a folder")
    assert done.returncode == 0, done.stderr[-2000:]
    text = (copy / name).read_text()
    assert f"{copy / 'data'} cannot be written to" in text
