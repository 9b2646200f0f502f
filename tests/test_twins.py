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

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader, TensorDataset
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as torch_images

from lab import lesson
from lab.lesson import NOTEBOOKS, PYTORCH, ROOT, TENSORFLOW

BOTH_MODELS = pytest.mark.parametrize("name", ["SegNet", "UNet"])
PARTS = ("parameters", "model", "training", "augmentation", "load")


@pytest.fixture(scope="module")
def pytorch():
    """What the PyTorch notebook defines for building and training."""
    return lesson.definitions(PYTORCH, *PARTS, validation_batches=None)


@pytest.fixture(scope="module")
def tensorflow():
    """What the TensorFlow notebook defines for building and training."""
    return lesson.definitions(TENSORFLOW, *PARTS, validation_batches=None)


def in_keras(tensorflow, tensors):
    """PyTorch's tensors by name as a list, in Keras' order and axes."""
    return sum(tensorflow.keras_weights({
        name: tensor.detach().numpy().copy()
        for name, tensor in tensors.items()}), [])


def weights_of_both(tensorflow, one, other):
    """The weights of a PyTorch and of a Keras model as two lists."""
    return in_keras(tensorflow, one.state_dict()), other.get_weights()


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


def batch_norm_of_any_type(maps, scale, offset, epsilon):
    """What `fused_batch_norm` does; that one takes float32 at most."""
    mean, variance = tf.nn.moments(maps, axes=(0, 1, 2))
    n = tf.cast(tf.size(maps) / maps.shape[-1], maps.dtype)
    return (tf.nn.batch_normalization(maps, mean, variance, offset, scale,
                                      epsilon),
            mean, variance * n / (n - 1))


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
    torch.manual_seed(0)
    one = pytorch.initialise(getattr(pytorch, name)())
    for layer in one.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, std=0.2)
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.8, 1.2)
    if precision == np.float64:
        one = one.double()
        monkeypatch.setattr(tf.compat.v1.nn, "fused_batch_norm",
                            batch_norm_of_any_type)
        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
        loss = tensorflow.binary_cross_entropy
        change(tensorflow, "binary_cross_entropy",
               type(loss).from_config(loss.get_config()))
    other = getattr(tensorflow, name)()
    other.set_weights(in_keras(tensorflow, one.state_dict()))
    yield one, other
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


# --- Networks -------------------------------------------------------------

# For each precision: the share of logits that must agree, and how closely
# logits, loss, gradients and running statistics do.
AGREE = {np.float64: (1, 1e-9, 1e-9, 1e-6, 1e-9),
         np.float32: (0.99, 1e-4, 1e-5, 0.02, 1e-5)}


@pytest.mark.parametrize("precision", AGREE)
@BOTH_MODELS
def test_a_network_computes_the_same(twins, pytorch, tensorflow, precision):
    """Logits, loss, every gradient, running statistics.

    In float32, as the lesson runs, a swapped maximum may disturb a few
    pixels.
    """
    one, other = twins
    share, *bounds = AGREE[precision]
    before = other.get_weights()
    for size in [(16, 16), (48, 80), (96, 128)]:
        images, masks = (array.astype(precision) for array in a_batch(size))
        for training in (False, True):
            expected = one.train(training)(channels_first(images))
            with tf.GradientTape() as tape:
                logits = other(images, training=training)
                keras_loss = tensorflow.segmentation_loss(masks, logits)
            assert logits.shape == (4, *size, 1)
            assert np.quantile(np.abs(logits - channels_last(expected)),
                               share) < bounds[0]
    loss = pytorch.segmentation_loss(expected, channels_first(masks))
    assert float(keras_loss) == pytest.approx(loss.item(), rel=bounds[1])
    loss.backward()
    gradients = in_keras(tensorflow, {
        name: weight.grad for name, weight in one.named_parameters()})
    for gradient, keras_gradient in zip(gradients, tape.gradient(
            keras_loss, other.trainable_weights), strict=True):
        assert np.linalg.norm(keras_gradient - gradient) \
            < bounds[2] * np.linalg.norm(gradient)
    ours, theirs = weights_of_both(tensorflow, *twins)
    assert largest_difference(ours, theirs) < bounds[3]
    assert largest_difference(ours, before) > 0.1


def test_fused_batch_norm_is_pytorchs(tensorflow):
    """In float32, as the lesson runs: values, gradients, statistics."""
    maps, _ = (array.astype(np.float32) for array in a_batch())
    factors = np.random.default_rng(1).normal(size=maps.shape)
    ours = nn.BatchNorm2d(3, eps=1e-5, momentum=0.1)
    theirs = tensorflow.FusedBatchNorm(epsilon=1e-5, momentum=0.9)
    inputs, keras_inputs = channels_first(maps), tf.Variable(maps)
    normalised = ours(inputs.requires_grad_())
    (normalised * channels_first(factors)).sum().backward()
    with tf.GradientTape() as tape:
        keras_normalised = theirs(keras_inputs, training=True)
        total = tf.reduce_sum(keras_normalised
                              * factors.astype(np.float32))
    gradients = tape.gradient(total, [keras_inputs, theirs.gamma,
                                      theirs.beta])
    for other, one in [
            (keras_normalised, channels_last(normalised)),
            (gradients[0], channels_last(inputs.grad)),
            (gradients[1], ours.weight.grad), (gradients[2], ours.bias.grad),
            (theirs.moving_mean, ours.running_mean),
            (theirs.moving_variance, ours.running_var)]:
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)


def test_the_initial_weights_are_as_widely_spread(pytorch, tensorflow):
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    for one, other in zip(*weights_of_both(
            tensorflow, pytorch.initialise(pytorch.UNet()),
            tensorflow.UNet()), strict=True):
        if one.size >= 1000:
            assert np.std(other) == pytest.approx(np.std(one), rel=0.15)
            # Of 1000 normal numbers, some are beyond two deviations.
            assert np.abs(other).max() > 2.3 * np.std(other)
        elif one.size > 16 or one.ndim == 1:
            assert np.std(other) == pytest.approx(np.std(one), rel=0.3)
    # The head's are small.
    widths = (32, 32)
    for weights in (
            [pytorch.initialise(pytorch.SegNet(widths)).head.weight
             .detach().numpy() for _ in range(10)],
            [tensorflow.SegNet(widths).layers[-1].kernel.numpy()
             for _ in range(10)]):
        assert np.std(weights) == pytest.approx(0.1, rel=0.15)


# --- Training -------------------------------------------------------------

def both_fit(pytorch, tensorflow, change, twins, epochs, n_batches):
    """Let both notebooks' `fit` train the twins on the same batches.

    The optimizers must have the same settings in every step. Returns both
    histories, the number of steps, and what there is after the first one:
    both networks' weights, Keras' loss and Dice.
    """
    def pytorch_batches(images, masks):
        return DataLoader(TensorDataset(channels_first(images),
                                        channels_first(masks)), 4)

    def tensorflow_batches(images, masks):
        return tf.data.Dataset.from_tensor_slices((images, masks)).batch(4)

    settings, keras_settings, first = [], [], []

    def note(optimizer, *_):
        group = optimizer.param_groups[0]
        settings.append([group["lr"], group["eps"], group["weight_decay"],
                         *group["betas"]])
        if not first:
            first.append(in_keras(tensorflow, twins[0].state_dict()))

    class AverageAndNote(tensorflow.AverageWeights):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            adam = self.model.optimizer
            keras_settings.append([
                float(adam.learning_rate), adam.epsilon, adam.weight_decay,
                adam.beta_1, adam.beta_2])
            if len(first) == 1:
                first.extend([self.model.get_weights(), logs["loss"],
                              logs["dice"]])

    change(tensorflow, "AverageWeights", AverageAndNote)
    hook = register_optimizer_step_post_hook(note)
    histories = []
    for side, model, batches in [
            (pytorch, twins[0], pytorch_batches),
            (tensorflow, twins[1], tensorflow_batches)]:
        change(side, "validation_batches",
               batches(*a_batch(count=8, seed=1)))
        histories.append(side.fit(
            model, "a twin", batches(*a_batch(count=4 * n_batches)), epochs))
    hook.remove()
    np.testing.assert_allclose(keras_settings, settings, rtol=1e-6)
    return *histories, len(settings), first


@BOTH_MODELS
def test_ten_steps_stay_together(pytorch, tensorflow, change, twins, name):
    """After ten steps, they are far closer together than they have moved.

    The first steps magnify the last digits of float32, most of all in Adam.
    The step that the notebook writes by hand is the first step of `fit`.
    """
    before = twins[1].get_weights()
    by_hand = getattr(tensorflow, name)()
    by_hand.set_weights(before)
    images, masks = (array[:4] for array in a_batch(count=20))
    logits, loss = tensorflow.training_step(
        by_hand, keras.optimizers.AdamW(1e-3, weight_decay=1e-2,
                                        epsilon=1e-8), images, masks)
    history, keras_history, n_steps, first = both_fit(
        pytorch, tensorflow, change, twins, epochs=2, n_batches=5)
    assert n_steps == 10
    assert list(history.columns) == list(keras_history.columns)
    np.testing.assert_allclose(keras_history.drop(columns="seconds"),
                               history.drop(columns="seconds"), atol=0.02)
    ours, theirs = weights_of_both(tensorflow, *twins)
    apart, moved = (sum(np.sum((a - b) ** 2) for a, b in zip(ours, others))
                    for others in (theirs, before))
    assert apart < 0.2**2 * moved
    assert largest_difference(first[0], before) > 5e-4
    assert largest_difference(first[0], first[1]) < 1e-3
    assert largest_difference(by_hand.get_weights(), first[1]) < 1e-3
    assert loss == pytest.approx(first[2], rel=1e-5)
    dice = tensorflow.dice(masks, logits).numpy().mean()
    assert dice == pytest.approx(first[3], abs=1e-3)


@pytest.mark.parametrize("name", [
    "SegNet", pytest.param("UNet", marks=pytest.mark.full)])
def test_what_parts_one_step_is_adams_epsilon(pytorch, tensorflow, change,
                                              monkeypatch, twins):
    """Keras adds ε before it corrects the bias of v, PyTorch after.

    Where gradients are as small as ε, this matters. Without ε, one step
    leaves no difference but that of rounding, and be the weight decay a
    thousand times as strong.
    """
    before = twins[1].get_weights()
    for side, optimizers, name in [(pytorch, torch.optim, "eps"),
                                   (tensorflow, keras.optimizers, "epsilon")]:
        change(side, "WEIGHT_DECAY", 10)
        monkeypatch.setattr(
            optimizers, "AdamW",
            lambda *values, adam=optimizers.AdamW, name=name, **options:
            adam(*values, **{**options, name: 1e-15}))
    both_fit(pytorch, tensorflow, change, twins, epochs=1, n_batches=1)
    ours, theirs = weights_of_both(tensorflow, *twins)
    assert largest_difference(ours, before) > 5e-4
    assert largest_difference(ours, theirs) < 3e-5


def test_the_learning_rate_rises_and_falls(pytorch):
    factors = [pytorch.learning_rate_factor(step, 100)
               for step in range(100)]
    assert factors[0] == 0.1 and factors[9] == factors[10] == 1
    assert factors == sorted(factors[:10]) + sorted(factors[10:])[::-1]
    assert 0 < factors[-1] < 1e-3


# --- Augmentation ---------------------------------------------------------

def smooth_picture(size):
    """A picture (H, W, 3), float32 from 0 to 255, and a mask (H, W)."""
    noise = np.random.default_rng(0).normal(size=(*size, 3))
    smooth = gaussian_filter(noise, (4, 4, 0), mode="reflect")
    low, high = smooth.min(), smooth.max()
    picture = (255 * (smooth - low) / (high - low)).astype(np.float32)
    return picture, picture[..., 0] > 128


@pytest.mark.parametrize("angle, scale, shift_x, shift_y, flip_x, flip_y", [
    (0, 1, 0, 0, 1, 1), (0, 1, 0, 0, -1, 1), (0, 1, 0, 0, 1, -1),
    (15, 1, 0, 0, 1, 1), (0, 1.1, 0, 0, 1, 1), (0, 0.9, 12, -7, 1, 1),
    (-20, 0.9, 12, -9, -1, 1), (11, 1.07, -15, 13, -1, -1)])
def test_pixels_move_as_in_torchvision(tensorflow, angle, scale, shift_x,
                                       shift_y, flip_x, flip_y):
    size = tensorflow.HEIGHT, tensorflow.WIDTH
    picture, mask = smooth_picture(size)
    matrix = tensorflow.movement_matrix(*[
        tf.constant([float(number)]) for number in
        (np.radians(angle), scale, shift_x, shift_y, flip_x, flip_y)])
    moved = tensorflow.move(picture[None], matrix, "bilinear")[0]
    moved_mask = tensorflow.move(
        mask[None, ..., None].astype(np.float32), matrix, "nearest")
    assert set(np.unique(moved_mask)) <= {0, 1}

    def expected(pixels, interpolation):
        pixels = torch_images.to_image(pixels)
        if flip_x < 0:
            pixels = torch_images.horizontal_flip(pixels)
        if flip_y < 0:
            pixels = torch_images.vertical_flip(pixels)
        pixels = torch_images.pad(pixels, [32], padding_mode="reflect")
        pixels = torch_images.affine(
            pixels, angle, [shift_x, shift_y], scale, shear=[0, 0],
            interpolation=interpolation)
        pixels = torch_images.center_crop(pixels, size)
        return pixels.permute(1, 2, 0).numpy()

    modes = torch_images.InterpolationMode
    # The mirrors differ: PyTorch's does not repeat the outermost pixel.
    difference = np.abs(moved - expected(picture, modes.BILINEAR))
    assert np.median(difference) < 0.1 and difference.mean() < 2
    same = moved_mask[0, ..., 0] == expected(
        mask.astype(np.float32)[..., None], modes.NEAREST)[..., 0]
    assert np.mean(same) > 0.985


def test_colours_change_as_in_torchvision(tensorflow):
    picture, _ = smooth_picture((24, 32))
    expected = torch.from_numpy(picture / 255).permute(2, 0, 1)
    factors = {"brightness": 1.2, "contrast": 0.8, "saturation": 1.15,
               "hue": -0.02}
    for name, factor in factors.items():
        expected = getattr(torch_images, f"adjust_{name}")(expected, factor)
    changed = tensorflow.jitter_colours(picture[None], **{
        name: tf.reshape(factor, (1, 1, 1, 1))
        for name, factor in factors.items()})
    np.testing.assert_allclose(
        changed[0], 255 * expected.permute(1, 2, 0), atol=0.05)


def disc_facts(image, mask):
    """Where a disc is, how large, and the colour of its picture.

    The disc is darker than the rest; its mask must have moved with it.
    """
    assert set(np.unique(mask)) <= {0, 1}
    grey = image.mean(axis=-1)
    dark = grey < (np.median(grey) + grey[mask > 0].mean()) / 2
    assert np.mean(dark == (mask > 0)) > 0.95
    rows, columns = np.nonzero(mask)
    return [rows.mean(), columns.mean(), mask.sum(),
            *image.mean(axis=(0, 1)), grey.std()]


def test_augmentation_is_as_strong(pytorch, tensorflow):
    """Both augment one picture 500 times: as much change on average."""
    rows, columns = np.indices((tensorflow.HEIGHT, tensorflow.WIDTH))
    mask = np.hypot(rows - 48, columns - 32) < 12
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
    tf.random.set_seed(0)
    images, masks = tensorflow.augment(
        np.repeat(image[None], n, axis=0),
        np.repeat(mask[None, ..., None], n, axis=0))
    theirs = [disc_facts(*pair) for pair in
              zip(images.numpy(), masks.numpy()[..., 0])]
    spread = np.std(ours, axis=0)
    assert (np.abs(np.mean(ours, axis=0) - np.mean(theirs, axis=0))
            < 0.25 * spread).all()
    assert np.std(theirs, axis=0) == pytest.approx(spread, rel=0.15)


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


def test_each_section_links_to_its_twin():
    text = "\n".join(source for *_, source in shared(PYTORCH))
    sections = [heading for heading in headings(PYTORCH)
                if re.match(r"## \d+\.", heading)]
    assert len(sections) == 17
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
