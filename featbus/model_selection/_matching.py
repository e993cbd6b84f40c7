"""Whether two images show the same scene: keypoints propose how to align them, texture decides."""

import cv2
import numpy as np

# Cosine from which two descriptors may show the same keypoint.
MIN_COSINE = 0.75
_N_INLIERS = 4
# Pixels, of the reduced image, by which an aligned keypoint may be off.
_TOLERANCE = 3.0
# A copy is at most this much larger or smaller, at the reduced size.
_SCALE = 2.0
# Share of the smaller of both that must overlap.
OVERLAP = 0.4
# Standard deviation, in pixels, of the neighborhood whose mean is subtracted from textures.
_DETAIL = 2.0
# Correlation from which the alignment is refined.
_PROMISING = 0.15
_ECC = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)


def agreement(scene, other, variant):
    """Return the correlation of two textures where they overlap, after the best alignment.

    Parameters
    ----------
    scene, other : Scene
        The images.
    variant : Variant
        How `scene` is changed first.

    Returns
    -------
    float
        -1..1; 0 if no alignment is found, or the overlap is too small.
    """
    affine = _align(scene, other, variant)
    if affine is None:
        return 0.0
    texture, inside = variant.pixels(scene.texture), variant.pixels(scene.inside)
    sign = -1 if variant.inverted else 1
    value = sign * _correlate(texture, inside, other, affine)
    if value < _PROMISING:
        return value
    refined = _refine(255 - texture if variant.inverted else texture, inside, other, affine)
    return max(value, sign * _correlate(texture, inside, other, refined))


def _align(scene, other, variant):
    """Return the 2 x 3 affine map from the pixels of one image to those of the other, or None."""
    left, right = (s.descriptors.astype(np.float32) for s in (scene, other))
    cosine = variant.descriptors(left) @ right.T
    best = cosine.argmax(axis=1)
    rows = np.arange(len(best))
    keep = (cosine.argmax(axis=0)[best] == rows) & (cosine[rows, best] >= MIN_COSINE)
    if keep.sum() < _N_INLIERS:
        return None
    source = variant.points(scene.points)[keep, :2] + _center(scene)
    target = other.points[best[keep], :2] + _center(other)
    affine, used = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=_TOLERANCE)
    if affine is None or used.sum() < _N_INLIERS:
        return None
    scale = np.sqrt(np.abs(np.linalg.det(affine[:, :2])))
    return affine if 1 / _SCALE <= scale <= _SCALE else None


def _center(scene):
    height, width = scene.texture.shape
    return np.array([(width - 1) / 2, (height - 1) / 2], np.float32)


def _correlate(texture, inside, other, affine):
    """Return the correlation of an aligned texture with another one, where both have tissue."""
    size = other.texture.shape[::-1]
    covered = cv2.warpAffine(inside, affine, size, flags=cv2.INTER_NEAREST) & other.inside
    scale = np.abs(np.linalg.det(affine[:, :2]))
    least = OVERLAP * min(scale * np.count_nonzero(inside), np.count_nonzero(other.inside))
    if not covered.any() or np.count_nonzero(covered) < least:
        return 0.0
    weight = covered.astype(np.float32)
    total = _blur(weight) + 1e-6
    moved = cv2.warpAffine(texture, affine, size, flags=cv2.INTER_LINEAR)
    a, b = (
        weight * (image - _blur(image * weight) / total)
        for image in (moved.astype(np.float32), other.texture.astype(np.float32))
    )
    return float((a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-6))


def _blur(pixels):
    return cv2.GaussianBlur(pixels, (0, 0), _DETAIL, borderType=cv2.BORDER_REFLECT)


def _refine(texture, inside, other, affine):
    """Return the affine map that maximizes the correlation of both textures."""
    try:
        inverse = cv2.invertAffineTransform(affine).astype(np.float32)
        inverse = cv2.findTransformECC(
            other.texture, texture, inverse, cv2.MOTION_AFFINE, _ECC, inside, 5
        )[1]
    except cv2.error:  # it does not converge
        return affine
    return cv2.invertAffineTransform(inverse.astype(np.float64))
