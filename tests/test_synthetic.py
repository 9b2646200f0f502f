"""Synthetic pictures: the same everywhere, of their kind, exact masks."""

from functools import partial

import numpy as np
import pytest
from conftest import tree
from PIL import Image
from scipy import ndimage

from data import mads, ph2
from data.synthetic import covers, moles, people, portraits

SIZE = (96, 128)


@pytest.mark.parametrize(("draw", "least", "most"), [
    *((partial(moles.draw, diagnosis=diagnosis), 0.005, 0.95)
      for diagnosis in range(3)),
    (partial(portraits.draw), 0.005, 0.9),
    *((partial(people.draw, category=category), 0.02, 0.4)
      for category in mads.EXPECTED)])
def test_draws_an_image_and_one_shape(draw, least, most):
    for seed in range(8):
        image, mask = draw(np.random.default_rng(seed), size=SIZE)
        assert image.shape == (*SIZE, 3)
        assert image.dtype == np.uint8
        assert image.std() > 5
        assert mask.shape == SIZE
        assert mask.dtype == bool
        assert least < mask.mean() < most
        if draw.func is moles.draw:  # in one piece, without holes
            assert ndimage.label(mask)[1] == 1
            assert np.array_equal(ndimage.binary_fill_holes(mask), mask)
        else:
            pieces, _ = ndimage.label(mask, np.ones((3, 3)))
            assert np.bincount(pieces[mask]).max() > 0.97 * mask.sum()


def write_moles(folder, seed):
    moles.write_dataset(folder, count=6, size=(48, 64), seed=seed)
    drawn = moles.draw_many(8, (48, 64), seed, varied=True)
    for number, (diagnosis, image, mask) in enumerate(drawn):
        np.savez(folder / f"{number}.npz", diagnosis, image, mask)


def write_people(folder, seed):
    people.write_dataset(folder, sequences=2, frames=1, size=(48, 64),
                         seed=seed)


@pytest.mark.parametrize("write", [write_moles, write_people])
def test_the_seed_decides_alone_on_any_number_of_workers(write, tmp_path,
                                                         monkeypatch):
    drawn = {}
    for seed, workers in [(3, 1), (3, 2), (4, 1)]:
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", str(workers))
        folder = tmp_path / f"{seed} {workers}"
        write(folder, seed)
        drawn[seed, workers] = tree(folder)
    assert drawn[3, 1] == drawn[3, 2]
    pictures = [name for name in drawn[3, 1]
                if not name.endswith((".txt", ".csv"))]
    for name in pictures:  # another seed: all others
        assert drawn[3, 1][name] != drawn[4, 1].get(name), name


# --- Moles ---------------------------------------------------------------

CHANGED = [moles.crust, moles.halo, moles.neighbour, moles.inflammation,
           moles.dark_skin, moles.flushed, moles.mottled, covers.rim,
           covers.ruler, covers.scale_bar, covers.ink, covers.ink_ring,
           covers.ink_spots, covers.uneven_light, covers.cast,
           covers.specular, covers.grainy]
ABOVE = [covers.sticker, covers.discs, covers.cloth, covers.frame]
SHAPED = [moles.tiny_area, moles.outline]
TRAITS = [moles.pale, moles.pink]
OTHERS = [moles.two_colours, covers.hair, covers.jpeg, covers.squeezed]


def test_every_varied_effect_has_a_test():
    listed = CHANGED + ABOVE + SHAPED + TRAITS + OTHERS
    assert set(listed) == set(moles.VARIED) and len(listed) == len(
        moles.VARIED)


def scenes(effect, count=6):
    """Pictures that show this effect alone."""
    return [moles.scene(np.random.default_rng(seed), moles.TRAITS[1],
                        SIZE, {effect}) for seed in range(count)]


def without(effect, monkeypatch, silent):
    """The same, the effect replaced by one that draws as many numbers."""
    module = moles if hasattr(moles, effect.__name__) else covers
    silent.__name__ = effect.__name__
    monkeypatch.setattr(module, effect.__name__, silent)
    return scenes(silent)


@pytest.mark.parametrize("effect", CHANGED, ids=lambda one: one.__name__)
def test_an_effect_changes_the_image_and_not_the_mask(effect, monkeypatch):
    def silent(generator, image, *more):
        effect(generator, image, *more)
        return image

    shown = scenes(effect)
    changes = []
    for (image, mask, _), (other, same, _) in zip(
            shown, without(effect, monkeypatch, silent), strict=True):
        assert np.array_equal(mask, same)
        changes.append(np.abs(np.int16(image) - other).max())
    assert np.median(changes) > 25


@pytest.mark.parametrize("effect", ABOVE, ids=lambda one: one.__name__)
def test_what_covers_the_skin_is_cut_out_of_the_mask(effect):
    covered = [effect(np.random.default_rng(seed), SIZE) for seed in
               range(40)]
    shares = [(opaque > 0.5).mean() for opaque, _ in covered]
    assert 0.02 < max(shares) < 0.8
    for opaque, colour in covered:
        assert opaque.shape == SIZE and np.ptp(opaque) <= 1
        assert np.broadcast_shapes(np.shape(colour), (*SIZE, 3)) \
            == (*SIZE, 3)


def test_a_lesion_can_be_tiny_pale_pink_or_partly_dark():
    def contrast(effect):
        """How much darker the lesions are than the skin around them."""
        found = []
        for image, mask, _ in scenes(effect, 12):
            ring = ndimage.binary_dilation(mask, iterations=5) & ~mask
            found.append(image[ring].mean(0) - image[mask].mean(0))
        return np.mean(found, 0)

    usual = contrast(covers.grainy)
    assert contrast(moles.pale).mean() < 0.6 * usual.mean()
    red, green, blue = contrast(moles.pink)
    assert red < 0.3 * green and red < 0.3 * blue
    assert contrast(moles.two_colours).mean() < 0.8 * usual.mean()
    areas = [mask.mean() for _, mask, _ in scenes(moles.tiny_area, 12)]
    assert 0.005 < np.median(areas) < 0.07


def test_outlines_differ_from_person_to_person():
    _, mask = moles.draw(np.random.default_rng(1), 1, (192, 256))
    drawn = [moles.outline(np.random.default_rng(seed), mask)
             for seed in range(20)]
    areas = np.array([one.sum() for one in drawn]) / mask.sum()
    assert areas.min() < 1 < np.median(areas) < areas.max() < 1.5
    assert min(overlap(one, mask) for one in drawn) > 0.65


def test_hair_is_dense_jpeg_has_blocks_and_4_to_3_is_squeezed():
    image, *_ = scenes(covers.grainy, 1)[0]
    skin = np.full((*SIZE, 3), 0.8, np.float32)
    dense, usual = (np.mean([covers.hair(
        np.random.default_rng(seed), skin, dense=dense).mean()
        for seed in range(8)]) for dense in (True, False))
    assert dense < usual < 0.8
    packed = covers.jpeg(np.random.default_rng(0), image)
    assert 1 < np.abs(np.int16(packed) - image).mean() < 20
    sizes = [covers.squeezed(np.random.default_rng(seed), SIZE)
             for seed in range(20)]
    widths = [width for height, width in sizes if height == SIZE[0]]
    assert min(widths) < 0.85 * SIZE[1] and max(widths) > 1.15 * SIZE[1]
    assert all(image.shape == (*SIZE, 3) and mask.shape == SIZE
               for image, mask, _ in scenes(covers.squeezed, 3))


def test_varied_pictures_show_tiny_lesions_and_the_sample_none():
    def areas(varied):
        return np.array([mask.mean() for _, _, mask in moles.draw_many(
            150, (48, 64), seed=2, varied=varied)])

    assert (areas(True) < 0.035).sum() >= 3
    assert areas(False).min() > 0.035


def test_lesions_look_like_what_they_are(drawn_sample, tmp_path):
    samples = ph2.read(drawn_sample, (48, 64), "synthetic sample", tmp_path)
    groups, area, colours, darker = samples.groups, [], [], []
    for image, mask in zip(samples.images, samples.masks):
        area.append(mask.mean())
        colours.append(image[mask].std(axis=0).mean())
        ring = ndimage.binary_dilation(mask, iterations=4) & ~mask
        if ring.any():
            darker.append(image[mask].mean() < image[ring].mean())
    common, atypical, melanoma = (
        np.array([area, colours])[:, groups == name].mean(1)
        for name in ph2.DIAGNOSES)
    assert melanoma[0] > 1.3 * atypical[0] and atypical[0] > common[0]
    assert melanoma[1] > common[1]
    assert np.mean(darker) > 0.9


# --- People --------------------------------------------------------------

def perform(seed, category="Jazz", frames=(45, 90, 135), cameras=(0,)):
    """Images (signed, to subtract them) and masks of one performance."""
    return [(np.int16(image), mask) for *_, image, mask in people.perform(
        np.random.default_rng(seed), category, frames, cameras, SIZE)]


def overlap(first, second):
    """Intersection over union of two masks."""
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize("seed", range(4))
def test_a_camera_stays_the_same_while_the_person_moves(seed):
    images, masks = zip(*perform(seed))
    nobody = ~ndimage.binary_dilation(np.any(masks, axis=0), iterations=3)
    nobody[SIZE[0] // 2:] = False  # shadows move, too
    wall = [image[nobody] for image in images]
    for before, after in zip(wall, wall[1:]):
        assert abs(after.mean(0) - before.mean(0)).max() < 0.5  # exposure
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9
    noise = [np.std(after - before) for before, after in
             zip(wall, wall[1:])]
    assert max(noise) < 1.05 * min(noise) + 0.1
    for before, after in zip(masks, masks[1:]):
        assert overlap(before, after) < 0.9


def test_a_person_moves_smoothly_on_bones_that_keep_their_lengths():
    generator = np.random.default_rng(0)
    keys = [people.pose(generator, 1) for _ in range(5)]
    joints = [people.skeleton(people.moment(keys, time), 70)[1]
              for time in np.linspace(0, 4, 200)]
    places = np.array([list(joint.values()) for joint in joints])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=-1)
    assert steps.max() < 0.15
    assert steps.max(0).min() > 0.002
    for now in joints:
        for side in people.SIDES:
            for first, second, length in [
                    ("hip", "knee", people.THIGH),
                    ("knee", "ankle", people.SHANK),
                    ("shoulder", "elbow", people.UPPER_ARM)]:
                bone = now[first, side] - now[second, side]
                assert np.linalg.norm(bone) == pytest.approx(length)
        lowest = min(now["ankle", side][1] for side in people.SIDES)
        assert lowest == pytest.approx(people.ANKLE)


def test_three_cameras_see_different_silhouettes():
    def shape(mask):
        """The silhouette cut out and brought to one size."""
        box = Image.fromarray(mask).convert("L")
        return np.asarray(box.resize((48, 48), box=box.getbbox())) > 127

    alike = []
    for seed in range(4):
        first, second, third = (shape(mask) for _, mask in perform(
            seed, frames=[45], cameras=range(3)))
        alike += [overlap(first, second), overlap(second, third)]
    assert np.mean(alike) < 0.7


@pytest.mark.parametrize("category", ["HipHop", "Kata"])
@pytest.mark.parametrize("seed", range(3))
def test_the_mask_is_what_the_person_covers(category, seed, monkeypatch):
    [(shown, mask)] = perform(seed, category, [50])
    expose = people.expose
    monkeypatch.setattr(people, "expose", lambda scene, moments, *more:
                        expose(scene, [[]], *more))
    [(empty, nobody)] = perform(seed, category, [50])
    assert not nobody.any()
    change = (shown - empty).mean(2)
    inside = ndimage.binary_erosion(mask)
    outside = ~ndimage.binary_dilation(mask, iterations=2)
    assert (abs(change[inside]) > 2).mean() > 0.9
    assert change[outside].max() < 1  # nothing but shadow
    assert (change[outside] < -2).mean() < 0.2


def only(monkeypatch, **effects):
    """Let photographs show no effects but these, and all of these."""
    monkeypatch.setattr(portraits, "CHANCES", dict.fromkeys(
        portraits.CHANCES, 0) | effects)


def test_the_mask_of_a_photographed_person_leaves_out_chair_and_crowd(
        monkeypatch):
    kept, expose = [], people.expose

    def kept_exposed(scene, *more):
        image, mask = expose(scene, *more)
        kept.append((scene, image))
        return image, mask

    monkeypatch.setattr(people, "expose", kept_exposed)
    only(monkeypatch, crowd=1, sitting=1, glasses=1, scarf=1, thing=1)
    for seed in range(6):
        _, mask = portraits.draw(np.random.default_rng(seed), SIZE)
        scene, image = kept.pop()
        inside = ndimage.binary_erosion(mask)
        outside = ~ndimage.binary_dilation(mask)
        assert (abs(image - scene).max(2)[inside] > 0.01).mean() > 0.8
        assert (image - scene)[outside].max() < 0.01  # but for shadow


@pytest.mark.parametrize("effect", portraits.CHANCES)
def test_every_effect_of_a_photograph_shows(effect, monkeypatch):
    def drawn(share):
        only(monkeypatch, **{effect: share})
        return [portraits.draw(np.random.default_rng(seed), (48, 32))[0]
                for seed in range(6)]

    different = [np.abs(np.int16(image) - other).max() > 60
                 for image, other in zip(drawn(0), drawn(1))]
    assert sum(different) >= 2


@pytest.mark.parametrize(("distance", "least", "most"), [
    ("farther", 0.25, 0.9), ("whole", 0.7, 1), ("half", 0.6, 1),
    ("portrait", 0.6, 1)])
def test_a_photograph_shows_as_much_of_the_body_as_its_distance(
        distance, least, most, monkeypatch):
    only(monkeypatch)
    monkeypatch.setattr(portraits, "DISTANCES", {distance: 1})
    cropped = []
    for seed in range(10):
        _, mask = portraits.draw(np.random.default_rng(seed), (96, 64))
        assert least <= mask.any(1).mean() <= most
        cropped.append(mask[-1].any())
    assert all(cropped) if distance in portraits.SHOWN \
        else np.mean(cropped) < 0.4


@pytest.mark.parametrize("each_apart", [False, True])
def test_the_sequences_of_a_category_share_their_place_not_their_person(
        each_apart, tmp_path):
    people.write_dataset(tmp_path, sequences=6, frames=1, size=(48, 64),
                         apart=each_apart)
    pictures, masks = (
        {path.name.split("_")[1]: np.asarray(Image.open(path), float)
         for path in tmp_path.rglob(f"{kind}/*_C0_00045.png")}
        for kind in ("images", "masks"))

    def apart(one, other, both):
        """How far two pictures are apart, on both persons or on neither."""
        persons = [masks[name][..., 0] > 0 for name in (one, other)]
        pixels = np.all(persons, 0) if both else ~np.any(persons, 0)
        return np.median(np.abs(pictures[one] - pictures[other])[pixels])

    same = apart("HipHop1", "HipHop2", both=False)
    assert same > 20 if each_apart else same < 8
    assert apart("HipHop1", "HipHop2", both=True) > 8
    assert apart("HipHop1", "Jazz1", both=False) > 20
