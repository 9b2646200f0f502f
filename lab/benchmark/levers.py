"""What was tried to make the U-Net better: one change at a time.

A lever changes parameters of the notebook, or adds a cell behind one of
its cells. The benchmark runs it with the same folds as the notebook as it
is, so that the two can be compared image by image.
"""

from dataclasses import dataclass

DICE_LOSS = """
bare_cross_entropy = cross_entropy


def cross_entropy(logits, masks):
    p, pixels = torch.sigmoid(logits), (1, 2, 3)
    overlap, total = (p * masks).sum(pixels), (p + masks).sum(pixels)
    dice_loss = 1 - (2 * overlap + 1) / (total + 1)
    return bare_cross_entropy(logits, masks) + dice_loss.mean()
"""

ANY_ANGLE = """
augment.transforms[3].degrees = [-180.0, 180.0]
"""

# The mean of large values is taken for the colour of the light.
SHADES_OF_GREY = """
from dataclasses import replace
light = ((samples.images / 255) ** 6).mean(axis=(1, 2)) ** (1 / 6)
gain = light.mean(axis=1, keepdims=True) / light
samples = replace(samples, images=np.uint8(np.clip(
    samples.images * gain[:, None, None], 0, 255)))
"""

# Each stage of the decoder draws a mask of its own size, which is judged
# as well, the smaller the less (as in nnU-Net, Isensee et al., 2021).
DEEP_SUPERVISION = """
class UNet(UNet):
    def __init__(self):
        super().__init__()
        self.sides = nn.ModuleList(nn.Conv2d(width, 1, kernel_size=1)
                                   for width in (128, 64, 32))

    def forward(self, x):
        self.side_logits = []
        hooks = [block.register_forward_hook(
                     lambda _, __, maps, side=side:
                     self.side_logits.append(side(maps)))
                 for block, side in zip(self.decoder, self.sides)]
        logits = super().forward(x)
        for hook in hooks:
            hook.remove()
        return logits

    def load_state_dict(self, weights, strict=False):
        # The stored weights have no sides.
        return super().load_state_dict(weights, strict=False)


def training_step(model, optimizer, images, masks):
    logits = model(images)
    loss = cross_entropy(logits, masks)
    for unet in (part for part in model.modules() if isinstance(part, UNet)):
        for share, side in zip((1 / 8, 1 / 4, 1 / 2), unet.side_logits):
            smaller = F.interpolate(masks, side.shape[2:], mode="area")
            loss = loss + share * cross_entropy(side, smaller)
        unet.side_logits = []
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return logits.detach(), loss.detach()
"""

ONE_NETWORK = """
fit_as_taught = fit


def fit(model, name, rows, epochs):
    return fit_as_taught(model, name, rows, epochs if "U-Net" in name else 1)
"""


@dataclass(frozen=True)
class Lever:
    """One change of a notebook.

    parameters  what replaces the notebook's own, as lines of Python
    after       the tag of the cell that the code follows
    code        the cell to insert; for PyTorch
    """

    parameters: tuple = ()
    after: str = ""
    code: str = ""


LEVERS = {
    "another seed": Lever(after="split", code="SEED = SEED + 1"),
    "Dice loss added": Lever(after="fit", code=DICE_LOSS),
    "any angle": Lever(after="augment", code=ANY_ANGLE),
    "deep supervision": Lever(after="unet", code=DEEP_SUPERVISION),
    "shades of grey": Lever(after="samples", code=SHADES_OF_GREY),
    "three times the learning rate": Lever(
        parameters=("LEARNING_RATE=3e-3",)),
    "80 epochs": Lever(parameters=("EPOCHS=80",)),
    "144×192 pixels": Lever(parameters=("HEIGHT=144", "WIDTH=192")),
    "no augmentation": Lever(after="augment", code="augment = v2.Identity()"),
}
