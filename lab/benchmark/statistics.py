"""Means of images that share trainings, and how sure they are.

The scores of a method are an array (folds, seeds, images of a fold). All
images of a fold are tested by the same few networks, so neither 200 images
nor 15 trainings are independent witnesses: the bootstrap draws both anew.
"""

from functools import cache

import numpy as np

DRAWS = 10_000


@cache
def drawn(folds, seeds, images):
    """How often each draw takes each training and each image of a fold.

    Two arrays, (folds, DRAWS, seeds) and (folds, DRAWS, images). They are
    always the same, so that two methods are drawn alike and their
    difference is one of pairs.
    """
    random = np.random.default_rng(0)
    return [random.multinomial(max(1, count - 1), [1 / count] * count,
                               (folds, DRAWS)) for count in (seeds, images)]


def means(scores):
    """Bootstrapped means, float (DRAWS,), of scores (folds, seeds, images).

    A draw takes, in each fold by itself, one training and one image fewer
    than there are, some of them several times, and scores each of these
    trainings on each of these images. (As many as there are would differ
    too little from draw to draw where there are few: Rao, Wu, 1988,
    doi:10.1080/01621459.1988.10478591.) A single training is always drawn,
    so that then only the images count. nan marks what does not count.
    """
    trainings, images = drawn(*scores.shape)

    def total(values):
        return np.sum(trainings @ values * images, axis=(0, 2))

    return total(np.nan_to_num(scores)) / total(~np.isnan(scores))


def interval(scores):
    """The middle 95 % of bootstrapped means: low, high."""
    return np.percentile(means(scores), [2.5, 97.5])
