"""Checks for the lab: each says ✅, or ❌ with a hint, never the answer.

A check calls what a learner wrote, with input whose right output it knows
or can test. A failed check ends the run of all cells there, without a
traceback. For nbgrader that is an error, and so no points.
"""

import contextlib
import functools
import inspect
import io

import numpy as np
import pandas as pd
from skimage.transform import resize

from data import mads

MOST_PARAMETERS = 4_000_000  # more would train for too long on a laptop


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
        def checked(*arguments):
            try:
                # nbgrader takes any text there, even a warning, for failure.
                with contextlib.redirect_stderr(io.StringIO()):
                    function(*arguments)
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

    def __init__(self):
        import torch
        self.torch = torch

    def logits(self, model, images):
        """Float images (N, H, W, 3) -> what the network gives, NumPy."""
        model.eval()
        with self.torch.inference_mode():
            batch = self.torch.tensor(images).permute(0, 3, 1, 2)
            answer = model(batch.to(next(model.parameters()).device))
        answer = answer.cpu().numpy()
        return answer.transpose(0, 2, 3, 1) if answer.ndim == 4 else answer

    def n_parameters(self, model):
        """The number of weights that are trained."""
        return sum(weight.numel() for weight in model.parameters()
                   if weight.requires_grad)

    def tensor(self, numbers):
        """A tensor of float32 in the shape that the network gives."""
        return self.torch.tensor(np.moveaxis(numbers, -1, 1),
                                 dtype=self.torch.float32)


class Keras:
    """How a check talks to a network of Keras."""

    def logits(self, model, images):
        """Float images (N, H, W, 3) -> what the network gives, NumPy."""
        return np.asarray(model(images, training=False))

    def n_parameters(self, model):
        """The number of weights that are trained."""
        return sum(int(np.prod(weight.shape))
                   for weight in model.trainable_variables)

    def tensor(self, numbers):
        """A tensor of float32 in the shape that the network gives."""
        import tensorflow as tf
        return tf.constant(numbers, tf.float32)


def framework(thing):
    """The framework that a network or its class belongs to."""
    kinds = thing.__mro__ if inspect.isclass(thing) else type(thing).__mro__
    return Torch() if any(kind.__module__.startswith("torch")
                          for kind in kinds) else Keras()


@check("Task 3, the network")
def network(UNet):
    """Check UNet(): a network that gives one logit per pixel."""
    model = UNet()
    needs_answer(model, "UNet")
    tool = framework(model)
    count = tool.n_parameters(model)
    need(count > 0, "the network has no weights yet: write its layers.")
    need(count <= MOST_PARAMETERS, f"{count:,} weights are more than "
         f"{MOST_PARAMETERS:,}; use fewer channels, or you will wait long.")
    generator = np.random.default_rng(0)
    images = generator.normal(size=(2, 32, 48, 3)).astype(np.float32)
    logits = tool.logits(model, images)
    need(logits.ndim == 4 and len(logits) == 2,
         "a batch of two images must give a batch of two masks, with an "
         f"axis for the channel; your output has {logits.ndim} axes and the "
         f"length {len(logits)}.")
    need(logits.shape[3] == 1, "person or background needs one channel, "
         f"the logit of the person; yours has {logits.shape[3]}.")
    need(logits.shape[1:3] != (48, 32), "height and width are swapped.")
    need(logits.shape[1:3] == (32, 48), "images of 32×48 pixels must give "
         f"masks of 32×48, not {logits.shape[1]}×{logits.shape[2]}. Does "
         "every step down have its step up?")
    need(np.isfinite(logits).all(), "the output has numbers that are not "
         "finite.")
    # The logits of a fresh network are on both sides of 0, unless its bias
    # was set; then larger images spread them beyond 0 and 1.
    wide = tool.logits(model, 100 * images)
    need(min(wide.min(), logits.min()) < 0 or max(wide.max(), logits.max())
         > 1, "all outputs lie between 0 and 1, as probabilities do. The "
         "network should give logits, since the loss has the sigmoid in it; "
         "two of them are one too many.")
    need(np.ptp(logits) > 0, "every pixel gets the same logit, whatever "
         "the image shows.")
    alone = tool.logits(model, images[:1])
    need(np.allclose(alone, logits[:1], atol=1e-3), "an image gets other "
         "logits when it is alone in its batch. Do not mix the images.")


# --- Task 4: training ----------------------------------------------------

@check("Task 4, the loss")
def cross_entropy(cross_entropy, UNet):
    """Check cross_entropy(logits, masks), a mean over all pixels."""
    tool = framework(UNet() if not inspect.isclass(UNet) else UNet)
    logits = np.zeros((2, 4, 6, 1))
    masks = np.zeros((2, 4, 6, 1))
    masks[:, :2] = 1
    value = cross_entropy(tool.tensor(logits), tool.tensor(masks))
    needs_answer(value, "cross_entropy")
    need(np.ndim(value) == 0, "a loss is one number, the mean over all "
         f"pixels of all images; yours has the shape {np.shape(value)}.")
    need(np.isclose(float(value), np.log(2), atol=1e-4),
         "a network that has no opinion, with all logits 0, must get the "
         f"loss ln 2 = 0.693, the mean over all pixels; yours is "
         f"{float(value):.3f}.")
    sure = np.where(masks > 0, 20.0, -20.0)
    right = float(cross_entropy(tool.tensor(sure), tool.tensor(masks)))
    wrong = float(cross_entropy(tool.tensor(-sure), tool.tensor(masks)))
    need(right < 0.01, "logits of ±20 that are all right must give a loss "
         f"of almost 0; yours is {right:.3f}. Is there a sigmoid too many, "
         "or are logits and masks swapped?")
    need(np.isclose(wrong, 20, atol=0.1), "logits of ±20 that are all wrong "
         f"must give a loss of 20; yours is {wrong:.3f}. Is it the cross-"
         "entropy, of logits, and of masks that are 0 and 1?")


def watched(f):
    return f


@check("Task 4, the training")
def training(model, UNet):
    """Check that train_network returned a network with finite weights."""
    needs_answer(model, "train_network")
    tool = framework(model)
    fresh, images = UNet(), np.ones((1, 32, 48, 3), np.float32)
    need(tool.n_parameters(model) == tool.n_parameters(fresh),
         "return the network itself, made by `UNet()` and trained.")
    answer, before = (tool.logits(network, images)
                      for network in (model, fresh))
    need(np.isfinite(answer).all(), "the trained network gives numbers that "
         "are not finite: the learning rate may be too high.")
    need(answer.shape == before.shape, "the trained network has another "
         "form than a fresh one.")


# --- Task 5: predict and measure -----------------------------------------

@check("Task 5, the prediction")
def predict(predict, model, samples, train):
    """Check predict(model, images): float (N, H, W), 0 to 1."""
    rows = np.asarray(train)[::max(1, len(train) // 12)][:12]
    images, masks = samples.images[rows], samples.masks[rows]
    probabilities = predict(model, images)
    needs_answer(probabilities, "predict")
    need(isinstance(probabilities, np.ndarray), "return an array of NumPy, "
         f"not {type(probabilities).__name__}.")
    need(probabilities.shape != masks.swapaxes(1, 2).shape,
         "height and width are swapped.")
    need(probabilities.shape == masks.shape,
         f"images of the shape {images.shape} must give {masks.shape}, not "
         f"{probabilities.shape}.")
    low, high = float(probabilities.min()), float(probabilities.max())
    need(low >= 0 and high <= 1, f"the numbers go from {low:.1f} to "
         f"{high:.1f}, but probabilities lie between 0 and 1. Are these "
         "logits, or grey values?")
    need(not np.isin(probabilities, [0, 1]).all(), "all numbers are 0 or 1. "
         "Return the probabilities; the threshold comes later.")
    need(not (low >= 0.499 and high <= 0.732), "all numbers lie between "
         "0.5 and 0.73, which is what the sigmoid makes of probabilities: "
         "it was applied twice.")
    alone = np.concatenate([predict(model, image[None])
                            for image in images[:3]])
    need(np.allclose(alone, probabilities[:3], atol=1e-3),
         "an image gets other numbers when it is predicted alone. Batch "
         "norm must use its stored statistics now, and the order of the "
         "images must stay.")
    predicted = probabilities > 0.5
    need(predicted.any(), "no pixel is person in any training image. Has "
         "the network been trained, and for long enough?")
    right, mixed = (overlap(predicted, truth).mean()
                    for truth in (masks, np.roll(masks, 1, axis=0)))
    need(right > mixed, "the masks fit other images as well as their own. "
         "Were images and masks put into the same order in training?")
    need(right > 0.3, f"even on training images the IoU is {right:.2f}. Do "
         "images and masks get the same augmentation, and are masks 0 and "
         "1, not 0 and 255, in training?")


def overlap(predicted, masks):
    """IoU of each pair of masks, bool (N, H, W); two empty ones count 1."""
    both = (predicted & masks).sum(axis=(1, 2))
    either = (predicted | masks).sum(axis=(1, 2))
    return np.where(either, both / np.maximum(either, 1), 1.0)


@check("Task 5, IoU and Dice")
def metrics(iou, dice):
    """Check iou and dice: two bool (N, H, W) -> float (N,)."""
    masks = np.zeros((4, 6, 10), bool)
    predicted = masks.copy()
    masks[0, :, :4], predicted[0, :, :4] = True, True  # the same
    masks[1, 2:4, 2:8], predicted[1, 2:4, 5:9] = True, True  # partly
    masks[2, :3], predicted[2, 3:] = True, True  # apart
    both, either = 6, 14
    expected = {"iou": [1, both / either, 0, 1],
                "dice": [1, 2 * both / (both + either), 0, 1]}
    for name, function in [("iou", iou), ("dice", dice)]:
        scores = function(predicted, masks)
        needs_answer(scores, name)
        need(np.shape(scores) == (4,), f"`{name}` of four pairs of masks "
             "must give four numbers, one for each image; yours has the "
             f"shape {np.shape(scores)}. A large person must not count for "
             "more than a small one.")
        need(np.isfinite(scores).all(), f"`{name}` of two empty masks is "
             "0 / 0. They are equal: let it be 1.")
        need(np.isclose(scores[3], 1), f"`{name}` of two empty masks should "
             "be 1, since they are equal.")
        need(np.allclose(scores, expected[name], atol=1e-3),
             f"`{name}` of two equal masks, of two that overlap in {both} of "
             f"{either} pixels, and of two apart is "
             f"{np.round(scores[:3], 3)}. Work the second out on paper.")


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
         "it should have one line for each sequence of the test set, with "
         "its name as the index.")
    need(np.allclose(scores.loc[expected.index], expected, atol=1e-3),
         "the numbers are not the means over the pictures of each sequence. "
         "Are the scores in the order of the test rows?")


# --- Task 6: reach the target --------------------------------------------

def score(predict, model, samples, rows):
    """IoU of each picture at its original size, a Series by sequence."""
    scores = []
    for row, probabilities in zip(rows, predict(model, samples.images[rows])):
        mask = samples.original_mask(row)
        larger = resize(probabilities.astype(np.float64), mask.shape)
        scores.append(overlap(larger[None] > 0.5, mask[None])[0])
    return pd.Series(scores, index=samples.groups[rows], name="IoU")


@check("Task 6, the target")
def target(predict, model, samples, test, least):
    """Check the mean over the sequences of the test set, original size."""
    by_sequence = score(predict, model, samples, test).groupby(level=0).mean()
    worst = by_sequence.idxmin()
    need(by_sequence.mean() >= least,
         f"the mean IoU of the {len(by_sequence)} test sequences is "
         f"{by_sequence.mean():.3f}, the target {least}. The worst sequence "
         f"is {worst} ({by_sequence.min():.3f}): look at its masks. Did the "
         "loss still fall when the training ended?")
    print(f"mean IoU of {len(by_sequence)} held-out sequences: "
          f"{by_sequence.mean():.3f}")


# --- Task 7: another background ------------------------------------------

@check("Task 7, the new background")
def compose(compose):
    """Check compose(image, probabilities, background): uint8 (H, W, 3).

    A red disc that was filmed before green, its edge mixed of both as a
    lens does it, comes before blue.
    """
    y, x = np.mgrid[:60, :80]
    alpha = np.clip(20.5 - np.hypot(y - 30, x - 40), -3, 3) / 6 + 0.5
    red, green, blue = (np.uint8(color) for color in
                        ([220, 20, 20], [20, 200, 20], [20, 20, 220]))
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
    need(np.abs(answer[alpha == 1] - red).max() <= 3,
         "inside the person the image must stay as it is.")
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
         "already. Where could you get the person's own colour from?")
