"""Draw the lesson's figures beside this script.

    python -m images.draw

Diagrams are SVG files, pictures JPEG files. Positions and sizes in the
diagrams are inches, counted from a figure's lower left corner. The colours
are those of Okabe and Ito: colour-blind readers can tell them apart. Words,
places or hatching tell the same, for prints in grey.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

if not __package__:  # Python would look in this file's folder
    sys.exit("Type python -m images.draw in the lesson's folder.")

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyBboxPatch, Polygon, Rectangle

from data import ph2, storage
from data.synthetic import covers, moles, portraits
from data.synthetic.canvas import mix, ramp
from lab import arguments
from lab.lesson import PYTORCH, definitions
from lab.segment import KINDS, probability

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER.parent / "lab/benchmark/results.json"

ORANGE, SKY, GREEN = "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION = "#F0E442", "#0072B2", "#D55E00"
PALE, DARK, WHITE = "#EEEEEE", "#222222", "#FFFFFF"

LEVELS = [(16, "96 × 128"), (32, "48 × 64"), (64, "24 × 32"),
          (128, "12 × 16")]  # channels, height × width
ENCODER_X, DECODER_X = 2.0, 6.9  # middles of the two columns
TOP, STEP = 6.95, 1.32           # first row of blocks; row to row


def canvas(width, height):
    """An empty white drawing area whose units are inches."""
    figure = Figure(figsize=(width, height), facecolor=WHITE)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return figure, ax


def write(ax, x, y, text, **options):
    """Text whose middle is at (x, y), unless the options say otherwise."""
    ax.text(x, y, text, **{"ha": "center", "va": "center", "color": DARK,
                           "size": 15} | options)


def box(ax, place, width, text, fill):
    """A box with its middle at place and text inside."""
    (x, y), pad = place, 0.04
    ax.add_patch(FancyBboxPatch(
        (x - width / 2 + pad, y - 0.23 + pad),
        width - 2 * pad, 0.46 - 2 * pad,
        boxstyle=f"round,pad={pad}", facecolor=fill, edgecolor=DARK))
    write(ax, x, y - 0.01, text, color=WHITE if fill == BLUE else DARK)


def arrow(ax, start, end, **options):
    """An arrow from the point start to the point end."""
    style = {"arrowstyle": "-|>", "lw": 1.8, "color": DARK,
             "mutation_scale": 16, "shrinkA": 0, "shrinkB": 0} | options
    ax.annotate("", xy=end, xytext=start, arrowprops=style)


def mole(ax, x, y, width, kind):
    """A tiny skin image, its blurred reconstruction or its mask."""
    skin, layers = {
        "image": ("#E8BFA0", [(1, "#8A5A3B"), (0.5, "#4F2E1C")]),
        "reconstruction": ("#E8BFA0", [
            (1.15, "#D9AC8B"), (1.02, "#BC8C6B"), (0.9, "#9E6E4F"),
            (0.7, "#885A3D"), (0.5, "#744931"), (0.3, "#643C27")]),
        "mask": ("#000000", [(1, WHITE)]),
    }[kind]
    height = width * 96 / 128
    ax.add_patch(Rectangle((x - width / 2, y - height / 2), width, height,
                           facecolor=skin, edgecolor=DARK))
    angle = np.linspace(0, 2 * np.pi, 60)
    radius = 0.3 * height * (1 + 0.1 * np.cos(3 * angle + 0.5))
    outline = np.stack([1.3 * radius * np.cos(angle),
                        radius * np.sin(angle)], axis=1)
    for scale, fill in layers:
        ax.add_patch(Polygon((x, y) + scale * outline, facecolor=fill))


def tree(ax, foot, crown, trunk, rim):
    """A tree; rim: the colour around it, or None."""
    x, y = foot
    for edge in ([rim] if rim else []) + ["none"]:
        style = {"edgecolor": edge, "lw": 5}
        ax.add_patch(Rectangle((x - 0.13, y), 0.26, 1, fc=trunk, **style))
        ax.add_patch(Ellipse((x, y + 1.35), 1.5, 1.6, fc=crown, **style))


def house(ax, x, y, wall, roof):
    """A house whose lower left corner is at (x, y)."""
    ax.add_patch(Rectangle((x, y), 1.2, 0.85, facecolor=wall))
    ax.add_patch(Polygon([(x - 0.15, y + 0.84), (x + 0.6, y + 1.5),
                          (x + 1.35, y + 0.84)], facecolor=roof))


def scene(ax, left, low, colors, rim):
    """The garden, 4.2 × 2.6; rim: the colour around trees, or None."""
    sky, grass, walls, trees = colors
    ax.add_patch(Rectangle((left, low), 4.2, 2.6, facecolor=sky))
    ax.add_patch(Rectangle((left, low), 4.2, 0.95, facecolor=grass))
    house(ax, left + 0.22, low + 0.6, *walls)
    tree(ax, (left + 2.4, low + 0.35), *trees[0], rim)
    tree(ax, (left + 3.35, low + 0.2), *trees[1], rim)
    ax.add_patch(Rectangle((left, low), 4.2, 2.6, fill=False, ec=DARK))


def draw_kinds():
    """One garden four times: what each kind of segmentation tells.

    Semantic: a class for each pixel; both trees are one area. Instance:
    each thing that can be counted, apart. Panoptic: both in one.
    """
    figure, ax = canvas(9, 6.5)
    home = (VERMILION, VERMILION)
    one_class = [(GREEN, GREEN), (GREEN, GREEN)]
    apart = [(GREEN, GREEN), (BLUE, BLUE)]
    photo = ("#CFE8F7", "#9CC873", ("#AA8458", "#A8452F"),
             [("#2F6B3A", "#6B4A2B"), ("#4A9455", "#6B4A2B")])
    stuff = [("sky", 0.82, 2.33), ("grass", 0.82, 0.3)]
    things = [("house 1", 0.82, 1.0), ("tree 1", 2.15, 1.75),
              ("tree 2", 3.43, 1.55)]
    panels = [
        (0.2, 3.45, "picture", [], photo, None),
        (4.6, 3.45, "semantic: a class for each pixel",
         [*stuff, ("house", 0.82, 1.0), ("tree", 2.85, 1.6)],
         (SKY, YELLOW, home, one_class), None),
        (0.2, 0.2, "instance: each thing by itself",
         [("no label", 0.82, 0.3), *things],
         (PALE, PALE, home, apart), WHITE),
        (4.6, 0.2, "panoptic: both together", [*stuff, *things],
         (SKY, YELLOW, home, apart), WHITE),
    ]
    for left, low, title, names, colors, rim in panels:
        scene(ax, left, low, colors, rim)
        write(ax, left, low + 2.8, title, size=16, ha="left")
        for name, x, y in names:
            write(ax, left + x, low + y, name,
                  color=WHITE if name == "tree 2" else DARK)
    return figure


def draw_encoder_decoder():
    """An autoencoder and a segmentation network: the same hourglass.

    Only the output and the loss differ. Each bar is a stack of feature
    maps: as high as the maps are (root scale), as wide as channels are many.
    """
    figure, ax = canvas(9, 6)
    maps = [(16, 96, 128), (32, 48, 64), (64, 24, 32), (128, 12, 16)]
    maps += maps[-2::-1]
    rows = [
        (4.55, "Autoencoder", "reconstruction", "3×\n96×128",
         "loss: mean squared error between output and image"),
        (1.55, "Segmentation network", "mask", "1×\n96×128",
         "loss: cross-entropy per pixel between output and true mask"),
    ]
    for y, name, output, shape, loss in rows:
        write(ax, 0.15, y + 1.15, name, size=17, ha="left", weight="bold")
        for x, edge, part in ((2.75, 1.35, "encoder"),
                              (6.25, 7.65, "decoder")):
            middle = 4.15 if edge < 4 else 4.85
            ax.add_patch(Polygon(
                [(edge, y + 0.6), (middle, y + 0.32),
                 (middle, y - 0.32), (edge, y - 0.6)], facecolor=PALE))
            write(ax, x, y + 0.7, part)
        places = np.linspace(1.6, 7.4, len(maps))
        start = 1.1
        for x, (channels, high, wide) in zip(places, maps, strict=True):
            width, height = channels ** 0.5 / 20, 0.9 * (high / 96) ** 0.5
            arrow(ax, (start, y), (x - width / 2, y))
            start = x + width / 2
            fill = SKY if x < 4.6 else ORANGE
            ax.add_patch(Rectangle((x - width / 2, y - height / 2), width,
                                   height, facecolor=fill, edgecolor=DARK))
            write(ax, x, y - 0.87, f"{channels}×\n{high}×{wide}", size=14)
        arrow(ax, (start, y), (7.91, y))
        mole(ax, 0.6, y, 0.95, "image")
        mole(ax, 8.4, y, 0.95, output)
        write(ax, 0.6, y - 0.87, "3×\n96×128", size=14)
        write(ax, 8.4, y - 0.87, shape, size=14)
        write(ax, 8.9, y - 1.33, loss, ha="right")
    return figure


def network(ax, exit_x, up_name, note):
    """What SegNet and U-Net share: all but the decoder's blocks.

    exit_x: where the decoder's blocks hand on their maps.
    """
    mole(ax, ENCODER_X, TOP + 0.88, 0.9, "image")
    mole(ax, exit_x, TOP + 1.38, 0.9, "mask")
    write(ax, ENCODER_X + 0.55, TOP + 0.88, "3 × 96 × 128", ha="left")
    write(ax, exit_x - 0.55, TOP + 1.38,
          "one logit per pixel\n1 × 96 × 128", ha="right")
    arrow(ax, (ENCODER_X, TOP + 0.54), (ENCODER_X, TOP + 0.23))
    box(ax, (DECODER_X, TOP + STEP / 2), 3.2, "1×1 convolution", WHITE)
    arrow(ax, (exit_x, TOP + 0.23), (exit_x, TOP + STEP / 2 - 0.23))
    arrow(ax, (exit_x, TOP + STEP / 2 + 0.23), (exit_x, TOP + 1.04))
    for level, (channels, size) in enumerate(LEVELS):
        y = TOP - level * STEP
        box(ax, (ENCODER_X, y), 2.6, f"{channels} × {size}", SKY)
        box(ax, (ENCODER_X, y - STEP / 2), 2.6, "2×2 max-pooling", BLUE)
        box(ax, (DECODER_X, y - STEP / 2), 3.2, up_name, YELLOW)
        for half in (y, y - STEP / 2):
            arrow(ax, (ENCODER_X, half - 0.23),
                  (ENCODER_X, half - STEP / 2 + 0.23))
        arrow(ax, (exit_x, y - STEP + 0.23),
              (exit_x, y - STEP / 2 - 0.23))
    write(ax, 0.3, TOP - 1.5 * STEP, "encoder", size=17, rotation=90)
    write(ax, 8.75, TOP - 1.5 * STEP, "decoder", size=17, rotation=90)
    for x, fill in ((0.7, SKY), (1.1, ORANGE)):
        ax.add_patch(Rectangle((x, 0.94), 0.3, 0.28, facecolor=fill,
                               edgecolor=DARK))
    write(ax, 1.55, 1.07, "block: 2 × (3×3 convolution, batch norm, ReLU)",
          ha="left")
    write(ax, 0.7, 0.67, "numbers: channels × height × width", ha="left")
    write(ax, 0.7, 0.27, note, ha="left")


def draw_segnet():
    """SegNet: the decoder enlarges maps by the indices of the poolings.

    Only positions travel from the encoder to the decoder, no features.
    """
    figure, ax = canvas(9, 8.75)
    network(ax, DECODER_X, "max-unpooling",
            "64 → 32: channels in → out;  dashed: positions, no features")
    box(ax, (4.6, TOP - 4 * STEP), 7.8, "128 × 6 × 8", PALE)
    for level, (channels, size) in enumerate(LEVELS):
        y = TOP - level * STEP
        fewer = LEVELS[max(level - 1, 0)][0]
        box(ax, (DECODER_X, y), 3.2,
            f"{channels} → {fewer}:  {fewer} × {size}", ORANGE)
        arrow(ax, (DECODER_X, y - STEP / 2 + 0.23), (DECODER_X, y - 0.23))
        arrow(ax, (3.3, y - STEP / 2), (5.3, y - STEP / 2),
              linestyle=(0, (4, 2)))
        write(ax, 4.25, y - STEP / 2 + 0.17, "indices")
    return figure


def draw_unet():
    """U-Net: skip connections carry the encoder's maps to the decoder.

    Each decoder block reads two stacks of maps, side by side: the copied
    ones and those that the transposed convolution enlarged.
    """
    figure, ax = canvas(9, 8.75)
    network(ax, 7.58, "2×2 transposed convolution",
            "small boxes: copied and enlarged maps, concatenated")
    box(ax, (4.6, TOP - 4 * STEP), 7.8, "256 × 6 × 8", SKY)
    for level, (channels, size) in enumerate(LEVELS):
        y = TOP - level * STEP
        box(ax, (5.58, y), 0.56, f"{channels}", SKY)
        box(ax, (6.14, y), 0.56, f"{channels}", YELLOW)
        box(ax, (7.58, y), 1.84, f"{channels} × {size}", ORANGE)
        arrow(ax, (6.14, y - STEP / 2 + 0.23), (6.14, y - 0.23))
        arrow(ax, (6.42, y), (6.66, y))
        arrow(ax, (3.3, y), (5.3, y))
        write(ax, 4.25, y + 0.17, "skip: copy", size=14)
        write(ax, 4.25, y - 0.2, "and concatenate", size=14)
    return figure


def regions(ax, x, y, scale, parts):
    """Prediction and truth as ellipses; parts: which areas to fill."""
    size = (2.6 * scale, 2 * scale)
    left, right = (x - 0.6 * scale, y), (x + 0.6 * scale, y)
    if "FP" in parts:
        ax.add_patch(Ellipse(left, *size, facecolor=ORANGE, hatch="//"))
    if "FN" in parts:
        ax.add_patch(Ellipse(right, *size, facecolor=SKY, hatch="\\\\"))
    both = ax.add_patch(Ellipse(right, *size, facecolor=BLUE))
    both.set_clip_path(ax.add_patch(Ellipse(left, *size, visible=False)))


def fraction(ax, x, y, above, below):
    """A fraction in words, its bar at height y."""
    ax.plot((x - 0.88, x + 0.88), (y, y), color=DARK, lw=1.5)
    write(ax, x, y + 0.22, above, size=16)
    write(ax, x, y - 0.24, below, size=16)


def draw_overlap():
    """IoU and Dice: two ways to divide the overlap by what was marked."""
    figure, ax = canvas(9, 5)
    regions(ax, 1.85, 3.2, 0.9, ("TP", "FP", "FN"))
    for side, name in ((-0.54, "prediction"), (0.54, "truth")):
        ax.add_patch(Ellipse((1.85 + side, 3.2), 2.34, 1.8, fill=False,
                             edgecolor=DARK, lw=2))
        write(ax, 1.85 + 1.5 * side, 4.4, name, size=16)
    for name, x, meaning, y in (("TP", 1.85, "true positives", 1.55),
                                ("FP", 0.68, "false positives", 1.15),
                                ("FN", 3.02, "false negatives", 0.75)):
        color = WHITE if name == "TP" else DARK
        back = None if name == "TP" else {"fc": WHITE, "ec": "none"}
        write(ax, x, 3.2, name, color=color, size=17,
              weight="bold", bbox=back)
        write(ax, 0.75, y, f"{name}: {meaning}", ha="left")
    for y, name, above in ((3.65, "IoU", "TP"), (1.35, "Dice", "2 TP")):
        write(ax, 4.08, y, f"{name} =", size=18, weight="bold")
        ax.plot((4.7, 6.64), (y, y), color=DARK, lw=1.5)
        write(ax, 6.87, y, "=", size=18)
        fraction(ax, 8.0, y, above, f"{above} + FP + FN")
    regions(ax, 5.67, 4.2, 0.42, ("TP",))
    regions(ax, 5.67, 3.1, 0.42, ("TP", "FP", "FN"))
    write(ax, 5.2, 1.9, "2 ×", size=18)
    regions(ax, 5.8, 1.9, 0.42, ("TP",))
    regions(ax, 5.33, 0.85, 0.32, ("TP", "FP"))
    write(ax, 5.67, 0.85, "+", size=18)
    regions(ax, 6.01, 0.85, 0.32, ("TP", "FN"))
    return figure


def draw_loss():
    """Three losses of a lesion and of a background pixel by its logit.

    Cross-entropy pulls hardest where the network is sure and wrong. The
    squared error flattens there. The trap, a cross-entropy that gets a
    sigmoid too many, is nearly flat everywhere.
    """
    figure = Figure(figsize=(11, 5), facecolor=WHITE, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    logit = np.linspace(-6, 6, 241)
    probability = 1 / (1 + np.exp(-logit))
    sides = [("lesion", probability, -1,
              "← sure and wrong                  sure and right →"),
             ("background", 1 - probability, 1,
              "← sure and right                  sure and wrong →")]
    for ax, (kind, right, sign, directions) in zip(axes, sides, strict=True):
        trap = np.log(1 + np.exp(sign * probability))
        for loss, color, style, name in [
                (-np.log(right), BLUE, "-", "cross-entropy"),
                ((1 - right) ** 2, GREEN, "--", "squared error"),
                (trap, VERMILION, "-.", "the trap: a sigmoid too many")]:
            ax.plot(logit, loss, color=color, linestyle=style, lw=3,
                    label=name)
        ax.axvline(0, color=DARK, lw=1, linestyle=":")
        ax.plot(0, np.log(2), "o", color=BLUE, ms=9)
        ax.annotate("p = 0.5 costs\nln 2 ≈ 0.69", (-0.1 * sign, 0.75),
                    (-2.6 * sign, 1.9), size=14, color=DARK, ha="center",
                    arrowprops={"arrowstyle": "-|>"})
        ax.set(xlim=(-6, 6), ylim=(0, 5))
        ax.set_title(f"a {kind} pixel", size=16)
        ax.set_xlabel(f"logit z\n{directions}", size=14)
        ax.tick_params(labelsize=14)
    axes[0].set_ylabel("loss", size=15)
    axes[0].legend(fontsize=13, loc="upper right", framealpha=1)
    return figure


def draw_growth():
    """How an epoch's time grows with images, pixels and weights.

    As the benchmark measured it; see lab/benchmark/hardware.py. On these
    axes, time in proportion is a line as steep as the dotted one.
    """
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["limits"]["growth"]
    figure = Figure(figsize=(12, 4), facecolor=WHITE, layout="constrained")
    titles = {"images": ("training images", 80),  # and the usual value
              "pixels": ("pixels of an image", 96 * 128),
              "weights": ("weights of the U-Net", 1_942_577)}
    for ax, (what, (title, usual)), color in zip(
            figure.subplots(1, 3, sharey=True), titles.items(),
            (BLUE, VERMILION, GREEN)):
        value, seconds = np.array([[row["value"], row["seconds"]]
                                   for row in rows
                                   if row["what"] == what]).T
        ax.loglog(value, seconds, "o-", color=color, lw=3, ms=9)
        [of_usual] = seconds[value == usual]
        ax.loglog(value, of_usual * value / usual, ":", color=DARK)
        ax.set_xlabel(title, size=15)
        ax.set_xticks(value, [short(number) for number in value])
        ax.tick_params(labelsize=13)
        ax.minorticks_off()
    figure.axes[0].set_ylabel("seconds of an epoch", size=15)
    ticks = [2.0**power for power in range(-3, 9)
             if figure.axes[0].get_ylim()[0] < 2.0**power
             < figure.axes[0].get_ylim()[1]]
    figure.axes[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    return figure


def short(number):
    """A number with two digits, in thousands or millions if it is large."""
    rounded = float(f"{number:.2g}")
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if rounded >= unit:
            return f"{rounded / unit:g}{name}"
    return f"{rounded:g}"


def draw_gallery():
    """Synthetic images with their outlines, four of each diagnosis."""
    figure = Figure(figsize=(9, 6), facecolor=WHITE, layout="constrained")
    axes = figure.subplots(len(ph2.DIAGNOSES), 4)
    generator = np.random.default_rng(12)
    for diagnosis, row in enumerate(axes):
        row[0].set_title(ph2.DIAGNOSES[diagnosis], loc="left", size=17)
        for ax in row:
            image, mask = moles.draw(generator, diagnosis)
            ax.imshow(image)
            ax.contour(mask, levels=[0.5], colors="cyan", linewidths=2)
            ax.set_axis_off()
    return figure


def strongest(effect, before):
    """Of twenty random outcomes of an effect, the one that changes most."""
    outcomes = [effect(np.random.default_rng(seed)) for seed in range(20)]
    return max(outcomes, key=lambda after: np.abs(after - before).mean())


def basic_effects(size):
    """How a program draws a mole as in PH²: {name: image}."""
    generator, traits = np.random.default_rng(2), moles.TRAITS[1]
    skin = moles.skin(generator, size)
    mask = moles.lesion_shape(generator, size, traits, area=0.22)
    depth = moles.depth_inside(mask)
    smooth = replace(traits, patterns=(1, 0, 0, 0, 0), darkness=(1, 1),
                     variegation=(0.05, 0.05))
    pigment = moles.pigment(generator, depth, smooth)
    mole = moles.absorb(skin, pigment, moles.BROWN)

    def on_skin(effect):
        return strongest(lambda rng: effect(rng, skin), skin)

    def in_corners(rng):
        opaque, colour = covers.field_stop(rng, size)
        return mix(skin, colour, opaque)

    def in_mole(change):
        return strongest(lambda rng: moles.absorb(skin, change(rng, pigment),
                                                 moles.BROWN), mole)

    def milky(where, colour):
        return strongest(lambda rng: moles.haze(rng, mole, where, colour),
                         mole)

    return {
        "skin": skin, "shape: the mask": mask, "pigment": mole,
        "faint parts": in_mole(
            lambda rng, pigment: pigment * moles.pattern(rng, depth, traits)),
        "network": in_mole(moles.network),
        "globules": in_mole(moles.globules),
        "two hues": strongest(lambda rng: moles.absorb(
            skin, pigment, moles.hue(rng, size, traits)), mole),
        "veil": milky(ramp(pigment, 0.2, 1), moles.BLUE),
        "regression": milky(ramp(depth, 0, 0.08), moles.PINK),
        "gel": on_skin(covers.gel), "some hair": on_skin(covers.hair),
        "light": on_skin(covers.illumination),
        "field stop": strongest(in_corners, skin)}


def draw_effects():
    """Every effect alone: what PH² shows, then what other collections do."""
    size, traits = (192, 256), moles.TRAITS[1]
    panels = {name: (image, None)
              for name, image in basic_effects(size).items()}
    plainer = {moles.halo, covers.discs, covers.uneven_light, covers.grainy}
    for effect in moles.VARIED:
        seed = 8 if effect in plainer else 15
        image, mask, _ = moles.scene(np.random.default_rng(seed), traits,
                                     size, {effect})
        if effect in (covers.grainy, covers.jpeg):  # only seen from near
            image, mask = image[60:132, 80:176], mask[60:132, 80:176]
        panels[effect.__name__.replace("_", " ")] = image, mask
    figure = Figure(figsize=(12, 12), facecolor=WHITE, layout="constrained")
    for ax, (name, (panel, mask)) in zip(figure.subplots(7, 6).flat,
                                         panels.items(), strict=True):
        if panel.dtype.kind == "f":  # not yet what a camera saw
            panel = np.clip(0.85 * panel, 0, 1)
        ax.imshow(panel, cmap="gray")
        if mask is not None:
            ax.contour(mask, levels=[0.5], colors="cyan", linewidths=1.5)
        ax.set_title(name, size=17)
        ax.set_axis_off()
    return figure


def worst(pictures, what, count=4):
    """Of pictures and masks those that a stored network misses most.

    Yields image, mask, the mask that was found, and their Dice.
    """
    found = [KINDS[what].tidy(probability(image, what) > 0.5)
             for image, _ in pictures]
    scores = definitions(PYTORCH, "metrics").scores
    dice = [scores(other, mask)["Dice"]
            for (_, mask), other in zip(pictures, found, strict=True)]
    for row in np.argsort(dice)[:count]:
        yield *pictures[row], found[row], dice[row]


def draw_failures():
    """The worst of forty synthetic moles, and of forty people."""
    generators = list(map(np.random.default_rng, range(40)))
    rows = {"lesion": [moles.draw(generator, number % 3, varied=True)
                       for number, generator in enumerate(generators)],
            "person": [portraits.draw(generator, (192, 256))
                       for generator in generators]}
    figure = Figure(figsize=(12, 5), facecolor=WHITE, layout="constrained")
    for axes, (what, pictures) in zip(figure.subplots(2, 4), rows.items(),
                                      strict=True):
        for ax, (image, mask, found, dice) in zip(axes, worst(pictures,
                                                              what)):
            ax.imshow(image)
            for outline, style in [(mask, {"colors": "cyan"}),
                                   (found, {"colors": "yellow",
                                            "linestyles": "dashed"})]:
                if outline.any() and not outline.all():
                    ax.contour(outline, levels=[0.5], linewidths=2, **style)
            ax.set_title(f"{what}, Dice {dice:.2f}", size=17)
            ax.set_axis_off()
    return figure


FIGURES = {
    "kinds.svg": draw_kinds,
    "encoder-decoder.svg": draw_encoder_decoder,
    "loss.svg": draw_loss,
    "segnet.svg": draw_segnet,
    "unet.svg": draw_unet,
    "overlap.svg": draw_overlap,
    "growth.svg": draw_growth,
    "gallery.jpg": draw_gallery,
    "effects.jpg": draw_effects,
    "failures.jpg": draw_failures,
}


@arguments.program
def main():
    """Draw every figure into this script's folder.

    Without a date and with a fixed salt, each run writes the same bytes.
    """
    arguments.parser(__doc__).parse_args()
    rcParams.update({"svg.hashsalt": "segmentation",
                     "svg.fonttype": "path",
                     "font.family": "DejaVu Sans"})
    for name, draw in FIGURES.items():
        options = {"metadata": {"Date": None}} if name.endswith("svg") \
            else {"dpi": 100}
        with storage.whole(FOLDER / name) as part:
            draw().savefig(part, **options)


if __name__ == "__main__":
    main()
