"""Train the U-Net on drawn people alone, and score it on photographs.

    python -m tests.pretrain_people FOLDER

FOLDER holds photographs of people, images/NAME.jpg, and for each a mask of
the same size, masks/NAME.png, white = person. The drawings were developed
by looking at the first 100 (by name) of 300; the rest is the result.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from torchvision.transforms import v2
from tqdm.auto import tqdm

import data
from data.synthetic import bodies
from tests.notebooks import PYTORCH, prepared
from tests.pretrain import scored, train

SIZE = (96, 64)


def drawn(count, seed):
    """`count` drawn photographs of one person each as Samples."""
    pairs = [bodies.draw(np.random.default_rng([seed, number]), SIZE)
             for number in tqdm(range(count), desc="Drawing")]
    images, masks = (np.stack(column) for column in zip(*pairs))
    return data.Samples(images, masks, [str(row) for row in range(count)],
                        np.zeros(count), "procedural people", [])


def photographs(folder):
    """Photographs and masks of a folder as Samples."""
    files = sorted((folder / "images").glob("*.jpg"))
    mask_files = [folder / "masks" / f"{file.stem}.png" for file in files]
    if not files:
        raise data.DataError(f"{folder / 'images'} holds no *.jpg; name a "
                             "folder with images/ and masks/.")
    images = [data.resize_image(data.read_image(file), SIZE)
              for file in tqdm(files, desc="Reading")]
    masks = [data.resize_mask(data.read_mask(file), SIZE)
             for file in mask_files]
    part = np.where(np.arange(len(files)) < 100, "developed with these 100",
                    "never looked at")
    return data.Samples(np.stack(images), np.stack(masks),
                        [file.stem for file in files], part, "photographs",
                        mask_files)


def trained(count, epochs, seed):
    """Train the U-Net; returns the notebook's names and the model."""
    n_valid = count // 10
    names = prepared(PYTORCH, drawn(count, seed),
                     np.arange(n_valid, count), np.arange(n_valid),
                     SEED=seed)
    # A mole may stand on its head, a person seldom does.
    names["augment"].transforms = [
        step for step in names["augment"].transforms
        if not isinstance(step, v2.RandomVerticalFlip)]
    return names, train(names, "UNet", epochs)


def main():
    """Train on drawings; print the IoU on the photographs of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    try:
        real = photographs(options.folder)
    except data.DataError as error:
        sys.exit(str(error))
    table = scored(*trained(options.count, options.epochs, options.seed),
                   real)
    # The IoU of guessing the commonest mask.
    usual = real.masks[:100].mean(axis=0) > 0.5
    guess = [(usual & mask).sum() / (usual | mask).sum()
             for mask in real.masks]
    print(pd.DataFrame({"part": real.groups, "U-Net": table["IoU"],
                        "the same mask for all": guess})
          .groupby("part").agg(["count", "mean", "median"])
          .round(3).to_string())


if __name__ == "__main__":
    main()
