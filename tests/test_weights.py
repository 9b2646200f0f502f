"""Saved weights: whole, without code, and refused if they are others."""

import io
import json
import os
import pickle
import re
import struct
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import TRIED, assert_one_sentence, trials
from hypothesis import HealthCheck, given, settings
from notebooks import (
    NAMES,
    PYTORCH,
    ROOT,
    TENSORFLOW,
    code_cells,
    lifted,
    read,
)
from test_fuzz import changed


class RunsCode:
    """Unpickling this leaves the file "hacked" behind."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


def with_loader(name):
    """The models of a notebook, and its function load_unet."""
    namespace = lifted(name, "model")
    for cell in code_cells(read(name)):
        if "def load_unet" in cell.source:
            exec(cell.source, namespace)
    return namespace


@pytest.fixture(scope="module")
def pytorch(tmp_path_factory):
    """load_unet of the PyTorch notebook, and files that it meets."""
    from safetensors.torch import save_file

    notebook = with_loader(PYTORCH)
    folder = tmp_path_factory.mktemp("pytorch")
    for name in ("UNet", "SegNet"):
        save_file(notebook[name]().state_dict(),
                  folder / f"{name}.safetensors")
    wider = notebook["UNet"](widths=(8, 16, 32, 64, 128))
    save_file(wider.state_dict(), folder / "wider.safetensors")
    return notebook["load_unet"], folder


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory):
    """load_unet of the TensorFlow notebook, and files that it meets."""
    notebook = with_loader(TENSORFLOW)
    keras, layers = notebook["keras"], notebook["layers"]
    folder = tmp_path_factory.mktemp("tensorflow")
    standardise = layers.Normalization(mean=[100.0] * 3, variance=[9.0] * 3)

    def save(model, name):
        keras.Sequential([keras.Input((None, None, 3)), standardise,
                          model]).save(folder / name)

    save(notebook["UNet"](), "UNet.keras")
    save(notebook["SegNet"](), "SegNet.keras")
    save(notebook["UNet"](widths=(8, 16, 32, 64, 128)), "wider.keras")
    hostile = layers.Lambda(
        lambda x: (__import__("os").system("touch hacked"), x)[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # building the model runs its code, too
        model = keras.Sequential([keras.Input((4,)), hostile])
        model.save("lambda.keras")
        model.save("lambda.h5")
        assert Path("hacked").exists()
    return notebook["load_unet"], folder


@pytest.fixture(params=["pytorch", "tensorflow"])
def loader(request, tmp_path, monkeypatch):
    """load_unet and its folder, in a directory where "hacked" would be."""
    fixture = request.getfixturevalue(request.param)
    monkeypatch.chdir(tmp_path)
    yield fixture
    assert not Path("hacked").exists(), "loading has run code"


def assert_refused(load_unet, file):
    with pytest.raises(ValueError) as error:
        load_unet(file)
    assert_one_sentence(error.value)
    # No library's traceback is shown with it.
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__ or not error.value.__context__
    TRIED["files of weights"] += 1


def test_its_own_weights_come_back(loader):
    load_unet, folder = loader
    [own] = folder.glob("UNet.*")
    load_unet(own)


def test_other_networks_and_no_file_are_refused(loader, tmp_path):
    load_unet, folder = loader
    [own] = folder.glob("UNet.*")
    for other in [*folder.glob("SegNet.*"), *folder.glob("wider.*"),
                  folder / f"nowhere{own.suffix}", folder]:
        assert_refused(load_unet, other)


@pytest.mark.parametrize("suffix", [".safetensors", ".keras"])
def test_files_of_the_other_framework_are_refused(suffix, pytorch, tensorflow,
                                                  tmp_path):
    for (load_unet, _), (_, folder) in [(pytorch, tensorflow),
                                        (tensorflow, pytorch)]:
        [other] = folder.glob("UNet.*")
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
    whole = tensorflow_folder / "UNet.keras"
    layers = {"name": "evil", "layers": [call, function]}
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40],
                               "data_offsets": [0, 2**42]}}).encode()
    return [
        pickle.dumps(RunsCode()),
        (tensorflow_folder / "lambda.keras").read_bytes(),
        (tensorflow_folder / "lambda.h5").read_bytes(),
        tampered(whole, **call), tampered(whole, **function),
        tampered(whole, config=layers),
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


def test_the_hostile_pickle_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(RunsCode()))
    assert Path("hacked").exists()


def test_a_file_cut_anywhere_is_refused(loader, tmp_path):
    load_unet, folder = loader
    [own] = folder.glob("UNet.*")
    whole = own.read_bytes()
    file = tmp_path / f"cut{own.suffix}"
    for tenth in range(10):
        file.write_bytes(whole[:tenth * len(whole) // 10])
        assert_refused(load_unet, file)


@trials(10, 300)
def test_a_damaged_file_is_read_or_refused(trials, loader, tmp_path):
    load_unet, folder = loader
    [own] = folder.glob("UNet.*")
    file = tmp_path / f"damaged{own.suffix}"

    def check(content):
        file.write_bytes(content)
        try:
            load_unet(file)
        except ValueError as error:
            assert_one_sentence(error)
        TRIED["files of weights"] += 1

    settings(max_examples=trials, deadline=None, database=None,
             derandomize=True, suppress_health_check=list(HealthCheck))(
        given(changed([own.read_bytes()]))(check))()


def half_a_file(*arguments, **options):
    """Stands for a program that is killed, or a disk that fills up."""
    [file] = [one for one in arguments if isinstance(one, Path)]
    file.write_bytes(b"half")
    raise OSError("No space left on device")


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_save_leaves_the_old_file(name, tmp_path, monkeypatch):
    notebook = lifted(name, "model")
    [saving] = [cell for cell in code_cells(read(name))
                if "part.replace(weights_file)" in cell.source]
    if name == PYTORCH:
        notebook["save_file"] = half_a_file
    else:
        monkeypatch.setattr(notebook["keras"].Sequential, "save",
                            lambda model, file: half_a_file(file))
    monkeypatch.setattr(notebook["ph2"], "writable_folder", lambda: tmp_path)
    old = tmp_path / "weights" / ("unet-pytorch.safetensors"
                                  if name == PYTORCH else "unet-keras.keras")
    old.parent.mkdir()
    old.write_bytes(b"whole")
    layers = notebook.get("layers")
    with pytest.raises(OSError, match="No space"):
        exec(saving.source, {
            **notebook, "models": {"U-Net": notebook["UNet"]()},
            "mean": np.zeros(3), "deviation": np.ones(3),
            "samples": SimpleNamespace(source="procedural sample"),
            "standardise": layers and layers.Rescaling(1.0)})
    assert old.read_bytes() == b"whole"


def test_nothing_of_ours_can_unpickle():
    """No code of the lesson calls what can run code from a file."""
    tracked = subprocess.run(
        ["git", "ls-files", "*.py", "*.ipynb"], cwd=ROOT, check=True,
        capture_output=True, text=True).stdout.split()
    assert len(tracked) > 20
    dangerous = re.compile(r"torch\.load\(|pickle\.load|allow_pickle=True|"
                           r"safe_mode=False\)|joblib\.load\(|(?<![.\w])eval\(")
    for name in {*tracked, *NAMES} - {"tests/test_weights.py"}:
        assert not dangerous.search((ROOT / name).read_text()), name
