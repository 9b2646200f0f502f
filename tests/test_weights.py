"""Weights: small, the same in both frameworks, whole, without code; others
are refused. What made them, and what uses them from a command line.
"""

import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import torch
from conftest import TRIED, assert_one_sentence, hammer, trials
from keras import layers
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from data import ph2, storage
from data.synthetic import moles as synthetic_moles
from data.synthetic import people as synthetic_people
from lab import lesson, segment
from lab.lesson import NOTEBOOKS, PYTORCH, ROOT, TENSORFLOW
from lab.pretraining import moles, people

WIDER = (8, 16, 32, 64, 128)
BOTH = pytest.mark.parametrize("name", NOTEBOOKS)


def taught(name, **given):
    """The models of a notebook, and what loads weights into them."""
    return lesson.definitions(name, "model", "load", mean=np.zeros(3),
                              deviation=np.ones(3), **given)


# --- The stored weights ---------------------------------------------------

# Images in which no maximum of SegNet is swapped, see test_twins.py.
@pytest.mark.parametrize("network, count, seed", [("UNet", 30, 10**6),
                                                  ("SegNet", 2, 7)])
def test_both_frameworks_read_the_same_network(network, count, seed):
    """It is small, and outlines moles that it has not seen."""
    file = ROOT / f"data/weights/{network.lower()}.safetensors"
    assert file.stat().st_size <= 4e6
    with safe_open(file, framework="np") as stored:
        assert "synthetic" in stored.metadata()["trained on"]
    unseen = moles.synthetic(count, seed)
    images = np.float32(unseen.images / 255)
    ours, theirs = (side.pretrained(getattr(side, network))
                    for side in map(taught, NOTEBOOKS))
    with torch.inference_mode():
        one = ours.cpu().eval()(torch.from_numpy(
            images.transpose(0, 3, 1, 2).copy()))[:, 0].numpy()
    other = theirs(images, training=False)[..., 0].numpy()
    assert np.abs(one).max() > 5
    np.testing.assert_allclose(other, one, atol=1e-3)
    for found in (one > 0, other > 0):
        dice = 2 * (found & unseen.masks).sum((1, 2)) / (
            found.sum((1, 2)) + unseen.masks.sum((1, 2)))
        assert dice.mean() > 0.88


@BOTH
def test_a_missing_or_damaged_file_is_named(name, tmp_path):
    damaged = tmp_path / "unet.safetensors"
    side = taught(name)
    side.pretrained_file = lambda network: damaged
    for content in (None, b"version https://git-lfs.github.com/spec/v1"):
        if content:
            damaged.write_bytes(content)
        with pytest.raises(ValueError, match=f"{damaged} is missing or "
                                             "damaged; get it"):
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

    image, truth = synthetic_moles.draw(np.random.default_rng(5), 0,
                                        (300, 410))
    file, target = tmp_path / "mole.jpg", tmp_path / "mole-mask.png"
    Image.fromarray(image).save(file)
    done = python_m("lab.segment", file)
    assert "of the picture is lesion" in done.stdout, done.stderr
    mask = np.asarray(Image.open(target))
    assert mask.shape == truth.shape
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8
    # What is there stays as it is.
    assert f"{target} is there already; rename" in refusal(file)
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    assert "cannot be read as a picture" in refusal(text)
    # The mask's name would be too long for the disk.
    long = file.rename(tmp_path / f"{246 * 'm'}.jpg")
    assert "could not be written (File name too long); copy" in refusal(long)
    assert set(tmp_path.iterdir()) == {target, text, long}


def test_the_command_s_old_name_tells_the_new_one():
    done = python_m("data.pretrained", "mole.jpg")
    assert done.returncode and "python -m lab.segment" in done.stderr
    assert_one_sentence(done.stderr.rstrip("\n"))


# --- What made them -------------------------------------------------------

@pytest.mark.full
def test_pre_training_on_moles_trains_saves_and_scores(
        tmp_path, monkeypatch, capsys, drawn_sample):
    samples = ph2.read(drawn_sample, (48, 64), "synthetic sample", tmp_path)
    monkeypatch.setattr(moles, "SIZE", (48, 64))
    monkeypatch.setattr(ph2, "load", lambda size, source: samples)
    file = tmp_path / "new.safetensors"
    monkeypatch.setattr(sys, "argv", ["moles", "--count=20", "--epochs=1",
                                      f"--save={file}"])
    moles.main()
    printed = capsys.readouterr().out
    assert re.search(r"never looked at +133 +0\.\d", printed)
    assert re.search(r"developed with these 67 +67 +0\.\d", printed)
    with safe_open(file, framework="np") as saved:
        assert "20 synthetic images" in saved.metadata()["trained on"]
        assert saved.keys()


@pytest.mark.full
def test_pre_training_on_people_scores_photographs(tmp_path, monkeypatch,
                                                   capsys):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for seed in range(3):
        image, mask = synthetic_people.draw(np.random.default_rng(seed),
                                            (96, 64))
        Image.fromarray(image).save(tmp_path / f"images/{seed}.jpg")
        Image.fromarray(mask).save(tmp_path / f"masks/{seed}.png")
    monkeypatch.setattr(sys, "argv", ["people", str(tmp_path), "--count=20",
                                      "--epochs=1"])
    people.main()
    assert re.search(r"developed with these 100 +3 +0\.\d",
                     capsys.readouterr().out)
    monkeypatch.setattr(sys, "argv", ["people", str(tmp_path / "masks")])
    with pytest.raises(SystemExit, match=r"images holds no \*\.jpg; name a"):
        people.main()


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
    standardise = layers.Normalization(mean=[100.0] * 3, variance=[9.0] * 3)
    for name, model in [("UNet", side.UNet()), ("SegNet", side.SegNet()),
                        ("wider", side.UNet(WIDER))]:
        keras.Sequential([keras.Input((None, None, 3)), standardise,
                          model]).save(folder / f"{name}.keras")
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
    # No library's traceback is shown with it.
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or not error.value.__context__
    TRIED["files of weights"] += 1


def test_its_own_weights_come_back_and_others_are_refused(
        loader, pytorch, tensorflow, tmp_path):
    load_unet, folder = loader
    [own] = folder.glob("UNet.*")
    load_unet(own)
    for other in [*folder.glob("SegNet.*"), *folder.glob("wider.*"),
                  folder / f"nowhere{own.suffix}", folder]:
        assert_refused(load_unet, other)
    # Those of the other framework, whatever they are called.
    [other_folder] = {pytorch[1], tensorflow[1]} - {folder}
    [other] = other_folder.glob("UNet.*")
    for suffix in (".safetensors", ".keras"):
        renamed = tmp_path / f"renamed{suffix}"
        renamed.write_bytes(other.read_bytes())
        assert_refused(load_unet, renamed)


@pytest.mark.parametrize("network", ["UNet", "SegNet"])
def test_a_saved_keras_model_comes_back(network, tensorflow, tmp_path):
    model = getattr(tensorflow[0], network)()
    model.save(tmp_path / "model.keras")
    images = np.random.default_rng(0).normal(size=(2, 32, 48, 3))
    assert np.array_equal(model(images), keras.saving.load_model(
        tmp_path / "model.keras")(images))


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
    whole = tensorflow_folder / "UNet.keras"
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
    ".keras", *(pytest.param(slow, marks=pytest.mark.slow)
                for slow in (".safetensors", ".h5", ".pt"))])
def test_hostile_files_are_refused_and_run_nothing(suffix, loader, tensorflow,
                                                   tmp_path):
    load_unet, _ = loader
    for content in hostile_files(tensorflow[1]):
        file = tmp_path / f"hostile{suffix}"
        file.write_bytes(content)
        assert_refused(load_unet, file)


@trials(3, 30, 300)
def test_a_damaged_file_is_read_or_refused(trials, loader, tmp_path):
    load_unet, folder = loader
    [own] = folder.glob("UNet.*")
    whole, file = own.read_bytes(), tmp_path / f"damaged{own.suffix}"

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


def half_a_file(*arguments, **options):
    """Stands for a program that is killed, or a disk that fills up."""
    [file] = [one for one in arguments if isinstance(one, Path)]
    file.write_bytes(b"half")
    raise OSError("No space left on device")


@BOTH
def test_an_interrupted_save_leaves_the_old_file(name, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.Sequential, "save",
                        lambda model, file: half_a_file(file))
    monkeypatch.setattr(storage, "writable_folder", lambda: tmp_path)
    old = tmp_path / "trained" / ("unet-pytorch.safetensors"
                                  if name == PYTORCH else "unet-keras.keras")
    old.parent.mkdir()
    old.write_bytes(b"whole")
    side = taught(name, save_file=half_a_file,
                  standardise=layers.Rescaling(1.0))
    side.models = {"U-Net": side.UNet()}
    side.samples = SimpleNamespace(source="synthetic sample")
    with pytest.raises(OSError, match="No space"):
        side.run("save")
    assert old.read_bytes() == b"whole"
    assert list(old.parent.iterdir()) == [old]
