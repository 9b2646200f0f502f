"""The procedural people move, and their silhouettes are exact."""

import numpy as np
import pandas as pd
import pytest
from conftest import files_below
from joblib import Parallel
from PIL import Image
from scipy import ndimage

from data.synthetic import bodies

SIZE = (96, 128)


def perform(seed, category="Jazz", frames=(45, 90, 135), cameras=(0,)):
    """Images (signed, to subtract them) and masks by camera and frame."""
    return {(camera, frame): (np.int16(image), mask)
            for camera, frame, image, mask in bodies.perform(
                np.random.default_rng(seed), category, frames, cameras,
                SIZE)}


def overlap(first, second):
    """Intersection over union of two masks."""
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize("category", [None, *bodies.CATEGORIES])
@pytest.mark.parametrize("seed", range(4))
def test_draws_an_image_and_one_silhouette(category, seed):
    image, mask = bodies.draw(np.random.default_rng(seed), SIZE, category)
    assert image.shape == (*SIZE, 3)
    assert image.dtype == np.uint8
    assert image.std() > 5
    assert mask.shape == SIZE
    assert mask.dtype == bool
    assert 0.02 < mask.mean() < 0.4
    pieces, _ = ndimage.label(mask, np.ones((3, 3)))
    assert np.bincount(pieces[mask]).max() > 0.97 * mask.sum()


def test_the_seed_decides_alone_on_any_number_of_workers(tmp_path,
                                                         monkeypatch):
    for name, seed, workers in [("a", 3, 1), ("b", 3, 2), ("c", 4, 1)]:
        monkeypatch.setattr(
            bodies, "Parallel", lambda n_jobs, workers=workers, **more:
            Parallel(n_jobs=workers, **more))
        bodies.write_dataset(tmp_path / name, sequences=2, frames=1,
                             size=(48, 64), seed=seed)
    a, b, c = ([path.read_bytes() for _, path in
                files_below(tmp_path / name)] for name in "abc")
    assert a == b
    assert a != c


def test_the_dataset_has_the_layout_and_names_of_mads(tmp_path):
    bodies.write_dataset(tmp_path, sequences=6, frames=2, size=(24, 32))
    home = tmp_path / bodies.HOME
    table = pd.read_csv(home / "df.csv", index_col=0)
    assert list(table.columns) == ["images", "masks", "collages"]
    assert table.collages.isna().all()
    names = table.images.str.extract(
        r"^images/((HipHop|Jazz|Kata|Sports|Taichi)_[A-Za-z]+\d+)"
        r"_C([0-2])_(\d{5})\.png$")
    assert not names.isna().any(axis=None)
    assert names[0].nunique() == 6
    assert set(names[3]) == {"00045", "00090"}
    assert set(names.groupby(0)[2].nunique()) <= {2, 3}
    for image, mask in zip(table.images, table.masks):
        assert mask == image.replace("images", "masks")
        with Image.open(home / image) as picture:
            assert (picture.mode, picture.size) == ("RGB", (32, 24))
        with Image.open(home / mask) as picture:
            assert picture.size == (32, 24)
            assert set(np.unique(picture)) == {0, 255}


@pytest.mark.parametrize("seed", range(4))
def test_a_camera_stays_the_same_while_the_person_moves(seed):
    shots = list(perform(seed).values())
    nobody = ~ndimage.binary_dilation(
        np.any([mask for _, mask in shots], axis=0), iterations=3)
    nobody[SIZE[0] // 2:] = False  # shadows move, too
    wall = [image[nobody] for image, _ in shots]
    for before, after in zip(wall, wall[1:]):
        assert abs(after.mean(0) - before.mean(0)).max() < 0.5  # exposure
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9
    noise = [np.std(after - before) for before, after in
             zip(wall, wall[1:])]
    assert max(noise) < 1.05 * min(noise) + 0.1
    for (_, before), (_, after) in zip(shots, shots[1:]):
        assert overlap(before, after) < 0.9


def test_a_person_moves_smoothly():
    generator = np.random.default_rng(0)
    keys = [bodies.pose(generator, 1) for _ in range(4)]
    joints = [bodies.skeleton(bodies.moment(keys, time), 0)[1]
              for time in np.linspace(0, 3, 150)]
    places = np.array([list(joint.values()) for joint in joints])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=-1)
    assert steps.max() < 0.15
    assert steps.max(0).min() > 0.002


@pytest.mark.parametrize("angles", [bodies.pose(np.random.default_rng(seed),
                                                1) for seed in range(5)])
def test_bones_keep_their_lengths_and_feet_the_floor(angles):
    _, joints = bodies.skeleton(angles, 70)
    for side in bodies.SIDES:
        for first, second, length in [("hip", "knee", bodies.THIGH),
                                      ("knee", "ankle", bodies.SHANK),
                                      ("shoulder", "elbow",
                                       bodies.UPPER_ARM)]:
            bone = joints[first, side] - joints[second, side]
            assert np.linalg.norm(bone) == pytest.approx(length)
    lowest = min(joints["ankle", side][1] for side in bodies.SIDES)
    assert lowest == pytest.approx(bodies.ANKLE)


def test_three_cameras_see_different_silhouettes():
    def shape(mask):
        """The silhouette cut out and brought to one size."""
        box = Image.fromarray(mask).convert("L")
        return np.asarray(box.resize((48, 48), box=box.getbbox())) > 127

    alike = []
    for seed in range(4):
        shots = perform(seed, frames=[45], cameras=range(3))
        first, second, third = (shape(mask) for _, mask in shots.values())
        alike += [overlap(first, second), overlap(second, third)]
    assert np.mean(alike) < 0.7


@pytest.mark.parametrize("category", [None, "HipHop", "Kata"])
@pytest.mark.parametrize("seed", range(3))
def test_the_mask_is_what_the_person_covers(category, seed, monkeypatch):
    (shown, mask), = perform(seed, category, [50]).values()
    expose = bodies.expose
    monkeypatch.setattr(bodies, "expose", lambda scene, moments, *more:
                        expose(scene, [[]], *more))
    (empty, nobody), = perform(seed, category, [50]).values()
    assert not nobody.any()
    change = (shown - empty).mean(2)
    inside = ndimage.binary_erosion(mask)
    outside = ~ndimage.binary_dilation(mask, iterations=2)
    assert (abs(change[inside]) > 2).mean() > 0.9
    assert change[outside].max() < 1  # nothing but shadow
    assert (change[outside] < -2).mean() < 0.2


def test_the_sequences_of_a_category_share_their_place_not_their_person(
        tmp_path):
    bodies.write_dataset(tmp_path, sequences=6, frames=1, size=(48, 64))
    pictures = {path.name.split("_")[1]: np.asarray(Image.open(path), float)
                for path in tmp_path.rglob("images/*_C0_00045.png")}
    masks = {path.name.split("_")[1]: np.asarray(Image.open(path)) > 0
             for path in tmp_path.rglob("masks/*_C0_00045.png")}

    def apart(one, other, pixels):
        return np.median(np.abs(pictures[one] - pictures[other])[pixels])

    first, second = masks["HipHop1"], masks["HipHop2"]
    assert apart("HipHop1", "HipHop2", ~first & ~second) < 8
    assert apart("HipHop1", "HipHop2", first & second) > 8
    assert apart("HipHop1", "Jazz1", ~first & ~masks["Jazz1"]) > 20
