"""A mammogram of known geometry."""

import numpy as np


def mammogram(size=512, *, top=0.22, wall=0.45, sag=0.0, muscle=0.9, width=0.5, labels=True):
    """Draw a breast whose chest wall is at the left edge, with a muscle in its upper corner.

    All lengths are shares of `size`, the height. Returns the image, float 0..1, the inside of the
    breast and the muscle.
    """
    columns = round(0.75 * size)
    y, x = np.mgrid[:size, :columns] / size
    inside = (x / width) ** 2 + ((y - 0.5) / 0.62) ** 2 < 1
    share = y / wall
    bow = 4 * sag * np.hypot(top, wall)
    pectoral = inside & (x < (1 - share) * (top + bow * share)) & (y < wall)
    depth = 1 - (x / width) ** 2 - ((y - 0.5) / 0.62) ** 2
    image = 0.05 + np.where(inside, 0.25 + 0.25 * np.sqrt(np.clip(depth, 0, 1)), 0)
    image[pectoral] = muscle
    if labels:
        image[round(0.03 * size) : round(0.12 * size), -round(0.14 * size) :] = 1
    coarse = np.random.default_rng(0).normal(0, 0.01, (64, 48))
    texture = np.kron(coarse, np.ones((size // 64, size // 64)))
    return np.clip(image + texture[:, :columns], 0.001, 1), inside, pectoral


def dice(first, second):
    return 2 * np.sum(first & second) / (np.sum(first) + np.sum(second))
