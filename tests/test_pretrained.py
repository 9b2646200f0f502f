"""The pre-trained U-Net: small, safe, the same in both frameworks."""

import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import torch
from notebooks import NAMES, ROOT, lifted
from PIL import Image
from safetensors import safe_open

from data import ph2
from data.synthetic import bodies, dermoscopy
from tests import pretrain, pretrain_people

FILE = ROOT / "data/pretrained/unet.safetensors"


@pytest.fixture(scope="module")
def pictures():
    """Images (N, 96, 128, 3) and masks that the network has not seen."""
    samples = pretrain.procedural(30, seed=10**6)
    return samples.images, samples.masks


@pytest.fixture(scope="module")
def metadata():
    with safe_open(FILE, framework="np") as file:
        return file.metadata()


@pytest.fixture(scope="module")
def logits(pictures):
    """What both frameworks compute from the file, (2, N, H, W)."""
    images = np.float32(pictures[0] / 255)  # "standardised" with 0 and 1
    loaded = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # where the notebooks run
        for name in NAMES:
            names = lifted(name, "model", "load")
            names.update(mean=np.zeros(3), deviation=np.ones(3))
            loaded.append(names["pretrained_unet"]())
    ours, theirs = loaded
    with torch.inference_mode():
        one = ours.cpu().eval()(torch.from_numpy(
            images.transpose(0, 3, 1, 2).copy()))[:, 0].numpy()
    return one, tf.squeeze(theirs(images, training=False), -1).numpy()


def test_the_file_is_small_and_says_where_it_comes_from(metadata):
    assert FILE.stat().st_size <= 4e6
    assert "procedural" in metadata["trained on"]


def test_both_frameworks_read_the_same_network_from_it(logits):
    one, other = logits
    assert np.abs(one).max() > 5
    assert np.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize("side", [0, 1], ids=NAMES)
def test_it_outlines_drawings_that_it_has_not_seen(pictures, logits, side):
    found, masks = logits[side] > 0, pictures[1]
    dice = 2 * (found & masks).sum((1, 2)) / (
        found.sum((1, 2)) + masks.sum((1, 2)))
    assert dice.mean() > 0.88


def test_it_segments_a_picture_from_the_command_line(tmp_path):
    def segmented(file):
        return subprocess.run(
            [sys.executable, "-m", "data.pretrained", file], cwd=ROOT,
            capture_output=True, text=True, check=False)

    image, truth = dermoscopy.draw(np.random.default_rng(5), 0, (300, 410))
    file, target = tmp_path / "mole.jpg", tmp_path / "mole-mask.png"
    Image.fromarray(image).save(file)
    done = segmented(file)
    assert "of the picture is lesion" in done.stdout, done.stderr
    mask = np.asarray(Image.open(target))
    assert mask.shape == truth.shape
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.8
    # What is there stays as it is.
    refused = segmented(file)
    assert refused.stderr == f"{target} is there already; rename or remove " \
        "it.\n"
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    refused = segmented(text)
    assert refused.returncode and "cannot be read as a picture" \
        in refused.stderr
    assert refused.stderr.count("\n") == 1
    # The mask's name would be too long for the disk.
    long = file.rename(tmp_path / f"{246 * 'm'}.jpg")
    refused = segmented(long)
    assert "mask.png could not be written (File name too long); copy" \
        in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert set(tmp_path.iterdir()) == {target, text, long}


def test_the_script_trains_saves_and_scores(tmp_path, monkeypatch, capsys,
                                            drawn_sample):
    samples = ph2.read(drawn_sample, (48, 64), "procedural sample")
    monkeypatch.setattr(pretrain, "SIZE", (48, 64))
    monkeypatch.setattr(ph2, "load", lambda size, source: samples)
    file = tmp_path / "new.safetensors"
    monkeypatch.setattr(sys, "argv", ["pretrain", "--count=20", "--epochs=1",
                                      f"--save={file}"])
    pretrain.main()
    printed = capsys.readouterr().out
    assert re.search(r"never looked at +133 +0\.\d", printed)
    assert re.search(r"developed with these 67 +67 +0\.\d", printed)
    with safe_open(file, framework="np") as saved:
        assert "20 procedural pictures" in saved.metadata()["trained on"]
        assert saved.keys()


def test_the_other_script_scores_people(tmp_path, monkeypatch, capsys):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for seed in range(3):
        image, mask = bodies.draw(np.random.default_rng(seed), (96, 64))
        Image.fromarray(image).save(tmp_path / f"images/{seed}.jpg")
        Image.fromarray(mask).save(tmp_path / f"masks/{seed}.png")
    monkeypatch.setattr(sys, "argv", ["people", str(tmp_path), "--count=20",
                                      "--epochs=1"])
    pretrain_people.main()
    assert re.search(r"developed with these 100 +3 +0\.\d",
                     capsys.readouterr().out)
    monkeypatch.setattr(sys, "argv", ["people", str(tmp_path / "masks")])
    with pytest.raises(SystemExit, match=r"images holds no \*\.jpg; name a"):
        pretrain_people.main()


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_damaged_file_is_named(name, tmp_path):
    names = lifted(name, "model", "load")
    damaged = tmp_path / "unet.safetensors"
    for content in (None, b"version https://git-lfs.github.com/spec/v1"):
        if content:
            damaged.write_bytes(content)
        names["PRETRAINED"] = str(damaged)
        with pytest.raises(ValueError, match=f"{damaged} is missing or "
                                             "damaged; get it"):
            names["pretrained_unet"]()
