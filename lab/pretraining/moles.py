"""Train a network on synthetic moles alone, and save its weights.

    python -m lab.pretraining.moles data/weights/unet.safetensors
    python -m lab.pretraining.moles --network SegNet \
        data/weights/segnet.safetensors

The networks and the loop are the PyTorch notebook's; the Dice loss and an
augmentation by many lights come on top. lab/pretraining/score.py scores
what was saved.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torchvision.transforms import v2

from data import Samples, pictures, storage
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
    """The network that the options describe, trained."""
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
    return model


def save(model, options):
    """Save the weights as 16-bit numbers, which halves the file."""
    weights = {name: tensor.cpu().half().contiguous()
               if tensor.ndim and not name.startswith("standardise")
               else tensor.cpu() for name, tensor
               in model.state_dict().items()}
    options.file.parent.mkdir(parents=True, exist_ok=True)
    with storage.whole(options.file) as part:
        save_file(weights, part, metadata={
            "network": options.network,
            "trained on": f"{options.count} synthetic images, "
                          f"{options.epochs} epochs, seed {options.seed}"})
    print(f"{options.file}: {options.file.stat().st_size / 1e6:.1f} MB")


def main():
    """Train the network that the command line names, and save it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path,
                        help="where the weights go, NAME.safetensors")
    parser.add_argument("--network", default="UNet",
                        choices=["UNet", "SegNet"])
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--rate", type=float, default=1e-3,
                        help="the learning rate")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    save(trained(options), options)


if __name__ == "__main__":
    main()
