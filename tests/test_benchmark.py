"""The benchmark: one real run, its resumption, and the tables of the pages."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from notebooks import NAMES, ROOT, lifted

from tests import pretrain
from tests.benchmark import record, report

SETTINGS = ["EPOCHS=1", "HEIGHT=48", "WIDTH=64", "BATCH_SIZE=50",
            "PRECISION='float32'"]


def benchmark(folder, *arguments):
    """Run the benchmark on the sample; returns what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmark", "--data", "sample",
         "--out", folder, *arguments], cwd=ROOT, check=True,
        capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a benchmark of one fold, and what it printed."""
    folder = tmp_path_factory.mktemp("benchmark")
    return folder, benchmark(folder, "--folds", "1", "--framework",
                             "pytorch", "--set", *SETTINGS)


def test_a_run_leaves_scores_and_times(finished):
    folder, printed = finished
    [file] = folder.iterdir()
    run = json.loads(file.read_text())
    table = pd.DataFrame(run["per_image"])
    methods = ["Otsu"] + [
        network + ending for ending in ("", ", pre-trained")
        for network in ("SegNet", "U-Net")]
    flips = [f"{method}, flips" for method in methods[1:]]
    assert sorted(set(table["method"])) == sorted(methods + flips)
    assert (table.groupby("method")["name"].nunique() == 40).all()
    tp, fp, fn = (table[count] for count in ("TP", "FP", "FN"))
    np.testing.assert_allclose(table["Dice"], 2 * tp / (2 * tp + fp + fn))
    for row in run["training"]:
        assert 0 < row["epoch"] <= row["seconds"] < 100
        assert row["images_per_second"] > 1
    # Trained on drawings, it knows drawings after one epoch.
    dice = table.groupby("method")["Dice"].mean()
    assert dice["U-Net, pre-trained"] > 0.8
    assert "U-Net, pre-trained, flips" in printed


def test_a_finished_run_is_not_repeated(finished):
    folder, printed = finished
    [file] = folder.iterdir()
    before = file.stat().st_mtime_ns
    again = benchmark(folder, "--folds", "1", "--framework", "pytorch",
                      "--set", *SETTINGS)
    assert file.stat().st_mtime_ns == before
    assert again == printed


def test_the_pages_show_the_summary():
    found = json.loads(report.SUMMARY.read_text())
    for name, language in report.PAGES.items():
        page = (ROOT / name).read_text()
        assert page == report.filled(page, found, language)
        assert page.count("<!-- benchmark: ") == len(report.TABLES)
    assert {row["images"] for row in found["accuracy"]} == {200}


def test_pooled_scores_and_levers_by_hand():
    """Two images of 10 and 90 pixels of lesion."""
    rows = [{"method": method, "framework": "PyTorch", "name": name,
             "diagnosis": "melanoma", "Dice": dice,
             **dict.fromkeys(report.METRICS[1:], 0.5),
             "TP": tp, "FP": 0, "FN": fn, "TN": 0}
            for method, name, dice, tp, fn in [
                ("U-Net", "a", 0.0, 0, 10), ("U-Net", "b", 1.0, 90, 0),
                ("U-Net, flips", "a", 0.5, 5, 5),
                ("U-Net, flips", "b", 1.0, 90, 0)]]
    table = pd.DataFrame(rows)
    plain, _ = report.accuracy(table)
    assert plain["Dice"][0] == 0.5
    assert plain["all pixels together"] == pytest.approx(180 / 190)
    [lever] = report.built_in_levers(table)
    assert (lever["what"], lever["method"]) == ("flips", "U-Net")
    assert lever["gain"] == pytest.approx(0.25)
    assert lever["error"] == pytest.approx(0.25)


def test_a_training_that_never_got_there_says_never():
    run = {"file": "sample-tf-fold0-x", "about": {"peak_memory": 10**9},
           "training": [{"method": "U-Net", "seconds": 9.0, "epoch": 1.0,
                         "enough": None, "best": 0.5, "weights": 7,
                         "images_per_second": 3.0}]}
    [row] = report.speed([run])
    assert "| never |" in report.speed_table({"speed": [row]})


def test_both_frameworks_read_the_same_segnet(monkeypatch):
    monkeypatch.chdir(ROOT)
    images = np.float32(pretrain.procedural(2, seed=7).images / 255)
    models = []
    for name in NAMES:
        names = lifted(name, "model", "load")
        names.update(mean=np.zeros(3), deviation=np.ones(3))
        models.append(record.pretrained_segnet(names))
    with torch.inference_mode():
        ours = models[0].cpu().eval()(torch.from_numpy(
            images.transpose(0, 3, 1, 2).copy()))[:, 0].numpy()
    theirs = models[1](images, training=False)[..., 0].numpy()
    assert np.abs(ours).max() > 5
    np.testing.assert_allclose(theirs, ours, atol=1e-3)
