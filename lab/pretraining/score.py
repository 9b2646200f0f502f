"""Score stored weights on images that they were not trained on.

    python -m lab.pretraining.score data/weights/unet.safetensors
    python -m lab.pretraining.score data/weights/unet.safetensors FOLDER
    python -m lab.pretraining.score data/weights/unet.safetensors --effects
    python -m lab.pretraining.score --what person \
        data/weights/people.safetensors FOLDER

The first takes PH², the second a FOLDER of other photographs, with
images/NAME.jpg and masks/NAME.png, the third new synthetic moles with one
effect each, the last photographs of people. Masks are compared at their
original size.
"""

import sys
import tempfile
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m lab.pretraining.score in the lesson's folder.")

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from data import DataError, Samples, ph2, pictures
from data.synthetic import moles
from lab import arguments
from lab.benchmark.record import looked_at
from lab.benchmark.trainings import scored
from lab.lesson import PYTORCH, definitions
from lab.pretraining.keras_weights import network_of
from lab.segment import KINDS, predict_flips

SHARES = [0.03, 0.1, 0.3]  # of the picture that the mask covers
SIZES = np.array(["0 to 0.03", "0.03 to 0.1", "0.1 to 0.3", "0.3 to 1"])


# --- Images, and lists of the parts that each of them belongs to ----------

def parts_of_ph2(size):
    """PH²: whether an image was looked at in developing, and its diagnosis.

    Raises DataError if it cannot be had.
    """
    samples = ph2.load(size, "download")
    return samples, [np.where(looked_at(samples), "developed with these 67",
                              "never looked at"), samples.groups]


def photographs(folder, size, home):
    """A folder of photographs, and how much of each the mask covers.

    home: a folder for the cache of what was read. Raises DataError if there
    are none, or if a mask is missing.
    """
    images = sorted((folder / "images").glob("*.jpg"))
    if not images:
        raise DataError(f"{folder / 'images'} holds no *.jpg; name a folder "
                        "with images/ and masks/.")
    files = [(image, folder / "masks" / f"{image.stem}.png")
             for image in images]
    names = [image.stem for image in images]
    pictures.check_mates(names, [mask.stem for _, mask in files
                                 if mask.exists()], folder)
    small, masks = pictures.read_pairs(files, size, home, "pixel")
    samples = Samples(
        images=small, masks=masks, names=names,
        groups=np.zeros(len(files)), source="photographs", files=files)
    return samples, [SIZES[np.digitize(masks.mean(axis=(1, 2)), SHARES)]]


def one_effect_each(folder, size, count=40, seed=100):
    """New synthetic moles, written to a folder, and the effect of each."""
    effects = [effect for effect in moles.VARIED for _ in range(count)]
    generators = map(np.random.default_rng,
                     np.random.SeedSequence(seed).spawn(len(effects)))
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number, effect in enumerate(tqdm(effects, desc="Drawing")):
        image, mask, _ = moles.scene(next(generators), moles.TRAITS[
            number % len(moles.TRAITS)], (192, 256), {effect})
        Image.fromarray(image).save(folder / f"images/{number:04d}.jpg",
                                    quality=100)
        Image.fromarray(mask).save(folder / f"masks/{number:04d}.png")
    samples, _ = photographs(folder, size, home=folder)
    return samples, [[effect.__name__ for effect in effects]]


# --- Scores ---------------------------------------------------------------

def score(lesson, model, samples, kind):
    """A table of scores: for each image one look, and flips and one piece."""
    lesson.samples, rows = samples, range(len(samples))
    return pd.concat([
        scored(lesson, "one look", rows,
               lesson.predict(model, samples.images)),
        scored(lesson, "flips, one piece", rows,
               predict_flips(lesson, model, samples.images, kind.flips),
               kind.tidy)])


def report(table, partitions):
    """Print Dice and IoU of each variant, in all images and in each part."""
    for variant, rows in table.groupby("variant", sort=False):
        whole = pd.concat([rows.assign(part=part)
                           for part in ["all", *partitions]])
        print(f"\n{variant}\n" + whole.groupby("part").agg(
            images=("Dice", "count"), Dice=("Dice", "mean"),
            median=("Dice", "median"), deviation=("Dice", "std"),
            below_half=("Dice", lambda dice: (dice < 0.5).sum()),
            IoU=("IoU", "mean")).round(3).to_string())
        worst = rows.nsmallest(10, "Dice")
        print("worst:", ", ".join(f"{name} {dice:.2f}" for name, dice
                                  in zip(worst["image"], worst["Dice"])))


def stored(file):
    """A Lesson, and the network whose weights are in a file.

    Raises DataError if there is none, and ValueError if it is damaged.
    """
    network = network_of(file)
    lesson = definitions(PYTORCH, "parameters", "metrics", "scoring",
                         "training", "model", "load")
    return lesson, lesson.load_network(getattr(lesson, network), file)


@arguments.program
def main():
    """Print the scores of the weights that the command line names."""
    parser = arguments.parser(__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--effects", action="store_true",
                        help="new synthetic moles with one effect each")
    parser.add_argument("--what", choices=KINDS, default="lesion",
                        help="what the masks show")
    options = parser.parse_args()
    if options.folder and options.effects:
        parser.error("name a FOLDER or --effects, not both")
    if options.what == "person" and not options.folder:
        parser.error("--what person needs a FOLDER")
    kind = KINDS[options.what]
    with tempfile.TemporaryDirectory() as temporary:
        try:
            lesson, model = stored(options.weights)
        except ValueError as error:
            sys.exit(str(error))
        if options.effects:
            images = one_effect_each(Path(temporary), kind.size)
        elif options.folder:
            images = photographs(options.folder, kind.size,
                                 home=Path(temporary))
        else:
            images = parts_of_ph2(kind.size)
        samples, partitions = images
        report(score(lesson, model, samples, kind), partitions)


if __name__ == "__main__":
    main()
