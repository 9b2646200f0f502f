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
from scipy.special import expit
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
    """Red rectangles before green ground as bright, named like MADS."""
    generator = np.random.default_rng(0)
    masks = np.zeros((150, 16, 32), bool)
    for mask in masks:
        top, left = generator.integers(0, 8), generator.integers(0, 20)
        mask[top:top + 8, left:left + 10] = True
    colours = np.where(masks[..., None], [150, 90, 100], [90, 150, 100])
    grey = generator.integers(-60, 60, (*masks.shape, 1))
    images = np.uint8(colours + grey
                      + generator.integers(-12, 13, colours.shape))
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

class Deep(nn.Module):
    """A small right network, and how to do it wrong."""

    def __init__(self, width=4, n_out=1, end=None, norm=nn.BatchNorm2d,
                 pool=4):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.norm = norm(width)
        self.pool = nn.MaxPool2d(pool)
        self.low = nn.Conv2d(width, width, 5, padding=2)
        self.up = nn.Upsample(scale_factor=pool)
        self.last = nn.Conv2d(2 * width, n_out, 1)
        self.end = end or (lambda logits: logits)

    def forward(self, images):
        fine = F.relu(self.norm(self.first(images)))
        coarse = self.up(F.relu(self.low(self.pool(fine))))
        return self.end(self.last(torch.cat([fine, coarse], dim=1)))


class Strided(nn.Module):
    """Another right one, down and up; it needs multiples of 32."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 32, stride=32)
        self.up = nn.ConvTranspose2d(8, 1, 32, stride=32)

    def forward(self, images):
        return self.up(F.relu(self.down(images)))


class Residual(nn.Module):
    """A block of ResNet, as Torchvision has it."""

    def __init__(self, n_in, n_out):
        super().__init__()
        stride = 1 if n_in == n_out else 2
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out), nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out))
        nn.init.zeros_(self.body[-1].weight)
        self.skip = nn.Conv2d(n_in, n_out, 1, stride, bias=False) \
            if stride == 2 else nn.Identity()

    def forward(self, x):
        return F.relu(self.body(x) + self.skip(x))


class ResNet(nn.Module):
    """An encoder as large as ResNet-18, frozen, and a decoder."""

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList([
            nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64),
                          nn.ReLU())])
        for n_in, n_out in [(64, 64), (64, 128), (128, 256), (256, 512)]:
            self.stages.append(nn.Sequential(Residual(n_in, n_out),
                                             Residual(n_out, n_out)))
        self.stages.requires_grad_(False)
        self.sides = nn.ModuleList(nn.Conv2d(width, 16, 1)
                                   for width in (64, 64, 128, 256, 512))
        self.head = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, images):
        x, total = images, 0
        for stage, side in zip(self.stages, self.sides):
            x = stage(x)
            total = total + F.interpolate(side(x), size=images.shape[2:],
                                          mode="bilinear")
        return self.head(F.relu(total))


def zero_head():
    model = Deep()
    nn.init.zeros_(model.last.weight)
    nn.init.zeros_(model.last.bias)
    return model


def lazy():
    return nn.Sequential(
        nn.LazyConv2d(8, 8, stride=8), nn.ReLU(),
        nn.LazyConv2d(8, 3, padding=1), nn.ReLU(),
        nn.Upsample(scale_factor=8), nn.LazyConv2d(1, 3, padding=1))


class Bfloat(Deep):
    """Computes with few digits, as is done to save time."""

    def forward(self, images):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(images)


def batch_statistics(width):
    return nn.BatchNorm2d(width, track_running_stats=False)


def deep(width=4, n_out=1, end=lambda logits: logits, norm=None, **options):
    images = keras.Input((None, None, 3))
    x = layers.Conv2D(width, 3, padding="same", activation="relu")(images)
    fine = (norm or layers.BatchNormalization)()(x)
    x = layers.MaxPooling2D(4)(fine)
    x = layers.Conv2D(width, 5, padding="same", activation="relu")(x)
    x = layers.Concatenate()([fine, layers.UpSampling2D(4)(x)])
    return keras.Model(images, end(layers.Conv2D(n_out, 1, **options)(x)))


def strided(*first):
    return keras.Sequential([
        *first, layers.Conv2D(8, 32, strides=32), layers.ReLU(),
        layers.Conv2DTranspose(1, 32, strides=32)])


class Subclass(keras.Model):
    """A network of Keras that has no weights before it is called."""

    def __init__(self):
        super().__init__()
        self.parts = [layers.Conv2D(4, 8, strides=8, activation="relu"),
                      layers.Conv2D(4, 3, padding="same", activation="relu"),
                      layers.UpSampling2D(8), layers.Conv2D(1, 3,
                                                            padding="same")]

    def call(self, images):
        for part in self.parts:
            images = part(images)
        return images


def separable():
    """Many layers, most of them with one output for each input channel."""
    images = x = keras.Input((96, 128, 3))
    x = layers.Conv2D(32, 3, 2, padding="same", activation="relu")(x)
    for _ in range(8):
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Conv2D(32, 1, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.UpSampling2D(2)(x)
    return keras.Model(images, layers.Conv2D(1, 1)(x))


def frozen():
    model = deep()
    for layer in model.layers[:-1]:
        layer.trainable = False
    return model


def two_small_steps():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
                         nn.Conv2d(8, 1, 3, padding=1))


def keras_convolution():
    return keras.Sequential([layers.Conv2D(1, 3, padding="same")])


accepts(checks.network, [
    Deep, Strided, ResNet, zero_head, lazy, Bfloat,
    lambda: Deep(norm=lambda width: nn.GroupNorm(2, width)),
    lambda: Deep(norm=nn.InstanceNorm2d), deep, strided,
    lambda: strided(keras.Input((96, 128, 3))), Subclass, separable, frozen,
    lambda: deep(kernel_initializer="zeros"),
    lambda: deep(norm=lambda: layers.GroupNormalization(2))])
refuses(checks.network, [
    (nn.Module, "no weights yet"), (keras.Model, "no weights yet"),
    (nn.Identity, "no weights yet"),
    (lambda: Deep(end=torch.sigmoid), "between 0 and 1"),
    (lambda: Deep(end=F.relu), "below 0"),
    (lambda: Deep(end=F.softplus), "below 0"),
    (lambda: Deep(end=F.logsigmoid), "above 0"),
    (lambda: Deep(end=torch.tanh), "tanh"),
    (lambda: nn.Conv2d(3, 1, 3, padding=1), "more than its neighbours"),
    (two_small_steps, "more than its neighbours"),
    (lambda: Deep(n_out=2), "one channel"),
    (lambda: Deep(end=lambda x: x.transpose(2, 3)), "swapped"),
    (lambda: Deep(end=lambda x: F.max_pool2d(x, 2)), "not 48×64"),
    (lambda: Deep(end=lambda x: 0 * x), "same logit"),
    (lambda: Deep(end=lambda x: 0 * x - 5), "same logit"),
    (lambda: Deep(end=lambda x: x / 0), "not finite"),
    (lambda: Deep(end=lambda x: x - x.mean(dim=0)), "alone"),
    (lambda: Deep(norm=batch_statistics), "alone"),
    (lambda: Deep(end=lambda x: x[:, 0]), "an axis for the channel"),
    (lambda: Deep(width=900), "weights are more than 16,000,000"),
    (lambda: None, "returns nothing yet"),
    (lambda: deep(end=layers.Activation("sigmoid")), "between 0 and 1"),
    (lambda: deep(end=layers.ReLU()), "below 0"),
    (lambda: deep(end=layers.Activation("softplus")), "below 0"),
    (lambda: deep(end=layers.Activation("tanh")), "tanh"),
    (keras_convolution, "more than its neighbours"),
    (lambda: deep(n_out=2), "one channel"),
    (lambda: deep(end=layers.Permute((2, 1, 3))), "swapped"),
    (lambda: deep(end=layers.MaxPooling2D()), "not 48×64"),
    (lambda: deep(end=layers.Rescaling(0.0, -5.0)), "same logit"),
    (lambda: deep(end=layers.Lambda(lambda x: x / 0)), "not finite"),
    (lambda: deep(end=layers.Lambda(
        lambda x: x - tf.reduce_mean(x, axis=0))), "alone"),
    (lambda: deep(width=900), "weights are more than 16,000,000"),
    (lambda: deep(end=layers.Reshape((-1, 1))), "an axis for the channel")])


# --- Task 4: the loss -----------------------------------------------------

BCE = F.binary_cross_entropy_with_logits


def by_hand_torch(logits, masks):
    return (F.softplus(logits) - logits * masks).mean()


def clamped_torch(logits, masks):
    p = torch.sigmoid(logits).clamp(1e-6, 1 - 1e-6)
    return -(masks * p.log() + (1 - masks) * (1 - p).log()).mean()


def naive_torch(logits, masks):
    p = torch.sigmoid(logits)
    return -(masks * p.log() + (1 - masks) * (1 - p).log()).mean()


def bfloat_torch(logits, masks):
    return BCE(logits.bfloat16(), masks.bfloat16())


def dice_torch(logits, masks, smooth=1, axes=(1, 2, 3)):
    p = torch.sigmoid(logits)
    both, total = (p * masks).sum(axes), (p + masks).sum(axes)
    return (1 - (2 * both + smooth) / (total + smooth)).mean()


def and_dice(**options):
    return lambda logits, masks: BCE(logits, masks) \
        + dice_torch(logits, masks, **options)


def weighted(weight):
    return lambda logits, masks: BCE(
        logits, masks, pos_weight=torch.tensor(weight))


def by_class(logits, masks):
    """Each class as the mean over its own pixels, a common mistake."""
    loss = BCE(logits, masks, reduction="none")
    return (loss[masks > 0].mean() + loss[masks == 0].mean()) / 2


def normalised(logits, masks):
    """The rarer class weighs more, by its share in this batch."""
    share = masks.mean()
    return BCE(logits, masks, weight=torch.where(
        masks > 0, 1 - share, share) * 2)


def masked(of):
    """BCE of the pixels that `of` chooses."""
    return lambda logits, masks: BCE(logits[of(masks)], masks[of(masks)])


accepts(checks.cross_entropy, [
    BCE, nn.BCEWithLogitsLoss(), by_hand_torch, clamped_torch, bfloat_torch,
    lambda logits, masks: F.binary_cross_entropy(torch.sigmoid(logits),
                                                 masks),
    and_dice(), and_dice(smooth=0), and_dice(axes=(0, 1, 2, 3)),
    lambda logits, masks: BCE(logits, masks) + 0.3 * dice_torch(logits, masks),
    lambda logits, masks: bfloat_torch(logits, masks)
    + dice_torch(logits.bfloat16(), masks),
    weighted(3.0), lambda logits, masks: weighted(5.0)(logits, masks)
    + dice_torch(logits, masks)], Deep)
refuses(checks.cross_entropy, [(wrong, Deep, hint) for wrong, hint in [
    (lambda logits, masks: None, "returns nothing yet"),
    (lambda logits, masks: BCE(torch.sigmoid(logits), masks),
     "a sigmoid too many"),
    (lambda logits, masks: BCE(logits, 255 * masks), "almost 0|loss of 20"),
    (lambda logits, masks: BCE(logits, masks, reduction="sum"), "mean"),
    (lambda logits, masks: BCE(logits, masks, reduction="none"),
     "one number"),
    (lambda logits, masks: F.mse_loss(logits, masks), "almost 0"),
    (lambda logits, masks: F.mse_loss(torch.sigmoid(logits), masks), "ln 2"),
    (lambda logits, masks: BCE(-logits, masks), "almost 0"),
    (lambda logits, masks: BCE(masks, logits), "logits come first"),
    (lambda logits, masks: and_dice()(masks, logits), "logits come first"),
    (lambda logits, masks: masked(lambda m: m > 0)(logits, masks),
     "the background have no"),
    (lambda logits, masks: (masks * BCE(logits, masks, reduction="none")
                            ).mean(), "the background have no"),
    (lambda logits, masks: masked(lambda m: m == 0)(logits, masks),
     "the person have no"),
    (lambda logits, masks: BCE(logits[0], masks[0]), "of all images"),
    (lambda logits, masks: BCE(logits, masks, reduction="none").median(),
     "no influence|of all images"),
    (lambda logits, masks: dice_torch(logits, masks), "ln 2|cross-entropy"),
    (by_class, "however many"), (normalised, "ln 2|however many"),
    (weighted(0.3), "ln 2"),
    (lambda logits, masks: BCE(logits, masks) - 0.1 * dice_torch(
        logits, masks), "ln 2"),
    (lambda logits, masks: 2 * BCE(logits, masks), "ln 2"),
    (lambda logits, masks: 3 * weighted(1 / 3)(logits, masks), "ln 2"),
    (lambda logits, masks: BCE(logits, masks).item(), "no gradient"),
    (lambda logits, masks: BCE(logits.detach(), masks), "no gradient"),
    (lambda logits, masks: np.logaddexp(
        0, (1 - 2 * masks.numpy()) * logits.numpy()).mean(), "no gradient"),
    (naive_torch, "no logarithm"),
    (lambda logits, masks: F.nothing(logits), "AttributeError")]])


def by_hand_keras(masks, logits):
    return tf.reduce_mean(tf.nn.softplus(logits) - logits * masks)


def clamped_keras(masks, logits):
    return keras.losses.BinaryCrossentropy()(masks, tf.sigmoid(logits))


def bfloat_keras(masks, logits):
    return by_hand_keras(tf.cast(masks, tf.bfloat16),
                         tf.cast(logits, tf.bfloat16))


def dice_keras(masks, logits, axes=(1, 2, 3), smooth=1):
    p = tf.sigmoid(logits)
    both = tf.reduce_sum(p * masks, axes)
    total = tf.reduce_sum(p + masks, axes)
    return tf.reduce_mean(1 - (2 * both + smooth) / (total + smooth))


BINARY = keras.losses.BinaryCrossentropy(from_logits=True)
accepts(checks.cross_entropy, [
    by_hand_keras, clamped_keras, bfloat_keras, BINARY,
    lambda masks, logits: BINARY(masks, logits) + keras.losses.Dice()(
        masks, tf.sigmoid(logits)),
    lambda masks, logits: BINARY(masks, logits) + dice_keras(masks, logits),
    lambda masks, logits: tf.reduce_mean(
        tf.nn.weighted_cross_entropy_with_logits(masks, logits, 4.0))], deep)
refuses(checks.cross_entropy, [(wrong, deep, hint) for wrong, hint in [
    (lambda masks, logits: None, "returns nothing yet"),
    (lambda masks, logits: keras.losses.BinaryCrossentropy()(masks, logits),
     "not as probabilities"),
    (lambda masks, logits: by_hand_keras(masks, tf.sigmoid(logits)),
     "a sigmoid too many"),
    (lambda masks, logits: by_hand_keras(255 * masks, logits),
     "almost 0|loss of 20"),
    (lambda masks, logits: by_hand_keras(logits, masks),
     "masks come first"),
    (lambda masks, logits: clamped_keras(logits, masks),
     "masks come first"),
    (lambda masks, logits: keras.losses.binary_crossentropy(
        masks, logits, from_logits=True), "one number"),
    (lambda masks, logits: keras.losses.BinaryCrossentropy(
        from_logits=True, reduction="sum")(masks, logits), "ln 2"),
    (lambda masks, logits: by_hand_keras(masks[:1], logits[:1]),
     "of all images"),
    (lambda masks, logits: by_hand_keras(masks, -logits), "almost 0"),
    (lambda masks, logits: keras.losses.MeanSquaredError()(
        masks, tf.sigmoid(logits)), "ln 2"),
    (lambda masks, logits: float(BINARY(masks, logits)), "no gradient"),
    (lambda masks, logits: BINARY(masks, tf.stop_gradient(logits)),
     "no gradient"),
    (lambda masks, logits: BINARY(masks.numpy(), logits.numpy()),
     "no gradient"),
    (lambda masks, logits: tf.reduce_mean(masks * tf.nn.softplus(-logits)),
     "the background have no")]])


# --- Task 4: the training -------------------------------------------------

def prepare_torch(images):
    return torch.tensor(np.float32(images) / 64 - 2).permute(0, 3, 1, 2)


def prepare_keras(images):
    return tf.constant(np.float32(images) / 64 - 2)


class Reds(nn.Module):
    """Sees how much redder than green a pixel is, once it is trained."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 1, 1)
        nn.init.normal_(self.layer.weight, std=0.1)
        nn.init.zeros_(self.layer.bias)

    def forward(self, images):
        return self.layer(images)


def reds():
    return keras.Sequential([layers.Conv2D(
        1, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.1)
    )])


def trained(model):
    """A network as if its training had ended."""
    if isinstance(model, nn.Module):
        model.layer.weight.data[...] = torch.tensor(
            [8.0, -8, 0])[:, None, None]
        model.layer.bias.data[...] = 0
    else:
        model.build((None, None, None, 3))
        model.set_weights([np.reshape([8.0, -8, 0], (1, 1, 3, 1)),
                           np.zeros(1)])
    return model


samples = SAMPLES  # what a training of a notebook finds


@checks.watched
def train_network(rows, epochs=2, make=lambda: trained(Reds())):
    """Only looks at its pictures; what it returns has learned already."""
    for _ in range(epochs):
        for some in np.array_split(rows, 5):
            assert samples.images[some].dtype == np.uint8
    return make()


@checks.watched
def by_tables(rows, make):
    """As tf.data does it."""
    table = tf.data.Dataset.from_tensor_slices(
        (samples.images[rows], samples.masks[rows]))
    assert len(list(table.batch(8))) == -(-len(rows) // 8)
    return make()


@checks.watched
def fitted(rows):
    """As Keras does it."""
    model = keras.Sequential([layers.Conv2D(1, 1)])
    model.compile("adam", BINARY)
    model.fit(np.float32(samples.images[rows]) / 64 - 2,
              np.float32(samples.masks[rows])[..., None], verbose=0)
    return model


@checks.watched
def of_all(rows):
    assert len(np.asarray(samples.images)) == len(samples)
    return trained(Reds())


class Normed(Reds):
    """With batch norm, whose statistics lag far behind."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        nn.init.constant_(self.norm.weight, 0.1)

    def forward(self, images):
        return self.norm(super().forward(images))


def lagging():
    model = trained(Normed())
    model.norm.weight.data[...], model.norm.bias.data[...] = 4, -3.5
    model.norm.running_mean[...] = 100
    return model


def normed():
    return keras.Sequential([layers.Conv2D(
        1, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.1)
    ), layers.BatchNormalization(gamma_initializer=keras.initializers.Constant(
        0.1))])


def lagging_keras():
    model = normed()
    model.build((None, None, None, 3))
    model.set_weights([np.reshape([8.0, -8, 0], (1, 1, 3, 1)), np.zeros(1),
                       *np.array([[4], [-3.5], [100], [1]])])
    return model


def spoiled():
    model = Reds()
    nn.init.constant_(model.layer.bias, torch.nan)
    return model


MODEL = train_network(TRAIN)
KERAS = train_network(TRAIN, make=lambda: trained(reds()))
TORCH_KIND = Reds, prepare_torch, SAMPLES, TRAIN
KERAS_KIND = reds, prepare_keras, SAMPLES, TRAIN
accepts(checks.training, [MODEL], *TORCH_KIND)
accepts(checks.training, [KERAS, by_tables(
    TRAIN, lambda: trained(reds()))], *KERAS_KIND)
accepts(checks.training, [train_network(TRAIN, make=lagging)], Normed,
        *TORCH_KIND[1:])
accepts(checks.training, [train_network(TRAIN, make=lagging_keras)], normed,
        *KERAS_KIND[1:])
refuses(checks.training, [
    (None, "returns nothing yet"),
    (Deep(), "return the network itself"),
    ((MODEL, 0.5), "return the network itself"), (spoiled(), "not finite"),
    (train_network(TRAIN, make=Reds), "hardly learned"),
    (trained(Reds()), "@checks.watched"),
    (train_network(np.append(TRAIN, TEST[0])), "looked at 1 pictures"),
    (of_all(TRAIN), "not given"),
    (train_network(TRAIN[:20]), "only 20 of")], *TORCH_KIND)
refuses(checks.training, [
    (keras.callbacks.History(), "return the network itself"),
    (train_network(TRAIN, make=reds), "hardly learned"),
    (deep(), "return the network itself")], *KERAS_KIND)


def test_a_trained_network_stays_as_it_is():
    """Also its mode, or a `predict` that does not set it would be right."""
    model, other = (train_network(TRAIN, make=make)
                    for make in (lagging, lagging_keras))
    model.layer.eval()
    before, weights = str(model.state_dict()), str(other.get_weights())
    checks.training(model, Normed, *TORCH_KIND[1:])
    checks.training(other, normed, *KERAS_KIND[1:])
    assert str(model.state_dict()) == before
    assert str(other.get_weights()) == weights
    assert (model.training, model.layer.training) == (True, False)


@pytest.mark.parametrize("key, rows", [
    (3, [3]), (-1, [149]), (slice(2, 5), [2, 3, 4]), ([1, 7], [1, 7]),
    (np.arange(150) == 6, [6]), ((5, slice(0, 2)), [5]),
    (np.array([[1, 2], [2, 3]]), [1, 2, 3]), (np.int64(8), [8]),
    (([4, 5], slice(None), 0), [4, 5]), ((..., 0), range(150)),
    (np.s_[::50], [0, 50, 100])])
def test_a_watched_training_notes_its_rows(key, rows):
    @checks.watched
    def look():
        assert np.array_equal(samples.images[key], SAMPLES.images[key])
        return Reds()

    assert list(checks.rows_of(look())) == list(rows)


@pytest.mark.parametrize("look", [
    np.asarray, np.float32, list, np.stack, lambda images: images / 255,
    lambda images: images.astype(float), lambda images: images.mean(),
    torch.tensor, tf.constant, lambda images: images[SAMPLES.masks]],
    ids=str)
def test_whoever_takes_the_array_looks_at_all(look):
    @checks.watched
    def training():
        look(samples.images)
        return Reds()

    expected = np.flatnonzero(SAMPLES.masks.any(axis=(1, 2)))
    assert np.array_equal(checks.rows_of(training()), expected)


def test_the_form_of_the_images_says_nothing_about_them():
    @checks.watched
    def training(rows):
        """Trains."""
        images = samples.images
        assert (len(images), images.shape, images.dtype, images.ndim) == (
            150, SAMPLES.images.shape, np.uint8, 4)
        return Reds()

    assert (training.__name__, training.__doc__) == ("training", "Trains.")
    model = training(rows=TRAIN)
    with pytest.raises(checks.NotYet, match="@checks.watched"):
        checks.rows_of(model)
    assert samples is SAMPLES


def test_after_an_error_the_samples_are_as_before():
    @checks.watched
    def training():
        raise ValueError(samples.images[0].shape)

    with pytest.raises(ValueError):
        training()
    assert samples is SAMPLES


def test_the_rows_of_a_fitted_model_are_known():
    assert np.array_equal(checks.rows_of(fitted(TRAIN)), np.sort(TRAIN))


# --- Task 5 ---------------------------------------------------------------

def predict_torch(model, images):
    model.eval()
    with torch.no_grad():
        logits = [model(prepare_torch(images[first:first + 5]))
                  for first in range(0, len(images), 5)]
    return torch.sigmoid(torch.cat(logits)).squeeze(1).numpy()


def predict_keras(model, images):
    return tf.sigmoid(model(prepare_keras(images), training=False)
                      ).numpy()[..., 0]


def logits_of(model, images):
    with torch.no_grad():
        return model(prepare_torch(images))[:, 0].numpy()


def slowly(model, images):
    return np.stack([np.float64(predict_torch(model, image[None])[0])
                     for image in images])


def both_ways(model, images):
    return (predict_torch(model, images) + predict_torch(
        model, images[:, :, ::-1].copy())[:, :, ::-1]) / 2


def both_ways_before(model, images):
    """The mean of the logits, then the sigmoid."""
    return expit((logits_of(model, images) + logits_of(
        model, images[:, :, ::-1].copy())[:, :, ::-1]) / 2)


def roughly(model, images):
    """With the digits of bfloat16."""
    with torch.no_grad():
        logits = model(prepare_torch(images)).bfloat16()
    return torch.sigmoid(logits)[:, 0].float().numpy()


def by_batch(model, images):
    """As batch norm in training: the batch changes each image."""
    p = predict_torch(model, images)
    return np.clip(p - p.mean() + p.mean() * len(images) / 12, 0, 1)


def then(change):
    """A right prediction, and then a change."""
    return lambda model, images: change(predict_torch(model, images))


def stretched(p):
    low, high = p.min((1, 2), keepdims=True), p.max((1, 2), keepdims=True)
    with np.errstate(invalid="ignore"):
        return (p - low) / (high - low)


def inverted():
    """A network that has learned the opposite."""
    model = trained(Reds())
    model.layer.weight.data *= -1
    return model


def timid():
    """A network that finds a fifth of each person."""
    model = trained(Reds())
    model.layer.bias.data -= 8.6
    return model


def eager():
    """A network that calls everything person, but is not sure."""
    model = Reds()
    model.layer.weight.data *= 0.1
    model.layer.bias.data[...] = 0.5
    return model


class Slanted(Reds):
    """Also sees the pixel to the right, so that mirroring matters."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 1, (1, 3), padding=(0, 1))


def slanted():
    model = trained(Slanted())
    model.layer.weight.data[..., 0] = 0
    return model


class Place(nn.Module):
    """A network that knows only where people often are."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.full((1, 1, 16, 32), -3.0))

    def forward(self, images):
        return self.bias + 0 * images[:, :1]


class Level(Reds):
    """As long as it is not trained, it gives one number for all."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.layer.weight)


def places():
    model = Place()
    mean = torch.tensor(SAMPLES.masks[TRAIN].mean(axis=0))
    model.bias.data[0, 0] = torch.where(mean > 0.3, 3.0, -3.0)
    return model


# Persons are brighter than the ground, and so they need no network.
BRIGHT = replace(SAMPLES, images=np.uint8(
    40 + 150 * SAMPLES.masks[..., None] + SAMPLES.images // 5))


def brights():
    """A network that has learned to see what is bright, but not well."""
    model = Reds()
    model.layer.weight.data[...] = 8.0
    model.layer.bias.data[...] = -8.0 * 3 * (215 / 64 - 2)
    return model


accepts(checks.predict, [predict_torch, slowly, both_ways, roughly], MODEL,
        *TORCH_KIND)
accepts(checks.predict, [predict_torch, both_ways, both_ways_before],
        slanted(), Slanted, *TORCH_KIND[1:])
accepts(checks.predict, [predict_keras], KERAS, *KERAS_KIND)
refuses(checks.predict, [(wrong, MODEL, *TORCH_KIND, hint)
                         for wrong, hint in [
    (lambda model, images: None, "returns nothing yet"),
    (lambda model, images: logits_of(model, images), "logits"),
    (then(lambda p: 255 * p), "grey"), (then(expit), "twice"),
    (then(lambda p: np.float32(p > 0.5)), "0 or 1"),
    (then(lambda p: p.swapaxes(1, 2)), "swapped"),
    (then(lambda p: p[..., None]), "must give"),
    (then(lambda p: p * np.nan), "not finite"),
    (lambda model, images: predict_torch(model, images[::-1].copy()),
     "alone"),
    (by_batch, "alone"), (then(lambda p: p * 0 + 0.1), "not the sigmoid"),
    (then(lambda p: 1 - p), "not the sigmoid"),
    (then(lambda p: np.roll(p, 3, axis=2)), "not the sigmoid"),
    (lambda model, images: predict_torch(model, images // 4),
     r"prepared as in training"),
    (lambda model, images: predict_torch(MODEL, images),
     "the `model` that comes in"),
    (then(stretched), "stretch"), (then(torch.tensor), "array of NumPy")]])
refuses(checks.predict, [
    (predict_torch, inverted(), *TORCH_KIND, "other images|IoU is"),
    (predict_torch, timid(), *TORCH_KIND, "one mask for all images 0.3"),
    (predict_torch, eager(), *TORCH_KIND, "other images as well"),
    (then(stretched), trained(Level()), Level, *TORCH_KIND[1:],
     "do not stretch"),
    (predict_torch, Place(), Place, *TORCH_KIND[1:], "no pixel is person"),
    (predict_torch, places(), Place, *TORCH_KIND[1:],
     "other images as well|one mask for all"),
    (predict_torch, brights(), Reds, prepare_torch, BRIGHT, TRAIN,
     "brightness has 0.99"),
    (predict_torch, MODEL, Reds, prepare_torch, replace(
        SAMPLES, masks=np.random.default_rng(1).permutation(SAMPLES.masks)),
     TRAIN, "other images as well|IoU is")])


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


def smoothed(smooth):
    """Dice with a number added above and below, as it is often written."""
    def function(predicted, masks):
        both = (predicted & masks).sum((1, 2))
        return (2 * both + smooth) / (
            predicted.sum((1, 2)) + masks.sum((1, 2)) + smooth)
    return function


def lenient(empty):
    """IoU that is 1 whenever one of the masks, chosen by empty, is empty."""
    return lambda predicted, masks: np.where(
        empty(predicted, masks).any((1, 2)), right_iou(predicted, masks), 1)


def unguarded(predicted, masks):
    with np.errstate(invalid="ignore"):
        return (predicted & masks).sum((1, 2)) \
            / (predicted | masks).sum((1, 2))


accepts(checks.metrics, [right_iou], right_dice)
accepts(checks.metrics, [looped(right_iou)], smoothed(1e-6))
accepts(checks.metrics, [right_iou], smoothed(1))
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
    (lenient(lambda predicted, masks: masks), right_dice, "only one of"),
    (lenient(lambda predicted, masks: predicted), right_dice, "only one of"),
    (right_iou, lambda a, b: np.where(right_iou(a, b) + a.any((1, 2)) > 0,
                                      right_dice(a, b), 1), "only one of"),
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
accepts(checks.table, [TABLE, TABLE.sort_index(ascending=False),
                       TABLE.round(2)],
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


def blind(model, images):
    return np.zeros(images.shape[:3])


KAGGLE = Original(**{**vars(SAMPLES), "source": "MADS"})
STRANGERS = Original(**{**vars(SAMPLES), "source": "synthetic strangers"})
DARK = replace(STRANGERS, images=255 - STRANGERS.images)
GOAL = SAMPLES, TEST, 0.85
accepts(checks.target, [predict_torch, slowly], MODEL, *GOAL)
accepts(checks.target, [predict_torch], MODEL, KAGGLE, TEST, 0.85)
accepts(checks.target, [predict_torch], MODEL, KAGGLE, TEST, 0.85, 3)
accepts(checks.target, [predict_keras], KERAS, *GOAL)
refuses(checks.target, [
    (blind, MODEL, *GOAL, "25 sequences of strangers is 0.000.*worst"),
    (blind, MODEL, KAGGLE, TEST, 0.85, "5 held-out sequences is 0.000"),
    (predict_torch, MODEL, *GOAL, 3, "strangers is 0.0.*worst"),
    (then(lambda p: p[:, ::-1]), MODEL, *GOAL, "worst"),
    (predict_torch, trained(Reds()), *GOAL, "@checks.watched"),
    (predict_torch, None, *GOAL, "@checks.watched"),
    (predict_torch, of_all(TRAIN), *GOAL, "looked at all"),
    (predict_torch, train_network(np.append(TRAIN, TEST[0])), *GOAL,
     "seen 1 sequences"),
    (predict_torch, MODEL, SAMPLES, VALID[:12], 0.85, "too few"),
    (predict_torch, MODEL, SAMPLES, np.delete(TEST, 3), 0.85,
     "none of them out")])


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


def poster(image, probabilities, background):
    """A cut-out of one colour, which has no halo either."""
    alpha = probabilities[..., None]
    colour = image[probabilities > 0.9].mean(axis=0)
    return np.uint8(alpha * colour + (1 - alpha) * background)


accepts(checks.compose, [nearest, smeared, shrunk])
refuses(checks.compose, [
    (lambda *inputs: None, "returns nothing yet"),
    (mixed, "halo"),
    (poster, "pixel by pixel"),
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


# --- Task 7, the film ------------------------------------------------------

def of_three(film):
    """The mean of each frame and its neighbours."""
    padded = np.concatenate([film[:1], film, film[-1:]])
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def median(film):
    padded = np.concatenate([film[:1], film, film[-1:]])
    return np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)


def gaussian(sigma=1, mode="nearest"):
    return lambda film: ndimage.gaussian_filter1d(film, sigma, axis=0,
                                                  mode=mode)


def running(share):
    """What is new counts by this share, what was before by the rest."""
    def steady(film):
        frames = [film[0]]
        for frame in film[1:]:
            frames.append(share * frame + (1 - share) * frames[-1])
        return np.stack(frames)
    return steady


def windows(film):
    """Only neighbours that are there."""
    return np.stack([film[max(0, t - 1):t + 2].mean(axis=0)
                     for t in range(len(film))])


def overwritten(film):
    film[1:-1] = (film[:-2] + film[1:-1] + film[2:]) / 3
    return film


accepts(checks.steady, [of_three, median, gaussian(), gaussian(0.7),
                        gaussian(mode="reflect"), running(0.6), windows,
                        lambda film: np.float64(windows(film))])
refuses(checks.steady, [
    (lambda film: None, "returns nothing yet"),
    (lambda film: film.copy(), "flickers"),
    (lambda film: np.broadcast_to(film.mean(axis=0), film.shape),
     "no longer fit"),
    (running(0.1), "no longer fit"), (gaussian(6), "no longer fit"),
    (lambda film: np.roll(of_three(film), 4, axis=0), "no longer fit"),
    (overwritten, "work on a copy"),
    (lambda film: of_three(film)[1:-1], "same shape"),
    (lambda film: of_three(film) > 0.5, "floats"),
    (lambda film: 3 * of_three(film), "not a sum"),
    (lambda film: of_three(film) * np.nan, "not a sum"),
    (gaussian(mode="constant"), "in no frame"),
    (lambda film: of_three(film) * (len(film) > 1), "in no frame"),
    (lambda film: ndimage.gaussian_filter(film, 1, axes=(1, 2)),
     "smooth over time only"),
    (lambda film: (film[0] + film[1] + film[2]) / 3, "same shape"),
    (lambda film: of_three(film) if len(film) > 2 else film[5],
     "IndexError")])


def test_flicker_is_the_mean_change():
    film = np.zeros((3, 2, 2), np.float32)
    film[1] = 0.5
    film[2, 0] = 0.5
    assert checks.flicker(film) == pytest.approx((0.5 + 0.25) / 2)
    assert checks.flicker(film[:1]) == 0


# --- All of them ----------------------------------------------------------

@pytest.fixture
def strangers(monkeypatch):
    """Drawn samples in the place of the strangers; of seed 3, others."""
    monkeypatch.setattr(mads, "strangers", lambda size, seed=None:
                        {None: STRANGERS, 3: DARK}[seed])


@pytest.mark.parametrize("check, arguments", [
    pytest.param(check, arguments, id=check.__name__)
    for check, *arguments in ACCEPTED])
def test_a_right_answer_is_accepted(check, arguments, capsys, strangers):
    check(*arguments)
    assert capsys.readouterr().out.splitlines()[-1].startswith("✅ Task")


@pytest.mark.parametrize("check, arguments, hint", [
    pytest.param(check, arguments, hint, id=f"{check.__name__}: {hint}")
    for hint, check, *arguments in REFUSED])
def test_a_wrong_answer_gets_a_hint(check, arguments, hint, strangers):
    """One line: ❌, the task and this hint."""
    with pytest.raises(checks.NotYet, match=hint) as caught:
        check(*arguments)
    [shown] = caught.value._render_traceback_()
    assert re.match(r"❌ Task \d, [^\n]*$", shown)
