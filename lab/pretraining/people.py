"""Train the U-Net on synthetic people alone, and score it on photographs.

    python -m lab.pretraining.people FOLDER

FOLDER holds photographs of people, images/NAME.jpg, and for each a mask of
the same size, masks/NAME.png, white = person. The images were developed by
looking at the first 100 (by name) of 300; the rest is the result.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from torchvision.transforms import v2
from tqdm.auto import tqdm

from data import DataError, Samples, pictures
from data.synthetic import people
from lab.lesson import PYTORCH, prepared
from lab.pretraining.moles import scored, train

SIZE = (96, 64)


def synthetic(count, seed):
    """`count` synthetic photographs of one person each as Samples."""
    pairs = [people.draw(np.random.default_rng([seed, number]), SIZE)
             for number in tqdm(range(count), desc="Drawing")]
    images, masks = (np.stack(column) for column in zip(*pairs))
    return Samples(images, masks, [str(row) for row in range(count)],
                   np.zeros(count), "synthetic people")


def photographs(folder):
    """Photographs and masks of a folder as Samples."""
    images = sorted((folder / "images").glob("*.jpg"))
    files = [(image, folder / "masks" / f"{image.stem}.png")
             for image in images]
    if not files:
        raise DataError(f"{folder / 'images'} holds no *.jpg; name a folder "
                        "with images/ and masks/.")
    part = np.where(np.arange(len(files)) < 100, "developed with these 100",
                    "never looked at")
    return Samples(
        images=np.stack([
            pictures.resize_image(pictures.read_image(image), SIZE)
            for image, _ in tqdm(files, desc="Reading")]),
        masks=np.stack([pictures.resize_mask(pictures.read_mask(mask), SIZE)
                        for _, mask in files]),
        names=[image.stem for image in images], groups=part,
        source="photographs", files=files)


def trained(count, epochs, seed):
    """Train the U-Net; returns the Lesson and the model."""
    n_valid = count // 10
    lesson = prepared(PYTORCH, synthetic(count, seed),
                      np.arange(n_valid, count), np.arange(n_valid),
                      SEED=seed, LEARNING_RATE=1e-3)
    # A mole may stand on its head, a person seldom does.
    lesson.augment.transforms = [
        step for step in lesson.augment.transforms
        if not isinstance(step, v2.RandomVerticalFlip)]
    return lesson, train(lesson, "UNet", epochs)


def main():
    """Train on synthetic people; print the IoU on photographs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    try:
        real = photographs(options.folder)
    except DataError as error:
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
