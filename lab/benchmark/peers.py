"""Other U-Nets, trained beside the lesson's: how soon, how fast, how good.

Runs in the PyTorch notebook as its last cell. All networks learn from the
same images and are tested on the same images. Two are what a user would
take from a library, trained by the notebook's own recipe; one is the U-Net
of an older lesson, trained by that lesson's recipe.
"""

import time

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm.auto import tqdm

from data import ph2
from lab.benchmark.record import (
    about,
    course,
    lesson_of,
    scored,
    train_networks,
    write,
)

OLDER = "older lesson's U-Net"


def libraries():
    """What a user would take from a library: {name: how it is made}."""
    from monai.networks.nets import BasicUNet
    from segmentation_models_pytorch import Unet
    return {
        "segmentation_models_pytorch, resnet18": lambda: Unet(
            "resnet18", encoder_weights=None, in_channels=3, classes=1),
        "MONAI, BasicUNet": lambda: BasicUNet(
            spatial_dims=2, in_channels=3, out_channels=1)}


def older_stage(in_channels, out_channels):
    """Convolution, ReLU, batch norm, in the older lesson's order."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.ReLU(), nn.BatchNorm2d(out_channels))


class OlderUNet(nn.Module):
    """The older lesson's U-Net: images (N, 3, H, W) -> *probabilities*.

    Its mistakes are kept: each stage of the encoder runs twice, and the
    sigmoid at the end is followed by a loss that has a sigmoid inside.
    """

    def __init__(self):
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        self.encoder = nn.ModuleList(
            older_stage(*pair) for pair in zip(widths, widths[1:]))
        self.bottom = nn.Conv2d(128, 256, kernel_size=3, padding=1)
        self.decoder = nn.ModuleList([
            older_stage(256 + 128, 128), older_stage(128 + 64, 64),
            older_stage(64 + 32, 32)])
        self.head = nn.Conv2d(32 + 16, 1, kernel_size=1)

    def forward(self, x):
        skips = []
        for stage in self.encoder:
            skips.append(stage(x))
            x = F.max_pool2d(stage(x), 2)
        x = self.bottom(x)
        for stage in [*self.decoder, self.head]:
            x = F.interpolate(x, scale_factor=2, mode="bilinear",
                              align_corners=True)
            x = stage(torch.cat([x, skips.pop()], dim=1))
        return torch.sigmoid(x)


def older_data(lesson, part, side):
    """Batches of that lesson: square, from 0 to 1, without augmentation."""
    samples = ph2.load((side, side), lesson.SOURCE)
    rows = getattr(lesson, part)
    images = torch.from_numpy(samples.images[rows]).permute(0, 3, 1, 2)
    masks = torch.from_numpy(samples.masks[rows][:, None])
    return DataLoader(TensorDataset(images / 255, masks.float()),
                      batch_size=32, shuffle=part == "train")


def older_epoch(lesson, model, loader, optimizer=None):
    """One pass over the loader; returns the mean Dice of all images."""
    model.train(optimizer is not None)
    dice_sum, device = 0, lesson.DEVICE
    with torch.set_grad_enabled(optimizer is not None):
        for images, masks in loader:
            images, masks = images.to(device), masks.to(device)
            output = model(images)
            if optimizer:
                loss = F.binary_cross_entropy_with_logits(output, masks)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            dice = lesson.dice(output - 0.5, masks)
            dice_sum += len(images) * dice.item()
    return dice_sum / len(loader.dataset)


def train_older(lesson, side):
    """The older lesson's training. Returns its model and history."""
    epochs = min(30, lesson.EPOCHS)
    torch.manual_seed(lesson.SEED)
    model = OlderUNet().to(lesson.DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3,
                                 weight_decay=1e-6)
    train, valid = (older_data(lesson, part, side)
                    for part in ("train", "valid"))
    rows, start = [], time.perf_counter()
    for _ in tqdm(range(epochs), desc=OLDER, unit="epoch"):
        older_epoch(lesson, model, train, optimizer)
        dice = older_epoch(lesson, model, valid)
        rows.append([dice, time.perf_counter() - start])
    return model, pd.DataFrame(rows, columns=["valid_dice", "seconds"])


def older_maps(lesson, model, side):
    """Its probabilities of the test images."""
    loader = older_data(lesson, "test", side)
    model.eval()
    with torch.inference_mode():
        return torch.cat([
            model(images.to(lesson.DEVICE)).cpu()
            for images, _ in loader]).squeeze(1).numpy()


def row(method, model, history):
    """What is told of one training."""
    return {"method": method, "epochs": len(history), **course(history),
            "weights": sum(weight.numel() for weight in model.parameters()
                           if weight.requires_grad)}


def compare(names, file, side=256):
    """Train all peers, and write what came out as JSON.

    names: the notebook's `globals()`; file: the path; side: height and
    width of the older lesson's images. That lesson trains 30 epochs, or
    fewer if the notebook does.
    """
    lesson = lesson_of(names)
    models, history = train_networks(lesson)
    for name, make in libraries().items():
        torch.manual_seed(lesson.SEED)
        first = lesson.Standardise()  # as in the lesson's networks
        first.adapt(lesson.samples.images[lesson.train])
        models[name] = nn.Sequential(first, make()).to(
            lesson.DEVICE, memory_format=torch.channels_last)
        history[name] = lesson.fit(models[name], name, lesson.train,
                                   lesson.EPOCHS)
    images = lesson.samples.images[lesson.test]
    per_image = [line for name, model in models.items() for line
                 in scored(lesson, name, lesson.predict(model, images))]
    models[OLDER], history[OLDER] = train_older(lesson, side)
    per_image += scored(lesson, OLDER,
                        older_maps(lesson, models[OLDER], side))
    write(file, {"about": about(lesson), "per_image": per_image, "training": [
        row(name, model, history[name]) for name, model in models.items()]})
