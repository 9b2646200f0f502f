"""The procedural pictures are the same everywhere, and like PH² in kind."""

import numpy as np
import pytest
from conftest import files_below
from scipy import ndimage

from data import ph2
from data.synthetic import dermoscopy


@pytest.mark.parametrize("diagnosis", [0, 1, 2])
@pytest.mark.parametrize("seed", range(8))
def test_draws_an_image_and_one_solid_lesion(diagnosis, seed):
    image, mask = dermoscopy.draw(np.random.default_rng(seed), diagnosis,
                                  size=(96, 128))
    assert image.shape == (96, 128, 3)
    assert image.dtype == np.uint8
    assert image.std() > 5
    assert mask.shape == (96, 128)
    assert mask.dtype == bool
    assert 0.005 < mask.mean() < 0.95
    assert ndimage.label(mask)[1] == 1
    assert np.array_equal(ndimage.binary_fill_holes(mask), mask)


def test_the_seed_decides_alone(tmp_path):
    for name, seed in [("a", 3), ("b", 3), ("c", 4)]:
        dermoscopy.write_dataset(tmp_path / name, count=6, size=(48, 64),
                                 seed=seed)
    a, b, c = ([path.read_bytes() for _, path in
                files_below(tmp_path / name)] for name in "abc")
    assert a == b
    assert a != c


def test_the_number_of_workers_changes_nothing(monkeypatch):
    def drawn():
        return list(dermoscopy.draw_many(8, (48, 64), seed=5, varied=True))

    on_all_cores = drawn()
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    for (diagnosis, image, mask), one in zip(on_all_cores, drawn(),
                                             strict=True):
        assert diagnosis == one[0]
        assert np.array_equal(image, one[1])
        assert np.array_equal(mask, one[2])


@pytest.mark.parametrize("effect", dermoscopy.RARE,
                         ids=lambda effect: effect.__name__)
def test_every_rare_effect_shows_when_it_is_drawn(effect, monkeypatch):
    def drawn(share):
        monkeypatch.setattr(dermoscopy, "RARE",
                            dict.fromkeys(dermoscopy.RARE, 0.0)
                            | {effect: share})
        return [dermoscopy.draw(np.random.default_rng(seed), 0, (48, 64),
                                varied=True) for seed in range(5)]

    different = [np.abs(np.int16(image) - other).max() > 60
                 for (image, _), (other, _) in zip(drawn(0), drawn(1),
                                                   strict=True)]
    assert sum(different) >= 3


def test_varied_pictures_show_tiny_lesions_and_the_sample_none():
    def areas(varied):
        return np.array([mask.mean() for _, _, mask in dermoscopy.draw_many(
            150, (48, 64), seed=2, varied=varied)])

    assert (areas(True) < 0.035).sum() >= 3
    assert areas(False).min() > 0.035


def test_the_reader_of_ph2_reads_it(drawn_sample):
    samples = ph2.read(drawn_sample, (24, 32), "procedural sample")
    names, counts = np.unique(samples.groups, return_counts=True)
    assert dict(zip(names, counts, strict=True)) == ph2.EXPECTED
    assert samples.native_mask(0).shape == (48, 64)


def test_melanomas_are_larger_and_have_more_colours(drawn_sample):
    samples = ph2.read(drawn_sample, (48, 64), "procedural sample")
    area = {name: samples.masks[samples.groups == name].mean()
            for name in ph2.DIAGNOSES}
    assert area["melanoma"] > 1.3 * area["atypical nevus"]
    assert area["atypical nevus"] > area["common nevus"]
    colours = [np.mean([image[mask].std(axis=0).mean() for image, mask, group
                        in zip(samples.images, samples.masks, samples.groups,
                               strict=True) if group == name])
               for name in ("common nevus", "melanoma")]
    assert colours[1] > colours[0]


def test_a_lesion_is_darker_than_the_skin_around_it(drawn_sample):
    samples = ph2.read(drawn_sample, (48, 64), "procedural sample")
    darker = []
    for image, mask in zip(samples.images, samples.masks, strict=True):
        ring = ndimage.binary_dilation(mask, iterations=4) & ~mask
        if ring.any():
            darker.append(image[mask].mean() < image[ring].mean())
    assert np.mean(darker) > 0.9
