"""Segment a picture with the pre-trained U-Net, before any training.

    python -m lab.segment mole.jpg

writes mole-mask.png beside it, white = lesion, in the picture's size. The
network is the PyTorch notebook's.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import measure
from skimage.transform import resize

from data import DataError, storage
from data.pictures import read_image, resize_image
from lab.lesson import PYTORCH, definitions

SIZE = (96, 128)  # of the images that the network was trained on


def one_piece(mask):
    """The largest piece of a mask, bool (H, W), with its holes filled."""
    labels = measure.label(mask)
    if labels.max() < 1:
        return mask
    largest = 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return ndimage.binary_fill_holes(labels == largest)


def segment(image, notebook=PYTORCH):
    """Outline the lesion: uint8 (H, W, 3) -> bool (H, W).

    notebook: the lesson whose U-Net does it. Raises ValueError if the
    weights are missing or damaged.
    """
    lesson = definitions(notebook, "parameters", "training", "model", "load")
    model = lesson.pretrained(lesson.UNet)
    [probability] = lesson.predict(model, resize_image(image, SIZE)[None])
    return one_piece(resize(probability, image.shape[:2], order=1) > 0.5)


def main():
    """Write the mask of the picture that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("picture", type=Path)
    picture = parser.parse_args().picture
    target = picture.with_name(f"{picture.stem}-mask.png")
    if target.exists():
        sys.exit(f"{target} is there already; rename or remove it.")
    try:
        mask = segment(read_image(picture))
        with storage.whole(target) as part:
            Image.fromarray(mask).save(part)
    except (DataError, ValueError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{target} could not be written ({error.strerror}); copy "
                 "the picture to a folder where you may write.")
    print(f"{target}: {mask.mean():.0%} of the picture is lesion")


if __name__ == "__main__":
    main()
