"""Write weights that PyTorch learned as a file that Keras loads.

    python -m lab.pretraining.keras_weights unet.safetensors

writes unet.weights.h5 beside it, for the networks of the notebooks. The
numbers of convolutions have 16 bits, which halves the file.
"""

import sys
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.pretraining.keras_weights in the lesson's "
             "folder.")

import h5py
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from data import DataError, storage
from lab import arguments
from lab.lesson import TENSORFLOW, definitions


def place(name):
    """Where a pass through the network meets the layer with this name.

    PyTorch numbers the blocks of the encoder and of the decoder, and in
    each block the layers.
    """
    part, *numbers = name.split(".")
    stage = {"standardise": 0, "encoder": 1, "enlarge": 2, "decoder": 2,
             "head": 3}[part]
    block, *layer = [int(number) for number in numbers] or [0]
    return stage, block, part == "decoder", layer


def keras_weights(arrays):
    """PyTorch's arrays by name -> for each layer, Keras' list of arrays.

    Kernels have the axes (out, in, height, width) in PyTorch, and (height,
    width, in, out) in Keras. The first layer standardises: its deviation
    becomes a variance.
    """
    names = sorted({name.rpartition(".")[0] for name in arrays}, key=place)
    found = []
    for name in names:
        layer = [arrays[f"{name}.{kind}"] for kind in
                 ("weight", "bias", "running_mean", "running_var")
                 if f"{name}.{kind}" in arrays]
        if name == "standardise":
            layer = [arrays[f"{name}.mean"].ravel(),
                     arrays[f"{name}.deviation"].ravel() ** 2, np.int32(0)]
        found.append([array.transpose(2, 3, 1, 0) if array.ndim == 4
                      else array for array in layer])
    return found


def copy_into(model, arrays):
    """Give a Keras network the weights of its twin in PyTorch.

    Raises DataError if they are those of another network.
    """
    layers = [layer for layer in model.layers if layer.weights]
    try:
        for layer, weights in zip(layers, keras_weights(arrays), strict=True):
            layer.set_weights(weights)
    except (ValueError, KeyError) as error:
        raise DataError("the file holds weights of a network that is not "
                        "quite the lesson's; make it anew.") from error
    layers[0].finalize_state()  # or it would go on with its former numbers


def halve(file):
    """Store the convolutions' numbers of a Keras file with 16 bits."""
    def convert(name, item):
        if isinstance(item, h5py.Dataset) and item.ndim == 4:
            kernels[name] = item[()].astype(np.float16)

    kernels = {}
    with h5py.File(file, "r+") as stored:
        stored.visititems(convert)
        for name, kernel in kernels.items():
            del stored[name]
            stored.create_dataset(name, data=kernel, compression="gzip")


def network_of(file):
    """The name of the network whose weights a file holds.

    Raises DataError if it does not say so.
    """
    try:
        with safe_open(file, framework="np") as stored:
            network = stored.metadata()["network"]
    except (OSError, SafetensorError, TypeError, KeyError):
        network = None
    if network not in ("SegNet", "UNet"):
        raise DataError(
            f"{file} does not hold weights of a network of the lesson; name "
            "a file that lab.pretraining.moles has written.")
    return network


@arguments.program
def main():
    """Convert the file that the command line names."""
    parser = arguments.parser(__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    network = network_of(file)
    target = file.with_suffix(".weights.h5")
    storage.check_new(target)
    lesson = definitions(TENSORFLOW, "model")
    model = getattr(lesson, network)()
    copy_into(model, load_file(file))
    with storage.whole(target, new=True) as part:
        written = part.with_name(f"{part.name}.weights.h5")
        model.save_weights(written)
        halve(written)
        # What was overwritten leaves gaps; a copy has none.
        with h5py.File(written) as old, h5py.File(part, "w") as new:
            for name in old:
                old.copy(name, new)
        written.unlink()
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
