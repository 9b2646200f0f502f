"""Segment a picture with the pre-trained U-Net, before any training.

    python -m data.pretrained mole.jpg

writes mole-mask.png beside it, white = lesion, in the picture's size. The
network is the PyTorch notebook's: its cells are run here.
"""

import argparse
import json
import sys
from pathlib import Path

import nbformat
import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from data import ROOT, DataError, read_image, resize_image
from data.archive import beside

SIZE = (96, 128)  # of the pictures that the network was trained on
WEIGHTS = ROOT / "pretrained/unet.safetensors"
NOTEBOOK = ROOT.parent / "SemanticSegmentationPytorch.ipynb"


def unet():
    """The notebook's U-Net with the pre-trained weights."""
    names = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "model" in cell.metadata.get("tags", []):
            exec(cell.source, names)
    model = names["UNet"]().eval()
    model.load_state_dict(load_file(WEIGHTS))
    return model


def mean_and_deviation():
    """Of the images that the network was trained on, each (3,), 0 to 1."""
    with safe_open(WEIGHTS, framework="np") as file:
        metadata = file.metadata()
    return (np.float32(json.loads(metadata[name]))
            for name in ("mean", "deviation"))


def segment(image):
    """Outline the lesion: uint8 (H, W, 3) -> bool (H, W)."""
    mean, deviation = mean_and_deviation()
    small = np.float32(resize_image(image, SIZE) / 255)
    small = torch.from_numpy((small - mean) / deviation).permute(2, 0, 1)
    with torch.inference_mode():
        logits = unet()(small[None])[0, 0].numpy()
    enlarged = Image.fromarray(logits).resize(image.shape[1::-1],
                                              Image.Resampling.BILINEAR)
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
        with beside(target) as folder:  # whole or not at all
            Image.fromarray(mask).save(folder / target.name)
            (folder / target.name).replace(target)
    except DataError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{target} could not be written ({error.strerror}); copy "
                 "the picture to a folder where you may write.")
    print(f"{target}: {mask.mean():.0%} of the picture is lesion")


if __name__ == "__main__":
    main()
