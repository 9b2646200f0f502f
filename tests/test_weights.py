"""Weights: small, the same in both frameworks, whole, without code; others
are refused. What made them, and what uses them from a command line.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
from conftest import (
    TRIED,
    assert_one_sentence,
    hammer,
    repository,
    trials,
)
from keras import layers
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torchvision.transforms import v2

from data import ph2
from data.synthetic import moles as synthetic_moles
from data.synthetic import portraits
from lab import lesson, segment
from lab.lesson import NOTEBOOKS, PYTORCH, ROOT, TENSORFLOW
from lab.pretraining import moles, people, score, training

WIDER = (8, 16, 32, 64, 128)
BOTH = pytest.mark.parametrize("name", NOTEBOOKS)


def taught(name, **given):
    """The models of a notebook, and what loads weights into them."""
    return lesson.definitions(name, "parameters", "model", "training", "load",
                              **given)


# --- The stored weights ---------------------------------------------------

# Images in which no maximum of SegNet is swapped, see test_twins.py.
@pytest.mark.parametrize("network, count, seed", [("UNet", 30, 10**6),
                                                  ("SegNet", 2, 7)])
def test_both_frameworks_read_the_same_network(network, count, seed):
    """It is small, and outlines moles that it has not seen."""
    files = [ROOT / f"data/weights/{network.lower()}.{ending}"
             for ending in ("safetensors", "weights.h5")]
    assert all(file.stat().st_size <= 4e6 for file in files)
    with safe_open(files[0], framework="np") as stored:
        assert "synthetic" in stored.metadata()["trained on"]
    unseen = moles.synthetic(count, seed)
    one, other = (side.predict(side.pretrained(getattr(side, network)),
                               unseen.images)
                  for side in map(taught, NOTEBOOKS))
    assert one.min() < 0.01 and one.max() > 0.99
    np.testing.assert_allclose(other, one, atol=1e-4)
    for found in (one > 0.5, other > 0.5):
        dice = 2 * (found & unseen.masks).sum((1, 2)) / (
            found.sum((1, 2)) + unseen.masks.sum((1, 2)))
        assert dice.mean() > 0.88


def test_the_checksums_are_those_of_the_files():
    folder = ROOT / "data/weights"
    sums = dict(line.split()[::-1] for line in
                (folder / "SHA256SUMS").read_text().splitlines())
    assert sums == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.iterdir() if file.suffix in (".safetensors",
                                                        ".h5")}


@BOTH
def test_a_missing_or_damaged_file_is_named(name, tmp_path):
    damaged = tmp_path / ("unet.safetensors" if name == PYTORCH
                          else "unet.weights.h5")
    side = taught(name)
    side.pretrained_file = lambda network: damaged
    for content in (None, b"version https://git-lfs.github.com/spec/v1"):
        if content:
            damaged.write_bytes(content)
        with pytest.raises(ValueError, match=f"{damaged} does not hold "
                                             "weights of this network: take"):
            side.pretrained(side.UNet)


def python_m(*words):
    """What `python -m …` leaves."""
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT,
                          capture_output=True, text=True, check=False)


def test_it_segments_a_picture_from_the_command_line(tmp_path, monkeypatch):
    def refusal(file):
        monkeypatch.setattr(sys, "argv", ["segment", str(file)])
        with pytest.raises(SystemExit) as ended:
            segment.main()
        assert_one_sentence(ended.value)
        return str(ended.value)

    exif = Image.Exif()
    exif[34853] = {1: "N", 2: (41.0, 9.0, 0.0)}  # where it was taken
    file, target = tmp_path / "mole.jpg", tmp_path / "mole-mask.png"
    other, text = tmp_path / "other.png", tmp_path / "text.jpg"
    truths = []
    for seed, name in [(5, file), (6, other)]:
        image, truth = synthetic_moles.draw(np.random.default_rng(seed), 0,
                                            (300, 410))
        Image.fromarray(image).save(name, exif=exif)
        truths.append(truth)
    text.write_text("no picture")
    done = python_m("lab.segment", file, text, other)  # one of them fails
    assert done.returncode and "cannot be read as a pict" in done.stderr
    assert done.stdout.count("of the picture is lesion") == 2, done.stderr
    masks = [target, tmp_path / "other-mask.png"]
    for written, truth in zip(masks, truths):
        with Image.open(written) as picture:
            assert not picture.getexif() and not picture.info
            mask = np.asarray(picture)
        assert mask.shape == truth.shape
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8
    # What is there stays as it is.
    before = target.read_bytes()
    assert f"{target} is there already; rename" in refusal(file)
    assert "cannot be read as a picture" in refusal(text)
    assert target.read_bytes() == before
    # The mask's name would be too long for the disk.
    long = file.rename(tmp_path / f"{247 * 'm'}.jpg")
    assert "could not be written (File name too long); choose" \
        in refusal(long)
    assert set(tmp_path.iterdir()) == {*masks, other, text, long}


def test_what_is_no_picture_is_refused_and_the_others_are_done(tmp_path):
    """A folder, a pipe, a broken link, nothing; and a name of old times."""
    image, _ = synthetic_moles.draw(np.random.default_rng(5), 0, (96, 128))
    old = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xf6le"))
    for ending in (".jpg", ".png"):  # one mask has room for one picture
        Image.fromarray(image).save(f"{old}{ending}")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    done = subprocess.run(
        [sys.executable, "-m", "lab.segment", "", tmp_path, tmp_path / "pipe",
         tmp_path / "link", f"{old}.jpg", f"{old}.png"],
        cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert done.returncode and b"Traceback" not in done.stderr
    assert done.stdout.count(b"of the picture is lesion") == 1
    refused = [line for line in done.stderr.splitlines()
               if b"cannot be read" in line or b"is there already" in line]
    assert len(refused) == 5
    assert Path(f"{old}-mask.png").is_file()


@pytest.fixture(scope="module")
def lesson_copy(tmp_path_factory):
    """What lab.segment needs of the repository, to be changed."""
    home = tmp_path_factory.mktemp("lesson")
    for name in repository("data/*", "lab/*.py", "lab/quizzes/*",
                           lesson.PYTORCH):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, home / name)
    return home


WEIGHTS = "data/weights/unet.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"


@pytest.mark.full
@pytest.mark.parametrize("file, change", [
    (WEIGHTS, None), (WEIGHTS, lambda stored: stored[:len(stored) // 2]),
    (WEIGHTS, lambda stored: POINTER), (WEIGHTS, lambda stored: b""),
    (lesson.PYTORCH, None),
    (lesson.PYTORCH, lambda stored: stored[:len(stored) // 2]),
    (lesson.PYTORCH, lambda stored: stored.replace(
        b"widths=(16, 32, 64, 128, 256)", b"widths=(32, 64, 128, 256, 512)")),
    (lesson.PYTORCH, lambda stored: stored.replace(b"def predict", b"def p")),
    (lesson.PYTORCH, lambda stored: stored.replace(b"class UNet", b"clas U"))
], ids=["no weights", "half", "pointer", "empty", "no notebook",
        "half a notebook", "wider", "name gone", "syntax"])
def test_a_changed_lesson_gets_a_sentence(lesson_copy, tmp_path, file,
                                          change):
    stored = (lesson_copy / file).read_bytes()
    picture = tmp_path / "mole.png"
    Image.new("RGB", (9, 9)).save(picture)
    try:
        if change:
            assert change(stored) != stored
            (lesson_copy / file).write_bytes(change(stored))
        else:
            (lesson_copy / file).unlink()
        done = subprocess.run(
            [sys.executable, "-m", "lab.segment", picture], text=True,
            cwd=lesson_copy, capture_output=True, check=False)
    finally:
        (lesson_copy / file).write_bytes(stored)
    assert done.returncode == 1
    sentence = done.stderr.splitlines()[-1]
    assert_one_sentence(sentence)
    assert "the stored network cannot be used" in sentence
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["mole.png"]


def test_all_four_mirror_images_get_the_same_answer():
    image, _ = synthetic_moles.draw(np.random.default_rng(5), 0, (96, 128))
    found = segment.probability(image)
    mirrored = segment.probability(image[::-1, ::-1])[::-1, ::-1]
    np.testing.assert_allclose(mirrored, found, atol=1e-5)


def test_a_person_is_cut_out_with_soft_edges(tmp_path, monkeypatch):
    image, truth = portraits.draw(np.random.default_rng(3), (432, 288))
    file, out = tmp_path / "me.jpg", tmp_path / "me-person.png"
    Image.fromarray(image).save(file, quality=95)
    monkeypatch.setattr(sys, "argv", ["segment", "--what=person", str(file)])
    with pytest.raises(SystemExit) as ended:
        segment.main()
    assert ended.value.code is None
    mask = np.asarray(Image.open(tmp_path / "me-mask.png"))
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    cut = np.asarray(Image.open(out))
    assert cut.shape == (*truth.shape, 4)
    assert ((cut[..., 3] > 0) & (cut[..., 3] < 255)).any()
    assert cut[mask, 3].mean() > 200 and cut[~truth, 3].mean() < 20
    # What is there stays, and nothing else is written.
    (tmp_path / "me-mask.png").unlink()
    with pytest.raises(SystemExit, match=f"{out} is there already"):
        segment.main()
    assert set(tmp_path.iterdir()) == {file, out}


def test_the_command_s_old_name_tells_the_new_one():
    done = python_m("data.pretrained", "mole.jpg")
    assert done.returncode and "python -m lab.segment" in done.stderr
    assert_one_sentence(done.stderr.rstrip("\n"))


# --- What made them -------------------------------------------------------

def scores_of(file, monkeypatch, capsys, *more):
    """What the program says that scores weights."""
    monkeypatch.setattr(sys, "argv", ["score", str(file), *map(str, more)])
    score.main()
    return capsys.readouterr().out


@pytest.mark.full
def test_the_unet_bears_every_effect(monkeypatch, capsys):
    """Of each effect 40 new pictures; the mean Dice, flips, one piece."""
    printed = scores_of(ROOT / "data/weights/unet.safetensors",
                        monkeypatch, capsys, "--effects")
    rows = re.findall(r"^(\w+) +(\d+) +([\d.]+) ", printed.split(
        "flips, one piece")[1], re.MULTILINE)
    found = {name: float(dice) for name, count, dice in rows}
    assert set(found) == {effect.__name__ for effect in
                          synthetic_moles.VARIED} | {"all"}
    assert min(found.values()) > 0.75, found


def test_what_is_no_folder_of_photographs_or_no_weights_gets_a_sentence(
        tmp_path, monkeypatch, capsys):
    weights = ROOT / "data/weights/unet.safetensors"
    for words in ([weights, tmp_path], [ROOT / "README.md", tmp_path]):
        with pytest.raises(SystemExit) as ended:
            scores_of(words[0], monkeypatch, capsys, words[1])
        assert_one_sentence(ended.value)


@pytest.mark.full
def test_pre_training_on_moles_trains_saves_and_scores(
        tmp_path, monkeypatch, capsys, drawn_sample):
    file = tmp_path / "new.safetensors"
    monkeypatch.setattr(sys, "argv", ["moles", "--count=20", "--epochs=1",
                                      str(file)])
    moles.main()
    with safe_open(file, framework="np") as saved:
        assert "20 synthetic images" in saved.metadata()["trained on"]
        assert saved.keys()
    monkeypatch.setattr(ph2, "load", lambda size, source: ph2.read(
        drawn_sample, size, "synthetic sample", tmp_path))
    printed = scores_of(file, monkeypatch, capsys)
    assert re.search(r"never looked at +133 +0\.\d", printed)
    assert re.search(r"developed with these 67 +67 +0\.\d", printed)


@pytest.mark.full
def test_pre_training_on_people_trains_saves_and_scores(
        tmp_path, monkeypatch, capsys):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for seed in range(3):
        image, mask = portraits.draw(np.random.default_rng(seed), (96, 64))
        Image.fromarray(image).save(tmp_path / f"images/{seed}.jpg")
        Image.fromarray(mask).save(tmp_path / f"masks/{seed}.png")
    file = tmp_path / "people.safetensors"
    monkeypatch.setattr(sys, "argv", ["people", "--count=20", "--epochs=1",
                                      str(file)])
    people.main()
    assert re.search(r"all +3 +0\.\d",
                     scores_of(file, monkeypatch, capsys, tmp_path))


def test_training_changes_the_weights_that_it_uses():
    # Autocast's cache would keep those of the first step for all others.
    samples = moles.synthetic(20, seed=0, size=(48, 64))
    options = SimpleNamespace(count=20, epochs=100, seed=0, network="UNet")
    model = training.train(samples, v2.Identity(), options)
    lesson = taught(PYTORCH)
    wrong = abs(lesson.predict(model, samples.images) - samples.masks)
    assert wrong[1:].mean() < 0.2  # the first is the validation set


# --- What a notebook saves and loads --------------------------------------

class RunsCode:
    """Unpickling this leaves the file "hacked" behind."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.fixture(scope="module")
def pytorch(tmp_path_factory):
    """The PyTorch notebook's networks, and a folder with their files."""
    side, folder = taught(PYTORCH), tmp_path_factory.mktemp("pytorch")
    for name, model in [("UNet", side.UNet()), ("SegNet", side.SegNet()),
                        ("wider", side.UNet(WIDER))]:
        save_file(model.state_dict(), folder / f"{name}.safetensors")
    return side, folder


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory):
    """The TensorFlow notebook's, and files that would run a program."""
    side, folder = taught(TENSORFLOW), tmp_path_factory.mktemp("tensorflow")
    for name, model in [("UNet", side.UNet()), ("SegNet", side.SegNet()),
                        ("wider", side.UNet(WIDER))]:
        model.save_weights(folder / f"{name}.weights.h5")
    side.UNet().save(folder / "whole.keras")
    hostile = layers.Lambda(
        lambda x: (__import__("os").system("touch hacked"), x)[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for run in (lambda: pickle.loads(pickle.dumps(RunsCode())),
                    lambda: keras.Sequential([keras.Input((4,)), hostile])):
            model = run()
            assert Path("hacked").exists()  # so these do run code
            Path("hacked").unlink()
        model.save("lambda.keras")
        model.save("lambda.h5")
    return side, folder


@pytest.fixture(params=["pytorch", "tensorflow"])
def loader(request, tmp_path, monkeypatch):
    """What loads a U-Net, and its folder; "hacked" would be in another."""
    side, folder = request.getfixturevalue(request.param)
    monkeypatch.chdir(tmp_path)
    yield lambda file: side.load_network(side.UNet, file), folder
    assert not Path("hacked").exists(), "loading has run code"


def assert_refused(load_unet, file):
    with pytest.raises(ValueError) as error:
        load_unet(file)
    assert_one_sentence(error.value)
    TRIED["files of weights"] += 1


def test_its_own_weights_come_back_and_others_are_refused(
        loader, pytorch, tensorflow, tmp_path):
    load_unet, folder = loader
    [own] = folder.glob("UNet.*")
    load_unet(own)
    for other in [*folder.glob("SegNet.*"), *folder.glob("wider.*"),
                  folder / own.name.replace("UNet", "nowhere"), folder]:
        assert_refused(load_unet, other)
    # Those of the other framework, whatever they are called.
    [other_folder] = {pytorch[1], tensorflow[1]} - {folder}
    [other] = other_folder.glob("UNet.*")
    for suffix in (".safetensors", ".weights.h5"):
        renamed = tmp_path / f"renamed{suffix}"
        renamed.write_bytes(other.read_bytes())
        assert_refused(load_unet, renamed)


def tampered(whole, **changes):
    """A .keras file whose description was changed to run a program."""
    file = io.BytesIO()
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                content = json.dumps({**json.loads(content), **changes})
            new.writestr(name, content)
    return file.getvalue()


def hostile_files(tensorflow_folder):
    """Files that would run a program, if anything in them could."""
    call = {"module": "os", "class_name": "system", "config": "touch hacked",
            "registered_name": "system"}
    function = {"module": "builtins", "class_name": "function",
                "config": "os.system", "registered_name": "function"}
    whole = tensorflow_folder / "whole.keras"
    nested = {"name": "evil", "layers": [call, function]}
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40],
                               "data_offsets": [0, 2**42]}}).encode()
    return [
        pickle.dumps(RunsCode()),
        (tensorflow_folder / "lambda.keras").read_bytes(),
        (tensorflow_folder / "lambda.h5").read_bytes(),
        tampered(whole, **call), tampered(whole, **function),
        tampered(whole, config=nested),
        tampered(whole, compile_config={"optimizer": function,
                                        "loss": call}),
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", len(header)) + header, b"", b"\0" * 100]


@pytest.mark.parametrize("suffix", [
    ".weights.h5", *(pytest.param(slow, marks=pytest.mark.slow)
                     for slow in (".safetensors", ".h5", ".pt"))])
def test_hostile_files_are_refused_and_run_nothing(suffix, loader, tensorflow,
                                                   tmp_path):
    load_unet, _ = loader
    for content in hostile_files(tensorflow[1]):
        file = tmp_path / f"hostile{suffix}"
        file.write_bytes(content)
        assert_refused(load_unet, file)


def test_a_hostile_model_is_asked_for_its_numbers_only(tensorflow, tmp_path,
                                                       monkeypatch):
    """Keras takes weights from a .keras file, too, and runs none of it."""
    side, folder = tensorflow
    monkeypatch.chdir(tmp_path)
    for number, content in enumerate(hostile_files(folder)):
        file = tmp_path / f"{number}.keras"
        file.write_bytes(content)
        with contextlib.suppress(Exception):  # whatever it says
            side.load_network(side.UNet, file)
        assert not Path("hacked").exists()


@trials(3, 30, 300)
def test_a_damaged_file_is_read_or_refused(trials, loader, tmp_path):
    load_unet, folder = loader
    [own] = folder.glob("UNet.*")
    whole = own.read_bytes()
    file = tmp_path / own.name.replace("UNet", "damaged")

    def check(content):
        file.write_bytes(content)
        try:
            load_unet(file)
        except ValueError as error:
            assert_one_sentence(error)

    hammer(check, [whole], trials, "files of weights")
    for tenth in range(10):
        file.write_bytes(whole[:tenth * len(whole) // 10])
        assert_refused(load_unet, file)


@BOTH
def test_the_command_for_keras_writes_what_keras_reads(name, tmp_path):
    """The stored file for Keras is made from the one for PyTorch."""
    network = {PYTORCH: "unet", TENSORFLOW: "segnet"}[name]
    source = tmp_path / f"{network}.safetensors"
    source.write_bytes(
        (ROOT / f"data/weights/{source.name}").read_bytes())
    done = python_m("lab.pretraining.keras_weights", source)
    assert done.returncode == 0, done.stderr
    made, stored = (h5py.File(folder / f"{network}.weights.h5")
                    for folder in (tmp_path, ROOT / "data/weights"))
    compared = []

    def compare(path, item):
        if isinstance(item, h5py.Dataset):
            np.testing.assert_array_equal(item, stored[path])
            compared.append(path)

    made.visititems(compare)
    assert len(compared) > 60
    refused = python_m("lab.pretraining.keras_weights", ROOT / "README.md")
    assert refused.returncode
    assert_one_sentence(refused.stderr.strip().splitlines()[-1])
