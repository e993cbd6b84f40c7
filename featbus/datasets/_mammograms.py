"""Synthetic mammograms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.special import expit
from sklearn.utils import Bunch

from featbus.datasets import _synthetic as draw
from featbus.datasets._base import read_descr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["make_mammograms"]

# Names and order are those of `load_mini_mias`.
_ABNORMALITIES = ["normal", "abnormal"]
_FINDINGS = ["CIRC", "SPIC", "CALC"]


def _draw_woman(rng):
    """Draw the properties shared by both breasts: lengths in image heights, levels in exposure.

    `width` is in image widths, `top` is the width of the breast at the upper border relative to
    `width`, and `rim` is the distance from the skin at which the breast reaches its full thickness.
    Glandular tissue extends to `reach` from the nipple and ends more sharply the larger `focus`.
    """
    return SimpleNamespace(
        width=rng.uniform(0.5, 0.85),
        nipple=rng.uniform(0.5, 0.68),
        bottom=rng.uniform(0.88, 1.1),
        top=rng.uniform(0.35, 0.7),
        rim=rng.uniform(0.15, 0.35),
        fat=rng.uniform(0.2, 0.36),
        density=rng.random(),
        reach=rng.uniform(0.25, 0.5),
        focus=rng.uniform(6, 14),
        texture=rng.uniform(0.03, 0.08),
        lace=rng.uniform(0.02, 0.08),
        strand=rng.uniform(0.02, 0.09),
        fineness=rng.uniform(0.005, 0.012),
        muscle=rng.uniform(0.5, 0.8),
        muscle_width=rng.uniform(0.14, 0.34),
        muscle_height=rng.uniform(0.4, 0.75),
        muscle_curve=rng.uniform(0.8, 1.25),
        muscle_edge=rng.uniform(0.004, 0.012),
        gamma=rng.uniform(0.9, 1.2),
    )


def _breast_outline(woman, rng, shape):
    """Return the region of the breast, the distance to its skin line, and its nipple (y, x)."""
    y, x = draw.grid(shape)
    nipple = woman.nipple + rng.normal(0, 0.01)
    bottom = woman.bottom + rng.normal(0, 0.01)
    width = woman.width * shape[1] / shape[0] * np.exp(rng.normal(0, 0.03))
    above = np.clip((nipple - y) / nipple, 0, 1)
    below = np.clip((y - nipple) / (bottom - nipple), 0, 1)
    taper = 0.5 * np.sin(np.pi / 2 * above) ** 2 + 0.5 * above**1.4
    edge = width * np.where(y < nipple, 1 - (1 - woman.top) * taper, np.sqrt(1 - below**2.3))
    edge += 0.018 * np.exp(-(((y - nipple) / 0.018) ** 2))
    edge *= 1 + 0.012 * draw.smooth_noise(rng, shape, (0.12, 1))[:, :1]
    breast = x < edge
    return breast, _distance_inside(np.pad(breast, ((0, 0), (0, 1))))[:, :-1], (nipple, width)


def _distance_inside(region):
    """Return the distance of each pixel to the nearest pixel outside, in image heights."""
    return ndimage.distance_transform_edt(region) / region.shape[0]


def _fan(fields, distance, angle):
    """Bend fields (angle by distance, up to 1.5) so that their rows radiate from the nipple."""
    n_angles, n_distances = fields[0].shape
    rows = (angle / (2 * np.pi) + 0.5) * n_angles
    return [draw.sample(field, rows, distance / 1.5 * n_distances) for field in fields]


def _power_law_noise(rng, shape, exponent):
    """Draw noise of amplitude frequency ** -exponent above 2 cycles per image height."""
    f_y, f_x = draw.frequencies(shape)
    return draw.filtered_noise(rng, shape, (f_y**2 + f_x**2 + 4) ** (-exponent / 2))


def _parenchyma(woman, rng, shape, skin_distance, nipple):
    """Return the exposure of fat and fibroglandular tissue of thickness 1, and its texture."""
    y, x = draw.grid(shape)
    distance = np.hypot(nipple[1] - x, y - nipple[0])
    meander = draw.smooth_noise(rng, shape, (0.05, 0.05))
    meander += 0.35 * draw.smooth_noise(rng, shape, (0.02, 0.02))
    angle = np.arctan2(y - nipple[0], nipple[1] - x) + 0.085 * meander
    scales = (woman.fineness, 0.1), (2.2 * woman.fineness, 0.2), (0.03, 0.12)
    fields = [draw.smooth_noise(rng, (shape[0], shape[0]), scale) for scale in scales]
    fine, coarse, lobes = _fan(fields, distance, angle)
    texture = _power_law_noise(rng, shape, 1.8)
    clumps = draw.smooth_noise(rng, shape, (0.05, 0.05))

    gland = 3 * (woman.density - 0.5) + 0.7 * texture + lobes
    gland += 1.2 * draw.smooth_noise(rng, shape, (0.12, 0.12))
    gland -= woman.focus * (distance - woman.reach) + np.abs(y - nipple[0] - 0.02) / 0.15
    gland = expit(gland) * expit((skin_distance - 0.03 - 0.02 * lobes) / 0.012)

    pixel = shape[0] / 256
    lace = draw.threads(draw.smooth_noise(rng, shape, (0.022, 0.022)), pixel) * expit(2 * lobes)
    strands = draw.threads(fine, pixel) + 0.8 * draw.threads(coarse, 1.3 * pixel)
    strands *= expit(2 * lobes) * (1 - 0.8 * np.exp(-distance / 0.05))
    exposure = 0.1 + 0.16 * woman.density + woman.texture * (texture + 0.5 * coarse + 0.5 * clumps)
    exposure = gland * (exposure + 0.05 * lobes + woman.lace * lace)
    return exposure + woman.strand * strands * (0.25 + gland), texture


def _pectoral_muscle(woman, rng, shape, texture):
    """Return the coverage of each pixel by the muscle, its region and its exposure."""
    y, x = draw.grid(shape)
    width = woman.muscle_width * min(1, shape[1] / shape[0] / 0.75) + rng.normal(0, 0.015)
    height = woman.muscle_height + rng.normal(0, 0.02)
    edge = width * np.clip(1 - y / height, 0, 1) ** woman.muscle_curve
    cover = expit((edge - x) / woman.muscle_edge) * expit((height - y) / 0.02)
    exposure = woman.muscle * (1 - 0.35 * y / height) - 0.08 * np.exp(-np.abs(edge - x) / 0.05)
    exposure += 0.02 * texture + 0.015 * draw.smooth_noise(rng, shape, (0.1, 0.02))
    return cover, x < edge, exposure


def _place_finding(rng, allowed):
    """Draw a radius and a center such that the finding is in the allowed region."""
    clearance = _distance_inside(np.pad(allowed, 1))[1:-1, 1:-1]
    radius = min(rng.uniform(0.06, 0.11), 0.8 * clearance.max())
    candidates = np.argwhere(clearance >= radius)
    row, column = candidates[rng.integers(len(candidates))]
    return radius, ((row + 0.5) / len(allowed), (column + 0.5) / len(allowed))


def _finding(rng, allowed, kind):
    """Return the additional exposure of a finding, and its mask."""
    radius, center = _place_finding(rng, allowed)
    y, x = draw.grid(allowed.shape)
    stretch = rng.uniform(0.85, 1.2)
    radii = radius * stretch, radius / stretch
    distance, angle = draw.ellipse_coordinates(y, x, center, radii, rng.uniform(0, np.pi))
    roughness = {"CIRC": 0.03, "SPIC": 0.12, "CALC": 0.05}[kind]
    ripples = roughness * rng.standard_normal(8) * np.arange(2, 10) ** -0.6
    distance = distance / draw.outline_radius(angle, ripples, rng.uniform(-np.pi, np.pi, 8))
    brightness = rng.uniform(0.4, 0.6)
    if kind == "CIRC":
        added = brightness * np.maximum(1 - distance**2, 0) ** 0.5
    elif kind == "SPIC":
        spicules = _spicules(rng, distance, angle, 0.005 / radius)
        added = brightness * (np.exp(-((distance / 0.8) ** 2)) + 0.2 * spicules)
    else:
        added = _calcifications(rng, y, x, center, radius)
    return added, distance < 1


def _spicules(rng, distance, angle, width, n_spicules=18):
    """Draw straight threads, 0..1, that radiate from a mass of radius 1."""
    distance, angle = distance[..., np.newaxis], angle[..., np.newaxis]
    direction = rng.uniform(-np.pi, np.pi, n_spicules)
    reach = rng.uniform(1.2, 2.6, n_spicules)
    turn = np.abs((angle - direction + np.pi) % (2 * np.pi) - np.pi)
    threads = np.exp(-((turn * distance / width) ** 2) - (distance / reach) ** 4)
    return np.max(threads, axis=2) * (distance[..., 0] > 0.3)


def _calcifications(rng, y, x, center, radius):
    """Return the exposure of a cluster of small bright specks."""
    n_specks = rng.integers(18, 36)
    offsets = np.clip(rng.normal(0, 0.4, (2, n_specks)), -0.8, 0.8)
    rows, columns = np.reshape(center, (2, 1)) + radius * offsets
    distance_2 = (y[..., np.newaxis] - rows) ** 2 + (x[..., np.newaxis] - columns) ** 2
    specks = rng.uniform(0.5, 1, n_specks) * np.exp(-distance_2 / (2 * 0.0025**2))
    return specks.max(axis=2)


def _expose(exposure, woman, rng):
    """Convert exposure to the gray levels of a digitized film, uint8."""
    blurred = ndimage.gaussian_filter(exposure, 0.0024 * len(exposure), mode="mirror")
    film = 1.15 * (1 - np.exp(-1.5 * np.maximum(blurred, 0) ** woman.gamma))
    film += 0.02 + 0.006 * rng.standard_normal(film.shape)
    return np.round(255 * np.clip(film, 0, 1)).astype(np.uint8)


def _mammogram(woman, rng, shape, finding, contrast):
    """Return image, mask and pectoral mask of one breast with the chest wall on the left."""
    breast, skin_distance, nipple = _breast_outline(woman, rng, shape)
    thickness = np.sqrt(1 - np.maximum(1 - skin_distance / woman.rim, 0) ** 2)
    gland, texture = _parenchyma(woman, rng, shape, skin_distance, nipple)
    exposure = woman.fat * thickness**1.2 * (1 + 0.07 * texture) + thickness * gland
    exposure += 0.04 * np.exp(-(((skin_distance - 0.006) / 0.005) ** 2))
    cover, muscle, level = _pectoral_muscle(woman, rng, shape, texture)
    exposure += np.maximum(cover * (level * np.sqrt(thickness) - exposure), 0)
    muscle &= breast

    mask = np.zeros(shape, dtype=bool)
    if finding != "NORM":
        added, mask = _finding(rng, breast & ~muscle, finding)
        mask &= breast
        exposure += contrast * added * np.minimum(1, 1.2 * thickness)
    return _expose(np.where(breast, exposure, 0), woman, rng), mask, muscle


def _draw_sides(shares, n_images):
    """Return woman, side (0 right, 1 left) and abnormality (0, 1) of each image.

    The breasts of a woman are independent: none, one or both are abnormal, in the proportions of
    two draws with these shares.
    """
    groups, side = np.divmod(np.arange(n_images), 2)
    pairs = draw.fill_quotas(np.outer(shares, shares).ravel(), groups[-1] + 1)[groups]
    return groups, side, np.where(side, pairs // 2, pairs % 2)


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
            ``group``, ``lesion_row`` and ``lesion_column`` (centroid of the mask),
            ``lesion_height`` and ``lesion_width`` (of its bounding box), in pixels and NaN for a
            normal image, and ``lesion_area`` in pixels.
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

    Fibroglandular texture follows a power law of frequency, as measured on mammograms [1]_;
    strands radiate from the nipple. Findings add to the exposure before the film saturates, so
    dense tissue hides them.

    At a contrast of 1, findings stand out by their brightness, which `IntensityStatistics` and
    `GLCM` measure. HOG with large cells and LBP
    over the whole image hardly respond to findings that are small and lie anywhere.

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
    ['NORM', 'NORM', 'CALC', 'NORM']
    """
    shape, shares = draw.check_maker(locals(), len(_ABNORMALITIES))
    generator = draw.generator_factory(random_state)

    groups, side, target = _draw_sides(shares, n_images)
    images = np.empty((n_images, *shape), dtype=np.uint8)
    masks = np.empty((n_images, *shape), dtype=bool)
    pectoral_masks = np.empty((n_images, *shape), dtype=bool)
    classes = []
    for i, group in enumerate(groups):
        woman, rng = _draw_woman(generator(group, 0)), generator(group, 1 + side[i])
        finding = _FINDINGS[rng.integers(len(_FINDINGS))]
        classes.append(finding if target[i] else "NORM")
        pictures = _mammogram(woman, rng, shape, classes[-1], contrast)
        if side[i] == 0:
            pictures = [picture[:, ::-1] for picture in pictures]
        images[i], masks[i], pectoral_masks[i] = pictures
    return Bunch(
        images=images,
        target=target,
        target_names=list(_ABNORMALITIES),
        groups=groups,
        masks=masks,
        pectoral_masks=pectoral_masks,
        frame=pd.DataFrame(
            {
                "side": np.where(side, "left", "right"),
                "class": classes,
                "abnormality": [_ABNORMALITIES[i] for i in target],
                "group": groups,
                **draw.lesion_columns(masks),
            }
        ),
        DESCR=read_descr("mammograms.rst"),
    )
