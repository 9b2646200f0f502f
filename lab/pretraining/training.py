"""What moles.py and people.py share: their options, training, saving."""

import time

import numpy as np
import torch
from safetensors.torch import save_file

from data import storage
from lab import arguments
from lab.lesson import PYTORCH, prepared


def read_options(description, networks=("UNet",), **defaults):
    """What the command line says, or else the defaults."""
    parser = arguments.parser(description)
    parser.add_argument("file", type=arguments.new_file,
                        help="where the weights go, NAME.safetensors; it "
                        "must not be there yet")
    parser.add_argument("--network", choices=networks)
    # A twentieth is for validation, so at least one.
    parser.add_argument("--count", type=arguments.whole_number(20),
                        help="of synthetic images")
    parser.add_argument("--epochs", type=arguments.EPOCHS)
    parser.add_argument("--seed", type=arguments.SEED)
    parser.set_defaults(network="UNet", **defaults)
    return parser.parse_args()


def train(samples, augment, options, loss=None, new=None):
    """A new network, trained on all samples but a twentieth.

    augment: what the PyTorch notebook's `augment` is replaced by; loss: the
    same for its cross-entropy; new: what makes the untrained network from
    a Lesson, if it is not one of the notebook's. Multiplications use 16
    bits (bfloat16), which is twice as fast or more on processors that have
    them.
    """
    n_valid = options.count // 20
    lesson = prepared(PYTORCH, samples, np.arange(n_valid, options.count),
                      np.arange(n_valid), SEED=options.seed)
    lesson.augment = augment
    lesson.cross_entropy = loss or lesson.cross_entropy
    model = new(lesson) if new else lesson.new_network(
        getattr(lesson, options.network), samples.images[lesson.train])
    start = time.perf_counter()
    # A cache of the 16-bit weights would outlive the steps that change them.
    with torch.autocast(lesson.DEVICE.type, torch.bfloat16,
                        cache_enabled=False):
        lesson.fit(model, options.network, lesson.train, options.epochs)
    print(f"trained in {(time.perf_counter() - start) / 60:.1f} minutes")
    return model


def save(model, options):
    """Save the weights as 16-bit numbers, which halves the file.

    Raises DataError if a file of that name has appeared meanwhile.
    """
    weights = {name: tensor.cpu().half().contiguous()
               if tensor.ndim and not name.startswith("standardise")
               else tensor.cpu() for name, tensor
               in model.state_dict().items()}
    options.file.parent.mkdir(parents=True, exist_ok=True)
    with storage.whole(options.file, new=True) as part:
        save_file(weights, part, metadata={
            "network": options.network,
            "trained on": f"{options.count} synthetic images, "
                          f"{options.epochs} epochs, seed {options.seed}"})
    print(f"{options.file}: {options.file.stat().st_size / 1e6:.1f} MB")
