"""Outline the lesion, or cut out the person, in pictures of your own.

    python -m lab.segment mole.jpg another.png
    python -m lab.segment --what person me.jpg

writes NAME-mask.png beside each picture, white = found, in the picture's
original size; of a person also NAME-person.png, with nothing behind them. The
networks were trained on synthetic images alone. A picture of 89 million
pixels, the largest, takes up to 2.6 GB of memory.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.segment in the lesson's folder.")

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import measure
from skimage.transform import resize
from tqdm.auto import tqdm

from data import DataError, storage
from data.pictures import read_image, resize_image
from lab import arguments
from lab.lesson import PYTORCH, definitions

FLIPS = [(1, 1), (1, -1), (-1, 1), (-1, -1)]  # steps along H and W


def largest_piece(mask):
    """The largest piece of a mask, bool (H, W)."""
    if not mask.any():
        return mask
    labels = measure.label(mask)
    return labels == np.bincount(labels[mask]).argmax()


def one_piece(mask):
    """The largest piece of a mask, bool (H, W), with its holes filled."""
    return ndimage.binary_fill_holes(largest_piece(mask))


@dataclass(frozen=True)
class Kind:
    """What a stored network finds, and how it is asked."""

    file: str  # of its weights, without the ending
    size: tuple  # (H, W) of the images that it was trained on
    flips: list
    tidy: Callable  # what is done to the mask


KINDS = {
    "lesion": Kind("unet", (96, 128), FLIPS, one_piece),
    # Nobody stands on their head, and below a bent arm is a hole.
    "person": Kind("people", (144, 96), FLIPS[:2], largest_piece)}


def predict_flips(lesson, model, images, flips=FLIPS):
    """The mean prediction for each image and its mirror images.

    images: uint8 (N, H, W, 3). Returns float (N, H, W).
    """
    return np.mean([
        lesson.predict(model, images[:, ::y, ::x].copy())[:, ::y, ::x]
        for y, x in flips], axis=0)


@cache
def network(file, notebook):
    """A notebook's definitions, and its U-Net with stored weights.

    Raises DataError if either is missing or damaged, or does not fit.
    """
    try:
        lesson = definitions(notebook, "parameters", "training", "model",
                             "load")
        weights = lesson.pretrained_file(lesson.UNet)
        ending = "".join(weights.suffixes)
        return lesson, lesson.load_network(
            lesson.UNet, weights.with_name(file + ending))
    # The notebook may have been changed in any way.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"the stored network cannot be used ({type(error).__name__}: "
            f"{reason}); restore {notebook} and data/weights/ as they came "
            "with the lesson.") from error


def probability(image, what="lesion", notebook=PYTORCH):
    """uint8 (H, W, 3) -> float (H, W): how sure each pixel is found.

    notebook: see `segment`; persons are found by PyTorch alone.
    """
    kind = KINDS[what]
    return ask(*network(kind.file, notebook), image, kind)


def ask(lesson, model, image, kind):
    """What a network of some kind says: (H, W, 3) -> float (H, W)."""
    small = resize_image(image, kind.size)
    [mean] = predict_flips(lesson, model, small[None], kind.flips)
    return resize(mean, image.shape[:2], order=1)


def segment(image, notebook=PYTORCH):
    """Outline the lesion: uint8 (H, W, 3) -> bool (H, W).

    notebook: the lesson whose U-Net does it. Raises DataError if that or
    the weights are missing or damaged.
    """
    return one_piece(probability(image, "lesion", notebook) > 0.5)


def cut_out(image, found):
    """The image with nothing behind the person, and with soft edges.

    image: uint8 (H, W, 3); found: probabilities (H, W). Returns uint8
    (H, W, 4), the last channel being how opaque a pixel is.
    """
    opaque = np.clip(2 * found - 0.5, 0, 1) * largest_piece(found > 0.25)
    return np.dstack([image, np.uint8(255 * opaque + 0.5)])


def write(picture, what):
    """Write the results of one picture beside it; returns what to say.

    Raises DataError, in one sentence, if that fails or would overwrite a
    file.
    """
    image = read_image(picture)
    targets = [picture.with_name(f"{picture.stem}-{ending}.png")
               for ending in ["mask", *["person"] * (what == "person")]]
    for target in targets:
        storage.check_new(target)
    found = probability(image, what)
    mask = KINDS[what].tidy(found > 0.5)
    results = [mask, cut_out(image, found)] if what == "person" else [mask]
    for target, pixels in zip(targets, results, strict=True):
        try:
            with storage.whole(target, new=True) as part:
                Image.fromarray(pixels).save(part, "PNG")
        except OSError as error:
            reason = storage.because(
                error, "copy the picture to a folder where you may write")
            raise DataError(f"{target} could not be written {reason}.") \
                from error
    return f"{targets[0]}: {mask.mean():.0%} of the picture is {what}"


@arguments.program
def main():
    """Write the masks of the pictures that the command line names."""
    parser = arguments.parser(__doc__)
    parser.add_argument("picture", type=Path, nargs="+")
    parser.add_argument("--what", choices=KINDS, default="lesion",
                        help="what to find")
    options = parser.parse_args()
    refused = []
    for picture in tqdm(options.picture, unit="picture", disable=None):
        try:
            tqdm.write(write(picture, options.what))
        except DataError as error:
            refused.append(str(error))
    sys.exit("\n".join(refused) or None)


if __name__ == "__main__":
    main()
