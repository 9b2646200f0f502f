"""Rooms and streets for the synthetic images of people.

Lengths in space are in statures, see solids.py.
"""

import numpy as np
from scipy import ndimage

from data.synthetic.canvas import coordinates, mix, noise, ramp
from data.synthetic.solids import Part, colour, over, surface, turned

FLOORS = ["plain", "grain", "grain", "bricks", "hoops", "stripes", "checks",
          "blobs"]
WALLS = ["plain", "plain", "grain", "bricks", "stripes", "hoops", "checks",
         "dots", "blobs"]


# --- Far away ------------------------------------------------------------

def floor(generator, x, y, camera, yaw):
    """The colours of a floor, seen in perspective."""
    material = surface(generator, FLOORS, vivid=0.12,
                       period=generator.uniform(0.2, 2),
                       depth=generator.uniform(0.05, 0.3))
    below = np.maximum(y - camera.horizon, 1e-3)
    far = camera.scale * camera.distance * camera.height / below
    across = (x - camera.centre) * camera.height / below
    turn = np.radians(yaw + generator.uniform(0, 180))
    u = across * np.cos(turn) - far * np.sin(turn)
    v = across * np.sin(turn) + far * np.cos(turn)
    # Where a pixel covers much of the pattern, only its mean is seen.
    covered = far / below / len(y) / material.period
    return material.lay(u, v, 1 - ramp(covered, 0.02, 0.2))


def sky(generator, y):
    """A sky: blue, grey or white, paler towards the horizon."""
    blue, white = np.float32([0.35, 0.55, 0.85]), np.ones(3, np.float32)
    top = blue + generator.random() * (0.9 * white - blue)
    image = mix(np.broadcast_to(np.float32(top), (*y.shape, 3)), white,
                ramp(y, -0.6, 0.1) * generator.uniform(0.3, 1))
    clouds = ramp(noise(generator, y.shape, 0.5, 4), 0, 2)
    return mix(image, white, generator.uniform(0, 0.8) * clouds)


def leaf(generator):
    """A colour of leaves."""
    return np.float32([0.29, 0.4, 0.16] * generator.uniform(0.8, 1.2, 3)
                      * generator.uniform(0.3, 1.6))


def greenery(generator, image, u, v):
    """Paint a hedge or a wood over the image."""
    size = v.shape
    leaves = noise(generator, size, generator.uniform(0.05, 0.3), 5)
    edge = generator.uniform(0.2, 3) \
        * (1 + 0.3 * noise(generator, size, 0.2, 4))
    return mix(image, leaf(generator) * (1 + 0.4 * leaves[..., None]),
               ramp(edge - v, -0.02, 0.02))


def houses(generator, image, u, v):
    """Paint houses with windows over the image, side by side along u."""
    house = np.int32(np.floor(u / generator.uniform(1, 8))) % 16
    tall = generator.uniform(0.5, 1) + generator.exponential(2, 16)
    wide, high = generator.uniform(0.15, 1.5, 2)
    across, up = u / wide, v / high
    frame = generator.uniform(0.1, 0.35, 2)
    window = ((np.abs(across % 1 - 0.5) < 0.5 - frame[0])
              & (np.abs(up % 1 - 0.5) < 0.5 - frame[1]))
    pane = np.int32(np.floor(across) * 7 + np.floor(up) * 13) % 32
    glass = np.stack([colour(generator, 0.15) for _ in range(32)])
    glass = np.float32(generator.uniform(0.3, 1)) * glass[pane]
    for kind in range(3):
        wall = surface(generator, WALLS, vivid=0.15,
                       period=generator.uniform(0.5, 3)).lay(u, v)
        if generator.random() < 0.75:
            wall = mix(wall, glass, np.float32(window))
        here = (house % 3 == kind) & (v < tall[house])
        image = mix(image, wall, np.float32(here))
    return image


def room(generator, image, u, v):
    """Paint an indoor wall over the image, with its skirting board."""
    wall = surface(generator, WALLS, vivid=0.2,
                   period=generator.uniform(0.3, 3)).lay(u, v)
    board = np.float32(v < generator.uniform(-0.05, 0.12))
    return mix(wall, colour(generator, 0.15), board)


# --- Things --------------------------------------------------------------

def box(generator, x, z):
    """Furniture, a bin, a door, a window: anything upright and square."""
    wide, high = generator.uniform(0.03, 0.6), generator.uniform(0.1, 1.6)
    middle = [x, max(generator.uniform(-1, 0.8), 0) + high / 2, z, 0.012]
    corners = np.array([[-wide, -high / 2, 0, 0], [wide, -high / 2, 0, 0],
                        [-wide, high / 2, 0, 0], [wide, high / 2, 0, 0]])
    panels = (1, 0.85)[:generator.integers(1, 3)]
    return [Part([middle + corners * share],
                 surface(generator, WALLS,
                         period=generator.uniform(0.1, 1.5)), 1 - share)
            for share in panels]


def poles(generator, x, z):
    """A lamp post, a goal or a fence."""
    high, width = generator.uniform(0.5, 5), generator.uniform(0.008, 0.09)
    count = generator.choice([1, 1, 2, 8])
    places = x + generator.uniform(2.5, 8) * width * np.arange(count)
    lines = [np.array([[place, 0, z, width], [place, high, z, width]])
             for place in places]
    rail = np.array([[places[0], 0.9 * high, z, width],
                     [places[-1], 0.9 * high, z, width]])
    return [Part([*lines, rail],
                 surface(generator, WALLS, gloss=0.1, period=0.5))]


def plant(generator, x, z):
    """A tree, a bush or a pot plant: a stem below a crown of leaves."""
    high, width = generator.uniform(0.2, 2), generator.uniform(0.01, 0.1)
    bark = surface(generator, ["grain", "bricks"], vivid=0.1, depth=0.5)
    leaves = surface(generator, ["grain", "blobs"], first=leaf(generator),
                     depth=0.6, period=0.3, rough=0.15)
    stem = np.array([[x, 0, z, width], [x, high, z, width]])
    crown = generator.normal([x, 1.2 * high, z, 0], 0.25 * high, (5, 2, 4))
    crown[..., 3] = generator.uniform(0.15, 0.35, (5, 2)) * high
    return [Part([stem], bark), Part(list(crown), leaves, 0.01)]


def car(generator, x, z):
    """A car seen from the side, or at a slant and therefore shorter."""
    lacquer = surface(generator, ["plain"], vivid=0.4, gloss=0.4)
    glass = surface(generator, ["plain"], vivid=0.1, gloss=0.5)
    black = surface(generator, ["plain"], first=np.full(3, 0.05))
    long = generator.uniform(0.5, 1.3)
    outlines = [  # from the middle backwards and upwards
        ([(-1, .15), (1, .15), (-1, .4), (1, .36)], 0.06, lacquer),
        ([(-.7, .42), (.6, .42), (-.45, .72), (.3, .72)], 0.06, lacquer),
        ([(-.6, .47), (0, .47), (-.4, .7), (0, .7)], 0.02, glass),
        ([(.08, .47), (.5, .47), (.08, .7), (.27, .7)], 0.02, glass),
        ([(-.65, .14), (-.64, .14)], 0.13, black),
        ([(.65, .14), (.66, .14)], 0.13, black)]
    return [Part([np.array([[x + long * along, up, z, radius]
                            for along, up in outline])], material)
            for outline, radius, material in outlines]


def clutter(generator, yaw, reach, outdoors, passer):
    """The things around the performer that a camera may see: parts.

    They stay where they are while yaw, the camera's way around, changes.
    """
    kinds = [box, box, poles, plant]
    if outdoors:
        kinds += [plant, car, car, passer, passer]
    parts = []
    count = generator.poisson(generator.choice([3, 12, 36]))
    for thing in generator.spawn(count):
        place = turned("Y", yaw + thing.uniform(0, 360)) \
            @ [0, 0, thing.uniform(0.5, max(reach, 1))]
        kind = kinds[thing.integers(len(kinds))]
        # What stands beside the cameras is not seen, and nothing hides
        # the performer.
        if place[2] < (-1 if kind is passer else -0.4):
            parts += kind(thing, place[0], place[2])
    return parts


# --- All together --------------------------------------------------------

def backdrop(generator, size, camera, yaw, light, outdoors, passer):
    """A room or a street without the performer: (H, W, 3).

    passer(generator, x, z) gives the parts of somebody who passes by.
    All cameras pass generators in the same state, so that they see the
    same place, each from its own side.
    """
    x, y = coordinates(size)
    far = outdoors and generator.random() < 0.7
    wall = generator.uniform(*((1, 12) if far else (0.4, 2)))
    # A wall that recedes to one side looks larger at the other.
    zoom = camera.zoom(-wall) * np.exp(generator.normal(0, 0.3) * x)
    u = (x - camera.centre) / zoom + wall * np.radians(yaw)
    v = camera.height - (y - camera.horizon) / zoom
    image = sky(generator, y)
    rows = ([houses], [greenery], [greenery, houses])
    chosen = rows[generator.choice(3, p=[0.5, 0.25, 0.25])]
    for row in chosen if outdoors else [room]:
        image = row(generator, image, u, v)
    image = mix(image, floor(generator, x, y, camera, yaw),
                ramp(-v * zoom * size[0], -1, 1))
    image = over(image, clutter(generator, yaw, wall, outdoors, passer),
                 camera, light)
    blur = max(generator.exponential(0.006) - 0.002, 0) * size[0]
    image = ndimage.gaussian_filter(image, (blur, blur, 0))
    shade = 1 + generator.uniform(0, 0.25) * noise(generator, size, 0.6, 3)
    return image * np.maximum(shade, 0.2)[..., None]
