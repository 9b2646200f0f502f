"""The shipped network for people, asked and fine-tuned in both frameworks."""

import re
import shutil

import numpy as np
import pytest
from conftest import assert_one_sentence
from PIL import Image

from data import DataError
from lab import portraits, segment
from lab.lesson import NOTEBOOKS, PYTORCH, TENSORFLOW

BOTH = pytest.mark.parametrize("notebook", NOTEBOOKS)


@pytest.fixture(scope="module")
def pairs():
    return portraits.drawn(4, seed=5)


def save(folder, name, image, mask, ending=".png"):
    """One corrected picture as a painting program leaves it."""
    Image.fromarray(image).save(folder / f"{name}{ending}")
    Image.fromarray(np.uint8(255 * mask)).save(folder / f"{name}-mask.png")


# --- Pairs ----------------------------------------------------------------

def test_corrected_pictures_are_read_with_their_masks(tmp_path, pairs):
    (first, mask), (second, other), *_ = pairs
    save(tmp_path, "b", first, mask)
    save(tmp_path, "a.2", second[:200], other[:200], ".JPG")
    # What lies beside them is no picture to learn from.
    Image.fromarray(first).save(tmp_path / "b-skeleton.png")
    (tmp_path / "b.xcf").write_bytes(b"a painting program's own file")
    (image, read), (again, its) = portraits.read_corrected(tmp_path)
    assert image.shape == (200, 192, 3) and np.array_equal(read, other[:200])
    assert np.array_equal(again, first) and np.array_equal(its, mask)


def test_a_folder_that_is_empty_or_missing_gives_no_pairs(tmp_path):
    assert portraits.read_corrected(tmp_path) == []
    assert portraits.read_corrected(tmp_path / "nowhere") == []


@pytest.mark.parametrize(("change", "said"), [
    (lambda folder: (folder / "me.png").unlink(), "called me.jpg or me.png, "
     "not 0;"),
    (lambda folder: shutil.copy(folder / "me.png", folder / "me.jpg"),
     "not 2;"),
    (lambda folder: Image.new("L", (96, 64), 255).save(
        folder / "me-mask.png"), "is (96, 64) pixels, its image (192, 288); "
        "save the mask"),
    (lambda folder: Image.new("L", (192, 288)).save(
        folder / "me-mask.png"), "marks no person or nothing else; save"),
    (lambda folder: Image.new("L", (192, 288), 255).save(
        folder / "me-mask.png"), "marks no person or nothing else; save"),
    (lambda folder: (folder / "me-mask.png").write_text("no picture"),
     "cannot be read as a picture")])
def test_a_mask_that_does_not_fit_gets_a_sentence(tmp_path, pairs, change,
                                                  said):
    save(tmp_path, "me", *pairs[0])
    change(tmp_path)
    with pytest.raises(DataError, match=re.escape(said)) as refused:
        portraits.read_corrected(tmp_path)
    assert_one_sentence(str(refused.value))
    assert "me-mask.png" in str(refused.value)


# --- Networks -------------------------------------------------------------

def test_the_network_is_the_one_that_cuts_people_out(pairs):
    image, _ = pairs[0]
    network = portraits.shipped(PYTORCH)
    assert np.array_equal(network.probability(image),
                          segment.probability(image, "person"))


@pytest.mark.full
def test_keras_gets_the_same_network(pairs):
    image, _ = pairs[0]
    one, other = (portraits.shipped(name).probability(image)
                  for name in (PYTORCH, TENSORFLOW))
    np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.full
@BOTH
def test_fine_tuning_learns_what_the_corrected_masks_say(notebook, pairs):
    """Here they say that the person's head is none."""
    beheaded = [(image, mask & (np.arange(len(mask)) > 140)[:, None])
                for image, mask in pairs]
    before = portraits.score(portraits.shipped(notebook), beheaded)
    tuned = portraits.fine_tuned(notebook, beheaded, epochs=15,
                                 learning_rate=1e-3)
    assert np.mean(portraits.score(tuned, beheaded)) > np.mean(before) + 0.1
    # The stored network stays as it was.
    assert portraits.score(portraits.shipped(notebook), beheaded) == before


def test_scores_are_those_of_each_pair_in_its_size(pairs):
    class Known:
        def probability(self, image):
            return image[..., 0] / 255

    red = np.zeros((4, 6, 3), np.uint8)
    red[:2, :3] = 255
    mask = np.zeros((4, 6), bool)
    mask[0, :3] = True
    wide = np.repeat(red, 2, axis=1), np.repeat(mask, 2, axis=1)
    assert portraits.score(Known(), [(red, mask), wide]) == [0.5, 0.5]
    assert portraits.score(Known(), [(red, red[..., 0] > 0)]) == [1]
