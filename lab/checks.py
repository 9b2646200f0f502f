"""Checks for the lab: each says ✅, or ❌ with a hint, never the answer.

A check calls what a learner wrote, with input whose right output it knows
or can test. A failed check ends the run of all cells there, without a
traceback. For nbgrader that is an error, and so no points.
"""

import contextlib
import copy
import functools
import inspect
import io
import weakref
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import expit
from skimage.filters import threshold_otsu
from skimage.transform import resize

from data import mads

# More would train for too long on a laptop; ResNet-18 as encoder fits in.
MOST_PARAMETERS = 16_000_000


class NotYet(Exception):
    """A task that is not solved yet; shown as its sentence alone."""

    def _render_traceback_(self):
        """What IPython shows instead of a traceback."""
        return [str(self)]


def need(condition, hint):
    """Go on if the condition holds, else give the hint."""
    if not condition:
        raise NotYet(hint)


def needs_answer(answer, what):
    """Go on if a function returned something."""
    need(answer is not None,
         f"`{what}` returns nothing yet: replace the comment in its cell by "
         "your code, run that cell, and then this one.")


def check(task):
    """Make a check that says ✅ or ❌ and the name of its task."""
    def decorate(function):
        @functools.wraps(function)
        def checked(*arguments, **options):
            try:
                # nbgrader takes any text there, even a warning, for failure.
                with contextlib.redirect_stderr(io.StringIO()):
                    function(*arguments, **options)
            except NotYet as hint:
                raise NotYet(f"❌ {task}: {hint}") from None
            except Exception as error:  # learners' code may raise anything
                reason = " ".join(str(error).split())[:200]
                raise NotYet(
                    f"❌ {task}: your code stopped with "
                    f"{type(error).__name__} ({reason}). Run it by itself "
                    "in a new cell, on a small input, to see where."
                ) from error
            print(f"✅ {task}")
        return checked
    return decorate


# --- Task 1: look at the data --------------------------------------------

@check("Task 1, the share of the person")
def person_share(person_share):
    """Check person_share(masks): bool (N, H, W) -> float (N,)."""
    masks = np.zeros((3, 4, 10), bool)
    masks[1, :2], masks[2] = True, True
    share = person_share(masks)
    needs_answer(share, "person_share")
    need(np.shape(share) == (3,), "three masks must give three numbers, one "
         f"for each, in an array of shape (3,); yours is {np.shape(share)}.")
    share = np.asarray(share, float)
    need(np.max(share) <= 1, "a mask that is all person has the share 1, "
         f"not {np.max(share):g}. A share is a part of the whole.")
    need(np.allclose(share, [0, 0.5, 1]), "an empty mask, one with its upper "
         "half full and a full one must give three different shares; look "
         f"at yours again: {np.round(share, 3)}.")


# --- Task 2: split without leaking ---------------------------------------

@check("Task 2, the split")
def split(split_by_sequence, samples):
    """Check split_by_sequence(samples, seed): three arrays of rows."""
    parts = split_by_sequence(samples, 1)
    needs_answer(parts, "split_by_sequence")
    need(isinstance(parts, (tuple, list)) and len(parts) == 3,
         "return three things, in this order: train, valid, test.")
    parts = [np.asarray(part) for part in parts]
    need(all(part.ndim == 1 and np.issubdtype(part.dtype, np.integer)
             for part in parts),
         "each part must be a one-dimensional array of row numbers, that is "
         "of whole numbers; not images, not names, not True and False.")
    rows = np.concatenate(parts)
    need(rows.min() >= 0 and rows.max() < len(samples),
         f"row numbers go from 0 to {len(samples) - 1}.")
    need(len(np.unique(rows)) == len(rows),
         "some rows appear twice. A picture must not be in two parts, or "
         "the network is tested on what it has learned.")
    need(len(rows) == len(samples),
         f"{len(samples) - len(rows)} pictures are in no part.")
    no_leak(parts, samples)
    shares = [len(part) / len(samples) for part in parts]
    need(shares[0] >= 0.5 and min(shares[1:]) >= 0.1,
         "at least half of the pictures should be for training and a tenth "
         "each for validation and test; your shares are "
         f"{', '.join(f'{share:.0%}' for share in shares)}.")
    every_category(parts, samples)
    again, other = split_by_sequence(samples, 1), split_by_sequence(samples, 2)
    need(all(map(np.array_equal, parts, again)),
         "the same seed gave two different splits, so nobody could repeat "
         "your result. Hand the seed to whatever draws lots.")
    need(not all(map(np.array_equal, parts, other)),
         "another seed gave the same split. Hand the seed on.")


def no_leak(parts, samples):
    """Refuse parts that share a sequence."""
    sequences = [set(samples.groups[part]) for part in parts]
    torn = sorted((sequences[0] & sequences[1]) | (sequences[0] & sequences[2])
                  | (sequences[1] & sequences[2]))
    if not torn:
        return
    shots = [[mads.parse(samples.names[row]) for row in part]
             for part in parts]
    cameras = [{(shot.sequence, shot.camera) for shot in part}
               for part in shots]
    by_camera = not (cameras[0] & cameras[1] or cameras[0] & cameras[2]
                     or cameras[1] & cameras[2])
    need(not by_camera, f"pictures of {torn[0]} are in more than one part: "
         "its cameras were separated, but they filmed the same person at "
         "the same time.")
    need(False, f"{len(torn)} sequences leak, {torn[0]} is one of them: "
         "pictures of it are in more than one part, and they look almost "
         "alike.")


def every_category(parts, samples):
    """Refuse parts that lack a category."""
    categories = [{mads.parse(samples.names[row]).category for row in part}
                  for part in parts]
    for name, found in zip(("train", "valid", "test"), categories):
        missing = sorted(set.union(*categories) - found)
        need(not missing, f"{name} has no picture of {', '.join(missing)}: "
             "every category should be in every part, so deal out the "
             "sequences of each category.")


# --- Task 3: the network -------------------------------------------------

class Torch:
    """How a check talks to a network of PyTorch."""

    order = "logits come first, then masks, as in PyTorch"

    def __init__(self):
        import torch
        self.torch = torch
        self.kind = torch.nn.Module
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def tensor(self, numbers):
        """Numbers (N, H, W, C) as the network gets and gives them."""
        return self.torch.tensor(np.moveaxis(numbers, -1, 1),
                                 dtype=self.torch.float32,
                                 device=self.device)

    def logits(self, model, batch):
        """What the network makes of a batch: NumPy (N, H, W, C)."""
        modes = {part: part.training for part in model.modules()}
        answer = self.answer(model.eval(), batch)
        for part, mode in modes.items():  # as if nothing had been
            part.training = mode
        return answer

    def logits_in_training(self, model, batch):
        """The same in the mode of training, by a copy since that learns."""
        return self.answer(copy.deepcopy(model).train(), batch)

    def answer(self, model, batch):
        """What the network makes of a batch, in the mode that it is in."""
        with self.torch.no_grad():
            answer = model.to(batch.device)(batch).float().cpu().numpy()
        return np.moveaxis(answer, 1, -1) if answer.ndim == 4 else answer

    def n_parameters(self, model):
        """The number of all weights that are there by now."""
        return sum(weight.numel() for weight in model.parameters()
                   if not self.torch.nn.parameter.is_lazy(weight))

    def draw_weights(self, model, generator):
        """Put random weights in the place of all."""
        for weight in model.parameters():
            numbers = drawn(weight.shape, weight.shape[1:], generator)
            weight.data.copy_(self.torch.as_tensor(numbers))

    def loss(self, function, logits, masks):
        """The loss of logits and masks, NumPy (N, H, W, 1)."""
        return function(self.tensor(logits), self.tensor(masks))

    def gradient(self, function, logits, masks):
        """The gradient of the loss by the logits, in any shape."""
        logits = self.tensor(logits).requires_grad_()
        function(logits, self.tensor(masks)).backward()
        return logits.grad.cpu().numpy()


class Keras:
    """How a check talks to a network of Keras."""

    order = "masks come first, then logits, as in Keras"

    def __init__(self):
        import keras
        import tensorflow as tf
        self.tf, self.kind = tf, keras.Layer

    def tensor(self, numbers):
        """Numbers (N, H, W, C) as the network gets and gives them."""
        return self.tf.constant(numbers, self.tf.float32)

    def logits(self, model, batch):
        """What the network makes of a batch: NumPy (N, H, W, C)."""
        return self.tf.cast(model(batch, training=False),
                            self.tf.float32).numpy()

    def logits_in_training(self, model, batch):
        """The same in the mode of training, after which all is as before."""
        weights = model.get_weights()
        answer = self.tf.cast(model(batch, training=True), self.tf.float32)
        model.set_weights(weights)
        return answer.numpy()

    def n_parameters(self, model):
        """The number of all weights that are there by now."""
        return sum(int(np.prod(weight.shape)) for weight in model.weights)

    def draw_weights(self, model, generator):
        """Put random weights in the place of all, but not of statistics."""
        for weight in model.weights:
            if not weight.name.startswith("moving"):
                # One output channel may mean one for each input channel.
                inputs = weight.shape[:2 if weight.shape[-1:] == (1,) else -1]
                weight.assign(drawn(weight.shape, inputs, generator))

    def loss(self, function, logits, masks):
        """The loss of masks and logits, NumPy (N, H, W, 1)."""
        return function(self.tensor(masks), self.tensor(logits))

    def gradient(self, function, logits, masks):
        """The gradient of the loss by the logits, in any shape."""
        logits = self.tensor(logits)
        with self.tf.GradientTape() as tape:
            tape.watch(logits)
            loss = function(self.tensor(masks), logits)
        return tape.gradient(loss, logits).numpy()


def framework(thing):
    """The framework that a network belongs to."""
    return Torch() if any(kind.__module__.startswith("torch")
                          for kind in type(thing).__mro__) else Keras()


def drawn(shape, inputs, generator):
    """Random weights that neither fade nor explode: float32 of this shape.

    inputs: the shape of the weights that lead to one output.
    """
    scale = np.sqrt(2 / np.prod(inputs)) if len(shape) > 1 else 1
    return generator.standard_normal(shape, np.float32) * np.float32(scale)


@check("Task 3, the network")
def network(UNet):
    """Check UNet(): a network that gives one logit per pixel."""
    model = UNet()
    needs_answer(model, "UNet")
    tool = framework(model)
    few_weights(tool, model)  # before they are all computed with
    generator = np.random.default_rng(0)
    # The second image is of another kind; the third differs from the first
    # in its right part only.
    images = generator.normal(size=(3, 96, 128, 3))
    images[2, :, :72] = images[0, :, :72]
    images[1] = 3 * images[1] + 2
    batch = tool.tensor(images)
    try:
        logits = tool.logits(model, batch)
    except NotImplementedError:
        raise NotYet("the network has no weights yet, or does nothing with "
                     "them: write its layers, and how an image goes through "
                     "them.") from None
    few_weights(tool, model)
    need(tool.n_parameters(model) > 0,
         "the network has no weights yet: write its layers.")
    one_channel(logits, images)
    need(np.isfinite(logits).all(), "the output has numbers that are not "
         "finite.")
    # What it gives at first says little, say if its head begins with zeros.
    trials = []
    for _ in range(6):
        tool.draw_weights(model, generator)
        trials.append(tool.logits(model, batch))
        alone = tool.logits(model, batch[:1])
        need(np.abs(alone - trials[-1][:1]).mean()
             <= 0.03 * np.abs(trials[-1][0]).mean(),
             "an image gets other logits when it is alone in its batch. Do "
             "not mix the images.")
    trials = np.array(trials)
    need(np.ptp(trials, axis=(2, 3, 4)).any(),
         "every pixel gets the same logit, whatever the image shows.")
    any_number(trials.min(), trials.max())
    change = np.abs(trials[:, 2] - trials[:, 0])[:, :, :65].max(axis=(1, 2))
    need((change > 1e-4 * np.abs(trials[:, 0]).max(axis=(1, 2))).any(),
         "a logit must see more than its neighbours, or the network knows "
         "colours only: here it does not notice what is 8 pixels away. Add "
         "layers, some of them at a coarser resolution.")


def few_weights(tool, model):
    """Refuse a network that is too large."""
    count = tool.n_parameters(model)
    need(count <= MOST_PARAMETERS, f"{count:,} weights are more than "
         f"{MOST_PARAMETERS:,}; use fewer channels, or you will wait long.")


def one_channel(logits, images):
    """Refuse an output that is not one number for each pixel."""
    (n, height, width, _), shape = images.shape, logits.shape
    need(logits.ndim == 4 and len(logits) == n,
         f"a batch of {n} images must give a batch of {n} masks, with an "
         f"axis for the channel; your output has {logits.ndim} axes and the "
         f"length {len(logits)}.")
    need(shape[3] == 1, "person or background needs one channel, "
         f"the logit of the person; yours has {shape[3]}.")
    need(shape[1:3] != (width, height), "height and width are swapped.")
    need(shape[1:3] == (height, width), f"images of {height}×{width} pixels "
         f"must give masks of {height}×{width}, not {shape[1]}×{shape[2]}. "
         "Does every step down have its step up?")


def any_number(low, high):
    """Refuse outputs of random networks that something keeps in bounds."""
    need(low < 0 or high > 1, "all outputs lie between 0 and 1, as "
         "probabilities do. The network should give logits, since the loss "
         "has the sigmoid in it; two of them are one too many.")
    need(low < 0 < high, f"no output is {'below' if low >= 0 else 'above'} "
         "0, whatever the weights are, but logits have both signs. Leave out "
         "the activation, such as ReLU or softplus, after the last layer.")
    need(low < -1.01 or high > 1.01, "all outputs lie between -1 and 1, as "
         "after tanh, but logits have no bounds. Leave out the activation "
         "after the last layer.")


# --- Task 4: training ----------------------------------------------------

def loss_parts(logits, masks):
    """What a loss is made of; both arrays (N, H, W, 1).

    Four numbers: the person's and the background's part of the mean cross-
    entropy, then the Dice loss by image and that of the whole batch.
    """
    person = np.mean(masks * np.logaddexp(0, -logits))
    background = np.mean((1 - masks) * np.logaddexp(0, logits))
    both, total = expit(logits) * masks, expit(logits) + masks
    return (person, background,
            *(np.mean(1 - 2 * both.sum(axis=axes) / total.sum(axis=axes))
              for axes in ((1, 2, 3), None)))


def random_batches():
    """Pairs of logits and masks, of small persons and large ones, NumPy.

    Some of the logits fit their masks, some do not.
    """
    generator = np.random.default_rng(0)
    for share in np.tile([0.05, 0.2, 0.5, 0.8], 5):
        shares, fits = generator.uniform([[0.5], [-1]], [[1.2], [3]], (2, 3))
        masks = 1.0 * (generator.random((3, 24, 32, 1))
                       < share * shares[:, None, None, None])
        logits = generator.normal(size=masks.shape) * 2 \
            + fits[:, None, None, None] * (2 * masks - 1)
        yield logits, masks


@check("Task 4, the loss")
def cross_entropy(cross_entropy, UNet):
    """Check a loss: mean binary cross-entropy of logits and masks.

    More weight for the person, or a Dice loss in addition, are fine. The
    order of its arguments is that of the framework.
    """
    tool = framework(UNet())
    pairs = list(random_batches())
    loss = functools.partial(tool.loss, cross_entropy)
    value = loss(*pairs[0])
    needs_answer(value, "cross_entropy")
    need(np.ndim(value) == 0, "a loss is one number, the mean over all "
         f"pixels of all images; yours has the shape {np.shape(value)}.")
    fits = is_mean_loss(loss, pairs)
    swapped = False
    if not fits:
        with contextlib.suppress(Exception):  # some losses refuse logits > 1
            swapped = is_mean_loss(lambda *pair: loss(*pair[::-1]), pairs)
    need(not swapped, f"logits and masks are swapped: {tool.order}.")
    every_pixel(tool, cross_entropy, *pairs[0])
    right_values(loss, fits)


def is_mean_loss(loss, pairs):
    """Whether a loss of pairs of logits and masks is made as it should be.

    That is a · person's part + background's part + c · a Dice loss, with a
    of 1 or more, and c of 0 or more. Found for all pairs at once.
    """
    values = np.array([float(loss(*pair)) for pair in pairs])
    if not (values > 0).all():
        return False
    person, background, *dices = np.transpose(
        [loss_parts(*pair) for pair in pairs]) / values
    for dice in dices:
        columns, target = np.stack([person, dice], axis=1), 1 - background
        a, c = np.linalg.lstsq(columns, target)[0]
        error = np.abs(columns @ [a, c] - target).max()
        if error < 0.03 and a > 0.93 and c > -0.07:
            return True
    return False


def every_pixel(tool, cross_entropy, logits, masks):
    """Refuse a loss without a gradient, or that leaves out pixels."""
    try:
        gradient = tool.gradient(cross_entropy, logits, masks)
    except Exception:  # frameworks say it in many ways
        raise NotYet("the loss has no gradient, so that nothing can be "
                     "learned from it: compute with tensors all the way, "
                     "without NumPy, .item(), float() or .detach().") from None
    used = gradient.reshape(masks.shape) != 0
    for pixels, name in [(masks == 1, "person"), (masks == 0, "background")]:
        need(used[pixels].any(), f"the pixels of the {name} have no "
             "influence on the loss. It is a mean over all pixels.")
    need(used.mean() > 0.9, f"only {used.mean():.1%} of the pixels have an "
         "influence on the loss. Is it a mean over all pixels of all images, "
         "and does it take logits as logits, not as probabilities?")


def right_values(loss, fits):
    """Refuse a loss with wrong values.

    loss  the loss, of logits and masks in NumPy
    fits  whether it was right for random logits
    """
    masks = np.zeros((2, 4, 6, 1))
    masks[:, :2] = 1
    none, right, wrong = (float(loss(sure * (2 * masks - 1), masks))
                          for sure in (0, 20, -20))
    need(np.isfinite([none, right, wrong]).all(), "logits of ±20 give a loss "
         "that is not finite, since their sigmoid is rounded to 0 or 1 and "
         "has no logarithm. Take a loss that is made for logits.")
    need(right < 0.05, "logits of ±20 that are all right must give a loss "
         f"of almost 0; yours is {right:.3f}. Is there a sigmoid too many, "
         "or a wrong sign?")
    need(fits or np.isclose(none, np.log(2), atol=0.02),
         "a network that has no opinion, with all logits 0, must get the "
         f"loss ln 2 = 0.693, the mean over all pixels; yours is {none:.3f}. "
         "More weight for the person, or a Dice loss, can be added to that; "
         "the background has the weight 1.")
    need(fits or wrong < 50, "logits of ±20 that are all wrong must give a "
         f"loss of 20; yours is {wrong:.3f}. Masks are 0 and 1 already.")
    need(fits, "with random logits the value is not that of the cross-"
         "entropy. Is it the mean over all pixels, where each of the person "
         "counts alike and each of the background 1, however many there are?")


class WatchedImages(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that remembers which of its rows were looked at."""

    def __init__(self, array):
        self._array, self.rows = array, set()

    def _all(self):
        """The array, all of it looked at."""
        self.rows.update(range(len(self._array)))
        return self._array

    def __getitem__(self, key):
        first = key[0] if isinstance(key, tuple) and key else key
        if np.ndim(first) > 1 and np.asarray(first).dtype == bool:
            first = np.asarray(first).reshape(len(first), -1).any(axis=1)
        rows = np.arange(len(self._array))[first]
        self.rows.update(np.ravel(rows).tolist())
        return self._array[key]

    def __len__(self):
        return len(self._array)

    def __array__(self, dtype=None, copy=None):
        return np.array(self._all(), dtype)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return getattr(ufunc, method)(*map(np.asarray, inputs), **options)

    def __getattr__(self, name):
        looks = name not in ("shape", "dtype", "ndim", "size", "nbytes")
        return getattr(self._all() if looks else self._array, name)


LOOKED_AT = weakref.WeakKeyDictionary()  # {network: the rows it has seen}


def watched(train_network):
    """Decorate a training: which rows of `samples` does it look at?

    While it runs, the `samples` of its notebook note them; see `rows_of`.
    """
    @functools.wraps(train_network)
    def training(*arguments, **options):
        names = inspect.unwrap(train_network).__globals__
        samples = names["samples"]
        images = WatchedImages(samples.images)
        names["samples"] = replace(samples, images=images)
        try:
            model = train_network(*arguments, **options)
        finally:
            names["samples"] = samples
        with contextlib.suppress(TypeError):  # None, say: `training` tells
            LOOKED_AT.setdefault(model, set()).update(images.rows)
        return model
    return training


def rows_of(model):
    """The rows of `samples` that a training looked at: int (N,), sorted."""
    try:
        rows = LOOKED_AT.get(model)
    except TypeError:  # not a network
        rows = None
    need(rows, "it is not known which pictures this network has seen: train "
         "it with train_network, and leave the line @checks.watched above "
         "it. Its pictures come from samples.images, and are taken in this "
         "process.")
    return np.array(sorted(rows))


def spread_rows(rows, n):
    """About n rows, from the whole list."""
    return np.asarray(rows)[::max(1, len(rows) // n)][:n]


@check("Task 4, the training")
def training(model, UNet, prepare, samples, train):
    """Check what train_network(train, 2) returned: it has learned."""
    needs_answer(model, "train_network")
    tool = framework(UNet())
    itself = "return the network itself, made by `UNet()` and trained."
    need(isinstance(model, tool.kind), itself)
    rows = spread_rows(train, 24)
    batch = prepare(samples.images[rows])
    masks = samples.masks[rows][..., None]
    fresh = [UNet() for _ in range(5)]
    answer, before = (tool.logits(network, batch)
                      for network in (model, fresh[0]))
    need(tool.n_parameters(model) == tool.n_parameters(fresh[0])
         and answer.shape == before.shape, itself)
    need(np.isfinite(answer).all(), "the trained network gives numbers that "
         "are not finite: the learning rate may be too high.")
    # After two epochs the statistics of batch norm may still lag behind;
    # then the network is good in the mode of training only.
    loss, *losses = (min(sum(loss_parts(logits(network, batch), masks)[:2])
                         for logits in (tool.logits, tool.logits_in_training))
                     for network in (model, *fresh))
    untrained = min(np.median(losses), np.log(2))
    need(loss <= 0.8 * untrained, "it has hardly learned: its cross-"
         f"entropy of training pictures is {loss:.3f}, that of networks that "
         f"were not trained about {untrained:.3f}. Does every step compute "
         "the gradient and change the weights, and is the trained network "
         "the one that you return? If large batches make for few steps, "
         "train for more epochs.")
    looked_at = rows_of(model)
    others = np.setdiff1d(looked_at, train)
    need(not len(others), f"the training looked at {len(others)} pictures "
         "that it was not given. Use the `rows` that come in, and no others.")
    need(len(looked_at) >= 0.9 * len(np.unique(train)), "the training looked "
         f"at only {len(looked_at)} of the {len(np.unique(train))} pictures "
         "it was given. One epoch is once through all of them.")


# --- Task 5: predict and measure -----------------------------------------

@check("Task 5, the prediction")
def predict(predict, model, UNet, prepare, samples, train):
    """Check predict(model, images): float (N, H, W), 0 to 1."""
    rows = spread_rows(train, 12)
    images, masks = samples.images[rows], samples.masks[rows]
    probabilities = predict(model, images)
    needs_answer(probabilities, "predict")
    are_probabilities(probabilities, images)
    alone = np.concatenate([predict(model, image[None])
                            for image in images[:3]])
    need(np.allclose(alone, probabilities[:3], atol=0.02),
         "an image gets other numbers when it is predicted alone. Batch "
         "norm must use its stored statistics now, and the order of the "
         "images must stay.")
    right = follows(probabilities, model, prepare, images)
    need(right or probabilities.min() < 0.499 or probabilities.max() > 0.732,
         "all numbers lie between 0.5 and 0.73, which is what the sigmoid "
         "makes of probabilities: it was applied twice.")
    need(right, "the numbers are not the sigmoid of the logits that the "
         "network gives for `prepare(images)`. Are the images prepared as in "
         "training, and is the result left as it is, not shifted, not "
         "stretched?")
    fresh = UNet()
    framework(fresh).logits(fresh, prepare(images))  # builds and places it
    need(follows(predict(fresh, images), fresh, prepare, images),
         "a network that has not been trained does not get the sigmoid of "
         "its own logits. Use the `model` that comes in, give it "
         "`prepare(images)`, and do not stretch the numbers to 0 and 1.")
    better_than_simple(probabilities > 0.5, images, masks,
                       samples.masks[train].mean(axis=0))


def are_probabilities(probabilities, images):
    """Refuse what is not an array of probabilities for these images."""
    n, height, width, _ = images.shape
    need(isinstance(probabilities, np.ndarray), "return an array of NumPy, "
         f"not {type(probabilities).__name__}.")
    need(probabilities.shape != (n, width, height),
         "height and width are swapped.")
    need(probabilities.shape == (n, height, width),
         f"images of the shape {images.shape} must give "
         f"{(n, height, width)}, not {probabilities.shape}.")
    need(np.isfinite(probabilities).all(), "some numbers are not finite.")
    low, high = float(probabilities.min()), float(probabilities.max())
    need(low >= 0 and high <= 1, f"the numbers go from {low:.1f} to "
         f"{high:.1f}, but probabilities lie between 0 and 1. Are these "
         "logits, or grey values?")
    need(not np.isin(probabilities, [0, 1]).all(), "all numbers are 0 or 1. "
         "Return the probabilities; the threshold comes later.")


def follows(probabilities, model, prepare, images):
    """Whether probabilities are what a network makes of images.

    They may be the mean of what it makes of images and of mirrored ones.
    """
    tool = framework(model)
    logits = tool.logits(model, prepare(images))[..., 0]
    mirrored = tool.logits(model, prepare(images[:, :, ::-1].copy()))[..., 0]
    mirrored = mirrored[:, :, ::-1]
    return any(np.mean(np.abs(probabilities - expected) <= 0.1) > 0.99
               for expected in (expit(logits), expit((logits + mirrored) / 2),
                                (expit(logits) + expit(mirrored)) / 2))


def better_than_simple(predicted, images, masks, mean_mask):
    """Refuse masks that could be had without a network; bool (N, H, W)."""
    need(predicted.any(), "no pixel is person in any training image. Has "
         "the network been trained, and for long enough?")
    right, mixed = (overlap(predicted, truth).mean()
                    for truth in (masks, np.roll(masks, 1, axis=0)))
    need(right > mixed, "the masks fit other images as well as their own. "
         "Were images and masks put into the same order in training?")
    grey = images.mean(axis=3)
    bright = np.array([image > threshold_otsu(image) for image in grey])
    by_threshold = max(overlap(bright, masks).mean(),
                       overlap(~bright, masks).mean())
    fixed = max(overlap(np.broadcast_to(mean_mask > level, masks.shape),
                        masks).mean() for level in (0.1, 0.2, 0.3, 0.4, 0.5))
    need(right > max(by_threshold, fixed), "even on training images the IoU "
         f"is {right:.2f}; a threshold of the brightness has "
         f"{by_threshold:.2f}, one mask for all images {fixed:.2f}. Was the "
         "network trained for long enough, does it see more than single "
         "pixels, do images and masks get the same augmentation, and are "
         "masks 0 and 1 in training?")


def overlap(predicted, masks):
    """IoU of each pair of masks, bool (N, H, W); two empty ones count 1."""
    both = (predicted & masks).sum(axis=(1, 2))
    either = (predicted | masks).sum(axis=(1, 2))
    return np.where(either, both / np.maximum(either, 1), 1.0)


@check("Task 5, IoU and Dice")
def metrics(iou, dice):
    """Check iou and dice: two bool (N, H, W) -> float (N,)."""
    masks = np.zeros((6, 96, 128), bool)
    predicted = masks.copy()
    masks[0, :, :50], predicted[0, :, :50] = True, True  # the same
    masks[1, 20:60, 20:80], predicted[1, 20:60, 50:90] = True, True  # partly
    masks[2, :40], predicted[2, 50:] = True, True  # apart
    masks[4, 30:70, 40:60], predicted[5, 30:70, 40:60] = True, True
    both, either = 1200, 2800
    expected = {"iou": [1, both / either, 0, 1, 0, 0],
                "dice": [1, 2 * both / (both + either), 0, 1, 0, 0]}
    for name, function in [("iou", iou), ("dice", dice)]:
        scores = function(predicted, masks)
        needs_answer(scores, name)
        need(np.shape(scores) == (6,), f"`{name}` of six pairs of masks "
             "must give six numbers, one for each image; yours has the "
             f"shape {np.shape(scores)}. A large person must not count for "
             "more than a small one.")
        scores = np.asarray(scores, float)
        need(np.isfinite(scores[3]), f"`{name}` of two empty masks is "
             "0 / 0. They are equal: let it be 1.")
        need(np.isclose(scores[3], 1, atol=0.02), f"`{name}` of two empty "
             "masks should be 1, since they are equal.")
        need(np.allclose(scores[:3], expected[name][:3], atol=0.02),
             f"`{name}` of two equal masks, of two that overlap in {both} of "
             f"{either} pixels, and of two apart is "
             f"{np.round(scores[:3], 3)}. Work the second out on paper.")
        need(np.allclose(scores[4:], 0, atol=0.02), f"`{name}` should be 0 "
             "if only one of the two masks is empty: nothing overlaps. Yours "
             f"is {np.round(scores[4:], 3)}.")


@check("Task 5, the table")
def table(scores, predicted, samples, rows):
    """Check a table of mean IoU and Dice of each sequence."""
    needs_answer(scores, "scores_by_sequence")
    need(isinstance(scores, pd.DataFrame), "make it a pandas DataFrame.")
    need(list(scores.columns) == ["IoU", "Dice"],
         "the columns should be IoU and Dice, in this order; yours are "
         f"{', '.join(map(str, scores.columns))}.")
    per_image = overlap(predicted, samples.masks[rows])
    expected = pd.DataFrame(
        {"IoU": per_image, "Dice": 2 * per_image / (1 + per_image)}
    ).groupby(samples.groups[rows]).mean()
    need(sorted(scores.index) == sorted(expected.index),
         "it should have one line for each sequence of the rows, with "
         "its name as the index.")
    need(np.allclose(scores.loc[expected.index], expected, atol=0.006),
         "the numbers are not the means over the pictures of each sequence. "
         "Are the scores in the order of the rows?")


# --- Task 6: reach the target --------------------------------------------

def score(predict, model, samples, rows):
    """IoU of each picture at its original size, a Series by sequence."""
    scores = []
    for row, probabilities in zip(rows, predict(model, samples.images[rows])):
        mask = samples.original_mask(row)
        larger = resize(probabilities.astype(np.float64), mask.shape)
        scores.append(overlap(larger[None] > 0.5, mask[None])[0])
    return pd.Series(scores, index=samples.groups[rows], name="IoU")


def unseen(model, samples, test):
    """Refuse a test that is too small or not of pictures never seen."""
    seen, test = rows_of(model), np.unique(test)
    need(len(seen) < len(samples), "the training has looked at all "
         "pictures, also at those for the test. Take from samples.images "
         "only the rows that you were given: samples.images[rows].")
    shared = np.intersect1d(samples.groups[seen], samples.groups[test])
    need(not len(shared), f"the network has seen {len(shared)} sequences of "
         f"the test in its training, such as {', '.join(shared[:1])}. Train "
         "it on the rows in `train`.")
    need(len(test) >= 0.1 * len(samples), f"{len(test)} of {len(samples)} "
         "pictures are too few for a test; take a tenth or more.")
    whole = np.isin(samples.groups, samples.groups[test]).sum()
    need(len(test) == whole, f"the test has {len(test)} of the {whole} "
         "pictures of its sequences. Leave none of them out.")


@check("Task 6, the target")
def target(predict, model, samples, test, least, seed=None):
    """Check the mean IoU of sequences never seen, at original size.

    With MADS these are the sequences of the test; the synthetic sample is
    small, and so it has other people in other rooms for that. Another seed
    gives others again.
    """
    unseen(model, samples, test)
    kind = "held-out sequences"
    if samples.source != "MADS":
        others = {} if seed is None else {"seed": seed}
        samples = mads.strangers(samples.images.shape[1:3], **others)
        test, kind = np.arange(len(samples)), "sequences of strangers"
    by_sequence = score(predict, model, samples, test).groupby(level=0).mean()
    worst = by_sequence.idxmin()
    need(by_sequence.mean() >= least,
         f"the mean IoU of {len(by_sequence)} {kind} is "
         f"{by_sequence.mean():.3f}, the target {least}; the worst of them, "
         f"{worst}, has {by_sequence.min():.3f}. Did the loss still fall when "
         "the training ended? Does the augmentation change light and colours "
         "enough for new rooms?")
    print(f"mean IoU of {len(by_sequence)} {kind}: {by_sequence.mean():.3f}")


# --- Task 7: another background ------------------------------------------

@check("Task 7, the new background")
def compose(compose):
    """Check compose(image, probabilities, background): uint8 (H, W, 3).

    A striped red disc that was filmed before green, its edge mixed of both
    as a lens does it, comes before blue.
    """
    y, x = np.mgrid[:60, :80]
    alpha = np.clip(20.5 - np.hypot(y - 30, x - 40), -3, 3) / 6 + 0.5
    green, blue = np.uint8([20, 200, 20]), np.uint8([20, 20, 220])
    red = np.full((60, 80, 3), 20)
    red[..., 0] = 200 + 40 * ((x // 2 + y // 3) % 2)
    image = np.uint8(alpha[..., None] * red + (1 - alpha[..., None]) * green)
    background = np.broadcast_to(blue, image.shape).copy()
    kept = image.copy(), background.copy()
    answer = compose(image, alpha.astype(np.float32), background)
    needs_answer(answer, "compose")
    need(np.array_equal(image, kept[0])
         and np.array_equal(background, kept[1]),
         "the image or the background that came in was changed; work on a "
         "copy.")
    need(np.shape(answer) == image.shape, "the picture must keep the shape "
         f"{image.shape}; yours is {np.shape(answer)}.")
    need(answer.dtype == np.uint8, "return uint8, 0 to 255; yours is "
         f"{answer.dtype}.")
    answer = answer.astype(float)
    need(np.abs(answer - image)[alpha == 1].max() <= 3,
         "inside the person the image must stay as it is, pixel by pixel.")
    need(np.abs(answer[alpha == 0] - blue).max() <= 3,
         "far from the person there must be the new background and nothing "
         "else.")
    edge = (alpha > 0.05) & (alpha < 0.95)
    mixed = np.minimum(answer[edge][:, 0], answer[edge][:, 2]) > 50
    need(mixed.mean() > 0.2, "the edge is hard, like cut with scissors. Let "
         "the probability say how much of each picture is seen.")
    need(answer[..., 1].max() < 60, "there is a halo: green of the old "
         f"background, up to {answer[..., 1].max():.0f} of 255, shines "
         "through at the edge, since the pixels there were a mixture "
         "already. Is every pixel from which you take the person's colour "
         "surely person, and not a mixture itself?")


# --- Task 7: a steady film -----------------------------------------------

def flicker(probabilities):
    """Mean absolute change from frame to frame: (T, H, W) -> float."""
    changes = np.abs(np.diff(np.asarray(probabilities, float), axis=0))
    return float(changes.mean()) if changes.size else 0.0


@check("Task 7, the steady film")
def steady(steady):
    """Check steady(probabilities): float (T, H, W), smoothed over time.

    In the film, a disc moves from left to right, one or two pixels a frame.
    """
    y, x = np.mgrid[:48, :64]
    exact = np.array([np.clip(11 - np.hypot(y - 24, x - 14 - 1.5 * t), 0, 1)
                      for t in range(24)])
    generator = np.random.default_rng(0)
    noisy = np.float32(np.clip(
        exact + generator.normal(scale=0.2, size=exact.shape), 0, 1))
    answer = smoothed(steady, noisy)
    before, after = (flicker(film) - flicker(exact)
                     for film in (noisy, answer))
    need(after <= before * 2 / 3, "the film flickers almost as before: what "
         "changes from frame to frame beyond the motion must fall by a "
         f"third, from {before:.3f}; it is {after:.3f}. Average each frame "
         "with those before and after it.")
    right, now = (overlap(film > 0.5, exact > 0.5).mean()
                  for film in (noisy, answer))
    need(now >= right - 0.03, "the masks no longer fit the person who moves: "
         f"the IoU falls from {right:.3f} to {now:.3f}. Average over fewer "
         "frames, as many before as after, and only over time.")
    for n, what in [(1, "one frame"), (2, "two frames")]:
        short = noisy[:n]
        answer = smoothed(steady, short)
        need((answer >= short.min(axis=0) - 0.02).all()
             and (answer <= short.max(axis=0) + 0.02).all(),
             f"in a film of {what} pixels get values that they have in no "
             "frame. At the ends there are fewer neighbours: average those "
             "that are there, and smooth over time only.")


def smoothed(steady, film):
    """What `steady` makes of a film, if that has its form."""
    kept = film.copy()
    answer = steady(film)
    needs_answer(answer, "steady")
    need(np.array_equal(film, kept), "the film that came in was changed; "
         "work on a copy.")
    answer = np.asarray(answer)
    need(answer.shape == film.shape, f"a film of the shape {film.shape} must "
         f"give one of the same shape; yours is {answer.shape}.")
    need(np.issubdtype(answer.dtype, np.floating), "return probabilities, "
         f"that is floats; yours are {answer.dtype}.")
    need((answer > -1e-3).all() and (answer < 1.001).all(), "probabilities "
         "lie between 0 and 1; are they a mean, and not a sum?")
    return answer
