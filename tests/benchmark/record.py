"""Runs in a notebook, as its last cell: measure what it left behind.

`record` scores the networks that the notebook trained, trains them once
more from the weights that were learned from drawings, and writes it all
into one JSON file.
"""

import json
import platform
import re
import sys
import time
from pathlib import Path

import joblib
import numpy as np
from scipy import ndimage
from skimage import measure

ENOUGH = 0.90  # the validation Dice whose time is noted


def train_networks(names, networks=("SegNet", "U-Net")):
    """The notebook's networks, and the same from pre-trained weights.

    Returns two dicts, models and their histories.
    """
    models = {name: names["models"][name] for name in networks}
    history = {name: names["history"][name] for name in networks}
    for network in networks:
        name = f"{network}, pre-trained"
        models[name] = (pretrained_segnet(names) if network == "SegNet"
                        else names["pretrained_unet"]())
        history[name] = names["fit"](models[name], name,
                                     names["training_batches"],
                                     names["EPOCHS"])
    return models, history


def record(names, file, networks=("SegNet", "U-Net")):
    """Write the results of one notebook as JSON.

    names: what the notebook defined, its `globals()`; file: the path;
    networks: those that count. The file appears whole or not at all.
    """
    models, history = train_networks(names, networks)
    images = names["samples"].images[names["test"]]
    rows = scored(names, "Otsu", [names["otsu"](image) for image in images])
    for name, model in models.items():
        maps = names["predict_flips"](model, images)
        rows += scored(names, name, names["predict"](model, images))
        rows += scored(names, f"{name}, flips", maps)
        rows += scored(names, f"{name}, flips, one piece", maps, one_piece)
    write(file, {
        "about": about(names), "per_image": rows,
        "training": [training(names, name, models[name], history[name])
                     for name in models]})


def write(file, content):
    """Write JSON whole or not at all."""
    part = Path(file).with_suffix(".part")
    part.write_text(json.dumps(content))
    part.replace(file)


def about(names):
    """On what machine, with what, and when."""
    framework = names.get("torch") or names["tf"]
    return {"source": names["samples"].source,
            "epochs": names["EPOCHS"], "precision": names["PRECISION"],
            "framework": f"{framework.__name__} {framework.__version__}",
            "python": platform.python_version(), **machine(),
            "date": time.strftime("%Y-%m-%d"), "peak_memory": peak_memory()}


def machine():
    """The processor's name, and how many of its cores may be used."""
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(": ")[1] for line in lines
                      if line.startswith("model name")), model)
    return {"processor": model, "cores": joblib.cpu_count()}


def peak_memory():
    """The most memory that this process has used, in bytes; Linux only."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    return found and 1024 * int(found[1])


def one_piece(mask):
    """The largest piece of a mask, bool (H, W), with its holes filled."""
    labels = measure.label(mask)
    if labels.max() < 1:
        return mask
    largest = 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return ndimage.binary_fill_holes(labels == largest)


def scored(names, method, maps, tidy=np.asarray):
    """Scores and pixel counts of probability maps of the test images.

    tidy: what is done to each mask before it is scored.
    """
    samples, rows = names["samples"], []
    for row, probability in zip(names["test"], maps):
        truth = samples.native_mask(row)
        enlarged = names["resize"](np.float32(probability), truth.shape,
                                   order=1)
        predicted = tidy(enlarged > 0.5)
        rows.append({"method": method, "name": samples.names[row],
                     "diagnosis": str(samples.groups[row]),
                     **names["scores"](predicted, truth),
                     "TP": int(np.sum(predicted & truth)),
                     "FP": int(np.sum(predicted & ~truth)),
                     "FN": int(np.sum(~predicted & truth)),
                     "TN": int(np.sum(~predicted & ~truth))})
    return rows


def course(history):
    """How long one training took, and how good it got."""
    seconds = history["seconds"]
    good = history["valid_dice"] >= ENOUGH
    return {"seconds": float(seconds.iloc[-1]),
            "epoch": float(np.median(np.diff(seconds, prepend=0))),
            "enough": float(seconds[good].iloc[0]) if good.any() else None}


def training(names, method, model, history):
    """How one training went, and how fast its network predicts."""
    images = names["samples"].images[names["test"]]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        names["predict"](model, images)
        times.append(time.perf_counter() - start)
    return {"method": method, **course(history),
            "weights": int(names["count_weights"](model)),
            "images_per_second": len(images) / float(np.median(times))}


def pretrained_segnet(names):
    """The SegNet that learned from drawings, loaded as its U-Net is."""
    file = "data/pretrained/segnet.safetensors"
    mean, deviation = names["colours_of_drawings"]()
    model = names["SegNet"]()
    weights = names["load_file"](file)
    if "torch" in names:
        model.load_state_dict(weights)
        return names["nn"].Sequential(
            names["v2"].Normalize(mean.tolist(), deviation.tolist()),
            model.to(names["DEVICE"],
                     memory_format=names["torch"].channels_last))
    order = [f"{part}.{i}.{layer}" for part in ("encoder", "decoder")
             for i in range(4) for layer in (0, 1, 3, 4)] + ["head"]
    kinds = ("weight", "bias", "running_mean", "running_var")
    layers = [layer for layer in model.layers if layer.weights]
    for layer, name in zip(layers, order, strict=True):
        found = [weights[f"{name}.{kind}"] for kind in kinds
                 if f"{name}.{kind}" in weights]
        layer.set_weights([array.transpose(2, 3, 1, 0) if array.ndim == 4
                           else array for array in found])
    keras = names["keras"]
    return keras.Sequential([
        keras.Input((None, None, 3)),
        keras.layers.Normalization(mean=mean, variance=deviation ** 2),
        model])
