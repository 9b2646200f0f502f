"""The lab's checks accept right solutions and refuse typical mistakes."""

import re
from dataclasses import replace

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
    return data.Samples(images, masks, names(), groups, "a test")


SAMPLES = drawn_samples()
TRAIN, VALID, TEST = mads.split(SAMPLES, 0)


ACCEPTED, REFUSED = [], []


def accepts(check, answers, *more):
    """Let a check be tried with right answers, and more arguments."""
    ACCEPTED.extend((check, answer, *more) for answer in answers)


def refuses(check, answers, *more):
    """Let a check be tried with wrong answers, a hint after each."""
    REFUSED.extend((hint, check, *answer, *more) for *answer, hint in answers)


# --- Task 1 ---------------------------------------------------------------

accepts(checks.person_share, [
    lambda masks: masks.mean(axis=(1, 2)),
    lambda masks: np.array([mask.sum() / mask.size for mask in masks])])
refuses(checks.person_share, [
    (lambda masks: None, "returns nothing yet"),
    (lambda masks: masks.mean(), "one for each"),
    (lambda masks: 100 * masks.mean(axis=(1, 2)), "a part of the whole"),
    (lambda masks: masks.sum(axis=(1, 2)), "a part of the whole"),
    (lambda masks: masks.mean(axis=0), "one for each"),
    (lambda masks: masks.any(axis=(1, 2)), "different shares"),
    (lambda masks: 1 - masks.mean(axis=(1, 2)), "different shares"),
    (lambda masks: masks.unknown, "AttributeError")])


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


accepts(checks.split, [by_folds, by_category, mads.split], SAMPLES)
refuses(checks.split, [
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
     "row numbers")], SAMPLES)


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


accepts(checks.network, [Plain, Strided, plain, strided])
refuses(checks.network, [
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
    (lambda: None, "returns nothing yet"),
    (lambda: plain(end=layers.Activation("sigmoid")), "between 0 and 1"),
    (lambda: plain(n_out=2), "one channel"),
    (lambda: plain(end=layers.Permute((2, 1, 3))), "swapped"),
    (lambda: plain(end=layers.MaxPooling2D()), "not 16×24"),
    (lambda: plain(end=layers.Rescaling(0.0, -5.0)), "same logit"),
    (lambda: plain(end=layers.Reshape((-1, 1))), "an axis for the channel")])


# --- Task 4 ---------------------------------------------------------------

def by_hand_torch(logits, masks):
    return (F.softplus(logits) - logits * masks).mean()


def by_hand_keras(logits, masks):
    return tf.reduce_mean(tf.nn.softplus(logits) - logits * masks)


BCE = F.binary_cross_entropy_with_logits
accepts(checks.cross_entropy, [BCE, by_hand_torch], Plain)
accepts(checks.cross_entropy, [by_hand_keras, lambda logits, masks:
        keras.losses.BinaryCrossentropy(from_logits=True)(masks, logits)],
        plain)
refuses(checks.cross_entropy, [
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
        masks, logits, from_logits=True), plain, "one number")])


def spoiled():
    model = Plain()
    nn.init.constant_(model.last.bias, torch.nan)
    return model


accepts(checks.training, [Plain()], Plain)
accepts(checks.training, [plain()], plain)
refuses(checks.training, [
    (None, "returns nothing yet"),
    (Plain(width=5), "return the network itself"),
    ((Plain(), 0.5), "AttributeError"), (spoiled(), "not finite")], Plain)


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


accepts(checks.predict, [right_predict, slowly], None, SAMPLES, TRAIN)
refuses(checks.predict, [
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
     "array of NumPy")], None, SAMPLES, TRAIN)
refuses(checks.predict, [(right_predict, "other images as well|IoU is")],
        None, replace(SAMPLES, masks=np.random.default_rng(1).permutation(
            SAMPLES.masks)), TRAIN)


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


def unguarded(predicted, masks):
    with np.errstate(invalid="ignore"):
        return (predicted & masks).sum((1, 2)) \
            / (predicted | masks).sum((1, 2))


accepts(checks.metrics, [right_iou], right_dice)
accepts(checks.metrics, [looped(right_iou)], smoothed)
refuses(checks.metrics, [
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
    (lambda a, b: (a & b).sum((1, 2)), right_dice, "should be 1|on paper")])


def grouped(values=right_iou, rows=TEST, columns=("IoU", "Dice")):
    """The table of TEST, or a wrong one."""
    predicted = np.stack([np.roll(mask, number % 5) for number, mask
                          in enumerate(SAMPLES.masks[TEST])])
    scores = np.column_stack([
        values(predicted, SAMPLES.masks[TEST]),
        right_dice(predicted, SAMPLES.masks[TEST])])
    return predicted, pd.DataFrame(scores, columns=columns).groupby(
        SAMPLES.groups[rows]).mean()


PREDICTED, TABLE = grouped()
accepts(checks.table, [TABLE, TABLE.sort_index(ascending=False)],
        PREDICTED, SAMPLES, TEST)
refuses(checks.table, [
    (None, "returns nothing yet"),
    (grouped(columns=("Dice", "IoU"))[1], "columns"),
    (TABLE.IoU, "DataFrame"),
    (grouped(values=right_dice)[1], "not the means"),
    (grouped(rows=np.random.default_rng(0).permutation(TEST))[1],
     "not the means"),
    (TABLE.iloc[1:], "one line for each"),
    (TABLE.reset_index(drop=True), "one line for each|Type")],
    PREDICTED, SAMPLES, TEST)


# --- Task 6 ---------------------------------------------------------------

class Original(data.Samples):
    """Samples whose masks were twice as large before."""

    def original_mask(self, row):
        return self.masks[row].repeat(2, axis=0).repeat(2, axis=1)


ORIGINAL = Original(**vars(SAMPLES))
accepts(checks.target, [right_predict, slowly], None, ORIGINAL, TEST, 0.85)
refuses(checks.target, [
    (lambda model, images: np.zeros(images.shape[:3]), "is 0.000"),
    (lambda model, images: np.ones(images.shape[:3]), "is 0.1"),
    (lambda model, images: right_predict(model, images[::-1]), "worst"),
    (lambda model, images: right_predict(model, images)[:, ::-1], "worst")],
    None, ORIGINAL, TEST, 0.85)


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


accepts(checks.compose, [nearest, smeared, shrunk])
refuses(checks.compose, [
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
     "new background")])


# --- All of them ----------------------------------------------------------

@pytest.mark.parametrize("check, arguments", [
    pytest.param(check, arguments, id=check.__name__)
    for check, *arguments in ACCEPTED])
def test_a_right_answer_is_accepted(check, arguments, capsys):
    check(*arguments)
    assert capsys.readouterr().out.splitlines()[-1].startswith("✅ Task")


@pytest.mark.parametrize("check, arguments, hint", [
    pytest.param(check, arguments, hint, id=f"{check.__name__}: {hint}")
    for hint, check, *arguments in REFUSED])
def test_a_wrong_answer_gets_a_hint(check, arguments, hint):
    """One line: ❌, the task and this hint."""
    with pytest.raises(checks.NotYet, match=hint) as caught:
        check(*arguments)
    [shown] = caught.value._render_traceback_()
    assert re.match(r"❌ Task \d, [^\n]*$", shown)
