"""Whether two images show the same scene: keypoints align them, the texture decides."""

from typing import NamedTuple

import cv2
import numpy as np

# Cosine from which descriptors that are the nearest of each other may be of the same keypoint.
_COSINE = 0.75
_N_INLIERS = 4
# Pixels by which an aligned keypoint may be off.
_TOLERANCE = 3.0
# Largest ratio of the scales of two copies, at the reduced size.
_SCALE = 2.0
# Share of the smaller tissue that must overlap with the other one.
_OVERLAP = 0.4
# Standard deviations, in pixels, of the neighborhoods whose mean and contrast are removed, so that
# outlines, shading and single lines, which standard views have in common, hardly count.
_DETAIL, _CONTRAST = 2.0, 4.0
# Variance of noise, in levels of the texture.
_NOISE = 20.0
# Correlations of keypoints' alignments that are refined: from the first up to the second.
_HOPEFUL, _SURE = 0.08, 0.45
# Iterations and smallest improvement of the refinement.
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-3)
# Rotation in degrees from which a copy is turned.
_TURNED = 30


class Match(NamedTuple):
    """How well two images agree after the best alignment.

    Attributes
    ----------
    correlation : float
        Of the details of both textures where they overlap, -1..1; 0 without an alignment.
    is_changed : bool
        Whether the alignment mirrors, inverts or turns the first image.
    """

    correlation: float
    is_changed: bool


_NO_MATCH = Match(0.0, False)


def match_keypoints(scene, other, variant):
    """Match two images that differ by a similarity transform, more or less.

    Parameters
    ----------
    scene, other : Scene
        The images.
    variant : Variant
        How `scene` is changed first.

    Returns
    -------
    Match
        How well they agree.
    """
    affine = _align(scene, other, variant)
    if affine is None:
        return _NO_MATCH
    turn = np.degrees(np.arctan2(affine[1, 0], affine[0, 0]))
    is_changed = variant.mirrored or variant.inverted or abs(turn) > _TURNED
    correlation = _agreement(variant.texture(scene.texture), other.texture, affine, _HOPEFUL)
    return Match(correlation, bool(is_changed))


def match_stretched(scene, other):
    """Match two images whose tissue fills the same frame, stretched by the ratio of their sides.

    Parameters
    ----------
    scene, other : Scene
        The images.

    Returns
    -------
    Match
        How well they agree.
    """
    height, width = np.divide(other.texture.shape, scene.texture.shape)
    affine = np.array([[width, 0, (width - 1) / 2], [0, height, (height - 1) / 2]])
    return Match(_agreement(scene.texture, other.texture, affine), False)


def _align(scene, other, variant):
    """Return the 2 x 3 map from the pixels of one image to those of the other, or None."""
    left, right = (image.descriptors.astype(np.float32) for image in (scene, other))
    if min(len(left), len(right)) < _N_INLIERS:
        return None
    cosine = variant.descriptors(left) @ right.T
    best = cosine.argmax(axis=1)
    rows = np.arange(len(best))
    mutual = (cosine.argmax(axis=0)[best] == rows) & (cosine[rows, best] >= _COSINE)
    if mutual.sum() < _N_INLIERS:
        return None
    source = variant.points(scene.points)[mutual, :2] + _center(scene)
    target = other.points[best[mutual], :2] + _center(other)
    affine, used = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=_TOLERANCE)
    if affine is None or used.sum() < _N_INLIERS:
        return None
    scale = np.sqrt(np.linalg.det(affine[:, :2]))
    return affine if 1 / _SCALE <= scale <= _SCALE else None


def _center(scene):
    height, width = scene.texture.shape
    return np.array([(width - 1) / 2, (height - 1) / 2], np.float32)


def _agreement(texture, other, affine, least=-1.0):
    """Return the correlation; if in doubt, after the alignment is refined."""
    before = _correlate(texture, other, affine)
    if not least <= before < _SURE:
        return before
    return max(before, _correlate(texture, other, _refine(texture, other, affine)))


def _correlate(texture, other, affine):
    """Return the correlation of the details of two textures where both have tissue."""
    moved = cv2.warpAffine(texture, affine, other.shape[::-1], flags=cv2.INTER_LINEAR)
    inside = (texture > 0).astype(np.uint8)
    covered = cv2.warpAffine(inside, affine, other.shape[::-1], flags=cv2.INTER_NEAREST)
    weight = ((covered > 0) & (other > 0)).astype(np.float32)
    scale = abs(np.linalg.det(affine[:, :2]))
    least = _OVERLAP * min(scale * np.count_nonzero(inside), np.count_nonzero(other))
    if weight.sum() < max(1, least):
        return 0.0
    a, b = (_details(image, weight) for image in (moved, other))
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-6))


def _details(texture, weight):
    """Return what differs from the neighborhood, with equal contrast everywhere."""
    mean = _blur(texture * weight, _DETAIL) / np.maximum(_blur(weight, _DETAIL), 1e-6)
    details = weight * (texture - mean)
    variance = _blur(details**2, _CONTRAST) / np.maximum(_blur(weight, _CONTRAST), 1e-6)
    return details / np.sqrt(variance + _NOISE)


def _blur(pixels, sigma):
    return cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def _refine(texture, other, affine):
    """Return the affine map near another one that maximizes the correlation of two textures."""
    small, small_other = (cv2.pyrDown(np.where(t, t, np.uint8(128))) for t in (texture, other))
    inside = (texture[::2, ::2] > 0).astype(np.uint8)
    inverse = cv2.invertAffineTransform(affine)
    inverse[:, 2] /= 2
    try:
        _, inverse = cv2.findTransformECC(
            small_other, small, inverse.astype(np.float32), cv2.MOTION_AFFINE, _CRITERIA, inside, 3
        )
    except cv2.error:  # it does not converge
        return affine
    inverse = inverse.astype(np.float64)
    inverse[:, 2] *= 2
    return cv2.invertAffineTransform(inverse)
