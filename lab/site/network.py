"""The stored U-Nets as ONNX files, which a browser can run."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from lab.lesson import PYTORCH
from lab.segment import KINDS, network

SMALL = 3000  # numbers; smaller arrays are not worth rounding


class PictureNetwork(nn.Module):
    """A picture of any size -> how sure each pixel of a small one is.

    What `lab.segment` does before it enlarges: shrink the picture with
    anti-aliasing, ask the network about it and its mirror images, and take
    the mean.
    """

    def __init__(self, model, kind):
        super().__init__()
        self.model, self.size = model, kind.size
        # Along which axes of (N, 3, H, W) each mirror image is flipped.
        self.flips = [[axis for axis, step in zip((2, 3), steps) if step < 0]
                      for steps in kind.flips]

    def forward(self, picture):
        """uint8 (3, height, width) -> float32 (H, W)."""
        # torch.onnx knows no shrinking of whole numbers; ONNX does.
        small = torch.onnx.ops.symbolic(
            "Resize", (picture[None], None, None,
                       torch.tensor([1, 3, *self.size])),
            {"mode": "linear", "antialias": 1}, dtype=torch.uint8,
            shape=(1, 3, *self.size), version=18)
        images = torch.cat([small.flip(axes) for axes in self.flips])
        maps = torch.sigmoid(self.model(images.float())).split(1)
        return torch.cat([one.flip(axes) for one, axes in
                          zip(maps, self.flips)]).mean(dim=0)[0]


def export(what, file):
    """Write the stored network that finds a lesion or a person.

    what: one of `lab.segment.KINDS`; file: where the ONNX file goes.
    """
    kind = KINDS[what]
    _, model = network(kind.file, PYTORCH)
    model = model.cpu().to(memory_format=torch.contiguous_format)
    sides = {1: torch.export.Dim("height", min=2),
             2: torch.export.Dim("width", min=2)}
    program = torch.onnx.export(
        PictureNetwork(model, kind).eval(),
        (torch.zeros(3, 200, 300, dtype=torch.uint8),),
        dynamic_shapes=(sides,), input_names=["picture"],
        output_names=["probability"], dynamo=True, opset_version=20,
        verbose=False)
    onnx.save(halved(program.model_proto), file)


def halved(model):
    """The same network with its large arrays stored in 16 bits.

    They are made 32 bits again when the network is loaded, so that the
    arithmetic stays as it is.
    """
    graph, casts = model.graph, []
    for array in graph.initializer:
        if array.data_type == TensorProto.FLOAT \
                and np.prod(array.dims) > SMALL:
            name, stored = array.name, f"{array.name}.half"
            numbers = numpy_helper.to_array(array).astype(np.float16)
            array.CopyFrom(numpy_helper.from_array(numbers, stored))
            casts.append(helper.make_node("Cast", [stored], [name],
                                          to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    for node in nodes:  # where in PyTorch each came from
        node.doc_string = ""
        node.ClearField("metadata_props")
    for field in (graph.node, graph.value_info, model.metadata_props):
        del field[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model
