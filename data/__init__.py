"""Images and masks for the lesson: what every data set here looks like.

`data.ph2.load()` and `data.mads.load()` return `Samples`; the notebooks
need nothing else.
"""

import re
from dataclasses import dataclass

import numpy as np


class DataError(Exception):
    """Says in one sentence what is wrong with the data and what to do.

    Names and passwords in addresses, such as a proxy's, are left out.
    """

    def __init__(self, sentence):
        super().__init__(re.sub(r"(?<=://)\S*@", "", sentence))


from data.pictures import read_image, read_mask  # noqa: E402  raises DataError


@dataclass(frozen=True)
class Samples:
    """N images with their masks, resized to one common size.

    images     uint8 (N, H, W, 3), RGB
    masks      bool (N, H, W), True = lesion (or person)
    names      list of N names, sorted
    groups     (N,) what a split must respect: PH²'s diagnoses, MADS's
               sequences
    source     "PH2", "MADS" or "synthetic sample"
    files      list of N pairs of paths: image and mask as they came
    threshold  how bright a mask's pixel is that is True, see `read_mask`
    """

    images: np.ndarray
    masks: np.ndarray
    names: list
    groups: np.ndarray
    source: str
    files: list = ()
    threshold: float = 0.5

    def __len__(self):
        return len(self.names)

    def original_image(self, row):
        """The untouched image of one row: uint8 (H₀, W₀, 3), for showing.

        Raises DataError if the file is gone or unreadable.
        """
        return read_image(self.files[row][0])

    def original_mask(self, row):
        """The untouched mask of one row: bool (H₀, W₀), for scoring.

        A result is scored against this mask, not against the resized one.
        Raises DataError if the file is gone or unreadable.
        """
        return read_mask(self.files[row][1], self.threshold)
