"""Synthetic photographs of one person, as people take them of each other.

Whole bodies, half bodies and portraits, standing or sitting, in rooms,
in streets and before studio walls, each with its exact mask: the person
with all that is worn or held, and nobody else. They are dressed, posed
and painted by people.py; here is what makes a photograph of the street
differ from a film of a performer.

    image, mask = draw(np.random.default_rng(0))
    plt.imshow(image)
    plt.contour(mask, [0.5])
"""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from data.synthetic import people, solids
from data.synthetic.canvas import coordinates, mix, noise, ramp
from data.synthetic.people import CLOTH, LEG, SIDES, balls, limb
from data.synthetic.scenes import backdrop
from data.synthetic.solids import Part, colour, over, surface, turned

# How often each effect is drawn.
CHANCES = {"studio": 0.1, "sitting": 0.1, "side view": 0.2, "patches": 0.25,
           "glasses": 0.3, "scarf": 0.15, "cap": 0.12, "beard": 0.12,
           "boots": 0.2, "fur": 0.1, "tights": 0.3, "thing": 0.35,
          "tote": 0.2, "gown": 0.15, "cape": 0.06,
           "busy": 0.3, "crowd": 0.35, "shallow": 0.4}
# What a picture shows of a person, from the head down, in statures.
DISTANCES = {"whole": 0.62, "farther": 0.1, "half": 0.16, "portrait": 0.12}
SHOWN = {"half": (0.42, 0.85), "portrait": (0.22, 0.42)}

# Arms: abduct, swing, inward and elbow, least and most.
GESTURES = {
    "hang": [(3, 13), (-12, 12), (0, 40), (4, 30)],
    "hip": [(30, 55), (-25, 0), (60, 85), (70, 105)],
    "pocket": [(12, 28), (-25, 0), (40, 65), (30, 55)],
    "front": [(4, 14), (0, 30), (45, 75), (60, 105)],
    "crossed": [(4, 12), (18, 32), (65, 80), (85, 105)],
    "face": [(4, 30), (25, 60), (10, 60), (115, 140)],
    "carry": [(4, 14), (-15, 10), (0, 35), (70, 105)],
    "behind": [(6, 16), (-35, -20), (50, 80), (30, 60)]}
BOTH_ARMS = ["hip", "front", "crossed", "crossed", "behind", "pocket"]

# Black, grey, white, cream, denim, navy, camel, brown, red and olive.
DYES = np.float32([
    [.05, .05, .05], [.06, .06, .07], [.08, .08, .09], [.25, .25, .26],
    [.5, .5, .5], [.92, .92, .91], [.88, .82, .72], [.3, .4, .55],
    [.12, .16, .3], [.7, .54, .36], [.35, .22, .15], [.75, .1, .12],
    [.33, .34, .22]])


# --- Person --------------------------------------------------------------

def fabric(generator, **more):
    """Cloth in one of the usual dyes, or now and then in any colour."""
    first = generator.choice(DYES) * generator.uniform(0.6, 1.2) \
        * generator.normal(1, 0.06, 3) \
        if generator.random() < 0.65 else colour(generator, 0.8)
    return surface(generator, CLOTH + ["plain"] * 4, first=first, period=0.25,
                   depth=generator.uniform(0.05, 0.6), **more)


def look(generator, chance):
    """A person in clothes of the street; chance(effect) draws an effect."""
    person = people.look(generator)
    person.top, person.bottom, person.coat = (
        made and fabric(generator, rough=generator.choice([0, 0.004]))
        for made in (person.top, person.bottom, person.coat))
    if chance("fur"):
        person.coat = fabric(generator, rough=0.03)
    person.shoes, person.leather = (fabric(generator, gloss=0.2)
                                    for _ in range(2))
    person.tights = fabric(generator) if chance("tights") else person.skin
    person.flare, person.loose = (size * generator.random() ** 2
                                  for size in (0.06, 0.02))
    person.girth, person.large = (generator.uniform(0.7, 1.1),
                                  generator.uniform(0.03, 0.09))
    person.bag = generator.choice([person.bag, "none"], p=[0.65, 0.35])
    person.extras = [add for name, add in EXTRAS.items() if chance(name)]
    return person


def pose(generator, chance):
    """Joint angles of somebody who poses: arms at rest, or in use."""
    angles = people.pose(generator, generator.uniform(0, 0.4))
    names = generator.choice([*GESTURES, "hang", "hang"], 2)
    if generator.random() < 0.4:
        names[:] = generator.choice(BOTH_ARMS)
    for side, name in zip(SIDES, names):
        for joint, limits in zip(("abduct", "swing", "inward", "elbow"),
                                 GESTURES[name]):
            angles[joint, side] = generator.uniform(*limits)
        angles["spread", side] = generator.normal(5, 4)
    if chance("sitting"):
        for side in SIDES:
            angles["hip", side] = generator.uniform(75, 95)
            angles["knee", side] = generator.uniform(60, 100)
    return angles


# --- What is worn and held -----------------------------------------------

def on_head(joints, frames, points, radii):
    """Balls at places seen from the chin."""
    return balls(joints["chin"] + points @ frames["head"].T, radii)


def glasses(generator, person, frames, joints):
    """Glasses, clear or dark."""
    frame = surface(generator, ["plain"], gloss=0.3,
                    first=generator.choice(DYES[:5]))
    return [Part([on_head(joints, frames, [(.01 * side, .062, .045),
                                           (.028 * side, .062, .04)],
                          [0.008, 0.01])], frame, 0.09) for side in SIDES]


def cap(generator, person, frames, joints):
    """A cap, a woollen hat or a headscarf."""
    low = generator.uniform(0.0, 0.09)
    return [Part([on_head(joints, frames,
                          [(0, .1, 0), (0, .1, -.01), (0, low, -.03)],
                          [.045, .05, .045])], fabric(generator), 0.085)]


def beard(generator, person, frames, joints):
    """A beard."""
    return [Part([on_head(joints, frames,
                          [(-.025, .035, .025), (.025, .035, .025),
                           (0, generator.uniform(-.02, .01), .035)],
                          [.014, .014, .018])], person.hair, 0.0705)]


def scarf(generator, person, frames, joints):
    """A scarf around the neck, with one end that hangs down."""
    wool, chest = fabric(generator, rough=0.006), frames["chest"]
    neck = joints["neck"] + chest @ [0, 0.02, 0.01]
    side = generator.choice(SIDES)
    hangs = chest @ [[.03 * side], [-generator.uniform(0, .35)], [.05]]
    ring = balls(neck + np.outer([-1, 1], chest @ [0.03, 0, 0]), 0.04)
    end = balls([neck + chest @ [.03 * side, 0, .03], neck + hangs[:, 0]],
                [.025, .03])
    return [Part([ring, end], wool, 0.13)]


def boots(generator, person, frames, joints):
    """Boots up to the calf or the knee."""
    start = generator.uniform(1.1, 1.7)
    radii = np.array([0.052, 0.042, 0.028]) * person.girth
    return [Part(limb(joints, LEG, side, radii, start, 2), person.shoes,
                 0.025) for side in SIDES]


def thing(generator, person, frames, joints):
    """A telephone, a book, a cup, a parcel, flowers: of any shape."""
    side = generator.choice(SIDES)
    size = generator.uniform(0.01, 0.09, 2)
    corners = np.array([[-1, -1, 0], [1, -1, 0], [-1, 1, 0], [1, 1, 0]])
    bent = turned("ZY", *generator.uniform(-60, 60, 2))
    corners = corners * [*size, 0] @ bent.T
    return [Part([balls(joints["hand", side] + corners, 0.008)],
                 fabric(generator, gloss=0.1), 0.14)]


def tote(generator, person, frames, joints):
    """A soft bag that hangs from the elbow, the shoulder or the hand."""
    side = generator.choice(SIDES)
    held = joints[generator.choice(["shoulder", "elbow", "hand"]), side]
    wide, deep = generator.uniform(0.03, 0.1, 2)
    top = held + [0.04 * side, -generator.uniform(0.03, 0.35), 0.03]
    turn = turned("Y", generator.uniform(0, 90))
    bag = np.array([[-1, 0, 0], [1, 0, 0], [-1, -1, 0], [1, -1, 0]]) \
        * [wide, 2 * deep, 0] @ turn.T + top
    straps = [balls([held, corner], 0.006) for corner in bag[:2]]
    return [Part([*straps, balls(bag, generator.uniform(0.01, 0.04))],
                 person.leather, 0.12)]


def gown(generator, person, frames, joints):
    """A skirt that widens down to a sharp hem."""
    hips = [joints["hip", side] for side in SIDES]
    middle = np.mean(people.hems(joints, generator.uniform(0.5, 1.9)), 0)
    wide = generator.uniform(0.05, 0.14)
    hem = middle + wide * np.array(
        [[1, 0, 0], [-1, 0, 0], [0, 0, 0.6], [0, 0, -0.6]]) \
        @ frames["pelvis"].T
    return [Part([balls([joints["waist"], *hips, *hem],
                        [.05, .055, .055, .01, .01, .01, .01])],
                 person.bottom, 0.065)]


def cape(generator, person, frames, joints):
    """A cape, or a jacket over the shoulders."""
    places = [joints[name, side] for name in ("shoulder", "elbow")
              for side in SIDES] + [joints["hip", side] for side in SIDES]
    return [Part([balls(places, generator.uniform(0.035, 0.07))],
                 fabric(generator, rough=0.006), generator.choice([0, 0.11]))]


EXTRAS = {"glasses": glasses, "cap": cap, "beard": beard, "scarf": scarf,
          "boots": boots, "thing": thing, "tote": tote, "gown": gown,
          "cape": cape}


def dressed(generator, person, angles, yaw):
    """All parts of a person, and the joints."""
    frames, joints = people.skeleton(angles, yaw)
    parts = people.dressed(person, angles, yaw)
    # A skirt shows the tights; trousers hide them.
    radii = np.array([0.053, 0.037, 0.024]) * person.girth
    parts += [Part(limb(joints, LEG, side, radii), person.tights, 0.01)
              for side in SIDES if person.skirt]
    for add in person.extras:
        parts += add(generator, person, frames, joints)
    return parts, joints


# --- Photograph ----------------------------------------------------------

def viewpoint(generator, size, top):
    """A camera for one of the distances.

    top: how high the head reaches above the floor, in statures.
    """
    kind = generator.choice(list(DISTANCES), p=list(DISTANCES.values()))
    distance = generator.uniform(1.8, 5)
    height = generator.uniform(0.35, 0.95)
    if kind in SHOWN:
        room = generator.uniform(0.01, 0.25)  # above the head
        scale = (1 - room) / generator.uniform(*SHOWN[kind])
        distance = max(distance / scale, 0.6)
        height = generator.uniform(0.7, 1.05) * top
    else:
        span = generator.uniform(*((0.8, 0.95) if kind == "whole"
                                   else (0.35, 0.8)))
        room = (1 - span) * generator.uniform(0.25, 0.75)
        scale = span / top
    horizon = room - 0.5 + scale * (top - height)
    centre = generator.normal(0, 0.08) * size[1] / size[0]
    return solids.Camera(scale, distance, height, horizon, centre)


def studio(generator, size):
    """A backdrop of paper or cloth, lit from somewhere."""
    x, y = coordinates(size)
    first, second = colour(generator), generator.uniform(0.5, 1.2)
    side = generator.normal(0, 1, 2)
    even = np.broadcast_to(first, (*size, 3))
    return mix(even, first * second,
               ramp(x * side[0] + y * side[1], -0.6, 0.6)) \
        * (1 + 0.05 * noise(generator, size, 0.5, 3))[..., None]


def eight_bits(tint):
    """A colour as Pillow likes it."""
    return tuple(np.uint8(255 * np.clip(tint, 0, 1)).tolist())


def collage(generator, size):
    """Shapes of all sizes over each other, as busy as a street."""
    tints = [colour(generator, 0.3) for _ in range(8)]
    image = Image.new("RGB", (2 * size[1], 2 * size[0]), eight_bits(tints[0]))
    pen = ImageDraw.Draw(image)
    count = generator.integers(40, 400)
    # Few are large and many small.
    halves = size[0] * np.clip(
        0.03 * generator.uniform(0.01, 1, (count, 2)) ** -0.7, 0, 0.6)
    centres = generator.uniform(0, 2, (count, 2)) * size[::-1]
    square = generator.random()
    for centre, half in zip(centres, halves):
        draw_one = pen.rectangle if generator.random() < square \
            else pen.ellipse
        tint = generator.choice(tints) * generator.uniform(0.5, 1.2)
        draw_one([*(centre - half), *(centre + half)],
                 fill=eight_bits(tint))
    grain = noise(generator, size, generator.uniform(0.01, 0.1), 3)
    return np.float32(image.reduce(2)) / 255 * (1 + 0.08 * grain)[..., None]


def crowd(generator, camera, light, scene):
    """Paint people who pass by, far behind, into the scene."""
    parts = []
    for _ in range(generator.integers(1, 6)):
        z = -generator.uniform(1.5, 9)
        x = generator.normal(0, 0.5) / camera.zoom(z)
        parts += people.passer(generator, x, z)
    return over(scene, parts, camera, light)


def street(generator, size, camera, light, chance):
    """A street or a room, which may be busy and full of people."""
    scene = backdrop(generator, size, camera, 0, light,
                     generator.random() < 0.75, people.passer)
    if chance("busy"):
        base = generator.choice([0.5, generator.uniform(-0.1, 0.4)],
                                p=[0.3, 0.7])
        _, y = coordinates(size)
        scene = mix(scene, collage(generator, size),
                    ramp(base - y, -0.01, 0.01))
    if chance("crowd"):
        scene = crowd(generator, camera, light, scene)
    return scene


def chair(generator, joints, camera, light, scene):
    """Paint a chair, a bench or a wall to sit on into the scene."""
    seat = 0.5 * (joints["hip", -1] + joints["hip", 1]) - [0, 0.07, 0]
    wide, back = generator.uniform(0.12, 1.2), generator.uniform(0, 0.5)
    corners = np.array([[x, y, -0.03, 0.02] for x in (-wide, wide)
                        for y in (-0.3, back)])
    made = surface(generator, ["plain", "grain", "stripes"])
    return over(scene, [Part([corners + [*seat, 0]], made)], camera, light)


def patches(generator, image):
    """Sun and shade, through leaves or past houses."""
    size = image.shape[:2]
    edge = generator.uniform(0.05, 1)
    shade = ramp(noise(generator, size, generator.uniform(0.1, 0.8), 3),
                 -edge, edge)
    return image * (1 - generator.uniform(0.2, 0.6) * shade)[..., None]


def draw(generator, size=(192, 128)):
    """Draw one picture: image uint8 (H, W, 3) and mask bool (H, W)."""
    def chance(effect):
        return generator.random() < CHANCES[effect]

    person, light = look(generator, chance), solids.lamp(generator)
    # A grey sky lights from everywhere, the sun from one side.
    light = replace(light, ambient=generator.uniform(0.45, 1))
    yaw = generator.uniform(0, 360) if chance("side view") \
        else generator.normal(0, 25)
    parts, joints = dressed(generator, person, pose(generator, chance), yaw)
    view = viewpoint(generator, size, joints["chin"][1] + 0.14)
    scene = studio(generator, size) if chance("studio") else street(
        generator, size, view, light, chance)
    if joints["hip", 1][1] < joints["knee", 1][1] + 0.1:
        scene = chair(generator, joints, view, light, scene)
    if chance("shallow"):  # the lens: only the person is sharp
        blur = generator.exponential(0.004) * view.scale * size[0]
        scene = ndimage.gaussian_filter(scene, (blur, blur, 0))
    # It is brighter where the person stands, or around.
    scene = scene * generator.uniform(0.65, 1.7)
    image, mask = people.expose(scene, [parts], view, light)
    if chance("patches"):
        image = patches(generator, image)
    settings = people.film(generator, image)
    # Streets are grey, and photographs of people bright.
    settings.gain *= generator.uniform(0.9, 1.45)
    settings.saturation *= generator.uniform(0.4, 1)
    return people.develop(generator, image, settings), mask
