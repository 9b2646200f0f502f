"""The two notebooks teach the same lesson and compute the same things.

Both frameworks run in this process, with the code of the notebooks' own
cells. PyTorch's arrays are (N, C, H, W), Keras' are (N, H, W, C).

The networks are compared in float64. In float32, two neighbours that
differ by one rounding may swap places as the maximum of a window, and
max-unpooling then moves a number by a pixel, in either framework.
"""

import re
import subprocess
import sys
from itertools import product

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import tv_tensors

from data.synthetic import moles
from lab import lesson
from lab.lesson import NOTEBOOKS, PYTORCH, ROOT, TENSORFLOW
from lab.pretraining.keras_weights import copy_into, keras_weights

BOTH_MODELS = pytest.mark.parametrize("name", ["SegNet", "UNet"])
PARTS = "parameters", "model", "training", "augmentation"


@pytest.fixture(scope="module")
def pytorch():
    """What the PyTorch notebook defines for building and training."""
    return lesson.definitions(PYTORCH, *PARTS, validation_batches=None,
                              training_batches=None, LEARNING_RATE=1e-3)


@pytest.fixture(scope="module")
def tensorflow():
    """What the TensorFlow notebook defines for building and training."""
    return lesson.definitions(TENSORFLOW, *PARTS, validation_batches=None,
                              training_batches=None, LEARNING_RATE=1e-3)


def in_keras(tensors):
    """PyTorch's tensors by name as a list, in Keras' order and axes."""
    return sum(keras_weights({
        name: tensor.detach().numpy().copy()
        for name, tensor in tensors.items()}), [])


def weights_of_both(one, other):
    """The weights of a PyTorch and of a Keras model as two lists."""
    return in_keras(one.state_dict()), other.get_weights()


def largest_difference(one, other):
    """The largest difference of two equally long lists of arrays."""
    return max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))


def a_batch(size=(32, 48), count=4, seed=0):
    """Random images (N, H, W, 3) and masks (N, H, W, 1), both float64."""
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(count, *size, 3))
    masks = gaussian_filter(images.mean(-1, keepdims=True), (0, 2, 2, 0)) > 0
    return images, masks.astype(np.float64)


def channels_first(array):
    """(N, H, W, C) as a PyTorch tensor (N, C, H, W)."""
    return torch.from_numpy(np.moveaxis(array, -1, 1).copy())


def channels_last(tensor):
    """A PyTorch tensor (N, C, H, W) as an array (N, H, W, C)."""
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


@pytest.fixture
def change():
    """Change what a Lesson defines, until the end of the test."""
    before = []

    def change(side, name, value):
        before.append((side, name, getattr(side, name)))
        setattr(side, name, value)

    yield change
    for side, name, value in before[::-1]:
        setattr(side, name, value)


@pytest.fixture
def precision():
    """In what the twins compute, unless a test chooses another."""
    return np.float64


@pytest.fixture
def twins(pytorch, tensorflow, name, precision, change, monkeypatch):
    """A PyTorch model and a Keras model with the same weights.

    The batch norms are not as they start, so that each number matters.
    """
    change(pytorch, "SEED", 1)
    one = pytorch.new_network(getattr(pytorch, name),
                              np.uint8([[[[0, 1, 2], [2, 2, 4]]]]))
    for layer in one.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, std=0.2)
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.8, 1.2)
    if precision == np.float64:
        one = one.double()
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        loss = tensorflow.cross_entropy
        change(tensorflow, "cross_entropy",
               type(loss).from_config(loss.get_config()))
    other = getattr(tensorflow, name)()
    copy_into(other, {name: tensor.numpy() for name, tensor
                      in one.state_dict().items()})
    yield one, other
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


# --- Networks -------------------------------------------------------------

# For each precision: the share of logits that must agree, the number of
# batches whose gradients must, of how many; and how closely logits, loss,
# gradients and running statistics do.
AGREE = {np.float64: (1, 5, 5, 1e-9, 1e-9, 1e-10, 1e-9),
         np.float32: (0.99, 3, 20, 1e-4, 1e-5, 1e-4, 1e-5)}


def gradient_error(one, other, pytorch, tensorflow, precision, seed):
    """The largest relative difference of all gradients of one batch."""
    images, masks = (array.astype(precision)
                     for array in a_batch(count=2, seed=seed))
    one.train().zero_grad()
    pytorch.cross_entropy(one(channels_first(images)),
                          channels_first(masks)).backward()
    with tf.GradientTape() as tape:
        loss = tensorflow.cross_entropy(masks, other(images, training=True))
    gradients = in_keras({
        name: weight.grad for name, weight in one.named_parameters()})
    return max(np.linalg.norm(keras_gradient - gradient)
               / np.linalg.norm(gradient) for gradient, keras_gradient
               in zip(gradients, tape.gradient(
                   loss, other.trainable_weights), strict=True))


@pytest.mark.parametrize("precision", AGREE)
@BOTH_MODELS
def test_a_network_computes_the_same(twins, pytorch, tensorflow, precision):
    """Logits, loss, every gradient, running statistics.

    In float32, as the lesson runs, a swapped maximum may disturb a few
    pixels, and with them all gradients of a batch. That is so in
    about half of the batches; another computation would be seen in all.
    """
    one, other = twins
    share, agreeing, batches, *bounds = AGREE[precision]
    before = other.get_weights()
    # First as it is, then in training, which changes what is stored.
    for training, size in product((False, True),
                                  [(16, 16), (48, 80), (96, 128)]):
        images, masks = (array.astype(precision) for array in a_batch(size))
        expected = one.train(training)(channels_first(images))
        logits = other(images, training=training)
        keras_loss = tensorflow.cross_entropy(masks, logits)
        assert logits.shape == (4, *size, 1)
        assert np.quantile(np.abs(logits - channels_last(expected)),
                           share) < bounds[0]
    loss = pytorch.cross_entropy(expected, channels_first(masks))
    assert float(keras_loss) == pytest.approx(loss.item(), rel=bounds[1])
    means, keras_means = (
        [array for array, weight in zip(weights, other.weights, strict=True)
         if weight.name == "moving_mean"]
        for weights in (in_keras(one.state_dict()), other.get_weights()))
    assert len(means) >= 16
    assert largest_difference(means, keras_means) < bounds[3]
    assert largest_difference(other.get_weights(), before) > 0.1
    errors = [gradient_error(one, other, pytorch, tensorflow, precision, seed)
              for seed in range(batches)]
    assert np.sort(errors)[agreeing - 1] < bounds[2]


def test_batch_norms_differ_in_the_variance_that_they_keep():
    """PyTorch keeps the unbiased variance, Keras that of the batch."""
    maps, _ = (array.astype(np.float32) for array in a_batch())
    ours = nn.BatchNorm2d(3, eps=1e-5, momentum=0.1)
    theirs = keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9)
    np.testing.assert_allclose(theirs(maps, training=True), channels_last(
        ours(channels_first(maps))), rtol=1e-3, atol=1e-4)
    n = maps.size / 3
    kept, keras_kept = ours.running_var.numpy(), theirs.moving_variance
    np.testing.assert_allclose(kept - 0.9, (keras_kept - 0.9) * n / (n - 1),
                               rtol=1e-4)


@BOTH_MODELS
def test_the_initial_weights_are_as_widely_spread(pytorch, tensorflow, name):
    """Of every layer; Keras cuts the tails off, and keeps the deviation."""
    images = a_batch()[0].astype(np.uint8)
    ours = in_keras(pytorch.new_network(getattr(pytorch, name),
                                        images).state_dict())
    theirs = tensorflow.new_network(getattr(tensorflow, name),
                                    images).get_weights()
    compared = 0
    for one, other in zip(ours, theirs, strict=True):
        if one.ndim == 4 and one.size > 2000:
            assert np.std(other) == pytest.approx(np.std(one), rel=0.08)
            compared += 1
        elif one.ndim < 4 and one.size > 3:  # batch norms and biases
            np.testing.assert_array_equal(one, other)
    assert compared >= 10
    # What the first layer has measured.
    np.testing.assert_allclose(theirs[0], ours[0], rtol=1e-5)
    np.testing.assert_allclose(theirs[1], ours[1], rtol=1e-4)
    heads = [network.new_network(getattr(network, name), images)
             for network in (pytorch, tensorflow)]
    for weights in (heads[0].head.weight.detach().numpy(),
                    heads[1].layers[-1].kernel.numpy()):
        assert 0.03 < np.std(weights) < 0.2


# --- Training -------------------------------------------------------------

def both_fit(pytorch, tensorflow, change, twins, epochs, n_batches):
    """Let both notebooks' `fit` train the twins on the same batches."""
    def pytorch_batches(images, masks):
        return DataLoader(TensorDataset(channels_first(images),
                                        channels_first(masks)), 4)

    def tensorflow_batches(images, masks):
        return tf.data.Dataset.from_tensor_slices((images, masks)).batch(4)

    histories = []
    for side, model, batches in [
            (pytorch, twins[0], pytorch_batches),
            (tensorflow, twins[1], tensorflow_batches)]:
        change(side, "validation_batches",
               batches(*a_batch(SIZE, count=8, seed=1)))
        change(side, "training_batches", lambda rows, batches=batches:
               batches(*a_batch(SIZE, count=4 * n_batches)))
        histories.append(side.fit(model, "a twin", None, epochs))
    return histories


SIZE = 64, 96  # so large that the two kinds of variance hardly differ


@BOTH_MODELS
def test_ten_steps_stay_together(pytorch, tensorflow, change, twins, name):
    """After ten steps, they are far closer together than they have moved."""
    before = twins[1].get_weights()
    history, keras_history = both_fit(pytorch, tensorflow, change, twins,
                                      epochs=2, n_batches=5)
    assert list(history.columns) == list(keras_history.columns)
    for column in ("train_loss", "train_dice", "valid_loss", "valid_dice"):
        np.testing.assert_allclose(
            keras_history[column], history[column],
            **{"rtol" if "loss" in column else "atol": 0.01})
    ours, theirs = weights_of_both(*twins)
    apart, moved = (sum(np.sum((a - b) ** 2) for a, b in zip(ours, others))
                    for others in (theirs, before))
    assert apart < 0.1**2 * moved


@BOTH_MODELS
def test_the_step_by_hand_is_that_of_fit(pytorch, tensorflow, change, twins,
                                         name):
    """The first step of both `fit`s, and the one that Keras has built in."""
    before = twins[1].get_weights()
    by_hand = getattr(tensorflow, name)()
    by_hand.set_weights(before)
    by_hand.get_layer("standardise").finalize_state()
    images, masks = a_batch(SIZE)
    logits, loss = tensorflow.training_step(
        by_hand, tensorflow.new_optimizer(1, 1e-3), images, masks)
    history, keras_history = both_fit(pytorch, tensorflow, change, twins,
                                      epochs=1, n_batches=1)
    trainable = [weight.trainable for weight in by_hand.weights]
    ours, theirs, hand, start = (
        [array for array, wanted in zip(weights, trainable) if wanted]
        for weights in (*weights_of_both(*twins), by_hand.get_weights(),
                        before))
    assert largest_difference(ours, start) > 5e-5
    assert largest_difference(theirs, hand) < 1e-9
    assert largest_difference(ours, theirs) < 1e-4
    for column in (history, keras_history):
        assert float(loss) == pytest.approx(column["train_loss"][1],
                                            rel=1e-6)
        assert tensorflow.dice(masks, logits).numpy().mean() \
            == pytest.approx(column["train_dice"][1], abs=1e-6)


@pytest.mark.parametrize("name", [
    "SegNet", pytest.param("UNet", marks=pytest.mark.full)])
def test_what_parts_one_step_is_adams_epsilon(pytorch, tensorflow, change,
                                              monkeypatch, twins):
    """Keras adds ε before it corrects the bias of v, PyTorch after.

    Where gradients are as small as ε, this matters. Without ε, one step
    leaves no difference but that of rounding, and be the weight decay a
    thousand times as strong.
    """
    before = twins[1].trainable_weights[0].numpy().copy()
    for side, optimizers, name in [(pytorch, torch.optim, "eps"),
                                   (tensorflow, keras.optimizers, "epsilon")]:
        change(side, "WEIGHT_DECAY", 10)
        monkeypatch.setattr(
            optimizers, "AdamW",
            lambda *values, adam=optimizers.AdamW, name=name, **options:
            adam(*values, **{**options, name: 1e-15}))
    both_fit(pytorch, tensorflow, change, twins, epochs=1, n_batches=1)
    trainable = [weight.trainable for weight in twins[1].weights]
    ours, theirs = ([array for array, wanted in zip(weights, trainable)
                     if wanted] for weights in weights_of_both(*twins))
    assert np.abs(ours[0] - before).max() > 5e-5
    assert largest_difference(ours, theirs) < 3e-6


@pytest.mark.parametrize("n_steps", [1, 2, 9, 100, 360])
def test_the_learning_rate_is_the_same_in_every_step(pytorch, tensorflow,
                                                     n_steps):
    """It rises for a tenth of the steps, and ends near zero."""
    optimizer, schedule = pytorch.new_optimizer(nn.Linear(1, 1), n_steps,
                                                1e-3)
    rates = []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    theirs = tensorflow.new_optimizer(n_steps, 1e-3)
    keras_rates = [float(theirs._learning_rate(step))
                   for step in range(n_steps)]
    np.testing.assert_allclose(keras_rates, rates, rtol=1e-4, atol=1e-10)
    assert rates[0] == pytest.approx(1e-4)
    if n_steps == 100:
        assert rates[10] == max(rates) == pytest.approx(1e-3)
        assert rates == sorted(rates[:10]) + sorted(rates[10:])[::-1]
        assert 0 < rates[-1] < 1e-6
    group = optimizer.param_groups[0]
    assert [theirs.epsilon, theirs.weight_decay, theirs.beta_1,
            theirs.beta_2] == [group["eps"], group["weight_decay"],
                               *group["betas"]]


# --- Augmentation ---------------------------------------------------------

def disc_facts(image, mask):
    """Where a disc is, how large, and the colour of its picture.

    The disc is darker than the rest; its mask must have moved with it.
    """
    assert set(np.unique(mask)) <= {0, 1}
    grey = image.mean(axis=-1)
    dark = grey < (np.median(grey) + grey[mask > 0].mean()) / 2
    assert np.mean(dark == (mask > 0)) > 0.95
    rows, columns = np.nonzero(mask)
    corner = (rows.mean() > 48) == (columns.mean() > 64)
    return [rows.mean(), columns.mean(), corner, mask.sum(),
            *image.mean(axis=(0, 1)), grey.std()]


def test_augmentation_is_as_strong(pytorch, tensorflow):
    """Both augment one picture 500 times: as much change on average."""
    rows, columns = np.indices((tensorflow.HEIGHT, tensorflow.WIDTH))
    mask = np.hypot(rows - 36, columns - 40) < 12
    image = np.where(mask[..., None], [130, 90, 70], [210, 160, 140])
    image, n = image.astype(np.uint8), 500
    torch.manual_seed(0)
    ours = []
    for _ in range(n):
        one, its_mask = pytorch.augment(
            tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)),
            tv_tensors.Mask(torch.from_numpy(mask.astype(np.uint8))))
        ours.append(disc_facts(one.permute(1, 2, 0).numpy(),
                               its_mask.numpy()))
    keras.utils.set_random_seed(0)
    both = tensorflow.new_augmentation()({
        "images": np.repeat(image[None], n, axis=0).astype(np.float32),
        "segmentation_masks": np.repeat(mask[None, ..., None], n, axis=0)
        .astype(np.float32)})
    images, masks = both["images"], both["segmentation_masks"]
    theirs = [disc_facts(*pair) for pair in
              zip(images.numpy(), masks.numpy()[..., 0])]
    spread, keras_spread = np.std(ours, axis=0), np.std(theirs, axis=0)
    assert (np.abs(np.mean(ours, axis=0) - np.mean(theirs, axis=0))
            < 0.25 * spread).all()
    where, colours = slice(4), slice(4, None)
    assert keras_spread[where] == pytest.approx(spread[where], rel=0.15)
    # Keras makes an image brighter by adding, torchvision by multiplying.
    assert keras_spread[colours] == pytest.approx(spread[colours], rel=0.4)


def sharpness(images):
    """How much neighbours in (N, H, W, 3) differ on average."""
    grey = images.mean(axis=3)
    return sum(np.abs(np.diff(grey, axis=axis)).mean() for axis in (1, 2))


def test_augmentation_blurs_alike(pytorch, tensorflow):
    """Each interpolation blurs, so neither may interpolate more often."""
    size, n = (tensorflow.HEIGHT, tensorflow.WIDTH), 200
    image, mask = moles.draw(np.random.default_rng(0), 1, size)
    torch.manual_seed(0)
    ours = torch.stack([pytorch.augment(
        tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)))
        for _ in range(n)]).permute(0, 2, 3, 1).numpy()
    keras.utils.set_random_seed(0)
    theirs = tensorflow.new_augmentation()({
        "images": np.repeat(image[None], n, axis=0).astype(np.float32),
        "segmentation_masks": np.repeat(mask[None, ..., None], n, axis=0)
        .astype(np.float32)})["images"].numpy()
    assert sharpness(theirs) == pytest.approx(sharpness(ours), rel=0.08)


# --- Text -----------------------------------------------------------------

def shared(name):
    """What both notebooks must hold: all but the framework's own cells."""
    return [(cell.cell_type, lesson.tags_of(cell), cell.source)
            for cell in lesson.read(name).cells
            if "framework" not in lesson.tags_of(cell)]


def headings(name):
    """All headings of a notebook, in order, with their hashes."""
    return [line for cell in lesson.read(name).cells
            if cell.cell_type == "markdown"
            for line in cell.source.splitlines() if line.startswith("#")]


def test_shared_cells_and_headings_are_identical():
    ours, theirs = shared(PYTORCH), shared(TENSORFLOW)
    for one, other in zip(ours, theirs):
        assert one == other
    assert len(ours) == len(theirs)
    assert len(ours) > 0.6 * len(lesson.read(PYTORCH).cells)
    assert headings(PYTORCH) == headings(TENSORFLOW)
    assert len(headings(PYTORCH)) > 20


def test_shared_code_names_no_framework():
    for kind, _, source in shared(PYTORCH):
        if kind == "code":
            assert not re.search(r"\b(torch|nn|F|v2|tf|keras|layers)\.",
                                 source), source


def test_each_part_links_to_its_twin():
    text = "\n".join(source for *_, source in shared(PYTORCH))
    sections = [heading for heading in headings(PYTORCH)
                if re.match(r"## \d+\.", heading)]
    assert len(sections) == 5
    for heading in sections:
        anchor = heading.removeprefix("## ").replace(" ", "-")
        for name in NOTEBOOKS:
            assert f"({name}#{anchor})" in text


# --- A quiet start --------------------------------------------------------

def outputs(*programs):
    """What new Pythons print on both outputs when they run some code."""
    running = [subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for program in programs]
    return [one.communicate(timeout=300) for one in running]


def test_importing_prints_no_log():
    for out, error in outputs(*(
            "from lab.lesson import code_cells, execute, read\n"
            f"[imports] = code_cells(read('{name}'), 'imports')\n"
            "execute(imports, {})" for name in NOTEBOOKS)):
        assert error == "" and re.fullmatch(r"Python 3.*\n", out)


def test_errors_are_seen_again_after_the_quiet():
    assert outputs(
        "import os\nfrom lab.jupyter import quietly\n"
        "try:\n    with quietly():\n"
        "        os.write(2, b'hidden')\n        raise ValueError\n"
        "except ValueError:\n    os.write(2, b'seen')") == [("", "seen")]


# --- The page "PyTorch and TensorFlow, term by term" ----------------------

def test_the_defaults_that_the_page_names():
    norm, keras_norm = nn.BatchNorm2d(1), keras.layers.BatchNormalization()
    assert (norm.momentum, norm.eps) == (0.1, 1e-5)
    assert (keras_norm.momentum, keras_norm.epsilon) == (0.99, 1e-3)
    adam = torch.optim.AdamW([torch.zeros(1)]).defaults
    keras_adam = keras.optimizers.AdamW()
    assert (adam["eps"], adam["weight_decay"]) == (1e-8, 0.01)
    assert (keras_adam.epsilon, keras_adam.weight_decay) == (1e-7, 0.004)
    convolution = nn.Conv2d(4, 9, 3)
    keras_convolution = keras.layers.Conv2D(9, 3)
    keras_convolution.build((None, 8, 8, 4))
    assert convolution.padding == (0, 0)
    assert keras_convolution.padding == "valid"
    assert convolution.weight.abs().max() <= 1 / np.sqrt(4 * 3 * 3)
    assert isinstance(keras_convolution.kernel_initializer,
                      keras.initializers.GlorotUniform)
    assert convolution.bias.abs().max() > 0
    assert not np.any(keras_convolution.bias)
    assert not keras.losses.BinaryCrossentropy().from_logits
    assert keras.metrics.BinaryIoU().threshold == 0.5
    tails = keras.initializers.HeNormal(seed=0)((100, 100))
    assert np.abs(tails).max() < 2.3 * np.std(tails)


def test_enlarging_agrees_and_padding_of_stride_two_differs():
    maps = a_batch()[0].astype(np.float32)
    expected = F.interpolate(channels_first(maps), scale_factor=2,
                             mode="bilinear")
    for enlarged in (keras.layers.UpSampling2D(
            interpolation="bilinear")(maps), tf.image.resize(maps, (64, 96))):
        np.testing.assert_allclose(enlarged, channels_last(expected),
                                   atol=1e-5)
    image = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1)
    sums = keras.layers.Conv2D(1, 3, strides=2, padding="same",
                               kernel_initializer="ones")(image)
    expected = F.conv2d(channels_first(image), torch.ones(1, 1, 3, 3),
                        stride=2, padding=1)
    assert not np.allclose(sums, channels_last(expected))
