"""Train a network on procedural pictures alone, and score it on PH².

    python -m tests.pretrain                     the U-Net
    python -m tests.pretrain --network SegNet
    python -m tests.pretrain --save data/pretrained/unet.safetensors
    python -m tests.pretrain --stored            score that file

The recipe is the PyTorch notebook's own: its cells are run here. PH² is
scored if it is in data/ (or where SEGMENTATION_DATA says). The pictures
were developed by looking at a third of it; the rest is the result.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split

import data
from data import ph2
from data.synthetic import dermoscopy
from tests.notebooks import PYTORCH, prepared

SIZE = (96, 128)


def procedural(count, seed, size=SIZE):
    """`count` varied procedural pictures as Samples."""
    drawn = list(dermoscopy.draw_many(count, seed=seed, varied=True))
    return data.Samples(
        images=np.stack([data.resize_image(image, size)
                         for _, image, _ in drawn]),
        masks=np.stack([data.resize_mask(mask, size)
                        for _, _, mask in drawn]),
        names=[f"SYN{row:04d}" for row in range(count)],
        groups=np.array([diagnosis for diagnosis, _, _ in drawn]),
        source="procedural pictures", mask_files=[])


def train(names, network, epochs):
    """Train a new network with what `prepared` returned; returns it."""
    torch.manual_seed(names["SEED"])
    model = names["initialise"](names[network]()).to(names["DEVICE"])
    names["fit"](model, network, names["training_batches"], epochs)
    return model


def pretrained(options):
    """Train the network; returns the notebook's names and the model."""
    samples = procedural(options.count, options.seed)
    n_valid = options.count // 10
    names = prepared(PYTORCH, samples, np.arange(n_valid, options.count),
                     np.arange(n_valid), SEED=options.seed)
    start = time.perf_counter()
    model = train(names, options.network, options.epochs)
    print(f"trained in {(time.perf_counter() - start) / 60:.1f} minutes")
    return names, model


def save(model, names, options):
    """Save the weights as 16-bit numbers, which halves the file."""
    weights = {name: tensor.cpu().half().contiguous() if tensor.ndim
               else tensor.cpu() for name, tensor
               in model.state_dict().items()}
    options.save.parent.mkdir(parents=True, exist_ok=True)
    names["save_file"](weights, options.save, metadata={
        "network": options.network,
        "trained on": f"{options.count} procedural pictures, "
                      f"{options.epochs} epochs, seed {options.seed}",
        "mean": str(names["mean"].round(4).tolist()),
        "deviation": str(names["deviation"].round(4).tolist())})
    print(f"{options.save}: {options.save.stat().st_size / 1e6:.1f} MB")


def scored(names, model, samples):
    """A table with the scores of every image at native resolution."""
    probabilities = names["predict"](model, samples.images)
    rows = []
    for row, probability in enumerate(probabilities):
        truth = samples.native_mask(row)
        enlarged = names["resize"](probability, truth.shape, order=1)
        rows.append({"name": samples.names[row],
                     "diagnosis": samples.groups[row],
                     **names["scores"](enlarged > 0.5, truth)})
    return pd.DataFrame(rows)


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
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, metavar="FILE")
    parser.add_argument("--stored", action="store_true",
                        help="score data/pretrained/unet.safetensors")
    options = parser.parse_args()
    samples = None
    try:
        samples = ph2.load(SIZE, "download")
    except data.DataError as error:
        print(f"Nothing will be scored on PH²: {error}")
        if options.stored:
            sys.exit(1)
    if options.stored:
        names = prepared(PYTORCH, samples, np.arange(len(samples)),
                         np.arange(10))
        model = names["pretrained_unet"]()
    else:
        names, model = pretrained(options)
    if options.save:
        save(model, names, options)
    if samples:
        report(scored(names, model, samples), samples.groups)


if __name__ == "__main__":
    main()
