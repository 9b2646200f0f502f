"""Whole notebooks: twice the same, cells in any order, any parameters, no
data folder to write to.
"""

import functools
import random
import shutil
import subprocess
import sys
from contextlib import contextmanager

import nbformat
import pytest
from conftest import SHORT, TRIED, repository, shortened
from nbclient.exceptions import CellExecutionError

from lab import lesson
from lab.jupyter import HINT
from lab.lesson import NOTEBOOKS, PYTORCH, ROOT, TENSORFLOW

BOTH = pytest.mark.parametrize("name", NOTEBOOKS)


def run(name, parameters, last):
    """What the last cell prints when a notebook has other parameters."""
    return lesson.run(lesson.read(name), {"parameters": parameters}, last)


# --- Twice the same -------------------------------------------------------

LEFT_BEHIND = """
assert samples.source == "synthetic sample"
assert sorted([*train, *valid, *test]) == list(range(len(samples)))
assert list(models) == list(history) == ["SegNet", "U-Net"]
for columns in history.values():
    assert len(columns) == EPOCHS
    assert {"train_loss", "train_dice", "valid_loss", "valid_dice",
            "seconds"} <= set(columns)
    assert columns["seconds"].is_monotonic_increasing
    assert np.isfinite(columns).all(axis=None)
assert list(results.index) == ["Otsu", "SegNet", "U-Net"]
for metric in ["Dice", "IoU", "Sensitivity", "Specificity",
               "Pixel accuracy"]:
    assert results[metric, "mean"].between(0, 1).all()
    assert results[metric, "std"].notna().all()
for model in models.values():
    maps = predict(model, samples.images[:3])
    assert maps.dtype == np.float32
    assert maps.shape == samples.masks[:3].shape
    assert 0 <= maps.min() <= maps.max() <= 1
assert list(curve.columns) == ["from scratch", "pre-trained"]
assert list(curve.index) == [10, len(train)]
learned = history["U-Net"].drop(columns="seconds")
print(results.to_json(), learned.to_json(), curve.to_json())
batch = np.asarray(next(iter(validation_batches))[0])
print(results.loc["Otsu"].to_json(),
      [rows.tolist() for rows in (train, valid, test)],
      f"{batch.mean():.4f} {batch.std():.4f} {batch.max():.4f}")
"""


@functools.cache
def short_run(name):
    """What LEFT_BEHIND prints after a short run of a notebook."""
    return run(name, SHORT, LEFT_BEHIND)


@pytest.mark.parametrize("name", [
    pytest.param(PYTORCH, marks=pytest.mark.full),
    pytest.param(TENSORFLOW, marks=pytest.mark.slow)])
def test_a_notebook_leaves_what_it_promises_twice_the_same(name):
    first = short_run(name)
    assert "U-Net" in first
    # A file that is no picture gets a sentence, and changes no number.
    assert first == run(name, f"{SHORT}; PICTURE = 'README.md'", LEFT_BEHIND)


@pytest.mark.slow
def test_both_notebooks_have_the_same_split_baseline_and_batches():
    ours, theirs = (short_run(name).splitlines()[1] for name in NOTEBOOKS)
    assert "Dice" in ours and ours == theirs


# --- In any order ---------------------------------------------------------

@contextmanager
def kernel(notebook):
    """A function that runs the cells of a notebook in any order."""
    client = lesson.client(notebook, seconds=300)
    with client.setup_kernel():
        yield lambda cell: client.execute_cell(
            cell, notebook.cells.index(cell))


def error_output(cell):
    """What a cell wrote to the error output."""
    return "".join(output.text for output in cell.outputs
                   if output.get("name") == "stderr")


@pytest.mark.slow
@BOTH
def test_every_cell_twice_and_then_in_any_order(name):
    notebook = shortened(lesson.read(name))
    cells = lesson.code_cells(notebook)
    with kernel(notebook) as run_cell:
        for cell in cells:
            run_cell(cell)
            run_cell(cell)
        random.Random(0).shuffle(cells)
        for cell in cells:
            try:
                run_cell(cell)
            except CellExecutionError as error:
                # A cell that empties what others need may come first.
                assert error.ename in {"KeyError", "NameError"}, error
                assert HINT in error_output(cell)
            TRIED["cells run out of order"] += 1


@pytest.mark.full
def test_a_cell_run_too_early_says_what_to_do():
    notebook = lesson.read(PYTORCH)
    with kernel(notebook) as run_cell:
        run_cell(lesson.code_cells(notebook, "imports")[0])
        for source in ['{}["U-Net"]', "nowhere"]:
            early = nbformat.v4.new_code_cell(source)
            notebook.cells.append(early)
            with pytest.raises(CellExecutionError):
                run_cell(early)
            assert HINT in error_output(early)
            assert "error" in {output.output_type
                               for output in early.outputs}


# --- With any parameters --------------------------------------------------

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
        files=[whole.files[i] for i in rows])
ph2.load = few
"""
FINITE = """
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
    "one large batch": ("BATCH_SIZE = 10_000; HEIGHT, WIDTH = 64, 48",
                        "64, 48"),
    "strong decay": ("BATCH_SIZE = 7; WEIGHT_DECAY = 1.0; "
                     "HEIGHT, WIDTH = 160, 208", "160, 208")}


@pytest.mark.parametrize(("name", "extreme"), [
    pytest.param(name, extreme, marks=pytest.mark.full if (
        name, extreme) == (PYTORCH, "one image a batch")
        else pytest.mark.slow)
    for name in NOTEBOOKS for extreme in EXTREMES])
def test_extreme_parameters_with_30_images_give_finite_numbers(name, extreme):
    parameters, size = EXTREMES[extreme]
    printed = run(name, f"SOURCE = 'sample'; EPOCHS = 1; FEW_STEPS = 2; "
                  f"{parameters}\n{FEW}", FINITE)
    assert printed == f"30 3 (30, {size}, 3)\n"
    TRIED["runs with extreme parameters"] += 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@BOTH
def test_every_seed_reaches_what_the_lesson_promises(name, seed):
    """The last lines of section 3.3, each True, and a clean background."""
    printed = run(name, f"SOURCE = 'sample'; SEED = {seed}; FEW_STEPS = 1", """
print(mean_dice.round(3).to_dict())
assert mean_dice["SegNet"] > mean_dice["Otsu"]
assert mean_dice["U-Net"] > mean_dice["Otsu"]
assert mean_dice["U-Net"] >= 0.90
assert mean_dice["SegNet"] >= 0.88
for name in models:
    grey = np.mean([p[~mask].mean() for p, mask in zip(
        probabilities[name], samples.masks[test]) if not mask.all()])
    print(name, "mean p of the background:", grey.round(3))
    assert grey <= 0.1
""")
    print(name, seed, printed)
    TRIED["full runs with other seeds"] += 1


# --- Where data/ is read-only ---------------------------------------------

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
@BOTH
def test_the_lesson_runs_where_data_is_read_only(name, tmp_path):
    copy = tmp_path / "lesson"
    for file in repository():
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, copy / file)
    nbformat.write(shortened(lesson.read(name)), copy / name)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", IN_A_READ_ONLY_FOLDER, "sh", copy,
         sys.executable, name], capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("this machine does not let us mount a folder")
    assert done.returncode == 0, done.stderr[-2000:]
    text = (copy / name).read_text()
    assert f"{copy / 'data'} cannot be written to" in text
