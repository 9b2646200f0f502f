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
from notebooks import (
    NAMES,
    PYTORCH,
    ROOT,
    TENSORFLOW,
    code_cells,
    lifted,
    read,
    tags_of,
)
from scipy.ndimage import gaussian_filter
from test_lesson import mask_pairs
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.data import DataLoader, TensorDataset
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as torch_images

KINDS = {nn.Conv2d: keras.layers.Conv2D,
         nn.ConvTranspose2d: keras.layers.Conv2DTranspose,
         nn.BatchNorm2d: keras.layers.BatchNormalization}
BOTH_MODELS = pytest.mark.parametrize("name", ["SegNet", "UNet"])


@pytest.fixture(scope="module")
def pytorch():
    """What the PyTorch notebook defines for building and training."""
    return lifted(PYTORCH, "parameters", "model", "training", "augmentation")


@pytest.fixture(scope="module")
def tensorflow():
    """What the TensorFlow notebook defines for building and training."""
    return lifted(TENSORFLOW, "parameters", "model", "training",
                  "augmentation")


def layers_in_order(model):
    """The layers with weights of a PyTorch model, as a pass meets them."""
    found = []
    hooks = [layer.register_forward_hook(
        lambda layer, *_: found.append(layer)) for layer in model.modules()
        if list(layer.parameters(recurse=False))]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 16, 16, dtype=model.head.weight.dtype))
    for hook in hooks:
        hook.remove()
    return found


def in_keras_axes(kernel):
    """A kernel (out, in, H, W), or (in, out, H, W), with Keras' axes."""
    return kernel.detach().permute(2, 3, 1, 0)


def as_keras(layer):
    """All weights of a PyTorch layer, in Keras' order and axes."""
    if isinstance(layer, nn.BatchNorm2d):
        tensors = [layer.weight, layer.bias, layer.running_mean,
                   layer.running_var]
    else:
        tensors = [in_keras_axes(layer.weight)]
        if layer.bias is not None:
            tensors.append(layer.bias)
    return [tensor.detach().numpy().copy() for tensor in tensors]


def keras_layers(model):
    """The layers with weights of a Keras model, in forward order."""
    return [layer for layer in model.layers if layer.weights]


def copy_weights(source, target):
    """Copy the weights of a PyTorch model into a Keras model."""
    for one, other in zip(layers_in_order(source), keras_layers(target),
                          strict=True):
        other.set_weights(as_keras(one))


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
def double(tensorflow, monkeypatch):
    """Let Keras compute in float64 during a test."""
    monkeypatch.setattr(tf.compat.v1.nn, "fused_batch_norm",
                        batch_norm_of_any_type)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    loss = tensorflow["binary_cross_entropy"]
    monkeypatch.setitem(tensorflow, "binary_cross_entropy",
                        type(loss).from_config(loss.get_config()))
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def twins(pytorch, tensorflow, name, double):
    """A PyTorch model and a Keras model with the same weights, float64.

    The batch norms are not as they start, so that each number matters.
    """
    torch.manual_seed(0)
    one = pytorch["initialise"](pytorch[name]()).double()
    for layer in one.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, std=0.2)
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.8, 1.2)
    other = tensorflow[name]()
    copy_weights(one, other)
    return one, other


def largest_difference(one, other):
    """The largest difference of two equally long lists of arrays."""
    return max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))


def weights_of_both(one, other):
    """The weights of a PyTorch and of a Keras model as two lists."""
    return ([array for layer in layers_in_order(one)
             for array in as_keras(layer)],
            [array for layer in keras_layers(other)
             for array in layer.get_weights()])


# Networks

@BOTH_MODELS
def test_layer_by_layer_the_same_weights(pytorch, tensorflow, name):
    ours = layers_in_order(pytorch[name]())
    theirs = keras_layers(tensorflow[name]())
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        assert isinstance(other, KINDS[type(one)])
        assert [array.shape for array in as_keras(one)] \
            == [weight.shape for weight in other.weights]


@BOTH_MODELS
@pytest.mark.parametrize("size", [(16, 16), (48, 80), (96, 128)])
@pytest.mark.parametrize("training", [True, False])
def test_logits_agree(twins, size, training):
    one, other = twins
    images, _ = a_batch(size)
    with torch.no_grad():
        expected = one.train(training)(channels_first(images))
    logits = other(images, training=training)
    assert logits.shape == (4, *size, 1)
    assert np.abs(logits - channels_last(expected)).max() < 1e-9


@BOTH_MODELS
@pytest.mark.parametrize("training", [True, False])
def test_logits_agree_as_the_lesson_runs(pytorch, tensorflow, name,
                                         training):
    """In float32; a swapped maximum may disturb a few pixels."""
    torch.manual_seed(0)
    one, other = pytorch["initialise"](pytorch[name]()), tensorflow[name]()
    copy_weights(one, other)
    images = a_batch((96, 128))[0].astype(np.float32)
    with torch.no_grad():
        expected = one.train(training)(channels_first(images))
    difference = np.abs(other(images, training=training)
                        - channels_last(expected))
    assert np.quantile(difference, 0.99) < 1e-4


@BOTH_MODELS
def test_running_statistics_move_alike(twins):
    one, other = twins
    images, _ = a_batch((96, 128))
    with torch.no_grad():
        one.train()(channels_first(images))
    other(images, training=True)
    for ours, theirs in zip(layers_in_order(one), keras_layers(other)):
        if isinstance(ours, nn.BatchNorm2d):
            np.testing.assert_allclose(
                theirs.moving_mean, ours.running_mean, atol=1e-9)
            np.testing.assert_allclose(
                theirs.moving_variance, ours.running_var, atol=1e-9)


def test_fused_batch_norm_is_pytorchs(tensorflow):
    """In float32, as the lesson runs: values, gradients, statistics."""
    maps, _ = (array.astype(np.float32) for array in a_batch())
    factors = np.random.default_rng(1).normal(size=maps.shape)
    ours = nn.BatchNorm2d(3, eps=1e-5, momentum=0.1)
    theirs = tensorflow["FusedBatchNorm"](epsilon=1e-5, momentum=0.9)
    inputs, keras_inputs = channels_first(maps), tf.Variable(maps)
    normalised = ours(inputs.requires_grad_())
    (normalised * channels_first(factors)).sum().backward()
    with tf.GradientTape() as tape:
        keras_normalised = theirs(keras_inputs, training=True)
        total = tf.reduce_sum(keras_normalised
                              * factors.astype(np.float32))
    gradients = tape.gradient(total, [keras_inputs, theirs.gamma,
                                      theirs.beta])
    pairs = [(keras_normalised, channels_last(normalised)),
             (gradients[0], channels_last(inputs.grad)),
             (gradients[1], ours.weight.grad), (gradients[2], ours.bias.grad),
             (theirs.moving_mean, ours.running_mean),
             (theirs.moving_variance, ours.running_var)]
    for other, one in pairs:
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)


@BOTH_MODELS
def test_loss_and_every_gradient_agree(twins, pytorch, tensorflow):
    one, other = twins
    images, masks = a_batch()
    loss = pytorch["segmentation_loss"](
        one.train()(channels_first(images)), channels_first(masks))
    loss.backward()
    with tf.GradientTape() as tape:
        keras_loss = tensorflow["segmentation_loss"](
            masks, other(images, training=True))
    keras_gradients = iter(tape.gradient(keras_loss,
                                         other.trainable_weights))
    assert float(keras_loss) == pytest.approx(loss.item(), rel=1e-9)
    for layer in layers_in_order(one):
        for weight in layer.parameters(recurse=False):
            expected = weight.grad if weight.ndim == 1 \
                else in_keras_axes(weight.grad)
            difference = np.linalg.norm(next(keras_gradients) - expected)
            assert difference < 1e-6 * np.linalg.norm(expected)
    assert next(keras_gradients, None) is None


def test_max_unpooling_and_its_gradient_are_pytorchs(tensorflow, double):
    maps, _ = a_batch()
    factors = np.random.default_rng(1).normal(size=maps.shape)
    ours = channels_first(np.maximum(maps, 0)).requires_grad_()
    maxima, indices = F.max_pool2d(ours, 2, return_indices=True)
    expected = F.max_unpool2d(maxima * maxima, indices, 2)
    (expected * channels_first(factors)).sum().backward()

    theirs = tf.Variable(np.maximum(maps, 0))
    with tf.GradientTape() as tape:
        maxima, indices = tensorflow["MaxPoolWithIndices"]()(theirs)
        unpooled = tensorflow["MaxUnpool"]()(maxima * maxima, indices)
        total = tf.reduce_sum(unpooled * factors)
    assert np.array_equal(unpooled, channels_last(expected))
    np.testing.assert_allclose(tape.gradient(total, theirs),
                               channels_last(ours.grad), rtol=1e-12)


@BOTH_MODELS
def test_a_saved_keras_model_comes_back(twins, tmp_path):
    _, model = twins
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    images, _ = a_batch()
    assert np.array_equal(model(images), reloaded(images))


def test_the_initial_weights_are_as_widely_spread(pytorch, tensorflow):
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    ours = pytorch["initialise"](pytorch["UNet"]())
    theirs = tensorflow["UNet"]()
    for one, other in zip(*weights_of_both(ours, theirs)):
        if one.size >= 1000:
            assert np.std(other) == pytest.approx(np.std(one), rel=0.15)
            # Of 1000 normal numbers, some are beyond two deviations.
            assert np.abs(other).max() > 2.3 * np.std(other)
        elif one.size > 16 or one.ndim == 1:
            assert np.std(other) == pytest.approx(np.std(one), rel=0.3)


def test_the_head_starts_with_small_weights(pytorch, tensorflow):
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    widths = (32, 32)
    ours = [pytorch["initialise"](pytorch["SegNet"](widths)).head.weight
            .detach().numpy() for _ in range(10)]
    theirs = [tensorflow["SegNet"](widths).layers[-1].kernel.numpy()
              for _ in range(10)]
    assert np.std(ours) == pytest.approx(0.1, rel=0.15)
    assert np.std(theirs) == pytest.approx(0.1, rel=0.15)


# Training

def both_fit(pytorch, tensorflow, monkeypatch, twins, epochs, n_batches):
    """Let both notebooks' `fit` train the twins on the same batches.

    Returns both histories, and the optimizers' settings in every step:
    learning rate, ε, weight decay, and Adam's two betas.
    """
    def pytorch_batches(images, masks):
        return DataLoader(TensorDataset(channels_first(images),
                                        channels_first(masks)), 4)

    def tensorflow_batches(images, masks):
        return tf.data.Dataset.from_tensor_slices((images, masks)).batch(4)

    for side, batches in [(pytorch, pytorch_batches),
                          (tensorflow, tensorflow_batches)]:
        monkeypatch.setitem(side, "validation_batches",
                            batches(*a_batch(count=8, seed=1)))

    settings, keras_settings = [], []
    keras_fit = keras.Model.fit

    def note(optimizer, *_):
        group = optimizer.param_groups[0]
        settings.append([group["lr"], group["eps"], group["weight_decay"],
                         *group["betas"]])

    def fit_and_note(model, *arguments, callbacks, **options):
        def note(batch, logs):
            adam = model.optimizer
            keras_settings.append([
                float(adam.learning_rate), adam.epsilon, adam.weight_decay,
                adam.beta_1, adam.beta_2])

        callback = keras.callbacks.LambdaCallback(on_train_batch_end=note)
        return keras_fit(model, *arguments,
                         callbacks=[*callbacks, callback], **options)

    monkeypatch.setattr(keras.Model, "fit", fit_and_note)
    hook = register_optimizer_step_pre_hook(note)
    one, other = twins
    seen = a_batch(count=4 * n_batches)
    history = pytorch["fit"](one, "PyTorch", pytorch_batches(*seen), epochs)
    hook.remove()
    keras_history = tensorflow["fit"](other, "TensorFlow",
                                      tensorflow_batches(*seen), epochs)
    return history, keras_history, settings, keras_settings


@BOTH_MODELS
def test_one_step_leaves_the_same_weights(pytorch, tensorflow, monkeypatch,
                                          twins):
    before = weights_of_both(*twins)[0]
    both_fit(pytorch, tensorflow, monkeypatch, twins, epochs=1, n_batches=1)
    ours, theirs = weights_of_both(*twins)
    assert largest_difference(ours, before) > 5e-4
    assert largest_difference(ours, theirs) < 1e-3


@BOTH_MODELS
def test_what_parts_them_is_adams_epsilon(pytorch, tensorflow, monkeypatch,
                                          twins):
    """Keras adds ε before it corrects the bias of v, PyTorch after.

    Where gradients are as small as ε, this matters. Without ε, one step
    leaves no difference but that of rounding, and be the weight decay a
    thousand times as strong.
    """
    for side in (pytorch, tensorflow):
        monkeypatch.setitem(side, "WEIGHT_DECAY", 10)
    adam, keras_adam = torch.optim.AdamW, keras.optimizers.AdamW
    monkeypatch.setattr(
        torch.optim, "AdamW",
        lambda *values, **options: adam(*values, **options, eps=1e-15))
    monkeypatch.setattr(
        keras.optimizers, "AdamW",
        lambda *values, **options: keras_adam(
            *values, **{**options, "epsilon": 1e-15}))
    both_fit(pytorch, tensorflow, monkeypatch, twins, epochs=1, n_batches=1)
    assert largest_difference(*weights_of_both(*twins)) < 3e-5


@BOTH_MODELS
def test_ten_steps_stay_together(pytorch, tensorflow, monkeypatch, twins):
    """After ten steps, they are far closer together than they have moved.

    The first steps magnify the last digits of float32, most of all in Adam.
    """
    before = weights_of_both(*twins)[0]
    history, keras_history, settings, keras_settings = both_fit(
        pytorch, tensorflow, monkeypatch, twins, epochs=2, n_batches=5)
    assert len(settings) == 10
    np.testing.assert_allclose(keras_settings, settings, rtol=1e-6)
    assert list(history.columns) == list(keras_history.columns)
    ours, theirs = weights_of_both(*twins)
    np.testing.assert_allclose(keras_history.drop(columns="seconds"),
                               history.drop(columns="seconds"), atol=0.02)
    assert distance(ours, theirs) < 0.2 * distance(ours, before)


def distance(one, other):
    """The Euclidean distance of two lists of arrays."""
    return np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(one, other)))


@BOTH_MODELS
def test_the_step_by_hand_is_the_step_of_fit(pytorch, tensorflow,
                                             monkeypatch, twins, name):
    _, other = twins
    by_hand = tensorflow[name]()
    by_hand.set_weights(other.get_weights())
    images, masks = a_batch()
    logits, loss = tensorflow["training_step"](
        by_hand, keras.optimizers.AdamW(1e-3, weight_decay=1e-2,
                                        epsilon=1e-8), images, masks)
    _, history, *_ = both_fit(pytorch, tensorflow, monkeypatch, twins,
                              epochs=1, n_batches=1)
    assert loss == pytest.approx(history["train_loss"].iloc[0], rel=1e-5)
    dice = tensorflow["dice"](masks, logits).numpy().mean()
    assert dice == pytest.approx(history["train_dice"].iloc[0], abs=1e-3)
    assert largest_difference(by_hand.get_weights(),
                              other.get_weights()) < 1e-3


def test_the_learning_rate_rises_and_falls(pytorch):
    factors = [pytorch["learning_rate_factor"](step, 100)
               for step in range(100)]
    assert factors[0] == 0.1 and factors[9] == factors[10] == 1
    assert factors == sorted(factors[:10]) + sorted(factors[10:])[::-1]
    assert 0 < factors[-1] < 1e-3


def test_dice_of_a_batch_agrees_and_cuts_at_zero(pytorch, tensorflow):
    for predicted, truth in mask_pairs():
        # Logits of 0.3 are p = 0.57, so lesion.
        logits = np.where(predicted, 0.3, -0.3)[None, ..., None]
        masks = truth[None, ..., None].astype(np.float32)
        value = tensorflow["dice"](masks, logits.astype(np.float32))
        expected = pytorch["batch_dice"](
            channels_first(logits), channels_first(masks))
        assert value.shape == (1,)
        assert float(value[0]) == pytest.approx(expected.item(), abs=1e-6)


# Augmentation

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
    size = tensorflow["HEIGHT"], tensorflow["WIDTH"]
    picture, mask = smooth_picture(size)
    matrix = tensorflow["movement_matrix"](*[
        tf.constant([float(number)]) for number in
        (np.radians(angle), scale, shift_x, shift_y, flip_x, flip_y)])
    moved = tensorflow["move"](picture[None], matrix, "bilinear")[0]
    moved_mask = tensorflow["move"](
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

    bilinear, nearest = (torch_images.InterpolationMode.BILINEAR,
                         torch_images.InterpolationMode.NEAREST)
    # The mirrors differ: PyTorch's does not repeat the outermost pixel.
    difference = np.abs(moved - expected(picture, bilinear))
    assert np.median(difference) < 0.1 and difference.mean() < 2
    same = moved_mask[0, ..., 0] == expected(
        mask.astype(np.float32)[..., None], nearest)[..., 0]
    assert np.mean(same) > 0.985


def test_colours_change_as_in_torchvision(tensorflow):
    picture, _ = smooth_picture((24, 32))
    expected = torch.from_numpy(picture / 255).permute(2, 0, 1)
    factors = {"brightness": 1.2, "contrast": 0.8, "saturation": 1.15,
               "hue": -0.02}
    for name, factor in factors.items():
        adjust = getattr(torch_images, f"adjust_{name}")
        expected = adjust(expected, factor)
    changed = tensorflow["jitter_colours"](picture[None], **{
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
    mean = image.mean(axis=(0, 1))
    return [rows.mean(), columns.mean(), mask.sum(), *mean,
            image.mean(axis=-1).std()]


def test_augmentation_is_as_strong(pytorch, tensorflow):
    """Both augment one picture 500 times: as much change on average."""
    size = tensorflow["HEIGHT"], tensorflow["WIDTH"]
    rows, columns = np.indices(size)
    mask = np.hypot(rows - 48, columns - 32) < 12
    image = np.where(mask[..., None], [130, 90, 70], [210, 160, 140])
    image = image.astype(np.uint8)
    n = 500
    torch.manual_seed(0)
    ours = []
    for _ in range(n):
        one, its_mask = pytorch["augment"](
            tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)),
            tv_tensors.Mask(torch.from_numpy(mask.astype(np.uint8))))
        ours.append(disc_facts(one.permute(1, 2, 0).numpy(),
                               its_mask.numpy()))
    tf.random.set_seed(0)
    images, masks = tensorflow["augment"](
        np.repeat(image[None], n, axis=0),
        np.repeat(mask[None, ..., None], n, axis=0))
    theirs = [disc_facts(one, its_mask) for one, its_mask in
              zip(images.numpy(), masks.numpy()[..., 0])]
    ours, theirs = np.array(ours), np.array(theirs)
    spread = ours.std(axis=0)
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0))
            < 0.25 * spread).all()
    assert theirs.std(axis=0) == pytest.approx(spread, rel=0.15)


# Text

def shared(name):
    """What both notebooks must hold: all but the framework's own cells."""
    return [(cell.cell_type, tags_of(cell), cell.source)
            for cell in read(name).cells if "framework" not in tags_of(cell)]


def test_shared_cells_are_identical():
    ours, theirs = shared(PYTORCH), shared(TENSORFLOW)
    for one, other in zip(ours, theirs):
        assert one == other
    assert len(ours) == len(theirs)
    assert len(ours) > 0.6 * len(read(PYTORCH).cells)


def headings(name):
    """All headings of a notebook, in order, with their hashes."""
    return [line for cell in read(name).cells
            if cell.cell_type == "markdown"
            for line in cell.source.splitlines() if line.startswith("#")]


def test_headings_are_the_same():
    assert headings(PYTORCH) == headings(TENSORFLOW)
    assert len(headings(PYTORCH)) > 20


@pytest.mark.parametrize("name", NAMES)
def test_shared_code_names_no_framework(name):
    for kind, _, source in shared(name):
        if kind == "code":
            assert not re.search(r"\b(torch|nn|F|v2|tf|keras|layers)\.",
                                 source), source


@pytest.mark.parametrize("name", NAMES)
def test_each_section_links_to_its_twin(name):
    twin = NAMES[1 - NAMES.index(name)]
    text = "\n".join(cell.source for cell in read(name).cells)
    sections = [heading for heading in headings(name)
                if re.match(r"## \d+\.", heading)]
    assert len(sections) == 17
    for heading in sections:
        anchor = heading.removeprefix("## ").replace(" ", "-")
        assert f"({twin}#{anchor})" in text


# A quiet start

@pytest.mark.parametrize("name", NAMES)
def test_importing_prints_no_log(name):
    source = code_cells(read(name), "imports")[0].source
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("Python 3")
    assert len(done.stdout.splitlines()) == 1


def test_errors_are_seen_again_after_the_quiet():
    source = ("import os\nfrom data.quiet import without_native_log\n"
              "try:\n    with without_native_log():\n"
              "        os.write(2, b'hidden')\n        raise ValueError\n"
              "except ValueError:\n    os.write(2, b'seen')")
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT,
                          capture_output=True, text=True, check=True)
    assert done.stderr == "seen"


# The table "PyTorch and TensorFlow, term by term" in the README

def test_the_defaults_that_the_readme_names():
    norm, keras_norm = nn.BatchNorm2d(1), keras.layers.BatchNormalization()
    assert (norm.momentum, norm.eps) == (0.1, 1e-5)
    assert (keras_norm.momentum, keras_norm.epsilon) == (0.99, 1e-3)
    adam = torch.optim.AdamW([torch.zeros(1)]).defaults
    keras_adam = keras.optimizers.AdamW()
    assert (adam["eps"], adam["weight_decay"]) == (1e-8, 0.01)
    assert (keras_adam.epsilon, keras_adam.weight_decay) == (1e-7, 0.004)
    convolution, keras_convolution = nn.Conv2d(4, 9, 3), \
        keras.layers.Conv2D(9, 3)
    assert convolution.padding == (0, 0)
    assert keras_convolution.padding == "valid"
    assert convolution.weight.abs().max() <= 1 / np.sqrt(4 * 3 * 3)
    assert isinstance(keras_convolution.kernel_initializer,
                      keras.initializers.GlorotUniform)
    assert convolution.bias.abs().max() > 0
    keras_convolution.build((None, 8, 8, 4))
    assert not np.any(keras_convolution.bias)
    assert not keras.losses.BinaryCrossentropy().from_logits
    assert keras.metrics.BinaryIoU().threshold == 0.5
    tails = keras.initializers.HeNormal(seed=0)((100, 100))
    assert np.abs(tails).max() < 2.3 * np.std(tails)


def test_enlarging_agrees_as_the_readme_says():
    maps, _ = (array.astype(np.float32) for array in a_batch())
    expected = F.interpolate(channels_first(maps), scale_factor=2,
                             mode="bilinear")
    for enlarged in (keras.layers.UpSampling2D(
            interpolation="bilinear")(maps), tf.image.resize(maps, (64, 96))):
        np.testing.assert_allclose(enlarged, channels_last(expected),
                                   atol=1e-5)


def test_padding_of_stride_two_differs_as_the_readme_says():
    image = np.arange(36, dtype=np.float32).reshape(1, 6, 6, 1)
    ones = keras.layers.Conv2D(1, 3, strides=2, padding="same",
                               kernel_initializer="ones")(image)
    expected = F.conv2d(channels_first(image), torch.ones(1, 1, 3, 3),
                        stride=2, padding=1)
    assert not np.allclose(ones, channels_last(expected))
