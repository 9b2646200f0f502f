"""The lab's checks accept right solutions and refuse typical mistakes."""

import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import torch
from keras import layers
from scipy import ndimage
from sklearn.model_selection import (
    GroupShuffleSplit,
    StratifiedGroupKFold,
    train_test_split,
)
from torch import nn
from torch.nn import functional as F

import data
from data import mads
from lab import checks

SECOND = "second solution"


def names():
    """Names like those of MADS: 5 categories, 5 sequences, 3 cameras."""
    return sorted(f"{category}_{category}{number}_C{camera}_{frame:05}"
                  for category in mads.EXPECTED for number in range(1, 6)
                  for camera in range(3) for frame in (45, 90))


def drawn_samples():
    """Bright rectangles before dark ground, named like MADS."""
    generator = np.random.default_rng(0)
    masks = np.zeros((150, 16, 32), bool)
    for mask in masks:
        top, left = generator.integers(0, 8), generator.integers(0, 20)
        mask[top:top + 8, left:left + 10] = True
    images = np.uint8(40 + 150 * masks[..., None]
                      + generator.integers(0, 30, (*masks.shape, 3)))
    groups = np.array([mads.parse(name).sequence for name in names()])
    return data.Samples(images, masks, names(), groups, "a test", [])


SAMPLES = drawn_samples()
TRAIN, VALID, TEST = mads.split(SAMPLES, 0)


def refused(check, *arguments, hint):
    """A check refuses, says ❌, the task and this hint, with no newline."""
    with pytest.raises(checks.NotYet, match=hint) as caught:
        check(*arguments)
    [shown] = caught.value._render_traceback_()
    assert re.match(r"❌ Task \d, [^\n]*$", shown)


def accepted(check, *arguments, capsys):
    check(*arguments)
    assert capsys.readouterr().out.splitlines()[-1].startswith("✅ Task")


# --- Task 1 ---------------------------------------------------------------

@pytest.mark.parametrize("right", [
    lambda masks: masks.mean(axis=(1, 2)),
    lambda masks: np.array([mask.sum() / mask.size for mask in masks]),
])
def test_person_share_accepts(right, capsys):
    accepted(checks.person_share, right, capsys=capsys)


@pytest.mark.parametrize("wrong, hint", [
    (lambda masks: None, "returns nothing yet"),
    (lambda masks: masks.mean(), "one for each"),
    (lambda masks: 100 * masks.mean(axis=(1, 2)), "a part of the whole"),
    (lambda masks: masks.sum(axis=(1, 2)), "a part of the whole"),
    (lambda masks: masks.mean(axis=0), "one for each"),
    (lambda masks: masks.any(axis=(1, 2)), "different shares"),
    (lambda masks: 1 - masks.mean(axis=(1, 2)), "different shares"),
    (lambda masks: masks.unknown, "AttributeError"),
])
def test_person_share_refuses(wrong, hint):
    refused(checks.person_share, wrong, hint=hint)


# --- Task 2 ---------------------------------------------------------------

def by_folds(samples, seed):
    categories = [mads.parse(name).category for name in samples.names]
    test, valid, *train = [fold for _, fold in StratifiedGroupKFold(
        5, shuffle=True, random_state=seed).split(
            categories, categories, samples.groups)]
    return np.concatenate(train), valid, test


def by_category(samples, seed):
    """One sequence of each category at a time, lots drawn by NumPy."""
    generator = np.random.default_rng(seed)
    parts = [], [], []
    categories = np.array([mads.parse(name).category
                           for name in samples.names])
    for category in np.unique(categories):
        rows = np.flatnonzero(categories == category)
        groups = generator.permutation(np.unique(samples.groups[rows]))
        for part, chosen in zip(parts, (groups[2:], groups[:1], groups[1:2])):
            part.extend(rows[np.isin(samples.groups[rows], chosen)])
    return parts


def at_random(samples, seed):
    rest, test = train_test_split(np.arange(len(samples)), test_size=0.2,
                                  random_state=seed)
    return *train_test_split(rest, test_size=0.2, random_state=seed), test


def by_camera(samples, seed):
    cameras = np.array([mads.parse(name).camera for name in samples.names])
    return [np.flatnonzero(cameras == (number + seed) % 3)
            for number in range(3)]


def without_category(samples, seed):
    """Groups whole, but whole categories together."""
    categories = [mads.parse(name).category for name in samples.names]
    rows = np.arange(len(samples))
    rest, test = next(GroupShuffleSplit(1, test_size=1, random_state=seed)
                      .split(rows, groups=categories))
    train, valid = next(GroupShuffleSplit(1, test_size=1, random_state=seed)
                        .split(rest, groups=np.array(categories)[rest]))
    return rest[train], rest[valid], test


def changed(change):
    """by_folds with its three parts changed."""
    return lambda samples, seed: change(*by_folds(samples, seed))


@pytest.mark.parametrize("right", [by_folds, by_category, mads.split])
def test_split_accepts(right, capsys):
    accepted(checks.split, right, SAMPLES, capsys=capsys)


@pytest.mark.parametrize("wrong, hint", [
    (lambda samples, seed: None, "returns nothing yet"),
    (at_random, "25 sequences leak|2[0-4] sequences leak"),
    (by_camera, "its cameras were separated"),
    (without_category, "should be in every part"),
    (lambda samples, seed: by_folds(samples, 0), "another seed"),
    (lambda samples, seed: by_folds(samples, np.random.randint(10**6)),
     "same seed"),
    (changed(lambda train, valid, test: (train, test, test)), "twice"),
    (changed(lambda train, valid, test: (train[1:], valid, test)),
     "in no part"),
    (changed(lambda train, valid, test: (valid, train, test)), "half"),
    (changed(lambda train, valid, test: (train, test)), "three things"),
    (changed(lambda *parts: [np.isin(np.arange(150), part)
                             for part in parts]), "row numbers"),
    (changed(lambda *parts: [SAMPLES.images[part] for part in parts]),
     "row numbers"),
])
def test_split_refuses(wrong, hint):
    refused(checks.split, wrong, SAMPLES, hint=hint)


# --- Task 3 ---------------------------------------------------------------

class Plain(nn.Module):
    """A small right network, and how to do it wrong."""

    def __init__(self, width=4, n_out=1, end=None):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, n_out, 1)
        self.end = end or (lambda logits: logits)

    def forward(self, images):
        return self.end(self.last(F.relu(self.norm(self.first(images)))))


class Strided(nn.Module):
    """Another right one: down and up again."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 4, stride=4)
        self.up = nn.ConvTranspose2d(8, 1, 4, stride=4)

    def forward(self, images):
        return self.up(F.relu(self.down(images)))


def plain(width=4, n_out=1, end=lambda logits: logits):
    images = keras.Input((None, None, 3))
    x = layers.Conv2D(width, 3, padding="same", activation="relu")(images)
    x = layers.BatchNormalization()(x)
    return keras.Model(images, end(layers.Conv2D(n_out, 1)(x)))


def strided():
    return keras.Sequential([
        keras.Input((None, None, 3)), layers.Conv2D(8, 4, strides=4),
        layers.ReLU(), layers.Conv2DTranspose(1, 4, strides=4)])


@pytest.mark.parametrize("right", [Plain, Strided, plain, strided])
def test_network_accepts(right, capsys):
    accepted(checks.network, right, capsys=capsys)


WRONG_TORCH = [
    (nn.Module, "no weights yet"),
    (lambda: Plain(end=torch.sigmoid), "between 0 and 1"),
    (lambda: Plain(n_out=2), "one channel"),
    (lambda: Plain(end=lambda x: x.transpose(2, 3)), "swapped"),
    (lambda: Plain(end=lambda x: F.max_pool2d(x, 2)), "not 16×24"),
    (lambda: Plain(end=lambda x: 0 * x), "between 0 and 1|same logit"),
    (lambda: Plain(end=lambda x: 0 * x - 5), "same logit"),
    (lambda: Plain(end=lambda x: x / 0), "not finite"),
    (lambda: Plain(end=lambda x: x - x.mean(dim=0)), "alone"),
    (lambda: Plain(end=lambda x: x[:, 0]), "an axis for the channel"),
    (lambda: Plain(width=200_000), "weights are more"),
]
WRONG_KERAS = [
    (lambda: None, "returns nothing yet"),
    (lambda: plain(end=layers.Activation("sigmoid")), "between 0 and 1"),
    (lambda: plain(n_out=2), "one channel"),
    (lambda: plain(end=layers.Permute((2, 1, 3))), "swapped"),
    (lambda: plain(end=layers.MaxPooling2D()), "not 16×24"),
    (lambda: plain(end=layers.Rescaling(0.0, -5.0)), "same logit"),
    (lambda: plain(end=layers.Reshape((-1, 1))), "an axis for the channel"),
]


@pytest.mark.parametrize("wrong, hint", WRONG_TORCH + WRONG_KERAS)
def test_network_refuses(wrong, hint):
    refused(checks.network, wrong, hint=hint)


# --- Task 4 ---------------------------------------------------------------

def by_hand_torch(logits, masks):
    return (F.softplus(logits) - logits * masks).mean()


def by_hand_keras(logits, masks):
    return tf.reduce_mean(tf.nn.softplus(logits) - logits * masks)


@pytest.mark.parametrize("right, UNet", [
    (F.binary_cross_entropy_with_logits, Plain), (by_hand_torch, Plain),
    (lambda logits, masks: keras.losses.BinaryCrossentropy(from_logits=True)(
        masks, logits), plain),
    (by_hand_keras, plain)])
def test_cross_entropy_accepts(right, UNet, capsys):
    accepted(checks.cross_entropy, right, UNet, capsys=capsys)


BCE = F.binary_cross_entropy_with_logits


@pytest.mark.parametrize("wrong, UNet, hint", [
    (lambda logits, masks: None, Plain, "returns nothing yet"),
    (lambda logits, masks: BCE(torch.sigmoid(logits), masks), Plain,
     "ln 2"),
    (lambda logits, masks: BCE(logits, 255 * masks), Plain, "loss of 20"),
    (lambda logits, masks: BCE(logits, masks, reduction="sum"), Plain,
     "ln 2"),
    (lambda logits, masks: BCE(logits, masks, reduction="none"), Plain,
     "one number"),
    (lambda logits, masks: F.mse_loss(logits, masks), Plain, "ln 2"),
    (lambda logits, masks: BCE(-logits, masks), Plain, "almost 0"),
    (lambda logits, masks: BCE(masks, logits), Plain, "ln 2|almost 0"),
    (lambda logits, masks: keras.losses.BinaryCrossentropy()(masks, logits),
     plain, "ln 2"),
    (lambda logits, masks: by_hand_keras(tf.sigmoid(logits), masks), plain,
     "ln 2"),
    (lambda logits, masks: by_hand_keras(logits, 255 * masks), plain,
     "loss of 20"),
    (lambda logits, masks: keras.losses.binary_crossentropy(
        masks, logits, from_logits=True), plain, "one number"),
])
def test_cross_entropy_refuses(wrong, UNet, hint):
    refused(checks.cross_entropy, wrong, UNet, hint=hint)


@pytest.mark.parametrize("UNet", [Plain, plain])
def test_training_accepts(UNet, capsys):
    accepted(checks.training, UNet(), UNet, capsys=capsys)


def spoiled():
    model = Plain()
    nn.init.constant_(model.last.bias, torch.nan)
    return model


@pytest.mark.parametrize("wrong, hint", [
    (lambda: None, "returns nothing yet"),
    (lambda: Plain(width=5), "return the network itself"),
    (lambda: (Plain(), 0.5), "AttributeError"),
    (spoiled, "not finite"),
])
def test_training_refuses(wrong, hint):
    refused(checks.training, wrong(), Plain, hint=hint)


# --- Task 5 ---------------------------------------------------------------
# A "network" that needs no training: brightness tells the rectangles.

def logits_of(images):
    return (images.mean(axis=3) - 120) / 20


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def right_predict(model, images):
    return np.float32(sigmoid(logits_of(images)))


def slowly(model, images):
    return np.stack([sigmoid(logits_of(image[None])[0]) for image in images])


def by_batch(model, images):
    """As batch norm in training: the batch changes each image."""
    logits = logits_of(images)
    return np.float32(sigmoid(logits - logits.mean()))


@pytest.mark.parametrize("right", [right_predict, slowly])
def test_predict_accepts(right, capsys):
    accepted(checks.predict, right, None, SAMPLES, TRAIN, capsys=capsys)


@pytest.mark.parametrize("wrong, hint", [
    (lambda model, images: None, "returns nothing yet"),
    (lambda model, images: logits_of(images), "logits"),
    (lambda model, images: 255 * right_predict(model, images), "grey"),
    (lambda model, images: sigmoid(right_predict(model, images)), "twice"),
    (lambda model, images: np.float32(logits_of(images) > 0.5), "0 or 1"),
    (lambda model, images: right_predict(model, images).swapaxes(1, 2),
     "swapped"),
    (lambda model, images: right_predict(model, images)[..., None],
     "must give"),
    (lambda model, images: np.full(images.shape[:3], 0.1, np.float32),
     "no pixel is person"),
    (lambda model, images: right_predict(model, images[::-1]), "alone"),
    (by_batch, "alone"),
    (lambda model, images: np.full(images.shape[:3], 0.9, np.float32),
     "other images as well"),
    (lambda model, images: 1 - right_predict(model, images), "other images"),
    (lambda model, images: torch.tensor(right_predict(model, images)),
     "array of NumPy"),
])
def test_predict_refuses(wrong, hint):
    refused(checks.predict, wrong, None, SAMPLES, TRAIN, hint=hint)


def test_predict_refuses_shuffled_masks():
    order = np.random.default_rng(1).permutation(len(SAMPLES))
    shuffled = data.Samples(SAMPLES.images, SAMPLES.masks[order],
                            SAMPLES.names, SAMPLES.groups, "a test", [])
    refused(checks.predict, right_predict, None, shuffled, TRAIN,
            hint="other images as well|IoU is")


def ratio(top, bottom):
    return np.where(bottom == 0, 1, top / np.maximum(bottom, 1))


def right_iou(predicted, masks):
    return ratio((predicted & masks).sum((1, 2)),
                 (predicted | masks).sum((1, 2)))


def right_dice(predicted, masks):
    return ratio(2 * (predicted & masks).sum((1, 2)),
                 predicted.sum((1, 2)) + masks.sum((1, 2)))


def looped(function):
    """The same, one image at a time, into a list."""
    return lambda predicted, masks: [
        float(function(one[None], other[None])[0])
        for one, other in zip(predicted, masks)]


def smoothed(predicted, masks):
    """Dice with a small number, as it is often written."""
    both = (predicted & masks).sum((1, 2))
    return (2 * both + 1e-6) / (predicted.sum((1, 2)) + masks.sum((1, 2))
                                + 1e-6)


@pytest.mark.parametrize("iou, dice", [
    (right_iou, right_dice), (looped(right_iou), smoothed)])
def test_metrics_accept(iou, dice, capsys):
    accepted(checks.metrics, iou, dice, capsys=capsys)


def unguarded(predicted, masks):
    with np.errstate(invalid="ignore"):
        return (predicted & masks).sum((1, 2)) \
            / (predicted | masks).sum((1, 2))


@pytest.mark.parametrize("iou, dice, hint", [
    (lambda *pair: None, right_dice, "`iou` returns nothing yet"),
    (right_iou, lambda *pair: None, "`dice` returns nothing yet"),
    (lambda a, b: (a & b).sum() / (a | b).sum(), right_dice,
     "one for each image"),
    (right_iou, lambda a, b: 2 * (a & b).sum() / (a.sum() + b.sum()),
     "one for each image"),
    (right_dice, right_dice, "on paper"), (right_iou, right_iou, "on paper"),
    (unguarded, right_dice, "0 / 0"),
    (lambda a, b: np.nan_to_num(unguarded(a, b)), right_dice, "should be 1"),
    (lambda a, b: (a == b).mean((1, 2)), right_dice, "on paper"),
    (lambda a, b: right_iou(a, b)[..., None], right_dice,
     "one for each image"),
    (lambda a, b: (a & b).sum((1, 2)), right_dice, "should be 1|on paper"),
])
def test_metrics_refuse(iou, dice, hint):
    refused(checks.metrics, iou, dice, hint=hint)


def grouped(values=right_iou, rows=TEST, columns=("IoU", "Dice")):
    """The table of TEST, or a wrong one."""
    predicted = np.stack([np.roll(mask, number % 5) for number, mask
                          in enumerate(SAMPLES.masks[TEST])])
    scores = np.column_stack([
        values(predicted, SAMPLES.masks[TEST]),
        right_dice(predicted, SAMPLES.masks[TEST])])
    return predicted, pd.DataFrame(scores, columns=columns).groupby(
        SAMPLES.groups[rows]).mean()


def test_table_accepts(capsys):
    predicted, right = grouped()
    for table in (right, right.sort_index(ascending=False)):
        accepted(checks.table, table, predicted, SAMPLES, TEST,
                 capsys=capsys)


@pytest.mark.parametrize("wrong, hint", [
    (lambda: None, "returns nothing yet"),
    (lambda: grouped(columns=("Dice", "IoU"))[1], "columns"),
    (lambda: grouped()[1].IoU, "DataFrame"),
    (lambda: grouped(values=right_dice)[1], "not the means"),
    (lambda: grouped(rows=np.random.default_rng(0).permutation(TEST))[1],
     "not the means"),
    (lambda: grouped()[1].iloc[1:], "one line for each"),
    (lambda: grouped()[1].reset_index(drop=True), "one line for each|Type"),
])
def test_table_refuses(wrong, hint):
    predicted, _ = grouped()
    refused(checks.table, wrong(), predicted, SAMPLES, TEST, hint=hint)


# --- Task 6 ---------------------------------------------------------------

@pytest.fixture
def stored(tmp_path):
    """SAMPLES with masks as files, twice as large."""
    from PIL import Image
    files = []
    for row, mask in enumerate(SAMPLES.masks):
        files.append(tmp_path / f"{row}.png")
        Image.fromarray(mask).resize((64, 32)).save(files[-1])
    return data.Samples(SAMPLES.images, SAMPLES.masks, SAMPLES.names,
                        SAMPLES.groups, "a test", files)


def test_target_accepts(stored, capsys):
    for right in (right_predict, slowly):
        accepted(checks.target, right, None, stored, TEST, 0.85,
                 capsys=capsys)


@pytest.mark.parametrize("wrong, hint", [
    (lambda model, images: np.zeros(images.shape[:3]), "is 0.000"),
    (lambda model, images: np.ones(images.shape[:3]), "is 0.1"),
    (lambda model, images: right_predict(model, images[::-1]), "worst"),
    (lambda model, images: right_predict(model, images)[:, ::-1], "worst"),
])
def test_target_refuses(wrong, hint, stored):
    refused(checks.target, wrong, None, stored, TEST, 0.85, hint=hint)


# --- Task 7 ---------------------------------------------------------------

def nearest(image, probabilities, background):
    y, x = ndimage.distance_transform_edt(
        probabilities <= 0.9, return_distances=False, return_indices=True)
    alpha = probabilities[..., None]
    return np.uint8(alpha * image[y, x] + (1 - alpha) * background)


def shrunk(image, probabilities, background):
    """Without the outer half of the edge, where most of the halo is."""
    alpha = np.clip(2 * probabilities - 1, 0, 1)[..., None] ** 1.2
    return np.uint8(alpha * image + (1 - alpha) * background)


def smeared(image, probabilities, background):
    """The person's colours, spread outwards by a weighted blur."""
    sure = (probabilities > 0.95)[..., None]
    weights = ndimage.gaussian_filter(np.float64(sure), (3, 3, 0))
    colours = ndimage.gaussian_filter(sure * np.float64(image), (3, 3, 0)) \
        / np.maximum(weights, 1e-9)
    alpha = probabilities[..., None]
    return np.uint8(alpha * np.where(sure, image, colours)
                    + (1 - alpha) * background)


def mixed(image, probabilities, background):
    """The halo: colours as they were filmed."""
    alpha = probabilities[..., None]
    return np.uint8(alpha * image + (1 - alpha) * background)


def in_place(image, probabilities, background):
    image[...] = nearest(image, probabilities, background)
    return image


@pytest.mark.parametrize("right", [nearest, smeared, shrunk])
def test_compose_accepts(right, capsys):
    accepted(checks.compose, right, capsys=capsys)


@pytest.mark.parametrize("wrong, hint", [
    (lambda *inputs: None, "returns nothing yet"),
    (mixed, "halo"),
    (lambda image, p, background: np.where(
        p[..., None] > 0.95, image, background), "hard"),
    (lambda image, p, background: nearest(image, 1 - p, background),
     "stay as it is"),
    (lambda image, p, background: nearest(background, p, image),
     "stay as it is"),
    (in_place, "work on a copy"),
    (lambda *inputs: nearest(*inputs) / 255, "uint8"),
    (lambda *inputs: nearest(*inputs).swapaxes(0, 1), "shape"),
    (lambda image, p, background: np.uint8(p[..., None] * image),
     "new background"),
])
def test_compose_refuses(wrong, hint):
    refused(checks.compose, wrong, hint=hint)
