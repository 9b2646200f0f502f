"""Train a network on synthetic moles alone, and save its weights.

    python -m lab.pretraining.moles unet.safetensors
    python -m lab.pretraining.moles --network SegNet segnet.safetensors

The networks and the loop are the PyTorch notebook's; the Dice loss and an
augmentation by many lights come on top. lab/pretraining/score.py scores
what was saved.
"""

import sys

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.pretraining.moles in the lesson's folder.")

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torchvision.transforms import v2

from data import Samples, pictures
from data.synthetic import moles
from lab import arguments
from lab.pretraining.training import read_options, save, train

SIZE = (96, 128)
RECIPE = {"count": 6000, "epochs": 14, "seed": 0}  # of the stored weights


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


def augmentation(size):
    """Augmentation by what differs from one collection to another."""
    return v2.Compose([
        v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(),
        v2.Pad(size[0] // 3, padding_mode="reflect"),
        v2.RandomAffine(degrees=180, translate=(0.1, 0.1), scale=(0.75, 1.25),
                        interpolation=v2.InterpolationMode.BILINEAR),
        v2.CenterCrop(size), v2.ColorJitter(0.2, 0.2, 0.2, 0.02),
        other_contrast, uneven_light])


def cross_entropy_and_dice(logits, masks):
    """The cross-entropy of logits (N, 1, H, W), plus 1 - soft Dice."""
    p, pixels = torch.sigmoid(logits), (1, 2, 3)
    overlap, total = (p * masks).sum(pixels), (p + masks).sum(pixels)
    dice_loss = 1 - (2 * overlap + 1) / (total + 1)
    return binary_cross_entropy_with_logits(logits, masks) + dice_loss.mean()


@arguments.program
def main():
    """Train the network that the command line names, and save it."""
    options = read_options(__doc__, ("UNet", "SegNet"), **RECIPE)
    save(train(synthetic(options.count, options.seed), augmentation(SIZE),
               options, cross_entropy_and_dice), options)


if __name__ == "__main__":
    main()
