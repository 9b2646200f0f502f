"""Synthetic images of people in motion, each with its exact mask.

A performer is a skeleton that takes poses, dressed in hulls of balls
(see solids.py). The parts are painted from the farthest to the nearest
over a room or a street (see scenes.py); what they cover is the mask.
No real picture went into it.

Lengths in space are in statures, lengths in the picture are fractions of
its height, angles are in degrees, colours are RGB from 0 to 1. To look
at one:

    image, mask = draw(np.random.default_rng(0))
    plt.imshow(image)
    plt.contour(mask, [0.5])
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from scipy import ndimage
from tqdm.auto import tqdm

from data import mads
from data.synthetic.canvas import ramp
from data.synthetic.scenes import backdrop
from data.synthetic.solids import Camera, Part, lamp, paint, surface, turned

# How many of a film's frames pass from one key pose to the next.
TEMPO = {"HipHop": 70, "Jazz": 80, "Kata": 70, "Sports": 70, "Taichi": 150}
APART = 50  # from one camera to the next, around the performer

# Lengths of body segments: Drillis and Contini 1966, in Winter,
# Biomechanics and Motor Control of Human Movement.
TRUNK, NECK, ANKLE, FOOT = 0.288, 0.052, 0.039, 0.152
UPPER_ARM, FOREARM, HAND, THIGH, SHANK = 0.186, 0.146, 0.108, 0.245, 0.246
# Joints lie inside the outline, whose half widths are 0.129 and 0.096.
SHOULDER, HIP = 0.100, 0.050

# Joint angles: at rest, lowest, highest. And the place on the floor.
SIDES = (-1, 1)
RANGES = {"lean": (3, -10, 45), "tilt": (0, -18, 18), "twist": (0, -30, 30),
          "nod": (5, -25, 30), "turn": (0, -60, 60), "yaw": (0, -60, 60),
          "right": (0, -0.2, 0.2), "near": (0, -0.3, 0.3)}
RANGES |= {(name, side): limits for side in SIDES for name, limits in {
    "abduct": (9, 4, 150), "swing": (4, -35, 120), "inward": (20, -40, 80),
    "elbow": (15, 2, 140), "hip": (2, -25, 85), "spread": (4, -3, 45),
    "outward": (8, -5, 45), "knee": (4, 0, 110)}.items()}
ARM, LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")

# The palest and the darkest; pigment takes from one to the other.
SKINS = np.float32([[0.95, 0.80, 0.71], [0.27, 0.17, 0.12]])
HAIRS = np.float32([[0.80, 0.65, 0.42], [0.05, 0.04, 0.04]])
CLOTH = ["plain"] * 5 + ["grain", "stripes", "hoops", "checks", "dots",
                         "blobs"]


# --- Pose ----------------------------------------------------------------

def pose(generator, wildness):
    """Joint angles within their ranges, standing on one leg or both.

    wildness is the share of the ranges that is used: 0 stands at rest.
    """
    angles = {}
    for name, (rest, low, high) in RANGES.items():
        reach = wildness * generator.beta(1, 0.7)
        angles[name] = rest + reach * (generator.uniform(low, high) - rest)
    leg = generator.choice(SIDES)
    bend = angles["knee", leg]
    for side in SIDES if generator.random() < 0.5 else [leg]:
        angles["knee", side] = bend
        # The foot stays below the body.
        angles["hip", side] = 0.5 * bend + generator.normal(0, 4)
    return angles


def moment(keys, time):
    """The pose at a time; key poses are 1 apart, motion is smooth."""
    index = min(int(time), len(keys) - 2)
    share = ramp(time - index, 0, 1)
    return {name: (1 - share) * keys[index][name]
            + share * keys[index + 1][name] for name in RANGES}


def skeleton(angles, yaw, place=(0, 0)):
    """Joint angles -> rotations (3, 3) and joints (3,), both by name.

    yaw turns performer and floor, as a camera on another side does.
    """
    room = turned("Y", yaw)
    pelvis = room @ turned("Y", angles["yaw"])
    chest = pelvis @ turned("YXZ", angles["twist"], angles["lean"],
                            angles["tilt"])
    frames = {"pelvis": pelvis, "chest": chest, "head": chest @ turned(
        "YX", angles["turn"], angles["nod"])}
    joints = {"waist": chest @ [0, 0.09, 0], "neck": chest @ [0, TRUNK, 0],
              "chin": chest @ [0, TRUNK + NECK, 0.008]}
    for side in SIDES:
        # Their names are pairs of joint and side.
        bent = {name[0]: angle for name, angle in angles.items()
                if name[-1] == side}
        arm = chest @ turned("ZX", side * bent["abduct"], -bent["swing"])
        fore = arm @ turned("YX", -side * bent["inward"], -bent["elbow"])
        leg = pelvis @ turned("ZXY", side * bent["spread"], -bent["hip"],
                              side * bent["outward"])
        shank = leg @ turned("X", bent["knee"])
        shoulder = chest @ [side * SHOULDER, TRUNK - 0.03, 0]
        elbow = shoulder - arm[:, 1] * UPPER_ARM
        wrist = elbow - fore[:, 1] * FOREARM
        hip = pelvis @ [side * HIP, 0, 0]
        knee = hip - leg[:, 1] * THIGH
        ankle = knee - shank[:, 1] * SHANK
        toes = shank[:, 2] * [1, 0.3, 1]  # soles stay nearly level
        toes *= 0.7 * FOOT / np.linalg.norm(toes)
        joints |= {(name, side): joint for name, joint in (
            ("shoulder", shoulder), ("elbow", elbow), ("wrist", wrist),
            ("hand", wrist - fore[:, 1] * 0.7 * HAND), ("hip", hip),
            ("knee", knee), ("ankle", ankle),
            ("toes", ankle + toes - [0, ANKLE - 0.015, 0]))}
    lowest = min(joints["ankle", side][1] for side in SIDES) - ANKLE
    shift = room @ [angles["right"], 0, angles["near"]] \
        + [place[0], -lowest, place[1]]
    return frames, {name: joint + shift for name, joint in joints.items()}


# --- Performer -----------------------------------------------------------

def look(generator, category=None):
    """Draw a performer: body, hair and clothes.

    Without a category it is somebody in the street, who may wear a coat
    and carry a bag. A share of a limb is 1 at its middle, 2 at its end.
    """
    pick, uniform = generator.choice, generator.uniform
    cloth = partial(surface, generator, CLOTH, period=0.25)
    plain = partial(surface, generator, ["plain"])
    skin, hair = (pale * (dark / pale) ** generator.random()
                  for pale, dark in (SKINS, HAIRS))
    top, bottom, coat = (cloth(depth=uniform(0.03, 0.3), rough=pick(
        [0, 0.004, 0.012], p=[0.6, 0.3, 0.1])) for _ in range(3))
    person = SimpleNamespace(
        girth=uniform(0.8, 1.15), side=pick(SIDES),  # girth 1 is average
        skin=plain(first=skin, depth=0.05, gloss=0.1),
        lips=plain(first=skin * [0.8, 0.5, 0.5]),
        hair=surface(generator, ["grain"], first=hair, period=0.1,
                     depth=0.25, rough=0.006, gloss=0.1),
        style=pick(["bald", "short", "long", "bun", "curls"],
                   p=[0.08, 0.32, 0.4, 0.12, 0.08]),
        top=top, bottom=bottom, coat=None, skirt=0,  # a share of the leg
        sleeve=pick([0, 0.5, uniform(1, 2), 1.9], p=[.15, .25, .15, .45]),
        leg=pick([uniform(0.3, 2), 1.95], p=[0.3, 0.7]),
        hem=pick([0.1, uniform(0.1, 0.5)]),  # of the top, share of the leg
        tail=uniform(0.4, 1.2),  # of the coat, the same
        loose=uniform(0, 0.018), flare=uniform(0, 0.05),  # cloth stands off
        shoes=plain(vivid=0.2, gloss=0.2), leather=cloth(gloss=0.2),
        bag="none", large=uniform(0.06, 0.1), across=pick(SIDES),
        brim=0, drop=uniform(0.05, 0.15))  # of hat and hair, in statures
    if category == "Kata":
        white, blue = [0.95, 0.95, 0.92], [0.15, 0.2, 0.45]
        person.top = person.bottom = plain(first=np.float32(
            white if generator.random() < 0.7 else blue), depth=0.15)
        person.leg, person.sleeve, person.hem = 1.85, 1.7, 0.4
        person.loose, person.shoes = 0.015, person.skin
    if category is None:
        person.skirt = pick([0, uniform(0.3, 1.9)], p=[0.6, 0.4])
        person.bottom = pick([top, bottom]) if person.skirt else bottom
        person.coat = pick([coat, None], p=[0.4, 0.6])
        person.bag = pick(["none", "hand", "shoulder"], p=[0.4, 0.35, 0.25])
        person.brim = pick([0, uniform(0.05, 0.1)], p=[0.85, 0.15])
    return person


def balls(points, radii):
    """Points (n, 3) and their radii, or one for all -> balls (n, 4)."""
    return np.column_stack([points, np.broadcast_to(radii, len(points))])


def limb(joints, chain, side, radii, start=0, stop=2):
    """The hulls of a limb from one share of it to another."""
    line = balls([joints[name, side] for name in chain], radii)
    shares = [start, 1, stop] if start < 1 < stop else [start, stop]
    cut = np.stack([np.interp(shares, [0, 1, 2], column)
                    for column in line.T], 1)
    return [cut[i:i + 2] for i in range(len(cut) - 1)]


def hems(joints, share):
    """Where clothes end (2, 3) that cover a share of both legs."""
    return np.stack([limb(joints, LEG, side, 0, 0, share)[-1][-1, :3]
                     for side in SIDES])


# What is worn over something else has the larger lift: trousers 0.02,
# top 0.07, sleeves 0.1, bag 0.12.

def legs(person, frames, joints):
    """Legs, trousers and shoes."""
    parts = []
    radii = np.array([0.052, 0.036, 0.023]) * person.girth
    wide = radii + person.flare * np.array([0, 0.2, 0.5]) + person.loose
    # A skirt hides the knees.
    bare, below = (0, -0.2) if person.skirt else (person.leg - 0.1, 0)
    for side in SIDES:
        ankle = joints["ankle", side]
        foot = balls([ankle, ankle - [0, ANKLE - 0.02, 0],
                      joints["toes", side]], [0.024, 0.022, 0.017])
        parts += [Part(limb(joints, LEG, side, radii, bare), person.skin,
                       below),
                  Part([foot], person.shoes, 0.03)]
        if not person.skirt:
            parts.append(Part(limb(joints, LEG, side, wide, 0, person.leg),
                              person.bottom, 0.02))
    return parts


def arms(person, frames, joints):
    """Arms, hands and sleeves."""
    parts = []
    radii = np.array([0.031, 0.025, 0.018]) * person.girth
    made, length = (person.coat, 1.9) if person.coat \
        else (person.top, person.sleeve)
    for side in SIDES:
        wrist, tip = joints["wrist", side], joints["hand", side]
        palm = 0.5 * (wrist + tip)
        hand = [balls([wrist, palm], [0.016, 0.02]),
                balls([palm, tip], [0.02, 0.01])]
        bare = limb(joints, ARM, side, radii, max(length - 0.1, 0))
        parts.append(Part(bare + hand, person.skin, 0.09))
        if length:
            wide = radii + 0.7 * person.loose + 0.004
            sleeve = limb(joints, ARM, side, wide, 0, length)
            parts.append(Part(sleeve, made, 0.1))
    return parts


def trunk(person, frames, joints):
    """Neck, top, hips, skirt and coat."""
    chest, pelvis = frames["chest"], frames["pelvis"]
    neck, waist = joints["neck"], joints["waist"]
    shoulders = [joints["shoulder", side] for side in SIDES]
    breast = waist + chest @ [0, 0.1, 0.015]
    sides = [waist + chest @ [0.035 * side, 0, 0] for side in SIDES]
    hips = [joints["hip", side] + [0, 0.01, 0] for side in SIDES]
    wide, flare = 0.6 * person.loose, 0.045 + person.flare

    def hull(points, radii):
        return balls(points, np.array(radii) * person.girth)

    parts = [Part([hull([neck - chest[:, 1] * 0.02, joints["chin"]],
                        [0.032, 0.027])], person.skin, 0.06),
             Part([hull(sides + hips, [.048, .048, .055, .055])],
                  person.bottom),
             Part([hull([*shoulders, neck - chest[:, 1] * 0.01, breast,
                         *sides],
                        np.array([.034, .034, .035, .06, .05, .05]) + wide),
                   hull([*sides, *hems(joints, person.hem)],
                        np.array([.05, .05, .058, .058]) + wide)],
                  person.top, 0.07)]
    if person.skirt:
        parts.append(Part([hull(
            [*sides, *hips, *hems(joints, person.skirt)],
            [.048, .048, .06, .06, flare, flare])], person.bottom, 0.06))
    if person.coat:
        ends = hems(joints, person.tail)
        back = np.stack([*shoulders, *sides, *ends]) - pelvis[:, 2] * 0.05
        fronts = [hull([shoulder + chest @ [0, 0, 0.018],
                        neck + chest @ [0.05 * side, -0.03, 0.03],
                        waist + chest @ [0.06 * side, 0, 0.035],
                        end + pelvis @ [0.03 * side, 0, 0.02]],
                       np.array([.036, .02, .04, .045]) + wide)
                  for side, shoulder, end in zip(SIDES, shoulders, ends)]
        parts.append(Part([hull(back, [.04, .04, .06, .06, .055, .055])],
                          person.coat, 0.04))
        parts += [Part([front], person.coat, 0.07) for front in fronts]
    return parts


def head(person, frames, joints):
    """Head, face, hair and hat."""
    hair, skin = person.hair, person.skin
    puff = {"curls": 0.03, "short": 0.002}.get(person.style, 0.008)
    brim, drop = person.brim, -person.drop
    kinds = [  # points (x, y, z) seen from the chin, radii, material, lift
        ([(0, .08, 0), (0, .025, .012)], [.047, .03], skin, 0),
        ([(0, .07, .043), (0, .05, .05)], [.004, .007], skin, .001),
        ([(-.012, .029, .04), (.012, .029, .04)], .004, person.lips, .001)]
    kinds += [([(.012 * side, .071, .041), (.021 * side, .07, .038)],
               .0045, hair, 0) for side in SIDES]
    if person.style != "bald":
        kinds += [
            ([(0, .085, -.015), (0, .06, -.02)], .046 + puff, hair, .012),
            ([(-.02, .112, .008), (.02, .112, .008)], .022 + puff, hair,
             .01)]
    if person.style == "bun":
        kinds.append(([(0, .12, -.04), (0, .13, -.05)], .028, hair, 0))
    if person.style == "long":
        kinds += [([(.036 * side, .08, -.01), (.048 * side, drop, -.005)],
                   [.024, .03], hair, .012) for side in SIDES]
        kinds.append(([(0, .08, -.03), (-.03, drop, -.05),
                       (.03, drop, -.05)], .04, hair, 0))
    else:
        kinds += [([(.045 * side, .07, -.005), (.046 * side, .055, 0)],
                   .009, skin, 0) for side in SIDES]
    if brim:
        kinds += [([(0, .105, -.01), (0, .13, 0)], .047, person.leather,
                   .03),
                  ([(-brim, .1, 0), (brim, .1, 0), (0, .1, brim),
                    (0, .1, -brim)], .008, person.leather, .04)]
    return [Part([balls(joints["chin"] + points @ frames["head"].T, radii)],
                 material, 0.07 + lift)
            for points, radii, material, lift in kinds]


def luggage(person, frames, joints):
    """A bag in the hand or hung from a shoulder."""
    if person.bag == "none":
        return []
    chest, side = frames["chest"], person.side
    bag = person.large * np.array([[-1, 0, 0], [1, 0, 0], [-1, -1.5, 0],
                                   [1, -1.5, 0]])
    if person.bag == "hand":
        held = joints["hand", side]
        bag = bag + held - [0, 0.05, 0]
    else:  # on the same side or across the chest
        held = joints["shoulder", person.across] + chest @ [0, 0.02, 0.03]
        bag = bag @ turned("Y", 60).T + joints["hip", side] \
            + frames["pelvis"] @ [0.1 * side, 0.05, 0.04]
    straps = [balls([held, corner], 0.006) for corner in bag[:2]]
    return [Part([*straps, balls(bag, 0.015 + person.loose)],
                 person.leather, 0.12)]


def dressed(person, angles, yaw, place=(0, 0)):
    """All parts of a person in a pose."""
    return [part for member in (legs, trunk, arms, head, luggage)
            for part in member(person, *skeleton(angles, yaw, place))]


def passer(generator, x, z):
    """Parts of somebody in the distance, who is background."""
    return dressed(look(generator), pose(generator, 0.3),
                   generator.uniform(0, 360), (x, z))


# --- Photograph ----------------------------------------------------------

def viewpoint(generator, size):
    """A camera that sees all of a standing performer, or nearly."""
    scale = generator.uniform(0.75, 0.9)
    feet = generator.uniform(np.clip(1.15 * scale - 0.5, 0.25, 0.46), 0.49)
    height = generator.uniform(0.35, 0.95)
    return Camera(scale, generator.uniform(1.8, 5), height,
                  feet - scale * height,
                  generator.normal(0, 0.1) * size[1] / size[0])


def shadow(opacity, feet, towards, flat, blur):
    """The light that the performer keeps from the floor: (H, W), 0 to 1.

    The silhouette is laid down away from the lamp, turning about the
    feet (row in pixels); flat is how much the floor is foreshortened.
    """
    aside, down = -towards[0] / towards[1], towards[2] / towards[1] * flat
    down = np.copysign(max(abs(down), 0.08), down)
    slant = aside / down
    laid = Image.fromarray(opacity).transform(
        opacity.shape[::-1], Image.Transform.AFFINE,
        (1, slant, -slant * feet, 0, 1 / down, feet - feet / down),
        Image.Resampling.BILINEAR)
    return ndimage.gaussian_filter(np.asarray(laid), blur * len(opacity))


def expose(scene, moments, camera, light):
    """A performer in front of a scene, blurred by motion.

    moments: lists of parts, one for each moment that the shutter is open.
    Returns image (H, W, 3) and mask bool (H, W).
    """
    size = scene.shape[:2]
    canvas = sum(paint(size, parts, camera, light)
                 for parts in moments) / len(moments)
    colours, opacity = canvas[..., :3], canvas[..., 3]
    feet = (camera.horizon + camera.scale * camera.height + 0.5) * size[0]
    lay = partial(shadow, opacity, feet)
    cast = lay(light.towards, camera.height / camera.distance,
               0.004 + 0.02 * (1 - light.hard))
    below = lay((0, 1, 0), 1, 0.012)
    dark = (1 - light.hard * cast) * (1 - 0.4 * below)
    seen = (dark * (1 - opacity))[..., None]
    return scene * seen + colours, opacity > 0.5


def film(generator, scene):
    """Draw a camera's settings, with its exposure right for the scene."""
    gamma = generator.lognormal(0, 0.2)
    bright = np.clip(scene, 0.004, 1.5) ** gamma
    # Neither the whole too dark nor much of it white.
    exposure = min(generator.uniform(0.3, 0.6) / bright.mean(),
                   generator.uniform(0.9, 1.3) / np.quantile(bright, 0.9))
    return SimpleNamespace(
        gamma=gamma, gain=np.float32(exposure * generator.normal(1, .06, 3)),
        saturation=generator.uniform(0.5, 1.3),
        contrast=generator.uniform(0.75, 1.15),
        blur=generator.uniform(0, 0.003), noise=generator.uniform(0, 0.02))


def develop(generator, image, settings):
    """Exposure, colours, blur and noise: an image of 8 bits."""
    image = np.clip(image, 0.004, 1.5) ** settings.gamma * settings.gain
    grey = image.mean(2, keepdims=True)
    image = grey + (image - grey) * settings.saturation
    image = 0.5 + (image - 0.5) * settings.contrast
    blur = settings.blur * len(image)
    image = ndimage.gaussian_filter(image, (blur, blur, 0))
    grain = generator.standard_normal(image.shape, np.float32)
    return np.uint8(np.clip(image + settings.noise * grain, 0, 1) * 255 + 0.5)


# --- One picture, many pictures ------------------------------------------

def perform(generator, category, frames, cameras=(0,), size=(192, 256),
            place=None):
    """Yield (camera, frame, image, mask) of one performance.

    Performer, motion and place are the same in all; every camera has its
    own view and settings.
    place: the generator of room, light and cameras, which other
    performances may share, in the same state; by default `generator`.
    """
    place = place or generator
    wildness, tempo = generator.uniform(0.6, 1), TEMPO[category]
    keys = [pose(generator, wildness)
            for _ in range(2 + max(frames) // tempo)]
    person, light = look(generator, category), lamp(place)
    facing = generator.uniform(0, 360) if generator.random() < 0.2 \
        else generator.normal(0, 30)
    outdoors = place.random() < 0.5
    open_for = max(place.uniform(-8, 4), 0)  # frames, of the shutter
    moments = np.linspace(0, open_for, 3 if open_for else 1)
    room = place.integers(2 ** 32)
    for camera in cameras:
        yaw = APART * camera
        view = viewpoint(place, size)
        here = replace(light, towards=turned("Y", yaw) @ light.towards)
        scene = backdrop(np.random.default_rng(room), size, view, yaw, here,
                         outdoors, passer)
        settings = film(place, scene)
        for frame in frames:
            poses = [moment(keys, (frame + late) / tempo)
                     for late in moments]
            parts = [dressed(person, angles, facing + yaw)
                     for angles in poses]
            image, mask = expose(scene, parts, view, here)
            yield camera, frame, develop(generator, image, settings), mask


def draw(generator, size=(192, 256), category="HipHop"):
    """Draw one picture: image uint8 (H, W, 3) and mask bool (H, W)."""
    frame = int(generator.integers(2 * mads.STEP))
    return next(perform(generator, category, [frame], size=size))[2:]


def write_sequence(home, category, sequence, frames, seed, place, size):
    """Draw one performance for two or three cameras and save it."""
    generator = np.random.default_rng(seed)
    cameras = range(generator.choice([2, 3], p=[0.2, 0.8]))
    for camera, frame, image, mask in perform(
            generator, category, frames, cameras, size,
            np.random.default_rng(place)):
        name = mads.Shot(category, sequence, camera, frame).name
        Image.fromarray(image).save(home / f"images/{name}.png")
        Image.fromarray(mask).convert("RGB").save(home / f"masks/{name}.png")


def write_dataset(folder, sequences=20, frames=4, size=(192, 256), seed=0,
                  apart=False):
    """Write images, masks and a table in MADS's own layout.

    Every sequence has two or three cameras with `frames` pictures each.
    A category has one place, as all of MADS was filmed in one studio; or
    every sequence has its own, if they are `apart`.
    The same seed gives the same files on any number of workers.
    """
    home = Path(folder) / mads.HOME
    for kind in ("images", "masks"):
        (home / kind).mkdir(parents=True, exist_ok=True)
    categories = list(mads.PREFIXES)
    numbers = [mads.STEP * (frame + 1) for frame in range(frames)]
    performers, places = (root.spawn(sequences) for root in
                          np.random.SeedSequence(seed).spawn(2))
    jobs = []
    for index in range(sequences):
        number, kind = divmod(index, len(categories))
        category = categories[kind]
        jobs.append(delayed(write_sequence)(
            home, category, f"{mads.PREFIXES[category]}{number + 1}",
            numbers, performers[index], places[index if apart else kind],
            size))
    done = Parallel(n_jobs=-1, return_as="generator")(jobs)
    for _ in tqdm(done, total=sequences, desc="Drawing", unit="sequence"):
        pass
    names = sorted(file.stem for file in (home / "images").glob("*.png"))
    (home / mads.TABLE).write_text(mads.table_text(names), encoding="utf-8")
