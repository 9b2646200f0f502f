"""Segment a picture with the pre-trained U-Net, before any training.

    python -m lab.segment mole.jpg

writes mole-mask.png beside it, white = lesion, in the picture's size. The
network is the PyTorch notebook's.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data import DataError, storage
from data.pictures import read_image, resize_image
from lab.lesson import PYTORCH, definitions

SIZE = (96, 128)  # of the images that the network was trained on


def segment(image):
    """Outline the lesion: uint8 (H, W, 3) -> bool (H, W).

    Raises ValueError if the weights are missing or damaged.
    """
    # mean, deviation: the network gets colours from 0 to 1 as they are.
    lesson = definitions(PYTORCH, "training", "model", "load",
                         mean=np.zeros(3), deviation=np.ones(3))
    model = lesson.pretrained(lesson.UNet).eval()
    small = torch.from_numpy(np.float32(resize_image(image, SIZE) / 255))
    with torch.inference_mode():
        logits = model(lesson.to_device(small.permute(2, 0, 1)[None]))
    enlarged = Image.fromarray(logits[0, 0].cpu().numpy()).resize(
        image.shape[1::-1], Image.Resampling.BILINEAR)
    return np.asarray(enlarged) > 0


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
