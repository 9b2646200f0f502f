"""The U-Net of the lesson that this one descends from, trained as there.

That lesson's mistakes are kept: each stage of the encoder runs twice, and
the sigmoid at the end is followed by a loss that has a sigmoid inside. Only
the split and the scores are ours.
"""

import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

NAME = "older lesson's U-Net"
SIZES = {"": (256, 256), "96×128 pixels": (96, 128)}  # its own, and ours
EPOCHS = 30


def stage(in_channels, out_channels):
    """Convolution, ReLU, batch norm, in that lesson's order."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.ReLU(), nn.BatchNorm2d(out_channels))


class OlderUNet(nn.Module):
    """Images (N, 3, H, W), 0 to 1 -> *probabilities* (N, 1, H, W)."""

    def __init__(self):
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        self.encoder = nn.ModuleList(
            stage(*pair) for pair in zip(widths, widths[1:]))
        self.bottom = nn.Conv2d(128, 256, kernel_size=3, padding=1)
        self.decoder = nn.ModuleList([
            stage(256 + 128, 128), stage(128 + 64, 64), stage(64 + 32, 32)])
        self.head = nn.Conv2d(32 + 16, 1, kernel_size=1)

    def forward(self, x):
        skips = []
        for block in self.encoder:
            skips.append(block(x))
            x = F.max_pool2d(block(x), 2)
        x = self.bottom(x)
        for block in [*self.decoder, self.head]:
            x = F.interpolate(x, scale_factor=2, mode="bilinear",
                              align_corners=True)
            x = block(torch.cat([x, skips.pop()], dim=1))
        return torch.sigmoid(x)


def batches(samples, rows, shuffle=False):
    """Batches of 32 images from 0 to 1, without augmentation."""
    images = torch.from_numpy(samples.images[rows]).permute(0, 3, 1, 2)
    masks = torch.from_numpy(samples.masks[rows][:, None])
    return DataLoader(TensorDataset(images / 255, masks.float()),
                      batch_size=32, shuffle=shuffle)


def new_optimizer(model):
    """Adam as in that lesson."""
    return torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-6)


def training_step(model, optimizer, images, masks):
    """Change the weights once."""
    loss = F.binary_cross_entropy_with_logits(model(images), masks)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def fit(model, lesson, epochs=EPOCHS):
    """Train. Returns the validation Dice and the seconds after each epoch."""
    optimizer = new_optimizer(model)
    training = batches(lesson.samples, lesson.train, shuffle=True)
    valid_dice, clock, start = [], [], time.perf_counter()
    for _ in range(epochs):
        model.train()
        for images, masks in training:
            training_step(model, optimizer, images, masks)
        maps = torch.from_numpy(predict(model, lesson.samples, lesson.valid))
        masks = torch.from_numpy(lesson.samples.masks[lesson.valid])
        valid_dice.append(lesson.dice(maps[:, None] - 0.5,
                                      masks[:, None].float()).item())
        clock.append(time.perf_counter() - start)
    return valid_dice, clock


def predict(model, samples, rows):
    """Lesion probabilities of these rows, float32 (N, H, W)."""
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(images) for images, _
                          in batches(samples, rows)])[:, 0].numpy()
