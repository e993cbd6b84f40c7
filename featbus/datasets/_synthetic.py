"""Synthetic breast ultrasound images and mammograms.

They use no OpenCV, whose results differ from version to version.
"""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import fft, ndimage
from scipy.special import expit
from sklearn.utils import Bunch, check_random_state

from featbus.datasets._base import as_bunch, read_descr
from featbus.parameters import (
    POSITIVE_INTEGER,
    Interval,
    InvalidParameterError,
    PairOf,
    SequenceOf,
    as_pair,
    check_parameters,
)

# Names and order are those of `load_busi` and `load_mini_mias`.
_DIAGNOSES = ["benign", "malignant", "normal"]
_ABNORMALITIES = ["normal", "abnormal"]
_FINDINGS = np.array(["CIRC", "SPIC", "CALC"])

_FILM_BLUR = 0.0024  # standard deviation, in image heights

_NON_NEGATIVE = Interval(Real, 0, None, closed="left")
_CONSTRAINTS = {
    "n_images": [POSITIVE_INTEGER],
    "n_images_per_patient": [POSITIVE_INTEGER],
    "image_shape": [PairOf(Interval(Integral, 32, None, closed="left"))],
    "contrast": [_NON_NEGATIVE],
    "random_state": ["random_state"],
}


def _check_shares(parameters, n_classes):
    """Check the parameters of a maker; return the proportions of the classes."""
    constraints = {**_CONSTRAINTS, "weights": [None, SequenceOf(_NON_NEGATIVE, n_classes)]}
    check_parameters(constraints, parameters)
    weights = parameters["weights"]
    shares = np.ones(n_classes) if weights is None else np.asarray(weights, dtype=float)
    if not shares.any():
        raise InvalidParameterError(f"weights is {weights!r}, expected a positive number in it.")
    return shares / shares.sum()


def _fill_quotas(shares, n):
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


def _draw_all(draw, kinds, groups, views, image_shape, contrast, random_state):
    """Return what `draw` returns for each image, stacked; no image depends on another."""
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    drawn = [
        # Keys of equal length: NumPy pads shorter ones with zeros.
        draw(kind, *(np.random.default_rng((seed, *key)) for key in keys), image_shape, contrast)
        for kind, *keys in zip(kinds, ((group, 0) for group in groups), zip(groups, 1 + views))
    ]
    return map(np.array, zip(*drawn))


def _grid(shape):
    """Return the coordinates y, x of pixel centers in image heights."""
    return (np.indices(shape) + 0.5) / shape[0]


def _noise(rng, shape, scale):
    """Draw periodic noise of variance 1, blurred by a Gaussian; `scale` is in image heights."""
    spectrum = fft.rfft2(rng.standard_normal(shape))
    spectrum[0, 0] = 0
    sigma = np.multiply(scale, shape[0])
    noise = fft.irfft2(ndimage.fourier_gaussian(spectrum, sigma, n=shape[1]), s=shape)
    return noise / noise.std()


def _sample(field, rows, columns):
    """Interpolate a periodic field at fractional positions."""
    return ndimage.map_coordinates(field, [rows, columns], order=1, mode="grid-wrap")


def _threads(field, width):
    """Draw thin bright curves, 0..1, along the zeros of a smooth field, unless they are vertical.

    `width` is in pixels.
    """
    slope = np.gradient(field, axis=0) ** 2
    # First-order distance to the zero; the mean avoids blots where the field is flat.
    return np.exp(-(field**2) / (2 * width**2 * (slope + 0.003 * slope.mean())))


def _blob(rng, shape, center, radii, tilt, roughness, decay):
    """Return the distance from the center of a lesion, 1 on its outline, and the angle.

    The outline is a tilted ellipse with ripples, whose amplitude is `roughness` and falls with
    the power `decay` of their order.
    """
    y, x = _grid(shape) - np.reshape(center, (2, 1, 1))
    along, across = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    u, v = along / radii[1], across / radii[0]
    angle = np.arctan2(v, u)
    order = np.arange(2, 12).reshape(-1, 1, 1)
    waves = np.cos(order * angle + rng.uniform(-np.pi, np.pi, order.shape))
    ripples = roughness * np.sum(rng.standard_normal(order.shape) * waves / order**decay, axis=0)
    return np.hypot(u, v) / np.clip(1 + ripples, 0.5, 1.6), angle


def _draw_ultrasound(diagnosis, patient, view, shape, contrast):
    """Return an image and the mask of its lesion.

    `patient` draws what her images share, `view` what differs. Lengths are in image heights, echo
    levels in dB.
    """
    y, _ = _grid(shape)
    echo, clumps = _draw_tissue(patient, view, shape)
    gain, loss, lateral = patient.uniform((-3, 6, 0.9), (3, 26, 1.6))
    attenuation = 1.5 * loss * np.maximum(y - 0.3, 0)
    mask = np.zeros(shape, dtype=bool)
    if diagnosis != "normal":
        malignant = diagnosis == "malignant"
        distance, angle, thickness = _place_lesion(malignant, patient, view, shape)
        mask = distance < 1
        inside = expit((1 - distance) / (0.15 if malignant else 0.06))
        # Size and darkness do not depend on malignancy.
        lesion = -28 + (3 if malignant else 1) * clumps - patient.uniform(17, 25) * contrast
        echo += min(contrast, 1) * inside * (lesion - echo)
        if not malignant:  # a capsule, bright where it faces the transducer
            ring = np.exp(-(((distance - 1.02) / 0.05) ** 2))
            echo += 11 * contrast * ring * np.sin(angle) ** 4
        # Stronger or weaker attenuation than that of the surroundings: shadow or enhancement.
        shadow = patient.uniform(4, 20) if malignant else patient.uniform(-11, 0)
        attenuation += contrast * shadow / thickness * inside
    level = echo + gain - np.cumsum(attenuation, axis=0) / shape[0]
    # Speckle: the power of complex noise, blurred by the point spread function; six looks.
    looks = view.standard_normal((*shape, 12), dtype=np.float32)
    looks = ndimage.gaussian_filter(looks, np.multiply((1, lateral), shape[0] / 240), axes=(0, 1))
    speckle = np.mean(looks**2, axis=2)
    power = 10 ** (level / 10) * speckle / speckle.mean()
    return np.rint(255 * np.clip((10 * np.log10(power) + 56) / 55, 0, 1)).astype(np.uint8), mask


def _draw_tissue(patient, view, shape):
    """Return the echo level of a breast without a lesion, and a texture of clumps."""
    y, x = _grid(shape)
    skin, fat, gland = patient.uniform((0.015, 0.14, 0.32), (0.05, 0.32, 0.45))
    levels = patient.uniform((-45, -31, -46), (-39, -26, -40))  # fat, gland, muscle
    softness, wave, grain, fascia = patient.uniform((0.01, 0.01, 2, 8), (0.06, 0.035, 4, 18))
    bumps = wave * _noise(view, shape, (0.25, 0.22)) * np.minimum(1, 4 * y)
    depth = y + patient.normal(0, 0.07) * (x - x.mean()) + bumps
    # Structures follow the surfaces of equal anatomical depth.
    streaks, fibers, clumps, interfaces = (
        _sample(_noise(view, shape, scale), depth * shape[0] - 0.5, x * shape[0] - 0.5)
        for scale in ((0.007, 0.03), (0.008, 0.16), (0.03, 0.05), (0.018, 0.11))
    )
    bottoms = fat, fat + 0.02, fat + gland, fat + gland + softness
    in_gland = np.interp(depth + 0.02 * clumps, bottoms, (0, 1, 1, 0))
    echo = np.interp(depth + 0.02 * clumps, bottoms, levels[[0, 1, 1, 2]])
    echo += grain * (0.7 * streaks + in_gland * (clumps / 2 + np.maximum(fibers - 0.3, 0)))
    echo += fascia * _threads(interfaces, shape[0] / 160) * expit(2 * clumps)
    return np.where(y < skin, patient.uniform(-30, -16) + 2 * streaks, echo), clumps


def _place_lesion(malignant, patient, view, shape):
    """Return the distance from the center of the lesion, the angle, and the lesion's height."""
    room = shape[1] / shape[0]
    aspect = patient.normal(1.15, 0.15) if malignant else patient.normal(0.62, 0.1)
    radius = min(1, room) * patient.uniform(0.14, 0.24) * np.exp(view.normal(0, 0.08))
    stretch = np.sqrt(np.clip(aspect, 0.4, 1.6))
    radii = radius * stretch, radius / stretch
    center = patient.uniform((0.38, 0.35), (0.55, 0.65)) + view.normal(0, 0.02, 2)
    tilt = patient.normal(0, 0.15) + view.normal(0, 0.1)
    ripples = (patient.uniform(0.12, 0.3), 0.7) if malignant else (patient.uniform(0.05, 0.15), 1.7)
    distance, angle = _blob(patient, shape, center * (1, room), radii, tilt, *ripples)
    return distance, angle, 2 * radii[0]


def _draw_mammogram(finding, woman, view, shape, contrast):
    """Return image, mask and pectoral mask of one breast with the chest wall on the left.

    `woman` draws what both breasts share, `view` what differs. Lengths are in image heights,
    levels in exposure.
    """
    y, x = _grid(shape)
    room = shape[1] / shape[0]
    nipple, bottom, top = woman.uniform((0.5, 0.88, 0.35), (0.68, 1.1, 0.7))
    width = room * woman.uniform(0.5, 0.85) * np.exp(view.normal(0, 0.03))
    above = np.clip(1 - y / nipple, 0, 1)
    below = np.clip((y - nipple) / (bottom - nipple), 0, 1)
    edge = width * np.where(y < nipple, 1 - (1 - top) * above**1.6, np.sqrt(1 - below**2.3))
    breast = x < edge * (1 + 0.012 * _noise(view, shape, (0.12, 1))[:, :1])
    depth = _measure_depth(np.pad(breast, ((0, 0), (0, 1))))[:, :-1]
    rim, fat, gamma = woman.uniform((0.15, 0.2, 0.9), (0.35, 0.36, 1.2))
    thickness = np.sqrt(1 - np.maximum(1 - depth / rim, 0) ** 2)

    # Octaves of noise: about a power law of the frequency.
    texture = sum(
        (10 * scale) ** 0.8 * _noise(view, shape, (scale, scale))
        for scale in 0.1 / 2 ** np.arange(6)
    )
    gland = _draw_gland(woman, view, shape, texture, depth, (nipple, width))
    exposure = fat * thickness**1.2 * (1 + 0.05 * texture) + thickness * gland
    exposure += 0.04 * np.exp(-(((depth - 0.006) / 0.005) ** 2))  # skin

    level, across, down = woman.uniform((0.5, 0.14, 0.4), (0.8, 0.34, 0.75))
    down += view.normal(0, 0.02)
    side = across * min(1, room / 0.75) * np.clip(1 - y / down, 0, 1) ** woman.uniform(0.8, 1.25)
    muscle = level * (1 - 0.35 * y / down) * np.sqrt(thickness) + 0.02 * texture
    cover = expit((side - x) / 0.008) * expit((down - y) / 0.02)
    exposure += cover * np.maximum(muscle - exposure, 0)
    pectoral, mask = breast & (x < side), np.zeros(shape, dtype=bool)

    if finding != "NORM":
        added, mask = _draw_finding(view, breast & ~pectoral, finding)
        mask &= breast
        exposure += contrast * added * np.minimum(1, 1.2 * thickness)
    exposure = ndimage.gaussian_filter(np.where(breast, exposure, 0), _FILM_BLUR * shape[0])
    film = 0.02 + 1.15 * (1 - np.exp(-1.5 * np.maximum(exposure, 0) ** gamma))
    film += 0.006 * view.standard_normal(shape)
    return np.rint(255 * np.clip(film, 0, 1)).astype(np.uint8), mask, pectoral


def _measure_depth(region):
    """Return the distance of each pixel to the nearest pixel outside, in image heights."""
    return ndimage.distance_transform_edt(region) / region.shape[0]


def _draw_gland(woman, view, shape, texture, depth, nipple):
    """Return the exposure of fibroglandular tissue, with strands that radiate from the nipple."""
    y, x = _grid(shape)
    density, reach, focus, strand = woman.uniform((0, 0.25, 6, 0.05), (1, 0.5, 14, 0.15))
    distance = np.hypot(nipple[1] - x, y - nipple[0])
    meander = 0.08 * _noise(view, shape, (0.05, 0.05))
    angle = np.arctan2(y - nipple[0], nipple[1] - x) + meander
    fan = (angle / (2 * np.pi) + 0.5) * shape[0], distance / 1.5 * shape[0]
    square = shape[0], shape[0]
    strands, lobes = (_noise(view, square, scale) for scale in ((0.01, 0.1), (0.03, 0.12)))
    strands, lobes = _sample(_threads(strands, 1), *fan), _sample(lobes, *fan)
    gland = 3 * (density - 0.5) + 0.7 * texture + lobes - np.abs(y - nipple[0]) / 0.15
    gland = expit(gland - focus * (distance - reach)) * expit((depth - 0.03) / 0.012)
    strands *= strand * expit(2 * lobes)
    return gland * (0.1 + 0.16 * density + 0.06 * texture + 0.05 * lobes + strands)


def _draw_finding(rng, allowed, kind):
    """Return the additional exposure of a finding, and its mask."""
    depth = _measure_depth(np.pad(allowed, 1))[1:-1, 1:-1]
    radius = min(rng.uniform(0.06, 0.11), 0.8 * depth.max())
    center = (rng.choice(np.argwhere(depth >= radius)) + 0.5) / len(allowed)
    radii = radius * rng.uniform(0.85, 1.2, 2)
    tilt, brightness = rng.uniform((0, 0.45), (np.pi, 0.65))
    roughness = 0.12 if kind == "SPIC" else 0.04
    distance, angle = _blob(rng, allowed.shape, center, radii, tilt, roughness, 0.6)
    if kind == "CIRC":
        added = brightness * np.sqrt(np.maximum(1 - distance**2, 0))
    elif kind == "SPIC":
        uneven = angle + 0.2 * np.sin(3 * angle + tilt)
        spicules = np.abs(np.cos(8 * uneven)) ** (60 * distance**2) * np.exp(-((distance / 2) ** 4))
        added = brightness * (np.exp(-((distance / 0.8) ** 2)) + 0.2 * spicules)
    else:  # a cluster of small calcifications, which the film blurs
        added = np.zeros(allowed.shape)
        specks = rng.choice(np.argwhere(distance < 0.8), rng.integers(18, 36)).T
        spread = 1 + 2 * np.pi * (_FILM_BLUR * len(allowed)) ** 2  # pixels
        added[tuple(specks)] = spread * rng.uniform(0.5, 1, specks.shape[1])
    return added, distance < 1


def make_breast_ultrasound(
    n_images: int = 120,
    *,
    image_shape: int | tuple[tuple[int, int], ...] = (192, 256),
    n_images_per_patient: int = 2,
    weights: ArrayLike | None = None,
    contrast: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make synthetic breast ultrasound images with lesion masks.

    An offline substitute for BUSI: benign, malignant and normal B-mode images, rendered from a
    model of the anatomy and the scanner. A benign lesion is a smooth ellipse, wider than tall, with
    a thin bright capsule and acoustic enhancement behind it. A malignant lesion is irregular and
    ill-defined, often taller than wide, and casts a shadow. Anatomy, gain and depth, and the size
    and darkness of the lesion do not depend on the class.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    n_images : int, default=120
        Number of images.
    image_shape : int or tuple of two int, default=(192, 256)
        Height and width in pixels, each at least 32; one number makes squares.
    n_images_per_patient : int, default=2
        Number of images of each synthetic patient; the last patient may have fewer. They share
        tissue, scanner settings and the properties of the lesion.
    weights : array-like of shape (3,), default=None
        Relative frequencies of benign, malignant and normal patients. None makes them equal.
    contrast : float, default=1.0
        Visibility of the lesions, at least 0. At 0 they leave no trace in the image, and no
        classifier can do better than chance on unseen patients; at 1 most are obvious.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same images in every call.

    Returns
    -------
    Bunch
        The images are sorted by patient.

        images : ndarray of uint8 of shape (n_images, height, width)
            The images.
        target : ndarray of int of shape (n_images,)
            0 benign, 1 malignant, 2 normal, as in `load_busi`.
        target_names : list of str
            ``["benign", "malignant", "normal"]``.
        groups : ndarray of int of shape (n_images,)
            The synthetic patient. Images with the same number must be on the same side of every
            split.
        masks : ndarray of bool of shape (n_images, height, width)
            True inside the lesion; False everywhere for a normal image.
        frame : DataFrame of n_images rows
            ``class``, ``group``, and ``lesion_area`` (of the mask, in pixels).
        DESCR : str
            Description and known pitfalls.

    Raises
    ------
    ValueError
        If a parameter is invalid.

    See Also
    --------
    make_mammograms : Synthetic mammograms, both breasts of each woman.
    load_busi : The real images that these imitate.
    load_masked : Mask images to their lesions.

    Notes
    -----
    An image depends only on `random_state`, its patient and its position among the images of the
    patient: the first images are the same for any `n_images`, and two calls that differ in
    `contrast` show the same tissue.

    Speckle is the power of white complex noise, blurred by the point spread function [1]_ and
    scaled by the echo level; six independent looks are averaged, as in spatial compounding.
    Attenuation accumulates with depth. The signs of benign and malignant lesions follow [2]_.

    The outline of a mask separates benign from malignant at any contrast, and an empty mask means
    normal. Features of masks, or of crops made with them, measure the masks.

    The images do not depend on OpenCV, whose results differ from version to version. Other versions
    of NumPy and SciPy can move a few pixels in a million by one gray level.

    References
    ----------
    .. [1] Wagner RF, Smith SW, Sandrik JM, Lopez H. Statistics of speckle in ultrasound B-scans.
       IEEE Transactions on Sonics and Ultrasonics 30 (1983) 156-163.
    .. [2] Stavros AT, Thickman D, Rapp CL, et al. Solid breast nodules: use of sonography to
       distinguish between benign and malignant lesions. Radiology 196 (1995) 123-134.

    Examples
    --------
    >>> from featbus.datasets import make_breast_ultrasound
    >>> ultrasound = make_breast_ultrasound(n_images=6, random_state=0)
    >>> ultrasound.images.shape, ultrasound.images.dtype
    ((6, 192, 256), dtype('uint8'))
    >>> ultrasound.frame["class"].tolist()
    ['benign', 'benign', 'malignant', 'malignant', 'normal', 'normal']
    >>> ultrasound.groups
    array([0, 0, 1, 1, 2, 2])
    >>> ultrasound.masks.any(axis=(1, 2))
    array([ True,  True,  True,  True, False, False])
    """
    shares = _check_shares(locals(), len(_DIAGNOSES))
    groups, views = np.divmod(np.arange(n_images), n_images_per_patient)
    diagnoses = np.take(_DIAGNOSES, _fill_quotas(shares, groups[-1] + 1)[groups])
    images, masks = _draw_all(
        _draw_ultrasound, diagnoses, groups, views, as_pair(image_shape), contrast, random_state
    )
    areas = masks.sum(axis=(1, 2))
    frame = pd.DataFrame({"class": diagnoses, "group": groups, "lesion_area": areas})
    return as_bunch(images, masks, frame, _DIAGNOSES, DESCR=read_descr("breast_ultrasound.rst"))


def make_mammograms(
    n_images: int = 120,
    *,
    image_shape: int | tuple[tuple[int, int], ...] = (256, 192),
    weights: ArrayLike | None = None,
    contrast: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Make synthetic mammograms with masks of the findings and of the pectoral muscle.

    An offline substitute for mini-MIAS: mediolateral oblique views of the right and left breast of
    each woman, normal or with one finding: a circumscribed mass, a spiculated mass or a cluster of
    calcifications. Outline, density, muscle and film do not depend on the class.

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    n_images : int, default=120
        Number of images. If it is odd, the last woman has a right breast only.
    image_shape : int or tuple of two int, default=(256, 192)
        Height and width in pixels, each at least 32; one number makes squares.
    weights : array-like of shape (2,), default=None
        Relative frequencies of normal and abnormal breasts. None makes them equal. The two breasts
        of a woman are independent of each other.
    contrast : float, default=1.0
        Visibility of the findings, at least 0. At 0 they leave no trace in the image, and no
        classifier can do better than chance on unseen women; at 1 most are obvious.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same images in every call.

    Returns
    -------
    Bunch
        The images are sorted by woman, right breast first.

        images : ndarray of uint8 of shape (n_images, height, width)
            The images. The chest wall is at the right border for a right breast and at the left
            border for a left breast; the background is nearly black.
        target : ndarray of int of shape (n_images,)
            0 normal, 1 abnormal, as in `load_mini_mias`.
        target_names : list of str
            ``["normal", "abnormal"]``.
        groups : ndarray of int of shape (n_images,)
            The synthetic woman. Images with the same number must be on the same side of every
            split.
        masks : ndarray of bool of shape (n_images, height, width)
            True inside the mass or the outline of the cluster; False everywhere for a normal
            image.
        pectoral_masks : ndarray of bool of shape (n_images, height, width)
            True inside the pectoral muscle.
        frame : DataFrame of n_images rows
            ``side`` (right or left), ``class`` (NORM, CIRC, SPIC, CALC), ``abnormality``,
            ``group``, and ``lesion_area`` (of the mask, in pixels).
        DESCR : str
            Description and known pitfalls.

    Raises
    ------
    ValueError
        If a parameter is invalid.

    See Also
    --------
    make_breast_ultrasound : Synthetic breast ultrasound images.
    load_mini_mias : The real images that these imitate.
    load_masked : Mask images to their findings.

    Notes
    -----
    An image depends only on `random_state`, its woman and its side: the first images are the same
    for any `n_images`, and two calls that differ in `contrast` show the same breasts.

    Fibroglandular texture roughly follows a power law of frequency, as measured on mammograms [1]_;
    strands radiate from the nipple. Findings add to the exposure before the film saturates, so
    dense tissue hides them.

    At a contrast of 1, findings stand out by their brightness, which `IntensityStatistics` and
    `GLCM` measure. HOG with large cells and LBP over the whole image respond little to findings
    that are small and lie anywhere.

    The images do not depend on OpenCV, whose results differ from version to version. Other versions
    of NumPy and SciPy can move a few pixels in a million by one gray level.

    References
    ----------
    .. [1] Burgess AE, Jacobson FL, Judy PF. Human observer detection experiments with mammograms
       and power-law noise. Medical Physics 28 (2001) 419-437.

    Examples
    --------
    >>> from featbus.datasets import make_mammograms
    >>> mammograms = make_mammograms(n_images=8, random_state=0)
    >>> mammograms.images.shape, mammograms.images.dtype
    ((8, 256, 192), dtype('uint8'))
    >>> mammograms.frame["side"].tolist()[:4]
    ['right', 'left', 'right', 'left']
    >>> mammograms.target
    array([0, 0, 1, 0, 0, 1, 1, 1])
    >>> mammograms.frame["class"].tolist()[:4]
    ['NORM', 'NORM', 'SPIC', 'NORM']
    """
    shares = _check_shares(locals(), len(_ABNORMALITIES))
    groups, sides = np.divmod(np.arange(n_images), 2)
    # The breasts of a woman are independent: none, one or both are abnormal.
    pairs = _fill_quotas(np.outer(shares, shares).ravel(), groups[-1] + 1)[groups]
    target = np.where(sides, pairs // 2, pairs % 2)
    findings = np.where(target, _FINDINGS[np.cumsum(target) % len(_FINDINGS)], "NORM")
    drawn = _draw_all(
        _draw_mammogram, findings, groups, sides, as_pair(image_shape), contrast, random_state
    )
    images, masks, pectoral_masks = (
        np.where(sides[:, np.newaxis, np.newaxis], part, part[:, :, ::-1]) for part in drawn
    )
    frame = pd.DataFrame({"side": np.where(sides, "left", "right"), "class": findings})
    frame = frame.assign(abnormality=np.take(_ABNORMALITIES, target), group=groups)
    frame["lesion_area"] = masks.sum(axis=(1, 2))
    fields = {"pectoral_masks": pectoral_masks, "DESCR": read_descr("mammograms.rst")}
    return as_bunch(images, masks, frame, _ABNORMALITIES, target="abnormality", **fields)
