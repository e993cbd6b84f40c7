"""Synthetic breast ultrasound and mammograms: seeded, offline, of a difficulty one can set."""

import math
from numbers import Integral, Real
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
from scipy import fft
from scipy.special import expit
from sklearn.utils import Bunch, check_random_state, check_scalar

__all__ = ["make_breast_ultrasound", "make_mammograms"]

# Names and order of the classes are those of `load_busi` and `load_mini_mias`.
_DIAGNOSES = ["benign", "malignant", "normal"]
_ABNORMALITIES = ["normal", "abnormal"]
_FINDINGS = ["CIRC", "SPIC", "CALC"]

# Correlation lengths (axial, lateral), in image heights, of the structures seen in breast tissue.
_TISSUE_TEXTURES = {
    "septum": (0.035, 0.13),
    "patch": (0.025, 0.08),
    "streak": (0.007, 0.03),
    "clump": (0.03, 0.05),
    "fibre": (0.008, 0.16),
    "fascia": (0.018, 0.11),
    "lobule": (0.03, 0.09),
}

# Power of the electronic noise, where 1 is the brightest echo: -58 dB.
_NOISE_FLOOR = 10**-5.8

_ULTRASOUND_DESCR = """\
Synthetic breast ultrasound
---------------------------

B-mode images drawn from a model of the anatomy (skin, subcutaneous fat, glandular tissue,
muscle), of the lesion and of the scanner (attenuation, speckle, log compression). No patient's
data took part. `contrast` says how visible the lesions are; at 0 they leave no trace.

Images of one group share a patient: her tissue, the scanner's settings and the character of the
lesion. Split by `groups`. The shape of a mask tells benign from malignant at any contrast.
"""

_MAMMOGRAM_DESCR = """\
Synthetic mammograms
--------------------

Mediolateral oblique views drawn from a model of the breast (outline, fat, fibroglandular tissue,
pectoral muscle), of the finding and of the film. No patient's data took part. `contrast` says
how visible the findings are; at 0 they leave no trace.

The two images of one group are the right and the left breast of one woman and look alike. Split
by `groups`.
"""


def _check_common(n_images, image_shape, contrast):
    """Check the parameters that both makers have and return the shape as a tuple of int."""
    check_scalar(n_images, "n_images", Integral, min_val=1)
    check_scalar(contrast, "contrast", Real, min_val=0)
    if not np.isfinite(contrast):
        raise ValueError(f"contrast={contrast}, expected a finite number of at least 0.")
    shape = np.asarray(image_shape)
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or shape.min() < 32:
        raise ValueError(
            f"image_shape={image_shape!r}, expected (height, width), two integers of at least 32."
        )
    return tuple(shape.tolist())


def _check_weights(weights, class_names):
    """Return the proportions of the classes, which sum to 1."""
    if weights is None:
        return np.full(len(class_names), 1 / len(class_names))
    weights = np.asarray(weights, dtype=float)
    valid = weights.shape == (len(class_names),) and np.isfinite(weights).all()
    if not valid or weights.min() < 0 or weights.sum() == 0:
        raise ValueError(
            f"weights={weights.tolist()}, expected one non-negative number for each of "
            f"{', '.join(class_names)}, at least one of them positive."
        )
    return weights / weights.sum()


def _generator_factory(random_state):
    """Return a function (group, view) -> Generator, so that no image depends on another one.

    View 0 is the patient herself. The key always has three parts: NumPy pads a shorter key with
    zeros, which would make the streams of a patient and of her first image one and the same.
    """
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)
    return lambda group, view: np.random.default_rng((seed, group, view))


def _fill_quotas(shares, n):
    """Return n class indices, at each place the class that lags most behind its share.

    Unlike a shuffle of exact counts, the first k do not depend on n. Rounding keeps ties ties.
    """
    counts = np.zeros(len(shares))
    chosen = np.empty(n, dtype=np.intp)
    for i in range(n):
        chosen[i] = np.argmax(np.round(shares * (i + 1) - counts, 9))
        counts[chosen[i]] += 1
    return chosen


def _grid(shape):
    """Coordinates of the pixels' centres in image heights; x is 0 at the left border."""
    height, width = shape
    y = (np.arange(height, dtype=np.float32)[:, np.newaxis] + 0.5) / height
    x = (np.arange(width, dtype=np.float32)[np.newaxis] + 0.5) / height
    return y, x


def _filtered_noise(rng, shape, transfer):
    """White noise through a filter given at the frequencies of `rfft2`; mean 0, variance 1."""
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32)) * transfer
    spectrum[0, 0] = 0
    noise = fft.irfft2(spectrum, s=shape)
    return (noise / noise.std()).astype(np.float32)


def _frequencies(shape):
    """Frequencies of `rfft2` along y and x, in cycles per image height."""
    height, width = shape
    f_y = fft.fftfreq(height, 1 / height)[:, np.newaxis].astype(np.float32)
    f_x = fft.rfftfreq(width, 1 / height)[np.newaxis].astype(np.float32)
    return f_y, f_x


def _smooth_noise(rng, shape, scale):
    """Noise blurred by a Gaussian of standard deviations `scale` (y, x), in image heights."""
    f_y, f_x = _frequencies(shape)
    decay = -2 * np.pi**2
    transfer = np.exp(decay * (scale[0] * f_y) ** 2) * np.exp(decay * (scale[1] * f_x) ** 2)
    return _filtered_noise(rng, shape, transfer)


def _power_law_noise(rng, shape, exponent):
    """Noise whose amplitude falls as frequency ** -exponent above 2 cycles per image height."""
    f_y, f_x = _frequencies(shape)
    return _filtered_noise(rng, shape, (f_y**2 + f_x**2 + 4) ** (-exponent / 2))


def _threads(field, width):
    """Thin bright curves, 0..1, along the zeros of a smooth field; the width in pixels."""
    g_y, g_x = np.gradient(field)
    steepness = g_y**2 + g_x**2
    # Distance to the zero, to first order; the floor keeps flat places from becoming blots.
    distance_2 = field**2 / (steepness + 0.003 * steepness.mean())
    return np.exp(-distance_2 / (2 * width**2))


def _facing(field):
    """How much the level lines of a field face up or down: 1 where level, 0 where upright."""
    g_y, g_x = np.gradient(field)
    return g_y**2 / (g_y**2 + g_x**2 + 1e-9)


def _sample(field, rows, columns):
    """Values of a periodic field at fractional positions."""
    columns, rows = columns.astype(np.float32), rows.astype(np.float32)
    return cv2.remap(field, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def _outline_radius(angle, amplitudes, phases):
    """Radius at each angle of a circle of radius 1 with ripples of order 2, 3, ..."""
    order = np.arange(2, 2 + len(amplitudes))[:, np.newaxis]
    table = np.linspace(-np.pi, np.pi, 361)
    ripples = amplitudes[:, np.newaxis] * np.cos(order * table + phases[:, np.newaxis])
    radius = np.clip(1 + ripples.sum(axis=0), 0.5, 1.6)
    radius /= np.sqrt(np.mean(radius**2))
    return np.interp(angle, table, radius).astype(np.float32)


def _ellipse_coordinates(y, x, centre, radii, tilt):
    """Distance from the centre (1 on the ellipse) and angle in the frame of a tilted ellipse."""
    along = (x - centre[1]) * np.cos(tilt) + (y - centre[0]) * np.sin(tilt)
    across = (y - centre[0]) * np.cos(tilt) - (x - centre[1]) * np.sin(tilt)
    u, v = along / radii[1], across / radii[0]
    return np.hypot(u, v), np.arctan2(v, u)


def _lesion_columns(masks):
    """Describe the region of each mask; all but the area is NaN where there is none."""
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


def _draw_patient(rng, diagnosis):
    """Draw what the images of one patient share: lengths in image heights, levels in dB.

    `skin`, `fat` and `gland` are thicknesses, `slope` and `wave` bend the layers, `softness` blurs
    the border of the muscle. `septum` to `lobule` are the strengths of the tissue's structures.
    `gain`, `loss` (with depth), `contact` (shadows from the skin) and `lateral` (blur) belong to
    the scan.
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
    """Draw the character of a lesion. Size and darkness do not depend on malignancy.

    `shadow` is what the lesion takes from the sound that crosses it, in dB; negative: enhancement.
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
    """Draw the textures and lay them along the surfaces of equal anatomical depth."""
    rows = depth * shape[0] - 0.5
    columns = np.broadcast_to(np.arange(shape[1]), shape)
    textures = {
        name: _sample(_smooth_noise(rng, shape, scale), rows, columns)
        for name, scale in _TISSUE_TEXTURES.items()
    }
    return SimpleNamespace(**textures)


def _reflectors(field, width):
    """Interfaces along the zeros of a field, as bright as they face the transducer."""
    return _threads(field, width) * _facing(field) ** 2


def _tissue(patient, rng, shape):
    """Return echo level (dB) and attenuation (dB per image height) of the lesion-free breast."""
    y, x = _grid(shape)
    x = x - x.mean()
    bumps = _smooth_noise(rng, shape, (0.25, 0.22)) * np.minimum(1, 4 * y)
    depth = y + (patient.slope + rng.normal(0, 0.03)) * x + patient.wave * bumps
    t = _tissue_textures(rng, shape, depth)
    pixel = shape[0] / 192
    gloss = expit(2 * t.patch)
    fascia = patient.fascia * _reflectors(t.fascia, 1.2 * pixel)

    fat = patient.fat_level + t.streak + 0.4 * patient.grain * np.maximum(t.fibre - 0.6, 0)
    fat += patient.septum * _reflectors(t.septum, pixel) * gloss
    gland = patient.gland_level + patient.streak * t.streak + patient.clump * t.clump
    gland += 0.8 * fascia * gloss - patient.lobule * expit(5 * (t.lobule - 1))
    gland += patient.grain * (np.maximum(t.fibre - 0.3, 0) + np.maximum(t.fascia - 0.8, 0))
    muscle = patient.muscle_level + t.streak + 2.5 * t.patch + 1.1 * fascia * gloss
    muscle += 1.7 * patient.grain * np.maximum(t.fibre - 0.5, 0) * gloss

    ragged = depth + 0.02 * t.clump + 0.012 * t.patch
    below_fat = expit((ragged - patient.fat - rng.normal(0, 0.015)) / 0.008)
    below_gland = expit((ragged - patient.fat - patient.gland) / patient.softness)
    echo = fat + below_fat * (gland - fat + below_gland * (muscle - gland))
    skin = patient.skin_level - 4 * y / patient.skin + 5 * np.cos(3 * np.pi * y / patient.skin)
    echo = np.where(y < patient.skin, skin + 2 * t.streak + 2 * t.clump, echo)

    poor_contact = np.logaddexp(0, 4 * _smooth_noise(rng, shape, (1, 0.05))[:1] - 4.8)
    attenuation = patient.contact / 2 * poor_contact * np.exp(-3 * y)
    attenuation = attenuation + 1.5 * patient.loss * np.maximum(y - 0.3, 0)
    return echo, attenuation, t


def _lesion_distance(patient, rng, shape, texture):
    """Distance from the lesion's centre, 1 on its outline, and the lesion's height."""
    lesion = patient.lesion
    y, x = _grid(shape)
    room = shape[1] / shape[0]
    radius = min(1, room) * lesion.radius * np.exp(rng.normal(0, 0.08))
    stretch = np.sqrt(lesion.aspect * np.exp(rng.normal(0, 0.06)))
    radii = radius * stretch, radius / stretch
    top = max(1.1 * radii[0] + 0.06, patient.fat + 0.3 * radii[0])
    bottom = max(top, min(0.8 - radii[0], patient.fat + patient.gland))
    centre_y = top + (bottom - top) * np.clip(lesion.depth + rng.normal(0, 0.1), 0, 1)
    offset = np.clip(lesion.offset + rng.normal(0, 0.3), -1, 1)
    centre_x = room / 2 + 0.35 * offset * max(room / 2 - 1.15 * radii[1], 0)
    tilt = lesion.tilt + rng.normal(0, 0.1)
    distance, angle = _ellipse_coordinates(y, x, (centre_y, centre_x), radii, tilt)
    phases = lesion.phases + rng.normal(0, 0.3, len(lesion.phases))
    distance /= _outline_radius(angle, lesion.ripples, phases)
    frayed = lesion.fray * (texture.clump + 0.5 * texture.streak) * np.minimum(distance, 1)
    return distance + frayed, 2 * radii[0]


def _add_lesion(echo, attenuation, patient, rng, texture, contrast):
    """Return echo and attenuation with the lesion in them, and the lesion's mask."""
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
    # What a lesion takes from the beam, or spares it, appears below: shadow or enhancement.
    # Sound refracted at the sides of a smooth capsule leaves narrow shadows at its edges.
    edges = 0.5 * lesion.capsule * ring * (1 - facing) ** 4
    attenuation = attenuation + contrast / thickness * (lesion.shadow * inside + edges)
    return echo, attenuation, distance < 1


def _scan(echo, attenuation, patient, rng):
    """Turn echo levels (dB) into a log-compressed image with speckle, uint8.

    Speckle is white complex noise, as loud as the tissue, seen through the point spread function;
    six looks are averaged as in spatial compounding.
    """
    height = echo.shape[0]
    level = echo + patient.gain - np.cumsum(attenuation, axis=0) / height
    amplitude = (10 ** (level / 20)).astype(np.float32)
    looks = rng.standard_normal((*echo.shape, 12), dtype=np.float32) * amplitude[..., np.newaxis]
    sigma = height / 240
    size = 2 * math.ceil(5 * sigma) + 1
    axial = cv2.getGaussianKernel(size, sigma)
    lateral = cv2.getGaussianKernel(size, patient.lateral * sigma)
    looks = cv2.sepFilter2D(looks, -1, lateral, axial)
    power = np.mean(looks**2, axis=2) / (np.sum(axial**2) * np.sum(lateral**2))
    power += _NOISE_FLOOR * rng.exponential(size=echo.shape)
    display = np.clip((10 * np.log10(power) + 56) / 55, 0, 1)
    return np.round(255 * display).astype(np.uint8)


def _ultrasound_image(patient, rng, shape, contrast):
    """Image and lesion mask of one view of a patient."""
    echo, attenuation, texture = _tissue(patient, rng, shape)
    mask = np.zeros(shape, dtype=bool)
    if patient.lesion is not None:
        echo, attenuation, mask = _add_lesion(echo, attenuation, patient, rng, texture, contrast)
    return _scan(echo, attenuation, patient, rng), mask


def make_breast_ultrasound(
    n_images=120,
    *,
    image_shape=(192, 256),
    n_images_per_patient=2,
    weights=None,
    contrast=1.0,
    random_state=None,
):
    """Make synthetic breast ultrasound images with lesion masks.

    An offline stand-in for BUSI: B-mode images that are benign, malignant or normal, drawn from a
    model of anatomy and scanner. A benign lesion is a smooth ellipse, wider than tall, with a thin
    bright capsule and sound enhanced behind it. A malignant one is irregular, taller than wide,
    ill defined, and casts a shadow. Anatomy, gain and depth, size and darkness of the lesion do
    not depend on the class.

    Parameters
    ----------
    n_images : int, default=120
        How many images.
    image_shape : tuple of two int, default=(192, 256)
        Height and width in pixels, each at least 32.
    n_images_per_patient : int, default=2
        How many images each synthetic patient has, the last one maybe fewer. They share tissue,
        scanner settings and the character of the lesion.
    weights : array-like of shape (3,), default=None
        Relative numbers of benign, malignant and normal patients. None makes them equal.
    contrast : float, default=1.0
        How strongly lesions show, at least 0. At 0 they leave no trace in the image, and no
        classifier can do better than chance on patients it has not seen; at 1 most of them are
        plain to the eye.
    random_state : int, RandomState instance or None, default=None
        An int makes the same images in every call.

    Returns
    -------
    Bunch
        Images come patient by patient.

        images : ndarray of uint8 of shape (n_images, height, width)
            The images.
        target : ndarray of int of shape (n_images,)
            0 benign, 1 malignant, 2 normal, as `load_busi` has them.
        target_names : list of str
            ``["benign", "malignant", "normal"]``.
        groups : ndarray of int of shape (n_images,)
            The synthetic patient. Images with the same number must lie on the same side of every
            split.
        masks : ndarray of bool of shape (n_images, height, width)
            True inside the lesion; False everywhere for a normal image.
        frame : DataFrame of n_images rows
            ``class``, ``group``; of the lesion ``lesion_row`` and ``lesion_column`` (the centroid
            of the mask), ``lesion_height`` and ``lesion_width`` (of its bounding box), in pixels
            and NaN for a normal image, and ``lesion_area`` in pixels.
        DESCR : str
            Description and known traps.

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If a parameter is outside its range.

    See Also
    --------
    make_mammograms : Synthetic mammograms, both breasts of each woman.
    load_busi : The real images that these stand in for.

    Notes
    -----
    An image depends on `random_state`, its patient and its place among the patient's images only:
    the first images are the same whatever `n_images`, and two calls that differ in `contrast` show
    the same tissue.

    Speckle is the magnitude of white complex noise, scaled by the echo level, after the point
    spread function [1]_; six independent looks are averaged as in spatial compounding. What a
    lesion takes from the beam, or spares it, adds up along the depth. The signs of benign and
    malignant lesions are those of [2]_.

    A mask's outline tells benign from malignant at any contrast, and whether it is empty tells
    normal images. Features that see masks, or crops made with them, measure the masks.

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
    shape = _check_common(n_images, image_shape, contrast)
    check_scalar(n_images_per_patient, "n_images_per_patient", Integral, min_val=1)
    shares = _check_weights(weights, _DIAGNOSES)
    generator = _generator_factory(random_state)

    groups, views = np.divmod(np.arange(n_images), n_images_per_patient)
    target = _fill_quotas(shares, groups[-1] + 1)[groups]
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
        frame=pd.DataFrame({"class": diagnoses, "group": groups, **_lesion_columns(masks)}),
        DESCR=_ULTRASOUND_DESCR,
    )


def _draw_woman(rng):
    """Draw what both breasts of one woman share: lengths in image heights, levels in exposure.

    `width` is in image widths, `top` the breast's width at the upper border relative to `width`,
    `rim` how far from the skin the breast reaches its full thickness. Glandular tissue reaches
    `reach` from the nipple and ends there the more sharply the larger `focus`.
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
    """Return where the breast is, the distance to its skin line, and its nipple (y, x)."""
    y, x = _grid(shape)
    nipple = woman.nipple + rng.normal(0, 0.01)
    bottom = woman.bottom + rng.normal(0, 0.01)
    width = woman.width * shape[1] / shape[0] * np.exp(rng.normal(0, 0.03))
    above = np.clip((nipple - y) / nipple, 0, 1)
    below = np.clip((y - nipple) / (bottom - nipple), 0, 1)
    taper = 0.5 * np.sin(np.pi / 2 * above) ** 2 + 0.5 * above**1.4
    edge = width * np.where(y < nipple, 1 - (1 - woman.top) * taper, np.sqrt(1 - below**2.3))
    edge += 0.018 * np.exp(-(((y - nipple) / 0.018) ** 2))
    edge *= 1 + 0.012 * _smooth_noise(rng, shape, (0.12, 1))[:, :1]
    breast = x < edge
    return breast, _distance_inside(np.pad(breast, ((0, 0), (0, 1))))[:, :-1], (nipple, width)


def _distance_inside(region):
    """Distance of each pixel to the nearest one outside the region, in image heights."""
    return cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5) / region.shape[0]


def _fan(fields, distance, angle):
    """Bend fields (angle by distance, up to 1.5) so that their rows radiate from the nipple."""
    n_angles, n_distances = fields[0].shape
    rows = (angle / (2 * np.pi) + 0.5) * n_angles
    return [_sample(field, rows, distance / 1.5 * n_distances) for field in fields]


def _parenchyma(woman, rng, shape, skin_distance, nipple):
    """Exposure of fat and fibroglandular tissue for a breast of thickness 1."""
    y, x = _grid(shape)
    distance = np.hypot(nipple[1] - x, y - nipple[0])
    meander = _smooth_noise(rng, shape, (0.05, 0.05))
    meander += 0.35 * _smooth_noise(rng, shape, (0.02, 0.02))
    angle = np.arctan2(y - nipple[0], nipple[1] - x) + 0.085 * meander
    scales = (woman.fineness, 0.1), (2.2 * woman.fineness, 0.2), (0.03, 0.12)
    fields = [_smooth_noise(rng, (shape[0], shape[0]), scale) for scale in scales]
    fine, coarse, lobes = _fan(fields, distance, angle)
    texture = _power_law_noise(rng, shape, 1.8)
    clumps = _smooth_noise(rng, shape, (0.05, 0.05))

    gland = 3 * (woman.density - 0.5) + 0.7 * texture + lobes
    gland += 1.2 * _smooth_noise(rng, shape, (0.12, 0.12))
    gland -= woman.focus * (distance - woman.reach) + np.abs(y - nipple[0] - 0.02) / 0.15
    gland = expit(gland) * expit((skin_distance - 0.03 - 0.02 * lobes) / 0.012)

    pixel = shape[0] / 256
    lace = _threads(_smooth_noise(rng, shape, (0.022, 0.022)), pixel) * expit(2 * lobes)
    strands = _threads(fine, pixel) + 0.8 * _threads(coarse, 1.3 * pixel)
    strands *= expit(2 * lobes) * (1 - 0.8 * np.exp(-distance / 0.05))
    exposure = 0.1 + 0.16 * woman.density + woman.texture * (texture + 0.5 * coarse + 0.5 * clumps)
    exposure = gland * (exposure + 0.05 * lobes + woman.lace * lace)
    return exposure + woman.strand * strands * (0.25 + gland), texture


def _pectoral_muscle(woman, rng, shape, texture):
    """Return how much of each pixel the muscle covers, where it is, and its exposure."""
    y, x = _grid(shape)
    width = woman.muscle_width * min(1, shape[1] / shape[0] / 0.75) + rng.normal(0, 0.015)
    height = woman.muscle_height + rng.normal(0, 0.02)
    edge = width * np.clip(1 - y / height, 0, 1) ** woman.muscle_curve
    cover = expit((edge - x) / woman.muscle_edge) * expit((height - y) / 0.02)
    exposure = woman.muscle * (1 - 0.35 * y / height) - 0.08 * np.exp(-np.abs(edge - x) / 0.05)
    exposure += 0.02 * texture + 0.015 * _smooth_noise(rng, shape, (0.1, 0.02))
    return cover, x < edge, exposure


def _place_finding(rng, allowed):
    """Draw a radius and a centre so that the finding lies in the allowed region."""
    clearance = _distance_inside(np.pad(allowed, 1))[1:-1, 1:-1]
    radius = min(rng.uniform(0.06, 0.11), 0.8 * clearance.max())
    candidates = np.argwhere(clearance >= radius)
    row, column = candidates[rng.integers(len(candidates))]
    return radius, ((row + 0.5) / len(allowed), (column + 0.5) / len(allowed))


def _finding(rng, allowed, kind):
    """Return the exposure that a finding adds, and its mask."""
    radius, centre = _place_finding(rng, allowed)
    y, x = _grid(allowed.shape)
    stretch = rng.uniform(0.85, 1.2)
    radii = radius * stretch, radius / stretch
    distance, angle = _ellipse_coordinates(y, x, centre, radii, rng.uniform(0, np.pi))
    roughness = {"CIRC": 0.03, "SPIC": 0.12, "CALC": 0.05}[kind]
    ripples = roughness * rng.standard_normal(8) * np.arange(2, 10) ** -0.6
    distance = distance / _outline_radius(angle, ripples, rng.uniform(-np.pi, np.pi, 8))
    brightness = rng.uniform(0.25, 0.42)
    if kind == "CIRC":
        added = brightness * np.maximum(1 - distance**2, 0) ** 0.5
    elif kind == "SPIC":
        spicules = _spicules(rng, distance, angle, 0.005 / radius)
        added = brightness * (np.exp(-((distance / 0.8) ** 2)) + 0.3 * spicules)
    else:
        added = _calcifications(rng, y, x, centre, radius)
    return added, distance < 1


def _spicules(rng, distance, angle, width, n_spicules=14):
    """Straight threads, 0..1, that leave a mass of radius 1 in all directions."""
    distance, angle = distance[..., np.newaxis], angle[..., np.newaxis]
    direction = rng.uniform(-np.pi, np.pi, n_spicules)
    reach = rng.uniform(1, 2, n_spicules)
    turn = np.abs((angle - direction + np.pi) % (2 * np.pi) - np.pi)
    threads = np.exp(-((turn * distance / width) ** 2) - (distance / reach) ** 4)
    return np.max(threads, axis=2) * (distance[..., 0] > 0.3)


def _calcifications(rng, y, x, centre, radius):
    """Exposure of a cluster of small bright specks."""
    n_specks = rng.integers(10, 24)
    offsets = np.clip(rng.normal(0, 0.4, (2, n_specks)), -0.8, 0.8)
    rows, columns = np.reshape(centre, (2, 1)) + radius * offsets
    distance_2 = (y[..., np.newaxis] - rows) ** 2 + (x[..., np.newaxis] - columns) ** 2
    specks = rng.uniform(0.3, 0.7, n_specks) * np.exp(-distance_2 / (2 * 0.0025**2))
    return specks.max(axis=2)


def _expose(exposure, woman, rng):
    """Turn exposure into the grey levels of a digitised film, uint8."""
    blurred = cv2.GaussianBlur(exposure, (0, 0), 0.0024 * len(exposure))
    film = 1.15 * (1 - np.exp(-1.5 * np.maximum(blurred, 0) ** woman.gamma))
    film += 0.02 + 0.006 * rng.standard_normal(film.shape)
    return np.round(255 * np.clip(film, 0, 1)).astype(np.uint8)


def _mammogram(woman, rng, shape, finding, contrast):
    """Image, lesion mask and pectoral mask of one breast, its chest wall on the left."""
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

    The breasts of a woman are independent: none, one or both are abnormal, in the proportions
    that two draws with these shares would have.
    """
    groups, side = np.divmod(np.arange(n_images), 2)
    pairs = _fill_quotas(np.outer(shares, shares).ravel(), groups[-1] + 1)[groups]
    return groups, side, np.where(side, pairs // 2, pairs % 2)


def make_mammograms(
    n_images=120,
    *,
    image_shape=(256, 192),
    weights=None,
    contrast=1.0,
    random_state=None,
):
    """Make synthetic mammograms with masks of the findings and of the pectoral muscle.

    An offline stand-in for mini-MIAS: mediolateral oblique views, right and left breast of each
    woman, normal or with one finding: a circumscribed mass, a spiculated mass or a cluster of
    calcifications. Outline, density, muscle and film do not depend on the class.

    Parameters
    ----------
    n_images : int, default=120
        How many images; where it is odd, the last woman has the right breast only.
    image_shape : tuple of two int, default=(256, 192)
        Height and width in pixels, each at least 32.
    weights : array-like of shape (2,), default=None
        Relative numbers of normal and abnormal breasts. None makes them equal. The two breasts of
        a woman are independent of each other.
    contrast : float, default=1.0
        How strongly findings show, at least 0. At 0 they leave no trace in the image, and no
        classifier can do better than chance on women it has not seen; at 1 most of them are
        plain to the eye.
    random_state : int, RandomState instance or None, default=None
        An int makes the same images in every call.

    Returns
    -------
    Bunch
        Images come woman by woman, right breast first.

        images : ndarray of uint8 of shape (n_images, height, width)
            The images. The chest wall of a right breast is at the right border, that of a left
            breast at the left border; the background is nearly black.
        target : ndarray of int of shape (n_images,)
            0 normal, 1 abnormal, as `load_mini_mias` has them.
        target_names : list of str
            ``["normal", "abnormal"]``.
        groups : ndarray of int of shape (n_images,)
            The synthetic woman. Images with the same number must lie on the same side of every
            split.
        masks : ndarray of bool of shape (n_images, height, width)
            True inside the mass, or the outline of the cluster; False everywhere for a normal
            image.
        pectoral_masks : ndarray of bool of shape (n_images, height, width)
            True inside the pectoral muscle.
        frame : DataFrame of n_images rows
            ``side`` (right or left), ``class`` (NORM, CIRC, SPIC, CALC), ``abnormality``,
            ``group``; of the finding ``lesion_row`` and ``lesion_column`` (the centroid of the
            mask), ``lesion_height`` and ``lesion_width`` (of its bounding box), in pixels and NaN
            for a normal image, and ``lesion_area`` in pixels.
        DESCR : str
            Description and known traps.

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If a parameter is outside its range.

    See Also
    --------
    make_breast_ultrasound : Synthetic breast ultrasound images.
    load_mini_mias : The real images that these stand in for.

    Notes
    -----
    An image depends on `random_state`, its woman and its side only: the first images are the same
    whatever `n_images`, and two calls that differ in `contrast` show the same breasts.

    Fibroglandular texture follows a power law of frequency, as measured on mammograms [1]_;
    strands radiate from the nipple. Findings add to the exposure before the film saturates, so
    dense tissue hides them.

    Small findings among structured tissue are hard. Features that are coarse or global, such as
    HOG with large cells or a histogram of the whole image, see next to nothing of them.

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
    shape = _check_common(n_images, image_shape, contrast)
    shares = _check_weights(weights, _ABNORMALITIES)
    generator = _generator_factory(random_state)

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
                **_lesion_columns(masks),
            }
        ),
        DESCR=_MAMMOGRAM_DESCR,
    )
