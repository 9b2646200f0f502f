"""Train the U-Net on synthetic people alone, and save its weights.

    python -m lab.pretraining.people people.safetensors

A photograph of any shape is squeezed to the network's size, as some of the
synthetic ones are. Drawing and training take 55 minutes on one core;
lab/pretraining/score.py scores what was saved.
"""

import sys

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.pretraining.people in the lesson's folder.")

import numpy as np
import torch
from joblib import Parallel, delayed
from torchvision import tv_tensors
from torchvision.transforms import v2
from tqdm.auto import tqdm

from data import Samples, pictures
from data.synthetic import portraits
from lab import arguments
from lab.pretraining.training import read_options, save, train

SIZE = (144, 96)
# Upright as most pictures of people, square, and wide.
SHAPES, SHARES = [SIZE, (144, 144), (144, 216)], [0.84, 0.08, 0.08]


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


@arguments.program
def main():
    """Train the network on synthetic people, and save it."""
    options = read_options(__doc__, count=8000, epochs=10, seed=7)
    save(train(synthetic(options.count, options.seed),
               augmentation(*SIZE), options), options)


if __name__ == "__main__":
    main()
