"""The shipped network for people, fine-tuned on pictures of your own.

    pairs = read_corrected(ROOT / "data/corrected") or drawn(10)
    tuned = fine_tuned(PYTORCH, pairs)
    print(score(shipped(PYTORCH), pairs), score(tuned, pairs))

A pair is an image, uint8 (H, W, 3), and its mask, bool (H, W), True =
person. Pairs may have different sizes. The functions that train and predict
are those of a lesson notebook: PYTORCH or TENSORFLOW.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from data import DataError, Samples, storage
from data.pictures import read_pair, resize_image, resize_mask
from data.synthetic import portraits
from lab.lesson import PYTORCH, TENSORFLOW, Lesson, definitions, prepared
from lab.segment import KINDS, ask

__all__ = ["PYTORCH", "TENSORFLOW", "drawn", "fine_tuned", "read_corrected",
           "score", "shipped"]
PERSON = KINDS["person"]
WEIGHTS = storage.ROOT / f"weights/{PERSON.file}.safetensors"
ENDINGS = ".jpg", ".jpeg", ".png", ".heic", ".webp", ".tif", ".tiff", ".bmp"


@dataclass(frozen=True)
class Network:
    """A network for people, and the lesson whose functions it needs."""

    lesson: Lesson
    model: object

    def probability(self, image):
        """uint8 (H, W, 3) -> float (H, W): how sure a pixel is person."""
        return ask(self.lesson, self.model, image, PERSON)


# --- Pairs ----------------------------------------------------------------

def read_corrected(folder):
    """All NAME-mask.png of a folder with their pictures: a list of pairs.

    NAME.jpg (or .png, …) is the picture; in the mask white is person. A
    picture without a mask is left out. Raises DataError if a mask has no
    picture, or does not fit it.
    """
    return [_pair(file) for file in sorted(Path(folder).glob("*-mask.png"))]


def _pair(mask_file):
    name = mask_file.stem.removesuffix("-mask")
    found = [file for file in mask_file.parent.iterdir()
             if file.stem == name and file.suffix.lower() in ENDINGS]
    if len(found) != 1:
        raise DataError(f"{mask_file} needs one picture beside it that is "
                        f"called {name}.jpg or {name}.png, not "
                        f"{len(found)}; rename or remove what does not "
                        "belong together.")
    return read_pair(found[0], mask_file, "person",
                     remedy="save the mask in the size of the picture, white "
                     "where the person is and black elsewhere")


def drawn(count, seed=0):
    """`count` drawn portraits with their exact masks: a list of pairs."""
    return [portraits.draw(np.random.default_rng([seed, number]), (288, 192))
            for number in range(count)]


# --- Networks -------------------------------------------------------------

def shipped(notebook):
    """The shipped network for people, in the framework of a notebook."""
    return _loaded(definitions(notebook, "parameters", "training", "model",
                               "load"))


def _loaded(lesson):
    """A Network with the shipped weights."""
    if lesson.name == PYTORCH:
        return Network(lesson, lesson.load_network(lesson.UNet, WEIGHTS))
    # The weights are stored once, as PyTorch names them.
    from lab.pretraining.keras_weights import copy_into
    model = lesson.UNet()
    copy_into(model, load_file(WEIGHTS))
    return Network(lesson, model)


def fine_tuned(notebook, pairs, epochs=10, learning_rate=3e-4):
    """The shipped network, trained further on pairs and their mirror images.
    """
    small = [(resize_image(image, PERSON.size),
              resize_mask(mask, PERSON.size)) for image, mask in pairs]
    images, masks = (np.stack(column) for column in zip(*small))
    rows = np.arange(len(pairs))
    samples = Samples(images, masks, [str(row) for row in rows],
                      np.zeros(len(rows)), "pictures of one's own")
    # `fit` also watches pictures after each epoch; one is quickly done.
    lesson = prepared(notebook, samples, rows, rows[:1],
                      LEARNING_RATE=learning_rate)
    network = _loaded(lesson)
    _mirror_only(lesson)
    lesson.fit(network.model, "fine-tuning", rows, epochs)
    return network


def _mirror_only(lesson):
    """Replace the lesson's augmentation: nobody stands on their head."""
    if lesson.name == PYTORCH:
        from torchvision.transforms import v2
        lesson.augment = v2.RandomHorizontalFlip()
    else:
        from keras import layers
        lesson.new_augmentation = lambda: layers.RandomFlip("horizontal")


def score(network, pairs):
    """IoU of the network's mask for each pair, original size: a list."""
    scores = []
    for image, mask in pairs:
        found = network.probability(image) > 0.5
        scores.append((found & mask).sum() / (found | mask).sum())
    return scores
