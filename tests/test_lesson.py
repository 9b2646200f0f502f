"""What the notebooks teach is right, and what is saved is presentable."""

import os
import re
import subprocess
import symtable
import sys
from collections import Counter

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import TRIED
from scipy import ndimage
from skimage.metrics import hausdorff_distance
from sklearn import metrics

from lab import lesson
from lab.jupyter import check_parameters
from lab.lesson import NOTEBOOKS, PYTORCH, ROOT

BOTH_MODELS = pytest.mark.parametrize("name", ["SegNet", "UNet"])


@pytest.fixture(scope="module")
def taught():
    """What the PyTorch notebook defines."""
    return lesson.definitions(PYTORCH, "parameters", "model", "metrics",
                              "training")


# --- Scores and loss ------------------------------------------------------

def mask_pairs():
    """Random masks of every density, and the empty and the full ones."""
    generator = np.random.default_rng(0)
    masks = [np.zeros((9, 7), bool), np.ones((9, 7), bool)]
    masks += [generator.random((9, 7)) < share
              for share in np.linspace(0.02, 0.98, 12)]
    return [(one, other) for one in masks for other in masks]


def test_scores_agree_with_scikit_learn(taught):
    """The table's, and the Dice of a batch, which cuts logits at zero."""
    keras = lesson.definitions(lesson.TENSORFLOW, "training")
    for predicted, truth in mask_pairs():
        p, t = predicted.ravel(), truth.ravel()
        expected = {
            "Dice": metrics.f1_score(t, p, zero_division=1),
            "IoU": metrics.jaccard_score(t, p, zero_division=1),
            "Sensitivity": metrics.recall_score(t, p, zero_division=1),
            "Specificity": metrics.recall_score(~t, ~p, zero_division=1),
            "Pixel accuracy": metrics.accuracy_score(t, p)}
        assert taught.scores(predicted, truth) == pytest.approx(expected)
        # Logits of 0.3 are p = 0.57, so lesion.
        logits = np.where(predicted, 0.3, -0.3).astype(np.float32)
        masks = truth.astype(np.float32)
        batch = [torch.from_numpy(array[None, None])
                 for array in (logits, masks)]
        [keras_dice] = keras.dice(masks[None, ..., None],
                                  logits[None, ..., None])
        dice = taught.dice(*batch).item()
        assert dice == pytest.approx(expected["Dice"], abs=2e-6)
        assert float(keras_dice) == pytest.approx(dice, abs=1e-6)


def border_by_hand(one, other, percent):
    """Each border pixel's way to the other border, from all pairs."""
    def border(mask):
        padded = np.pad(mask, 1)
        inside = (padded[:-2, 1:-1] & padded[2:, 1:-1]
                  & padded[1:-1, :-2] & padded[1:-1, 2:])
        return np.argwhere(mask & ~inside)

    a, b = border(one), border(other)
    ways = np.hypot(*np.moveaxis(a[:, None] - b[None], -1, 0))
    return max(np.percentile(ways.min(axis=axis), percent)
               for axis in (0, 1))


def test_the_distance_of_borders(taught):
    """By hand; at 100 % it is scikit-image's; a moved mask is off by that."""
    generator = np.random.default_rng(1)
    for _ in range(20):
        one, other = (ndimage.gaussian_filter(
            generator.normal(size=(24, 31)), 2) > 0 for _ in range(2))
        for percent in (95, 100):
            assert taught.border_distance(one, other, percent) \
                == pytest.approx(border_by_hand(one, other, percent))
    square = np.zeros((40, 50), bool)
    square[10:20, 10:30] = True
    moved = np.roll(square, 7, axis=0)
    assert taught.border_distance(square, moved, 100) == pytest.approx(
        hausdorff_distance(square, moved)) == 7
    assert taught.border_distance(square, square) == 0
    assert taught.border_distance(square, 0 * square > 0) == np.inf


# --- Networks -------------------------------------------------------------

@BOTH_MODELS
def test_a_network_gives_logits_and_uses_all_it_has(taught, name):
    """One per pixel; each block runs once; each weight gets a gradient."""
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3))
    model = taught.new_network(getattr(taught, name), images)
    blocks, runs = [*model.encoder, *model.decoder], Counter()
    for block in blocks:
        block.register_forward_hook(lambda block, *_: runs.update([block]))
    for size in [(16, 16), (96, 128), (48, 80), (32, 32)]:
        logits = model(255 * torch.rand(2, 3, *size))
        assert logits.shape == (2, 1, *size)
        # Logits: an untrained network gives numbers of both signs.
        assert logits.min() < 0 < logits.max()
    assert runs == Counter(4 * blocks)
    target = (torch.rand(2, 1, 32, 32) > 0.5).float()
    F.binary_cross_entropy_with_logits(logits, target).backward()
    for weight_name, weight in model.named_parameters():
        assert weight.grad is not None, weight_name
        assert weight.grad.abs().sum() > 0, weight_name


def test_segnet_puts_each_maximum_back_where_it_was(taught):
    """What enters the first decoder block is zero but at the maxima."""
    torch.manual_seed(0)
    model, seen = taught.SegNet(), {}
    model.encoder[-1].register_forward_hook(
        lambda block, inputs, output: seen.update(map=output))
    model.decoder[0].register_forward_pre_hook(
        lambda block, inputs: seen.update(unpooled=inputs[0]))
    model(torch.rand(1, 3, 32, 32))
    windows = F.max_pool2d(seen["map"], 2)
    enlarged = F.interpolate(windows, scale_factor=2)
    kept = seen["unpooled"]
    inside = kept != 0
    assert torch.equal(kept[inside], seen["map"][inside])
    assert torch.equal(kept[inside], enlarged[inside])
    assert torch.equal(F.max_pool2d(kept, 2), windows)


# --- What is saved --------------------------------------------------------

@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_saved_notebook_was_run_in_order_and_shows_no_ph2(name):
    notebook = lesson.read(name)
    cells = lesson.code_cells(notebook)
    assert [cell.execution_count for cell in cells] \
        == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", cell.source
            assert len(output.get("text", "").splitlines()) <= 30
    assert (ROOT / name).stat().st_size <= 3_000_000
    text = nbformat.writes(notebook)
    assert "source: synthetic sample" in text
    assert "source: PH2" not in text
    # PH²'s images are called IMD…; the text may name no other one.
    assert not re.search(r"IMD\d{3}", text)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_can_be_read_at_a_glance(name):
    for cell in lesson.code_cells(lesson.read(name)):
        lines = cell.source.splitlines()
        limit = 40 if "model" in lesson.tags_of(cell) else 45
        assert len(lines) <= limit, cell.source
        assert max(map(len, lines)) <= 78, cell.source


# --- Run too early, in the wrong folder, with bad parameters --------------
# Cells that both notebooks share are identical, which test_twins.py proves.

@pytest.fixture(scope="module")
def parameters():
    """The parameters that both notebooks share."""
    return lesson.parameters(PYTORCH)


@pytest.fixture
def started(tmp_path):
    """Start a notebook's first cell anew: what it says at last.

    In a lesson of almost empty folders. Packages called data and lab lie
    elsewhere, and their folder comes first, as in PYTHONPATH.
    """
    for file in ("lesson/data/__init__.py", "lesson/data/ph2.py",
                 "lesson/data/mads.py", "lesson/lab/__init__.py",
                 "elsewhere/data/__init__.py", "elsewhere/lab/__init__.py",
                 # Learners' own, beside the notebooks.
                 "lesson/data.py", "lesson/lab.py", "lesson/lab/data.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()

    def start(name, folder, before="", **settings):
        [cell, *_] = lesson.code_cells(lesson.read(name))
        done = subprocess.run(
            [sys.executable, "-c", f"{before}\n{cell.source}\n{LAST}"],
            text=True, capture_output=True, check=False,
            cwd=tmp_path / folder, env={
                **os.environ, "PYTHONPATH": str(tmp_path / "elsewhere"),
                "PYTHONSAFEPATH": "1", "KERAS_BACKEND": "tensorflow",
                **settings})
        text = (done.stdout or done.stderr).strip().splitlines()[-1]
        return text.replace(str(tmp_path), "…")

    return start


LAST = """
import os, data, lab
print(data.__file__, lab.__file__, os.environ.get("KERAS_BACKEND"))"""
FIRST = "…/lesson/data/__init__.py …/lesson/lab/__init__.py tensorflow"
LABS = [f"lab/{name}" for name in ("BodySegmentationPytorch.ipynb",
                                   "BodySegmentationTF.ipynb")]


@pytest.mark.parametrize("name", NOTEBOOKS + LABS)
def test_the_first_cell_finds_the_lesson_or_says_what_is_wrong(name, started):
    here = ["lesson", "lesson/lab"] if name in LABS else ["lesson"]
    for folder in here:
        assert started(name, folder) == FIRST
        for other in ("data", "lab"):
            assert started(name, folder, f"import {other}") == (
                f"AssertionError: …/elsewhere/{other}/__init__.py is not the "
                f"lesson's {other}: rename it, restart the kernel, and begin "
                "again.")
    for folder in ("", "lesson/data" if name in NOTEBOOKS else "elsewhere"):
        assert re.fullmatch(
            r"AssertionError: The lesson('s folder data/ is not here\. Get the"
            " whole repository: .*| is not in .* or above: put .*)\\.",
            started(name, folder))


@pytest.mark.parametrize("name", [NOTEBOOKS[1], LABS[1]])
def test_another_backend_of_keras_is_refused(name, started):
    for backend in ("torch", "jax"):
        assert started(name, "lesson", KERAS_BACKEND=backend).startswith(
            "AssertionError: KERAS_BACKEND names another framework")
    # Set, so that what ~/.keras/keras.json says does not count.
    assert started(name, "lesson", "import os; del os.environ["
                   "'KERAS_BACKEND']") == FIRST


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_cell_run_too_early_says_which_name_it_misses(name):
    """Each cell, straight after the imports and the parameters."""
    notebook, namespace, misses = lesson.read(name), {}, 0
    for cell in lesson.code_cells(notebook, "imports", "parameters"):
        lesson.execute(cell, namespace)
    defined = {symbol.get_name() for cell in lesson.code_cells(notebook)
               for symbol in symtable.symtable(
                   cell.source, name, "exec").get_symbols()
               if symbol.is_assigned()}
    for cell in lesson.code_cells(notebook):
        try:
            lesson.execute(cell, dict(namespace))
        except NameError as error:
            misses += 1
            assert error.name in defined - namespace.keys()
        TRIED["cells run out of order"] += 1
    assert misses > 20


def checked(parameters, **changes):
    """Change some parameters, and check them."""
    check_parameters(parameters | changes)


@pytest.mark.parametrize("bad", [
    {"HEIGHT": 100}, {"WIDTH": 97}, {"HEIGHT": 0}, {"WIDTH": -16},
    {"HEIGHT": 16}, {"HEIGHT": 10**6}, {"HEIGHT": 96.0}, {"WIDTH": "128"},
    {"SEED": -1}, {"SEED": 2**32}, {"SEED": None}, {"EPOCHS": 0},
    {"EPOCHS": -3}, {"EPOCHS": 2.5}, {"FEW_STEPS": 0}, {"BATCH_SIZE": 0},
    {"BATCH_SIZE": -8}, {"BATCH_SIZE": 8.0}, {"LEARNING_RATE": -1},
    {"LEARNING_RATE": float("nan")}, {"LEARNING_RATE": 5}, {"FOLD": 5},
    {"LEARNING_RATE": "1"}, {"FOLD": -1}, {"WEIGHT_DECAY": -0.1},
    {"WEIGHT_DECAY": 1.5}, {"WEIGHT_DECAY": None}], ids=str)
def test_a_bad_parameter_gets_a_sentence(parameters, bad):
    [parameter] = bad
    with pytest.raises(ValueError, match=f"{parameter} must be .*: "
                       "change it in the cell above"):
        checked(parameters, **bad)
    TRIED["bad parameters"] += 1


# --- How long it may be ---------------------------------------------------

def words(text):
    """Words of prose, without pictures' texts and addresses."""
    text = re.sub(r"!\[.*?\]\(.*?\)", "", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return sum(bool(re.search(r"\w", word)) for word in text.split())


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_notebook_is_short(name):
    cells = lesson.read(name).cells
    assert len(cells) <= 100
    assert sum(words(cell.source) for cell in cells
               if cell.cell_type == "markdown") <= 5500
    assert sum(bool(line.strip()) for cell in cells
               if cell.cell_type == "code"
               for line in cell.source.splitlines()) <= 800


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_code_of_plots_is_folded(name):
    for cell in lesson.code_cells(lesson.read(name)):
        assert cell.metadata.get("jupyter", {}).get(
            "source_hidden", False) == ("plots" in lesson.tags_of(cell))


def test_good_parameters_pass(parameters):
    checked(parameters)
    checked(parameters, HEIGHT=32, WIDTH=2048, SEED=0, EPOCHS=1,
            BATCH_SIZE=1, FOLD=4, LEARNING_RATE=0, WEIGHT_DECAY=0)
