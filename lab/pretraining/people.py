"""Train the U-Net on synthetic people alone, and score it on photographs.

    python -m lab.pretraining.people --save data/weights/people.safetensors
    python -m lab.pretraining.people FOLDER             train and score
    python -m lab.pretraining.people FOLDER --stored    score that file

FOLDER holds photographs of people, images/NAME.jpg, and for each a mask of
the same size, masks/NAME.png, white = person. The images were developed by
looking at the first 100 (by name) of 300; the rest is the result. A
photograph of any shape is squeezed to the network's size, as some of the
synthetic ones are. Drawing and training take an hour on one core.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from torchvision import tv_tensors
from torchvision.transforms import v2
from tqdm.auto import tqdm

from data import DataError, Samples, pictures, storage
from data.synthetic import portraits
from lab.lesson import PYTORCH, prepared
from lab.pretraining.moles import save, scored, train

SIZE = (144, 96)
# Upright as most pictures of people, square, and wide.
SHAPES, SHARES = [SIZE, (144, 144), (144, 216)], [0.84, 0.08, 0.08]
FILE = storage.ROOT / "weights/people.safetensors"


def drawn(seed, number):
    """One synthetic photograph and its mask, squeezed to SIZE."""
    generator = np.random.default_rng([seed, number])
    shape = SHAPES[generator.choice(len(SHAPES), p=SHARES)]
    image, mask = portraits.draw(generator, shape)
    return pictures.resize_image(image, SIZE), \
        pictures.resize_mask(mask, SIZE)


def synthetic(count, seed):
    """`count` synthetic photographs of one person each as Samples."""
    jobs = (delayed(drawn)(seed, number) for number in range(count))
    pairs = tqdm(Parallel(n_jobs=-1, return_as="generator")(jobs),
                 total=count, desc="Drawing")
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


def relit(image):
    """The image with another gamma, a cast and uneven light."""
    gamma, gain = 0.3 * torch.randn(1), 0.12 * torch.randn(3, 1, 1)
    hills = torch.nn.functional.interpolate(
        0.2 * torch.randn(1, 1, 3, 3), image.shape[-2:], mode="bicubic")[0]
    light = (image / 255) ** gamma.exp() * (1 + gain) * hills.exp()
    return tv_tensors.Image((255 * light.clamp(0, 1)).byte())


def augmentation(height, width):
    """What makes the synthetic photographs as varied as real ones."""
    return v2.Compose([
        v2.RandomHorizontalFlip(),
        v2.Pad(height // 3, padding_mode="reflect"),
        v2.RandomAffine(degrees=8, translate=(0.03, 0.03), scale=(0.9, 1.1),
                        shear=4,
                        interpolation=v2.InterpolationMode.BILINEAR),
        v2.CenterCrop((height, width)),
        v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.4,
                       hue=0.05),
        v2.Lambda(relit, tv_tensors.Image),
        v2.RandomGrayscale(0.1),
        v2.RandomAdjustSharpness(3, 0.4),
        v2.RandomApply([v2.GaussianBlur(3, (0.2, 1))], 0.3),
        v2.RandomApply([v2.JPEG((20, 90))], 0.5)])


def sixteen_bits(device):
    """Half as many bits take half the time; the weights keep all theirs.

    Without the cache, which would show the weights of the first step to
    all others.
    """
    return torch.autocast(device, torch.bfloat16, cache_enabled=False)


def trained(options):
    """Train the U-Net; returns the Lesson and the model."""
    n_valid = options.count // 20
    lesson = prepared(PYTORCH, synthetic(options.count, options.seed),
                      np.arange(n_valid, options.count), np.arange(n_valid),
                      SEED=options.seed, LEARNING_RATE=options.rate)
    lesson.augment = augmentation(*SIZE)
    start = time.perf_counter()
    with sixteen_bits(lesson.DEVICE.type):
        model = train(lesson, options.network, options.epochs)
    print(f"trained in {(time.perf_counter() - start) / 60:.1f} minutes")
    return lesson, model


def report(table, real):
    """Print the IoU on photographs, of the network and of a guess."""
    # The commonest mask of those looked at.
    usual = real.masks[:100].mean(axis=0) > 0.5
    guess = [(usual & mask).sum() / (usual | mask).sum()
             for mask in real.masks]
    print(pd.DataFrame({"part": real.groups, "U-Net": table["IoU"],
                        "the same mask for all": guess})
          .groupby("part").agg(["count", "mean", "median"])
          .round(3).to_string())
    below = (table["IoU"] < 0.5).groupby(real.groups).mean()
    print("below 0.5:", below.round(3).to_dict())
    worst = table.assign(part=real.groups).nsmallest(10, "IoU")
    print("worst:", ", ".join(f"{name} {iou:.2f}" for name, iou
                              in zip(worst["name"], worst["IoU"])))


def main():
    """Train on synthetic people; print the IoU on photographs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=1e-3,
                        help="the learning rate")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--save", type=Path, metavar="FILE")
    parser.add_argument("--stored", action="store_true",
                        help=f"score {FILE.name} instead of training")
    parser.set_defaults(network="UNet")
    options = parser.parse_args()
    try:
        real = photographs(options.folder) if options.folder else None
    except DataError as error:
        sys.exit(str(error))
    if options.stored and real:
        rows = np.arange(len(real))
        lesson = prepared(PYTORCH, real, rows, rows)
        model = lesson.load_network(lesson.UNet, FILE)
    elif options.stored:
        parser.error("--stored needs a FOLDER to score")
    else:
        lesson, model = trained(options)
    if options.save:
        save(model, options)
    if real:
        report(scored(lesson, model, real), real)


if __name__ == "__main__":
    main()
