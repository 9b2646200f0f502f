"""The benchmark: real runs, their resumption, and how tables are made."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import SHORT

from data import DataError, ph2
from lab import lesson
from lab.benchmark import hardware, peers, recipe, record, report
from lab.benchmark import run as program
from lab.lesson import PYTORCH, ROOT

# At the size that the stored weights know: with smaller images and a few
# large steps they forget.
SETTINGS = ["EPOCHS=1", "BATCH_SIZE=50", "LEARNING_RATE=1e-3"]


def benchmark(folder, *arguments):
    """Run the benchmark on the sample; returns what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "lab.benchmark.run", "--data", "sample",
         "--out", folder, *arguments], cwd=ROOT, check=True,
        capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a benchmark of one fold, and what it printed."""
    folder = tmp_path_factory.mktemp("benchmark")
    return folder, benchmark(folder, "--folds", "1", "--framework",
                             "pytorch", "--set", *SETTINGS)


@pytest.mark.full
def test_a_run_leaves_scores_and_times_once(finished):
    folder, printed = finished
    [file] = folder.iterdir()
    run = json.loads(file.read_text())
    table = pd.DataFrame(run["per_image"])
    methods = ["Otsu"] + [
        network + ending for ending in ("", ", pre-trained")
        for network in ("SegNet", "U-Net")]
    flips = [f"{method}, flips{ending}" for method in methods[1:]
             for ending in ("", ", one piece")]
    assert sorted(set(table["method"])) == sorted(methods + flips)
    assert (table.groupby("method")["name"].nunique() == 40).all()
    tp, fp, fn = (table[count] for count in ("TP", "FP", "FN"))
    np.testing.assert_allclose(table["Dice"], 2 * tp / (2 * tp + fp + fn))
    for row in run["training"]:
        assert 0 < row["epoch"] <= row["seconds"] < 100
        assert row["images_per_second"] > 1
    # Trained on synthetic images, it knows them after one epoch.
    dice = table.groupby("method")["Dice"].mean()
    assert dice["U-Net, pre-trained"] > 0.9
    assert "U-Net, pre-trained, flips" in printed
    # It is not repeated.
    before = file.stat().st_mtime_ns
    assert printed == benchmark(folder, "--folds", "1", "--framework",
                                "pytorch", "--set", *SETTINGS)
    assert file.stat().st_mtime_ns == before


def test_missing_images_get_a_sentence(monkeypatch, tmp_path):
    def missing(home):
        raise DataError("PH² is not here; put it there.")

    monkeypatch.setattr(program.ph2, "find", missing)
    monkeypatch.setattr(sys, "argv", ["benchmark", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match="put it there"):
        program.main()


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
                         "enough": None, "weights": 7,
                         "images_per_second": 3.0}]}
    assert "| never |" in report.speed_table({"speed": report.speed([run])})


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b'{"about": 1}', b"\xff\xfe"])
def test_a_cut_result_is_named_before_anything_is_measured(
        content, tmp_path, monkeypatch):
    file = tmp_path / "hurt.json"
    file.write_bytes(content)
    monkeypatch.setattr(program, "file_of", lambda *run: file)
    monkeypatch.setattr(recipe, "FOLDER", tmp_path)
    nobody = SimpleNamespace(find=None, load=None)  # is asked for images
    monkeypatch.setattr(recipe, "ph2", nobody)
    for main, *words in [(program.main, "--data=sample",
                          f"--out={tmp_path}"), (recipe.main,)]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *words])
        with pytest.raises(SystemExit, match=f"{file} is not a whole"):
            main()


# --- Levers ---------------------------------------------------------------

@pytest.mark.full
def test_a_lever_is_tried_with_one_network(finished, tmp_path):
    benchmark(tmp_path, "--folds", "1", "--framework", "pytorch", "--lever",
              "no augmentation", "--set", *SETTINGS)
    [before], [after] = finished[0].iterdir(), tmp_path.iterdir()
    assert after.stem == f"{before.stem}-no augmentation"
    base, changed = (report.per_image(report.read([file]))
                     for file in (before, after))
    assert not changed["method"].str.contains("SegNet").any()
    rows = report.lever(base, changed, "no augmentation")
    [scratch] = [row for row in rows if row["method"] == "U-Net"]
    assert scratch["images"] == 40
    assert scratch["gain"] != 0


def test_a_lever_that_is_not_measured_again_keeps_its_numbers():
    def row(what, gain):
        return {"what": what, "method": "U-Net", "framework": "PyTorch",
                "gain": gain}

    assert report.merged([row("flips", 1), row("another seed", 2)],
                         [row("pre-trained", 3), row("flips", 4)]) == [
        row("pre-trained", 3), row("flips", 4), row("another seed", 2)]


def test_one_piece_is_the_largest_without_holes():
    mask = np.zeros((9, 12), bool)
    mask[1:8, 1:8] = True
    expected = mask.copy()
    mask[3, 4] = False  # a hole
    mask[2:5, 10] = True  # a smaller piece
    assert np.array_equal(record.one_piece(mask), expected)
    nothing = np.zeros((3, 4), bool)
    assert np.array_equal(record.one_piece(nothing), nothing)


# --- Peers ----------------------------------------------------------------

def test_the_older_network_is_as_described():
    model = peers.OlderUNet()
    assert sum(weight.numel() for weight in model.parameters()) == 974_417
    runs = []
    for stage in model.encoder:
        stage.register_forward_hook(lambda *_: runs.append(1))
    output = model.eval()(torch.rand(2, 3, 64, 64))
    assert output.shape == (2, 1, 64, 64)
    assert 0 < output.min() < output.max() < 1  # the sigmoid too many
    assert len(runs) == 2 * len(model.encoder)


TWO_PEERS = """
from lab.benchmark import peers
peers.libraries = lambda: {
    "one convolution": lambda: nn.Conv2d(3, 1, kernel_size=1)}
peers.compare(globals(), %r, side=32)
"""


@pytest.mark.full
def test_peers_learn_from_the_same_images(tmp_path):
    """With a real training of each, and one convolution as the library's."""
    lesson.run(lesson.without_the_rest(lesson.read(PYTORCH)),
               {"parameters": f"{SHORT}; EPOCHS = 2; HEIGHT, WIDTH "
                              "= 96, 128; LEARNING_RATE = 1e-3"},
               TWO_PEERS % str(tmp_path / "peers.json"))
    found = report.peers(tmp_path / "peers.json")
    assert [row["method"] for row in found["rows"]] == [
        "SegNet", "U-Net", "SegNet, pre-trained", "U-Net, pre-trained",
        "one convolution", peers.OLDER]
    for row in found["rows"]:
        assert row["epochs"] == 2 and 0 < row["epoch"] < row["seconds"]
        assert 0 <= row["Dice"] < 1
    assert found["rows"][3]["Dice"] > 0.9  # trained on such images before


def test_how_much_sooner_is_a_ratio_to_the_older_lesson():
    rows = [{"method": method, "weights": 7, "epoch": 1, "epochs": 2,
             "seconds": 300, "enough": enough, "Dice": 0.9}
            for method, enough in [("U-Net", 10), ("another", None),
                                   (peers.OLDER, 200)]]
    table = report.peers_table({"peers": {"rows": rows}})
    assert "| 20.0 × |" in table
    assert "| never |  |" in table


def test_without_the_libraries_peer_says_what_to_install(monkeypatch):
    monkeypatch.setattr(program.importlib.util, "find_spec",
                        lambda name: None)
    with pytest.raises(SystemExit, match="peers.txt"):
        program.compare_with_peers(None)


# --- Hardware -------------------------------------------------------------

def test_operations_of_one_convolution_are_counted():
    """A 3×3 convolution of 4 maps to 5, of 6×7 pixels, twice backwards."""
    step = SimpleNamespace(
        model=torch.nn.Conv2d(4, 5, 3, padding=1, bias=False),
        images=torch.rand(2, 4, 6, 7, requires_grad=True))
    assert hardware.flops_of(step) == 3 * 2 * (2 * 5 * 6 * 7) * (4 * 9)


@pytest.mark.full
def test_limits_of_the_networks():
    names = hardware.small_lesson(count=20, size=(32, 48))
    rates = {name: hardware.matrix_rate(dtype, sizes=(256,))
             for name, dtype in hardware.PRECISIONS.items()}
    near = hardware.closeness(names, "UNet", rates)
    assert 0 < near["share"] < 1
    assert sum(near["profile"].values()) == pytest.approx(1)
    assert near["profile"]["convolutions"] > 0.1
    for name in ("channels first", "fused AdamW", "bfloat16"):
        share, first = hardware.compared(names, hardware.CHANGES[name],
                                         rounds=3)
        assert 0.1 < share < 10 and first > 0
    weights, seconds = hardware.epoch_seconds(names, widths=(4, 8))
    assert seconds > 0 and weights < 10_000


# --- Recipe ---------------------------------------------------------------

@pytest.mark.full
@pytest.mark.parametrize(("framework", "kinds"), [
    ("pytorch", {"last", "average", "best", "best average"}),
    ("tf", {"last"})])
def test_one_training_gives_its_kinds_of_weights(framework, kinds):
    samples = ph2.load(size=(32, 48), source="sample")
    options = SimpleNamespace(framework=framework, data="sample",
                              loss="cross-entropy", rate=3e-3, epochs=2)
    found = recipe.run(samples, "UNet", 0, 1, options)
    assert (found["framework"], found["fold"], found["seed"]) == \
        (framework, 0, 1)
    judged = {kind: value for kind, value in found.items()
              if isinstance(value, dict)}
    assert judged.keys() == kinds
    for kind in kinds:
        for part in ("valid", "test"):
            assert 0.3 < judged[kind][part]["dice"] < 1
            assert 0 < judged[kind][part]["background"] < 0.7


def test_gains_of_a_recipe_are_of_pairs():
    """Two folds; the Dice loss adds 0.01 and 0.03."""
    def training(loss, fold, dice, framework="pytorch"):
        return {"framework": framework, "data": "PH2", "network": "UNet",
                "loss": loss, "rate": 1e-3, "fold": fold, "seed": 0,
                **{kind: {"test": {"dice": dice}} for kind in
                   ("last", "average", "best", "best average")}}

    table = report.recipe_table({"recipe": [
        training("cross-entropy", 0, 0.9), training("both", 0, 0.91),
        training("cross-entropy", 1, 0.8), training("both", 1, 0.83),
        training("cross-entropy", 0, 0.7, "tf")]})
    assert "| the least |  | **0.850** (2) |" in table
    assert "| the least, in TensorFlow |  | **0.700** (1) |" in table
    assert "| Dice loss added |  | +0.0200 ± 0.0100 (2) |" in table
