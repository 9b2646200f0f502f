"""What was tried to make the U-Net better: one change at a time.

A lever changes what the PyTorch notebook has defined before a training
begins, or the images, or the number of epochs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.transforms import v2

from lab.pretraining.moles import cross_entropy_and_dice


@dataclass(frozen=True)
class Lever:
    """One change of the recipe.

    define  changes a Lesson's definitions
    images  makes other Samples of the samples
    size    (H, W) of the images, in pixels
    epochs  None means as many as in the recipe
    """

    define: Callable | None = None
    images: Callable | None = None
    size: tuple = (96, 128)
    epochs: int | None = None


def add_dice_loss(lesson):
    """The Dice loss beside the cross-entropy."""
    lesson.cross_entropy = cross_entropy_and_dice


def turn_by_any_angle(lesson):
    """Augmentation that turns by up to 180 degrees instead of 20.

    The corners, which then come from beyond the padding, may be black.
    """
    [turn] = [step for step in lesson.augment.transforms
              if isinstance(step, v2.RandomAffine)]
    turn.degrees = [-180.0, 180.0]


def stop_augmenting(lesson):
    """Images as they are."""
    lesson.augment = v2.Identity()


def use_16_bits(lesson):
    """Multiplications in bfloat16."""
    training_step = lesson.training_step

    def step(*arguments):
        with torch.autocast(lesson.DEVICE.type, torch.bfloat16,
                            cache_enabled=False):
            return training_step(*arguments)

    lesson.training_step = step


def supervise_deeply(lesson):
    """Each stage of the decoder makes a small mask, which is judged, too.

    The smaller the mask, the less it counts: Isensee et al., 2021,
    doi:10.1038/s41592-020-01008-z (nnU-Net).
    """
    class UNet(lesson.UNet):
        """A U-Net that keeps the logits of its decoder's stages."""

        def __init__(self):
            super().__init__()
            self.sides = nn.ModuleList(nn.Conv2d(width, 1, kernel_size=1)
                                       for width in (128, 64, 32))
            self.side_logits = []
            for block, side in zip(self.decoder, self.sides):
                block.register_forward_hook(
                    lambda _, __, maps, side=side:
                    self.side_logits.append(side(maps)))

    def step(model, optimizer, images, masks):
        model.side_logits = []
        logits = model(images)
        loss = lesson.cross_entropy(logits, masks)
        for share, side in zip((1 / 8, 1 / 4, 1 / 2), model.side_logits):
            smaller = F.interpolate(masks, side.shape[2:], mode="area")
            loss = loss + share * lesson.cross_entropy(side, smaller)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return logits.detach(), loss.detach()

    lesson.UNet, lesson.training_step = UNet, step


def shades_of_grey(samples):
    """Removes the colour of the light, the mean of large values.

    Finlayson, Trezzi, 2004, Shades of Gray and Colour Constancy.
    """
    light = ((samples.images / 255) ** 6).mean(axis=(1, 2)) ** (1 / 6)
    gain = light.mean(axis=1, keepdims=True) / light
    return replace(samples, images=np.uint8(np.clip(
        samples.images * gain[:, None, None], 0, 255)))


LEVERS = {
    "": Lever(),
    "Dice loss": Lever(add_dice_loss),
    "no augmentation": Lever(stop_augmenting),
    "any angle": Lever(turn_by_any_angle),
    "deep supervision": Lever(supervise_deeply),
    "shades of grey": Lever(images=shades_of_grey),
    "144×192 pixels": Lever(size=(144, 192)),
    "80 epochs": Lever(epochs=80),
    "bfloat16": Lever(use_16_bits),
}
