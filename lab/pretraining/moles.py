"""Train a network on synthetic moles alone, and score it on PH².

    python -m lab.pretraining.moles                     the U-Net
    python -m lab.pretraining.moles --network SegNet
    python -m lab.pretraining.moles --save data/weights/unet.safetensors
    python -m lab.pretraining.moles --stored            score that file

The networks and the loop are the PyTorch notebook's; the Dice loss and an
augmentation by many lights come on top. PH² is scored if it is in data/ (or
where SEGMENTATION_DATA says). The images were developed by looking at a
third of it; the rest is the result. --photographs FOLDER scores another
collection, with images/NAME.jpg and masks/NAME.png, too.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from sklearn.model_selection import train_test_split
from torchvision.transforms import v2

from data import DataError, Samples, ph2, pictures, storage
from data.synthetic import moles
from lab.lesson import PYTORCH, prepared

SIZE = (96, 128)


def synthetic(count, seed, size=SIZE):
    """`count` varied synthetic images as Samples."""
    drawn = list(moles.draw_many(count, seed=seed, varied=True))
    return Samples(
        images=np.stack([pictures.resize_image(image, size)
                         for _, image, _ in drawn]),
        masks=np.stack([pictures.resize_mask(mask, size)
                        for _, _, mask in drawn]),
        names=[f"MOLE{row:04d}" for row in range(count)],
        groups=np.array([diagnosis for diagnosis, _, _ in drawn]),
        source="synthetic images")


def uneven_light(image, mask):
    """Light that fades smoothly, with a cast, on an image (3, H, W)."""
    y, x = (torch.linspace(-1, 1, side) for side in image.shape[1:])
    down, right, *bowl = torch.normal(0, torch.tensor([0.12, 0.12, 0.08,
                                                       0.08]))
    fade = (down * y + bowl[0] * y ** 2)[:, None] + right * x \
        + bowl[1] * x ** 2
    cast = torch.normal(0, 0.06, (3, 1, 1))
    lit = image * torch.exp(fade + cast)
    return lit.clamp(0, 255).to(torch.uint8), mask


def other_contrast(image, mask):
    """Another gamma, and therefore another contrast."""
    gamma = torch.exp(torch.normal(0, 0.15, ())).item()
    return v2.functional.adjust_gamma(image, gamma), mask


def many_lights(size):
    """Augmentation by what differs from one collection to another."""
    return v2.Compose([
        v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(),
        v2.Pad(size[0] // 3, padding_mode="reflect"),
        v2.RandomAffine(degrees=180, translate=(0.1, 0.1), scale=(0.75, 1.25),
                        interpolation=v2.InterpolationMode.BILINEAR),
        v2.CenterCrop(size), v2.ColorJitter(0.2, 0.2, 0.2, 0.02),
        other_contrast, uneven_light])


def with_dice_loss(cross_entropy):
    """The cross-entropy of logits (N, 1, H, W) plus 1 - soft Dice."""
    def loss(logits, masks):
        p, pixels = torch.sigmoid(logits), (1, 2, 3)
        overlap, total = (p * masks).sum(pixels), (p + masks).sum(pixels)
        dice_loss = 1 - (2 * overlap + 1) / (total + 1)
        return cross_entropy(logits, masks) + dice_loss.mean()
    return loss


def train(lesson, network, epochs):
    """Train a new network with what `prepared` returned; returns it.

    Its products have 16 bits (bfloat16), which is twice as fast or more on
    processors that have them, and slow on others.
    """
    model = lesson.new_network(getattr(lesson, network),
                               lesson.samples.images[lesson.train])
    model = model.to(memory_format=torch.channels_last)
    # A cache of the 16-bit weights would outlive the steps that change them.
    with torch.autocast(lesson.DEVICE.type, torch.bfloat16,
                        cache_enabled=False):
        lesson.fit(model, network, lesson.train, epochs)
    return model


def trained(options):
    """Train the network; returns the Lesson and the model."""
    samples = synthetic(options.count, options.seed)
    n_valid = options.count // 20
    lesson = prepared(PYTORCH, samples, np.arange(n_valid, options.count),
                      np.arange(n_valid), SEED=options.seed,
                      LEARNING_RATE=options.rate)
    lesson.augment = many_lights(SIZE)
    lesson.cross_entropy = with_dice_loss(lesson.cross_entropy)
    start = time.perf_counter()
    model = train(lesson, options.network, options.epochs)
    print(f"trained in {(time.perf_counter() - start) / 60:.1f} minutes")
    return lesson, model


def save(model, options):
    """Save the weights as 16-bit numbers, which halves the file."""
    weights = {name: tensor.cpu().half().contiguous()
               if tensor.ndim and not name.startswith("standardise")
               else tensor.cpu() for name, tensor
               in model.state_dict().items()}
    options.save.parent.mkdir(parents=True, exist_ok=True)
    with storage.whole(options.save) as part:
        save_file(weights, part, metadata={
            "network": options.network,
            "trained on": f"{options.count} synthetic images, "
                          f"{options.epochs} epochs, seed {options.seed}"})
    print(f"{options.save}: {options.save.stat().st_size / 1e6:.1f} MB")


def scored(lesson, model, samples):
    """A table with the scores of every image at its original size."""
    lesson.samples = samples
    probabilities = lesson.predict(model, samples.images)
    return pd.DataFrame([
        {"name": samples.names[row], "diagnosis": samples.groups[row],
         **lesson.scores(*lesson.original_masks(row, probability))}
        for row, probability in enumerate(probabilities)])


def report(table, groups):
    """Print mean and median Dice of both parts of PH² and of all."""
    looked_at, _ = train_test_split(
        np.arange(len(groups)), train_size=67, stratify=groups,
        random_state=4)
    part = np.where(np.isin(np.arange(len(groups)), looked_at),
                    "developed with these 67", "never looked at")
    print(pd.concat([table.assign(part=part), table.assign(part="all")])
          .groupby("part")["Dice"].agg(["count", "mean", "median", "std"])
          .round(3).to_string())
    print(table.groupby("diagnosis")["Dice"].mean().round(3).to_string())
    worst = table.nsmallest(8, "Dice")
    print("worst:", ", ".join(f"{name} {dice:.2f}" for name, dice
                              in zip(worst["name"], worst["Dice"])))


def main():
    """Train or load a network, save it if asked to, score it on PH²."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="UNet",
                        choices=["UNet", "SegNet"])
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--rate", type=float, default=1e-3,
                        help="the learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, metavar="FILE")
    parser.add_argument("--stored", action="store_true",
                        help="score the stored weights of the network")
    options = parser.parse_args()
    samples = None
    try:
        samples = ph2.load(SIZE, "download")
    except DataError as error:
        print(f"Nothing will be scored on PH²: {error}")
        if options.stored:
            sys.exit(1)
    if options.stored:
        lesson = prepared(PYTORCH, samples, np.arange(len(samples)),
                          np.arange(10))
        model = lesson.pretrained(getattr(lesson, options.network))
    else:
        lesson, model = trained(options)
    if options.save:
        save(model, options)
    if samples:
        report(scored(lesson, model, samples), samples.groups)


if __name__ == "__main__":
    main()
