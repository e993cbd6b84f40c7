"""Shared by the makers of synthetic images: parameters, random fields, curves and outlines.

The makers use no OpenCV: its results differ from version to version.
"""

from numbers import Integral, Real

import numpy as np
from scipy import fft, ndimage
from sklearn.utils import check_random_state

from featbus.parameters import (
    Interval,
    InvalidParameterError,
    PairOf,
    SequenceOf,
    as_pair,
    check_parameters,
)

_AT_LEAST_1 = Interval(Integral, 1, None, closed="left")
_NON_NEGATIVE = Interval(Real, 0, None, closed="left")
_CONSTRAINTS = {
    "n_images": [_AT_LEAST_1],
    "n_images_per_patient": [_AT_LEAST_1],
    "image_shape": [PairOf(Interval(Integral, 32, None, closed="left"))],
    "contrast": [_NON_NEGATIVE],
    "random_state": ["random_state"],
}


def check_maker(parameters, n_classes):
    """Check the parameters of a maker; return the shape and the proportions of the classes."""
    constraints = {**_CONSTRAINTS, "weights": [None, SequenceOf(_NON_NEGATIVE, n_classes)]}
    check_parameters(constraints, parameters)
    weights = parameters["weights"]
    shares = np.ones(n_classes) if weights is None else np.asarray(weights, dtype=float)
    if not shares.any():
        raise InvalidParameterError(
            f"weights is {weights!r}, expected at least one positive number."
        )
    height, width = as_pair(parameters["image_shape"])
    return (int(height), int(width)), shares / shares.sum()


def generator_factory(random_state):
    """Return a function (group, view) -> Generator, so that no image depends on another.

    View 0 is the patient herself. The key always has three parts: NumPy pads shorter keys with
    zeros, which would give a patient and her first image the same stream.
    """
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return lambda group, view: np.random.default_rng((seed, group, view))


def fill_quotas(shares, n):
    """Return n class indices, each the class that is furthest below its share so far.

    Unlike in a shuffle of exact counts, the first k indices do not depend on n. Differences are
    rounded so that rounding errors do not break ties.
    """
    counts = np.zeros(len(shares))
    chosen = np.empty(n, dtype=np.intp)
    for i in range(n):
        chosen[i] = np.argmax(np.round(shares * (i + 1) - counts, 9))
        counts[chosen[i]] += 1
    return chosen


def grid(shape):
    """Return the coordinates y, x of pixel centers in image heights; x is 0 at the left border."""
    height, width = shape
    y = (np.arange(height, dtype=np.float32)[:, np.newaxis] + 0.5) / height
    x = (np.arange(width, dtype=np.float32)[np.newaxis] + 0.5) / height
    return y, x


def filtered_noise(rng, shape, transfer):
    """Filter white noise by a transfer function on the grid of `rfft2`; mean 0, variance 1."""
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32)) * transfer
    spectrum[0, 0] = 0
    noise = fft.irfft2(spectrum, s=shape)
    return (noise / noise.std()).astype(np.float32)


def frequencies(shape):
    """Return the frequencies of `rfft2` along y and x, in cycles per image height."""
    height, width = shape
    f_y = fft.fftfreq(height, 1 / height)[:, np.newaxis].astype(np.float32)
    f_x = fft.rfftfreq(width, 1 / height)[np.newaxis].astype(np.float32)
    return f_y, f_x


def smooth_noise(rng, shape, scale):
    """Draw noise blurred by a Gaussian of standard deviations `scale` (y, x) in image heights."""
    f_y, f_x = frequencies(shape)
    decay = -2 * np.pi**2
    transfer = np.exp(decay * (scale[0] * f_y) ** 2) * np.exp(decay * (scale[1] * f_x) ** 2)
    return filtered_noise(rng, shape, transfer)


def threads(field, width):
    """Draw thin bright curves, 0..1, along the zeros of a smooth field; `width` is in pixels."""
    g_y, g_x = np.gradient(field)
    steepness = g_y**2 + g_x**2
    # First-order distance to the zero; the floor avoids blots where the field is flat.
    distance_2 = field**2 / (steepness + 0.003 * steepness.mean())
    return np.exp(-distance_2 / (2 * width**2))


def sample(field, rows, columns):
    """Interpolate a periodic field at fractional positions."""
    return ndimage.map_coordinates(field, [rows, columns], order=1, mode="grid-wrap")


def outline_radius(angle, amplitudes, phases):
    """Return the radius at each angle of a unit circle with ripples of order 2, 3, ..."""
    order = np.arange(2, 2 + len(amplitudes))[:, np.newaxis]
    table = np.linspace(-np.pi, np.pi, 361)
    ripples = amplitudes[:, np.newaxis] * np.cos(order * table + phases[:, np.newaxis])
    radius = np.clip(1 + ripples.sum(axis=0), 0.5, 1.6)
    radius /= np.sqrt(np.mean(radius**2))
    return np.interp(angle, table, radius).astype(np.float32)


def ellipse_coordinates(y, x, center, radii, tilt):
    """Return distance from the center (1 on the ellipse) and angle relative to a tilted ellipse."""
    along = (x - center[1]) * np.cos(tilt) + (y - center[0]) * np.sin(tilt)
    across = (y - center[0]) * np.cos(tilt) - (x - center[1]) * np.sin(tilt)
    u, v = along / radii[1], across / radii[0]
    return np.hypot(u, v), np.arctan2(v, u)


def lesion_columns(masks):
    """Describe the region of each mask; all but the area is NaN if the mask is empty."""
    area = masks.sum(axis=(1, 2))
    columns = {}
    for axis, position, extent in ((1, "row", "height"), (2, "column", "width")):
        profile = masks.sum(axis=3 - axis)
        index = np.arange(profile.shape[1])
        columns[f"lesion_{position}"] = profile @ index / np.where(area, area, np.nan)
        inside = profile > 0
        last = profile.shape[1] - np.argmax(inside[:, ::-1], axis=1)
        columns[f"lesion_{extent}"] = np.where(area, last - np.argmax(inside, axis=1), np.nan)
    return {**columns, "lesion_area": area}
