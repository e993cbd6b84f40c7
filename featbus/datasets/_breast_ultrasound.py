"""Synthetic breast ultrasound images."""

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

__all__ = ["make_breast_ultrasound"]

# Names and order are those of `load_busi`.
_DIAGNOSES = ["benign", "malignant", "normal"]

# Correlation lengths (axial, lateral), in image heights, of the structures seen in breast tissue.
_TISSUE_TEXTURES = {
    "septum": (0.035, 0.13),
    "patch": (0.025, 0.08),
    "streak": (0.007, 0.03),
    "clump": (0.03, 0.05),
    "fiber": (0.008, 0.16),
    "fascia": (0.018, 0.11),
    "lobule": (0.03, 0.09),
}

# Power of the electronic noise, where 1 is the brightest echo: -58 dB.
_NOISE_FLOOR = 10**-5.8


def _draw_patient(rng, diagnosis):
    """Draw the properties shared by the images of a patient; lengths in image heights, levels dB.

    `skin`, `fat` and `gland` are thicknesses, `slope` and `wave` bend the layers, `softness` blurs
    the border of the muscle. `septum` to `lobule` are the strengths of the tissue's structures.
    `gain`, `loss` (with depth), `contact` (shadows from the skin) and `lateral` (blur) describe the
    scan.
    """
    patient = SimpleNamespace(
        skin=rng.uniform(0.015, 0.05),
        fat=rng.uniform(0.14, 0.32),
        gland=rng.uniform(0.32, 0.45),
        slope=rng.normal(0, 0.07),
        wave=rng.uniform(0.01, 0.035),
        softness=rng.uniform(0.006, 0.04),
        skin_level=rng.uniform(-30, -16),
        fat_level=rng.uniform(-45, -39),
        gland_level=rng.uniform(-31, -26),
        muscle_level=rng.uniform(-46, -40),
        septum=rng.uniform(8, 18),
        fascia=rng.uniform(8, 18),
        grain=rng.uniform(2, 6),
        streak=rng.uniform(1.5, 3.5),
        clump=rng.uniform(1, 4),
        lobule=rng.uniform(0, 10),
        gain=rng.uniform(-3, 3),
        loss=rng.uniform(6, 26),
        contact=rng.uniform(0, 12),
        lateral=rng.uniform(0.9, 1.6),
        lesion=None,
    )
    if diagnosis != "normal":
        patient.lesion = _draw_lesion(rng, malignant=diagnosis == "malignant")
    return patient


def _draw_lesion(rng, malignant):
    """Draw the properties of a lesion. Size and darkness do not depend on malignancy.

    `shadow` is the attenuation of the sound that crosses the lesion, in dB; negative: enhancement.
    """
    lesion = SimpleNamespace(
        radius=rng.uniform(0.14, 0.24),
        depth=rng.random(),
        offset=rng.uniform(-1, 1),
        darkness=rng.uniform(17, 25),
        tilt=rng.normal(0, 0.15),
        phases=rng.uniform(-np.pi, np.pi, 12),
        ripples=rng.standard_normal(12),
    )
    order = np.arange(2, 14)
    if malignant:
        lesion.aspect = np.clip(rng.normal(1.15, 0.15), 0.8, 1.6)
        lesion.ripples *= rng.uniform(0.12, 0.4) * order**-0.9
        lesion.fray, lesion.margin = rng.uniform(0.05, 0.15), rng.uniform(0.12, 0.25)
        lesion.capsule, lesion.halo, lesion.coarseness = 0.0, 4.0, 3.0
        lesion.shadow = rng.uniform(4, 20)
    else:
        lesion.aspect = np.clip(rng.normal(0.62, 0.1), 0.4, 0.95)
        lesion.ripples *= rng.uniform(0.06, 0.16) * order**-1.7
        lesion.fray, lesion.margin = 0.01, rng.uniform(0.04, 0.08)
        lesion.capsule, lesion.halo, lesion.coarseness = 11.0, 0.0, 1.0
        lesion.shadow = rng.uniform(-11, 0)
    return lesion


def _tissue_textures(rng, shape, depth):
    """Draw textures that follow the surfaces of equal anatomical depth."""
    rows = depth * shape[0] - 0.5
    columns = np.broadcast_to(np.arange(shape[1]), shape)
    textures = {
        name: draw.sample(draw.smooth_noise(rng, shape, scale), rows, columns)
        for name, scale in _TISSUE_TEXTURES.items()
    }
    return SimpleNamespace(**textures)


def _facing(field):
    """Return how horizontal the level lines of a field are: 1 if horizontal, 0 if vertical."""
    g_y, g_x = np.gradient(field)
    return g_y**2 / (g_y**2 + g_x**2 + 1e-9)


def _reflectors(field, width):
    """Draw interfaces along the zeros of a field, brighter the more they face the transducer."""
    return draw.threads(field, width) * _facing(field) ** 2


def _tissue(patient, rng, shape):
    """Return echo level (dB) and attenuation (dB per image height) of the lesion-free breast."""
    y, x = draw.grid(shape)
    x = x - x.mean()
    bumps = draw.smooth_noise(rng, shape, (0.25, 0.22)) * np.minimum(1, 4 * y)
    depth = y + (patient.slope + rng.normal(0, 0.03)) * x + patient.wave * bumps
    t = _tissue_textures(rng, shape, depth)
    pixel = shape[0] / 192
    gloss = expit(2 * t.patch)
    fascia = patient.fascia * _reflectors(t.fascia, 1.2 * pixel)

    fat = patient.fat_level + t.streak + 0.4 * patient.grain * np.maximum(t.fiber - 0.6, 0)
    fat += patient.septum * _reflectors(t.septum, pixel) * gloss
    gland = patient.gland_level + patient.streak * t.streak + patient.clump * t.clump
    gland += 0.8 * fascia * gloss - patient.lobule * expit(5 * (t.lobule - 1))
    gland += patient.grain * (np.maximum(t.fiber - 0.3, 0) + np.maximum(t.fascia - 0.8, 0))
    muscle = patient.muscle_level + t.streak + 2.5 * t.patch + 1.1 * fascia * gloss
    muscle += 1.7 * patient.grain * np.maximum(t.fiber - 0.5, 0) * gloss

    ragged = depth + 0.02 * t.clump + 0.012 * t.patch
    below_fat = expit((ragged - patient.fat - rng.normal(0, 0.015)) / 0.008)
    below_gland = expit((ragged - patient.fat - patient.gland) / patient.softness)
    echo = fat + below_fat * (gland - fat + below_gland * (muscle - gland))
    skin = patient.skin_level - 4 * y / patient.skin + 5 * np.cos(3 * np.pi * y / patient.skin)
    echo = np.where(y < patient.skin, skin + 2 * t.streak + 2 * t.clump, echo)

    poor_contact = np.logaddexp(0, 4 * draw.smooth_noise(rng, shape, (1, 0.05))[:1] - 4.8)
    attenuation = patient.contact / 2 * poor_contact * np.exp(-3 * y)
    attenuation = attenuation + 1.5 * patient.loss * np.maximum(y - 0.3, 0)
    return echo, attenuation, t


def _lesion_distance(patient, rng, shape, texture):
    """Return the distance from the center of the lesion, 1 on its outline, and its height."""
    lesion = patient.lesion
    y, x = draw.grid(shape)
    room = shape[1] / shape[0]
    radius = min(1, room) * lesion.radius * np.exp(rng.normal(0, 0.08))
    stretch = np.sqrt(lesion.aspect * np.exp(rng.normal(0, 0.06)))
    radii = radius * stretch, radius / stretch
    top = max(1.1 * radii[0] + 0.06, patient.fat + 0.3 * radii[0])
    bottom = max(top, min(0.8 - radii[0], patient.fat + patient.gland))
    center_y = top + (bottom - top) * np.clip(lesion.depth + rng.normal(0, 0.1), 0, 1)
    offset = np.clip(lesion.offset + rng.normal(0, 0.3), -1, 1)
    center_x = room / 2 + 0.35 * offset * max(room / 2 - 1.15 * radii[1], 0)
    tilt = lesion.tilt + rng.normal(0, 0.1)
    distance, angle = draw.ellipse_coordinates(y, x, (center_y, center_x), radii, tilt)
    phases = lesion.phases + rng.normal(0, 0.3, len(lesion.phases))
    distance /= draw.outline_radius(angle, lesion.ripples, phases)
    frayed = lesion.fray * (texture.clump + 0.5 * texture.streak) * np.minimum(distance, 1)
    return distance + frayed, 2 * radii[0]


def _add_lesion(echo, attenuation, patient, rng, texture, contrast):
    """Add the lesion to echo and attenuation; return both, and the mask of the lesion."""
    lesion = patient.lesion
    distance, thickness = _lesion_distance(patient, rng, echo.shape, texture)
    inside = expit((1 - distance) / lesion.margin)
    ring = np.exp(-(((distance - 1.02) / 0.05) ** 2))
    facing = _facing(distance)

    replaced = min(contrast, 1) * inside
    tissue = patient.gland_level + lesion.coarseness * texture.clump + 0.8 * texture.streak
    change = lesion.capsule * ring * facing**2 - lesion.darkness * inside
    change += lesion.halo * np.exp(-(((distance - 1.25) / 0.2) ** 2))
    echo = echo + replaced * (tissue - echo) + contrast * change
    # More or less attenuation than the surroundings shows below the lesion: shadow or enhancement.
    # Refraction at the sides of a smooth capsule causes narrow shadows at its edges.
    edges = 0.5 * lesion.capsule * ring * (1 - facing) ** 4
    attenuation = attenuation + contrast / thickness * (lesion.shadow * inside + edges)
    return echo, attenuation, distance < 1


def _scan(echo, attenuation, patient, rng):
    """Convert echo levels (dB) to a log-compressed image with speckle, uint8.

    Speckle is white complex noise, scaled by the echo level and blurred by the point spread
    function; six looks are averaged, as in spatial compounding.
    """
    height = echo.shape[0]
    level = echo + patient.gain - np.cumsum(attenuation, axis=0) / height
    amplitude = (10 ** (level / 20)).astype(np.float32)
    looks = rng.standard_normal((*echo.shape, 12), dtype=np.float32) * amplitude[..., np.newaxis]
    sigma = height / 240
    position = np.arange(-np.ceil(5 * sigma), np.ceil(5 * sigma) + 1)
    for axis, width in enumerate((sigma, patient.lateral * sigma)):
        kernel = np.exp(-((position / width) ** 2) / 2)
        kernel /= np.sqrt(np.sum(kernel**2))  # keeps the power
        looks = ndimage.correlate1d(looks, kernel, axis=axis, mode="mirror")
    power = np.mean(looks**2, axis=2)
    power += _NOISE_FLOOR * rng.exponential(size=echo.shape)
    display = np.clip((10 * np.log10(power) + 56) / 55, 0, 1)
    return np.round(255 * display).astype(np.uint8)


def _ultrasound_image(patient, rng, shape, contrast):
    """Return the image and the lesion mask of one view of a patient."""
    echo, attenuation, texture = _tissue(patient, rng, shape)
    mask = np.zeros(shape, dtype=bool)
    if patient.lesion is not None:
        echo, attenuation, mask = _add_lesion(echo, attenuation, patient, rng, texture, contrast)
    return _scan(echo, attenuation, patient, rng), mask


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
    ill-defined, often taller than wide, and casts a shadow. Anatomy, gain and
    depth, and the size and darkness of the lesion do not depend on the class.

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
            ``class``, ``group``, ``lesion_row`` and ``lesion_column`` (centroid of the mask),
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
    make_mammograms : Synthetic mammograms, both breasts of each woman.
    load_busi : The real images that these imitate.
    load_masked : Mask images to their lesions.

    Notes
    -----
    An image depends only on `random_state`, its patient and its position among the images of the
    patient: the first images are the same for any `n_images`, and two calls that differ in
    `contrast` show the same tissue.

    Speckle is the magnitude of white complex noise, scaled by the echo level and blurred by the
    point spread function [1]_; six independent looks are averaged, as in spatial compounding.
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
    shape, shares = draw.check_maker(locals(), len(_DIAGNOSES))
    generator = draw.generator_factory(random_state)

    groups, views = np.divmod(np.arange(n_images), n_images_per_patient)
    target = draw.fill_quotas(shares, groups[-1] + 1)[groups]
    diagnoses = [_DIAGNOSES[i] for i in target]
    images = np.empty((n_images, *shape), dtype=np.uint8)
    masks = np.empty((n_images, *shape), dtype=bool)
    for i, (group, view, diagnosis) in enumerate(zip(groups, views, diagnoses)):
        patient = _draw_patient(generator(group, 0), diagnosis)
        images[i], masks[i] = _ultrasound_image(
            patient, generator(group, 1 + view), shape, contrast
        )
    return Bunch(
        images=images,
        target=target,
        target_names=list(_DIAGNOSES),
        groups=groups,
        masks=masks,
        frame=pd.DataFrame({"class": diagnoses, "group": groups, **draw.lesion_columns(masks)}),
        DESCR=read_descr("breast_ultrasound.rst"),
    )
