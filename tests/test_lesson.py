"""What the notebooks teach is right, and what is saved is presentable."""

import functools
import re

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from notebooks import (
    NAMES,
    PYTORCH,
    ROOT,
    code_cells,
    lifted,
    read,
    run,
    tags_of,
)
from sklearn import metrics


@pytest.fixture(scope="module")
def models():
    """The model cells of the PyTorch notebook."""
    return lifted(PYTORCH, "model")


@pytest.fixture(scope="module", params=NAMES)
def scores(request):
    """The function `scores` of a notebook."""
    return definition(request.param, "scores")


def definition(name, function):
    """One framework-free function out of a notebook."""
    for cell in code_cells(read(name)):
        if f"def {function}(" in cell.source:
            namespace = {"np": np}
            exec(cell.source, namespace)
            return namespace[function]
    raise AssertionError(f"{name} defines no {function}")


def mask_pairs():
    """Random masks of every density, and the empty and the full ones."""
    generator = np.random.default_rng(0)
    empty, full = np.zeros((9, 7), bool), np.ones((9, 7), bool)
    some = [generator.random((9, 7)) < share
            for share in np.linspace(0.02, 0.98, 12)]
    masks = [empty, full, *some]
    return [(one, other) for one in masks for other in masks]


def test_scores_agree_with_scikit_learn(scores):
    for predicted, truth in mask_pairs():
        p, t = predicted.ravel(), truth.ravel()
        expected = {
            "Dice": metrics.f1_score(t, p, zero_division=1),
            "IoU": metrics.jaccard_score(t, p, zero_division=1),
            "Sensitivity": metrics.recall_score(t, p, zero_division=1),
            "Specificity": metrics.recall_score(~t, ~p, zero_division=1),
            "Pixel accuracy": metrics.accuracy_score(t, p)}
        assert scores(predicted, truth) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["SegNet", "UNet"])
@pytest.mark.parametrize("size", [(16, 16), (96, 128), (48, 80)])
def test_models_give_one_logit_per_pixel(models, name, size):
    model = models["initialise"](models[name]())
    logits = model(torch.rand(2, 3, *size))
    assert logits.shape == (2, 1, *size)
    # Logits: an untrained network gives numbers of both signs.
    assert logits.min() < 0 < logits.max()


@pytest.mark.parametrize("name", ["SegNet", "UNet"])
def test_every_weight_gets_a_gradient(models, name):
    torch.manual_seed(0)
    model = models["initialise"](models[name]())
    target = (torch.rand(2, 1, 32, 32) > 0.5).float()
    logits = model(torch.rand(2, 3, 32, 32))
    F.binary_cross_entropy_with_logits(logits, target).backward()
    for weight_name, weight in model.named_parameters():
        assert weight.grad is not None, weight_name
        assert weight.grad.abs().sum() > 0, weight_name


def test_the_loss_is_that_of_pixels_and_of_images():
    """Two images of 4 pixels: p = 0.8 everywhere, one half lesion."""
    loss = lifted(PYTORCH, "training")["segmentation_loss"]
    logits = torch.full((2, 1, 2, 2), float(np.log(0.8 / 0.2)))
    masks = torch.tensor([[[[1., 1.], [0., 0.]]], [[[0., 0.], [0., 0.]]]])
    cross_entropy = -(2 * np.log(0.8) + 6 * np.log(0.2)) / 8
    dice = [(2 * 1.6 + 1) / (3.2 + 2 + 1), 1 / (3.2 + 1)]
    assert loss(logits, masks).item() == pytest.approx(
        cross_entropy + 1 - np.mean(dice), rel=1e-5)
    # Sure and right, also where there is nothing: it costs nothing.
    sure = 100 * (2 * masks - 1)
    assert loss(sure, masks).item() == pytest.approx(0, abs=1e-6)


def calls_per_pass(model, block):
    """How often a block runs in one forward pass."""
    calls = []
    hook = block.register_forward_hook(lambda *_: calls.append(1))
    model(torch.rand(1, 3, 32, 32))
    hook.remove()
    return len(calls)


@pytest.mark.parametrize("name", ["SegNet", "UNet"])
def test_every_block_runs_once(models, name):
    model = models[name]()
    for block in [*model.encoder, *model.decoder]:
        assert calls_per_pass(model, block) == 1


def test_segnet_puts_each_maximum_back_where_it_was(models):
    """What enters the first decoder block is zero but at the maxima."""
    torch.manual_seed(0)
    model = models["SegNet"]()
    seen = {}
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


LEFT_BEHIND = """
assert samples.source == "procedural sample"
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
assert list(curve.index) == [10, 20, 40, len(train)]
learned = history["U-Net"].drop(columns="seconds")
print(results.to_json(), learned.to_json(), curve.to_json())
batch = np.asarray(next(iter(validation_batches))[0])
print(results.loc["Otsu"].to_json(),
      [rows.tolist() for rows in (train, valid, test)],
      f"{batch.mean():.4f} {batch.std():.4f} {batch.max():.4f}")
"""
SHORT = ("SOURCE = 'sample'; EPOCHS = 1; HEIGHT, WIDTH = 48, 64; "
         "BATCH_SIZE = 50; FEW_STEPS = 2; PRECISION = 'float32'; "
         "PICTURE = {picture!r}")


@functools.cache
def short_run(name):
    """What LEFT_BEHIND prints after a short run of a notebook."""
    return run(name, SHORT.format(picture=""), LEFT_BEHIND)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_leaves_what_it_promises_twice_the_same(name):
    first = short_run(name)
    assert "U-Net" in first
    # A file that is no picture gets a sentence, and changes no number.
    second = run(name, SHORT.format(picture="README.md"), LEFT_BEHIND)
    assert first == second


def test_both_notebooks_have_the_same_split_baseline_and_batches():
    ours, theirs = (short_run(name).splitlines()[1] for name in NAMES)
    assert "Dice" in ours and ours == theirs


@pytest.mark.parametrize("name", NAMES)
def test_the_saved_notebook_was_run_in_order(name):
    notebook = read(name)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] \
        == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", cell.source
            assert len(output.get("text", "").splitlines()) <= 30
    assert (ROOT / name).stat().st_size <= 3_000_000


@pytest.mark.parametrize("name", NAMES)
def test_the_saved_notebook_shows_no_ph2(name):
    text = nbformat.writes(read(name))
    assert "source: procedural sample" in text
    assert "source: PH2" not in text
    # PH²'s images are called IMD…; the text may name no other one.
    assert not re.search(r"IMD\d{3}", text)


@pytest.mark.parametrize("name", NAMES)
def test_cells_can_be_read_at_a_glance(name):
    notebook = read(name)
    for cell in code_cells(notebook):
        lines = cell.source.splitlines()
        limit = 40 if "model" in tags_of(cell) else 45
        assert len(lines) <= limit, cell.source
        assert max(map(len, lines)) <= 78, cell.source


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_without_its_folder_says_what_to_do(name, tmp_path,
                                                       monkeypatch):
    check = code_cells(read(name))[0].source
    monkeypatch.chdir(ROOT)
    exec(check, {})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="Get the whole repository"):
        exec(check, {})
