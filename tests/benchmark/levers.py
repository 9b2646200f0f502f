"""What was tried to make the U-Net better: one change at a time.

A lever changes parameters of the notebook, or adds a cell behind one of
its cells. The benchmark runs it with the same folds as the notebook as it
is, so that the two can be compared image by image.
"""

from dataclasses import dataclass

CROSS_ENTROPY_ALONE = """
def segmentation_loss(logits, masks):
    return F.binary_cross_entropy_with_logits(logits, masks)
"""

ANY_ANGLE = """
augment.transforms[2] = v2.Pad(HEIGHT // 2, padding_mode="reflect")
augment.transforms[3] = v2.RandomAffine(
    degrees=180, translate=(0.08, 0.08), scale=(0.8, 1.25),
    interpolation=v2.InterpolationMode.BILINEAR)
"""

# The mean of large values is taken for the colour of the light.
SHADES_OF_GREY = """
from dataclasses import replace
light = ((samples.images / 255) ** 6).mean(axis=(1, 2)) ** (1 / 6)
gain = light.mean(axis=1, keepdims=True) / light
samples = replace(samples, images=np.uint8(np.clip(
    samples.images * gain[:, None, None], 0, 255)))
"""

ONE_NETWORK = """
fit_as_taught = fit


def fit(model, name, training_batches, epochs):
    return fit_as_taught(model, name, training_batches,
                         epochs if "U-Net" in name else 1)
"""


@dataclass(frozen=True)
class Lever:
    """One change of a notebook.

    parameters  what replaces the notebook's own, as lines of Python
    after       how the cell begins that the code follows
    code        the cell to insert; for PyTorch
    """

    parameters: tuple = ()
    after: str = ""
    code: str = ""


LEVERS = {
    "another seed": Lever(after="# NBVAL_CHECK_OUTPUT\ntrain, valid, test",
                          code="SEED = SEED + 1"),
    "cross-entropy alone": Lever(after="def segmentation_loss",
                                 code=CROSS_ENTROPY_ALONE),
    "any angle": Lever(after="augment = v2.Compose", code=ANY_ANGLE),
    "shades of grey": Lever(after="samples = ph2.load",
                            code=SHADES_OF_GREY),
    "a third of the learning rate": Lever(
        parameters=("LEARNING_RATE=1e-3 / 3",)),
    "80 epochs": Lever(parameters=("EPOCHS=80",)),
    "144×192 pixels": Lever(parameters=("HEIGHT=144", "WIDTH=192")),
    "no average of weights": Lever(parameters=("EMA_DECAY=0",)),
    "no augmentation": Lever(after="augment = v2.Compose",
                             code="augment = v2.Identity()"),
}
