# /// script
# requires-python = ">=3.9,<3.13"
# dependencies = ["mediapipe==0.10.21", "pillow>=10"]
# ///
"""Find the joints of a person in a picture, and cut the person out.

    uv run lab/skeleton.py me.jpg [--mask my-mask.png] [--save-mask new.png]

writes me-skeleton.png beside the picture: the person that MediaPipe's
selfie segmentation finds, a model of video calls, with the skeleton and
without. With a mask of your own (white = person) it shows that too and
prints how well the two agree. MediaPipe's mask is saved if you name a file
for it. MediaPipe needs older packages than the lesson, so this
script has an environment of its own, which uv makes from the lines above.
Its models are in its wheel: once installed, it needs no network.
"""

import argparse
import io
import os
import stat
import sys
from pathlib import Path

MISSING = None
try:
    import mediapipe as mp
    import numpy as np
    from PIL import Image, ImageDraw, ImageOps
except ImportError as error:
    MISSING = error.name

WANTED = 0.5  # probability from which on a joint or a pixel counts
LINE, JOINT, PERSON = (0, 220, 220), (255, 80, 0), (0, 114, 178)


def read(path, mode):
    """A picture as uint8 array, upright; a sentence if it is not one."""
    try:
        # Opening anything else may wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no file")
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):  # would be cut off
                raise ValueError("more than 8 bits")
            return np.asarray(ImageOps.exif_transpose(picture).convert(mode))
    except Exception as error:  # Pillow's readers raise almost any
        sys.exit(f"{path} cannot be read as a picture ({error}); name one in "
                 "JPEG or PNG with 8 bits.")


def save(sheet, target):
    """Write a picture, unless a file has its name; a sentence if so."""
    content = io.BytesIO()
    sheet.save(content, "PNG")
    made = False
    try:
        with target.open("xb") as file:
            made = True
            file.write(content.getvalue())
    except OSError as error:
        if made:  # and only half written
            target.unlink()
        sys.exit(f"{target} cannot be written ({error.strerror}); rename or "
                 "remove what is there, or copy the picture elsewhere.")


def find_joints(image):
    """33 joints as (x, y, visibility), x and y in pixels; None if nobody.

    The joints are those of BlazePose: Bazarevsky et al. 2020,
    arXiv 2006.10204.
    """
    # Complexity 1: the only one of its models that the wheel carries.
    with mp.solutions.pose.Pose(static_image_mode=True,
                                model_complexity=1) as pose:
        found = pose.process(image).pose_landmarks
    height, width = image.shape[:2]
    return found and [(joint.x * width, joint.y * height, joint.visibility)
                      for joint in found.landmark]


def person_probability(image):
    """How probable person is, for each pixel: float (H, W)."""
    with mp.solutions.selfie_segmentation.SelfieSegmentation() as model:
        return model.process(image).segmentation_mask


def draw_skeleton(picture, joints):
    """A copy with lines between the joints that are visible."""
    picture = picture.copy()
    pen = ImageDraw.Draw(picture)
    thick = max(2, min(picture.size) // 100)
    for first, second in mp.solutions.pose.POSE_CONNECTIONS:
        if min(joints[first][2], joints[second][2]) > WANTED:
            pen.line([joints[first][:2], joints[second][:2]], LINE, thick)
    for x, y, visibility in joints:
        if visibility > WANTED:
            pen.ellipse([x - thick, y - thick, x + thick, y + thick], JOINT)
    return picture


def tint(image, mask):
    """The image with everything but the person paled towards blue."""
    paled = 0.35 * image + 0.65 * np.array(PERSON)
    return Image.fromarray(np.uint8(np.where(mask[..., None], image, paled)))


def main():
    """Read the picture, write what was found beside it, and say so."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--mask", type=Path, help="white = person")
    parser.add_argument("--save-mask", type=Path, metavar="FILE",
                        help="where to write MediaPipe's mask, a PNG")
    options = parser.parse_args()
    sys.stdout.reconfigure(errors="replace")  # names may hold any letters
    if MISSING:
        sys.exit(f"{MISSING} is not installed here. Start the script by `uv "
                 "run lab/skeleton.py PICTURE`, which installs it, or see "
                 "lab/README.md for the way without uv.")
    image = read(options.picture, "RGB")
    target = options.picture.with_name(f"{options.picture.stem}-skeleton.png")
    for new in filter(None, (target, options.save_mask)):
        if os.path.lexists(new):
            sys.exit(f"{new} is there already; rename or remove it.")
    ours = read(options.mask, "L") > 127 if options.mask else None
    if ours is not None and ours.shape != image.shape[:2]:
        sys.exit(f"the mask is {ours.shape[::-1]} pixels, the picture "
                 f"{image.shape[1::-1]}; make them equal.")
    joints = find_joints(image)
    theirs = person_probability(image) > WANTED
    cut_out = tint(image, theirs)
    panels = [draw_skeleton(cut_out, joints) if joints else cut_out, cut_out]
    if joints:
        visible = sum(joint[2] > WANTED for joint in joints)
        print(f"{visible} of {len(joints)} joints are visible.")
    else:
        print("No skeleton was found: is there a whole person?")
    print(f"MediaPipe calls {theirs.mean():.1%} of the picture person.")
    if options.mask:
        either = (ours | theirs).sum()
        print(f"IoU of your mask and MediaPipe's: "
              f"{(ours & theirs).sum() / max(either, 1):.3f}")
        panels.append(tint(image, ours))
    sheet = Image.new("RGB", (sum(panel.width for panel in panels),
                              image.shape[0]))
    for number, panel in enumerate(panels):
        sheet.paste(panel, (number * image.shape[1], 0))
    save(sheet, target)
    print(f"{target} shows, from left to right: MediaPipe's person "
          f"with the skeleton, without it{', yours' * bool(options.mask)}.")
    if options.save_mask:
        save(Image.fromarray(theirs).convert("L"), options.save_mask)
        print(f"{options.save_mask} is MediaPipe's mask, white = person.")


if __name__ == "__main__":
    main()
