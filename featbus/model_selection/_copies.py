"""Copies among images: nearly the same, mirrored, turned or inverted."""

from itertools import chain

import cv2
import joblib
import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans

from featbus.groups import merge_pairs
from featbus.model_selection._scenes import VARIANTS, SceneFiles, blur, find_center

# Different scenes of half of BUSI's groups, and different films of mini-MIAS, reach 0.13;
# neighboring frames start at 0.23.
MIN_CORRELATION = 0.2
# Pixels of the side of a texture below which different scenes correlate more by chance, as the
# inverse of the side.
_SIDE = 135
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
# Smallest correlation of the thumbnails of copies, and of copies that are mirrored or turned: of
# seven orientations, one is alike more easily.
_ALIKE, _TURNED_ALIKE = 0.98, 0.99
# Cosine from which two keypoints vote, and the votes of each keypoint.
_VOTE_COSINE = 0.91
_N_NEAREST = 8
# Keypoints per cell of the index, on average, and the largest number of cells.
_CELL, _N_CELLS = 400, 4096
# Cells of transforms: rotations by 45 degrees, ratios of sizes of 2, and shifts of 40 pixels.
_TURN, _N_TURNS = np.pi / 4, 8
_SHIFT = 40.0
# Votes that a pair of images needs, and pairs that are kept for each image.
_N_VOTES = 3
_N_PAIRS = 6
# Least correlation of textures that are compared as a whole, and the pairs that are kept for each
# image.
_CORRELATION = 0.4
_N_ALIKE = 3
# Rows and columns of a matrix product.
_BLOCK, _COLUMNS = 1024, 8192
# Images whose votes are counted together, and descriptors that are assigned to cells together.
_N_IMAGES, _N_ROWS = 2048, 65536


def find_matches(scenes, min_correlation=MIN_CORRELATION, n_jobs=None):
    """Find the images that show the same scene.

    Parameters
    ----------
    scenes : iterable of Scene
        The images. Each is written to temporary files when it is taken.
    min_correlation : float, default=0.2
        Smallest correlation of the details of two aligned images.
    n_jobs : int or None, default=None
        Number of threads. It does not change the result.

    Returns
    -------
    near, changed : ndarray of int of shape (n_images,)
        Labels that images of the same scene share: near-duplicates in the same orientation, and
        copies that are mirrored, turned or inverted. `featbus.groups.merge_labelings` joins both.
    """
    scenes = SceneFiles(scenes)
    labels = [scenes.same, np.arange(len(scenes.same))]
    found = _match_thumbnails(scenes), _match_textures(scenes, min_correlation, n_jobs)
    for pairs, changed in chain(*found):
        labels[changed] = merge_pairs(labels[changed], *pairs.T)
    return labels


def _match_thumbnails(scenes):
    """Yield pairs of images with similar thumbnails, one of them plain, and whether changed."""
    for row in range(0, len(scenes.plain), _BLOCK):
        plain = scenes.plain[row : row + _BLOCK]
        images = _standardize(scenes.thumbnail[plain])
        for column in range(0, len(scenes.thumbnail), _COLUMNS):
            others = _standardize(scenes.thumbnail[column : column + _COLUMNS])
            for turns, mirrored in np.ndindex(4, 2):
                turned = np.rot90(images, turns, axes=(1, 2))[:, :, :: -1 if mirrored else 1]
                product = turned.reshape(len(plain), -1) @ others.reshape(len(others), -1).T
                changed = bool(turns or mirrored)
                i, j = np.nonzero(product >= (_TURNED_ALIKE if changed else _ALIKE))
                yield np.column_stack([plain[i], column + j]), changed


def _standardize(thumbnails):
    """Return thumbnails with mean 0 and norm 1; flat ones, which match none, are 0."""
    pixels = thumbnails - thumbnails.mean(axis=(1, 2), keepdims=True)
    norm = np.linalg.norm(pixels, axis=(1, 2), keepdims=True)
    return pixels / np.where(norm > 1e-3, norm, np.inf)


def _match_textures(scenes, min_correlation, n_jobs):
    """Yield pairs of images whose aligned details correlate, and whether changed."""
    if not scenes.items.size:
        return
    pairs = propose_by_keypoints(scenes)
    found = _confirm(scenes, match_keypoints, pairs, min_correlation, n_jobs)
    known = {(i, j) for i, j, _ in found}
    pairs = [pair for pair in propose_alike(scenes) if tuple(pair) not in known]
    found += _confirm(scenes, match_stretched, pairs, min_correlation, n_jobs)
    found = np.array(found, np.intp).reshape(-1, 3)
    for changed in (False, True):
        yield scenes.items[found[found[:, 2] == changed, :2]], changed


def _confirm(scenes, match, pairs, min_correlation, n_jobs):
    """Return the pairs that match, and whether the first image is changed."""
    parallel = joblib.Parallel(n_jobs, "threading", "generator", batch_size=256)
    matches = parallel(
        joblib.delayed(match)(scenes[i], scenes[j], *(VARIANTS[k] for k in variant))
        for i, j, *variant in pairs
    )
    sides = np.sqrt(np.diff(scenes.pixels))
    return [
        (i, j, is_changed)
        for (correlation, is_changed), (i, j, *_) in zip(matches, pairs)
        if correlation >= min_correlation * max(1, _SIDE / min(sides[i], sides[j]))
    ]


def propose_by_keypoints(scenes):
    """Propose pairs of images by the votes of their keypoints.

    Keypoints are compared within the cells of an index. Two similar ones vote for the pair of
    their images and the transform between both. The pairs with the most votes are kept for each
    image, so that the number of pairs is proportional to the number of images.

    Parameters
    ----------
    scenes : SceneFiles
        The images.

    Returns
    -------
    ndarray of int of shape (n_pairs, 3)
        The positions of two images and the position in `VARIANTS` of how the first is changed.
    """
    points, n_images, best = scenes.points, len(scenes.items), None
    owners = np.repeat(np.arange(n_images), np.diff(scenes.keypoints))
    clusters = _find_clusters(scenes.descriptors)
    index = _assign(clusters, scenes.descriptors, 0, len(owners), VARIANTS[0])
    for first in range(0, n_images, _N_IMAGES):
        start, *_, stop = scenes.keypoints[first : first + _N_IMAGES + 1]
        for number, variant in enumerate(VARIANTS):
            cells = zip(_assign(clusters, scenes.descriptors, start, stop, variant), index)
            left, right = _match_descriptors(scenes.descriptors, owners, cells, variant)
            cells = _quantize(variant.points(points[left]), points[right])
            votes = _count_votes(owners[left], owners[right], cells).assign(variant=number)
            best = _keep_best(pd.concat([best, votes]), "votes", _N_PAIRS)
    return best[["left", "right", "variant"]].to_numpy()


def _find_clusters(descriptors):
    """Cluster a sample of the descriptors."""
    n_cells = int(np.clip(len(descriptors) // _CELL, 1, _N_CELLS))
    sample = descriptors[:: max(1, len(descriptors) // (64 * n_cells))].astype(np.float32)
    return MiniBatchKMeans(
        n_cells, init="random", n_init=1, max_iter=10, batch_size=4096, random_state=0
    ).fit(sample)


def _assign(clusters, descriptors, start, stop, variant):
    """Return the positions of the changed descriptors in each cell, from `start` to `stop`."""
    parts = np.split(descriptors[start:stop], np.arange(_N_ROWS, stop - start, _N_ROWS))
    cells = np.concatenate([clusters.predict(variant.descriptors(part)) for part in parts])
    order = np.argsort(cells, kind="stable")
    return np.split(start + order, np.searchsorted(cells[order], np.arange(1, clusters.n_clusters)))


def _match_descriptors(descriptors, owners, cells, variant):
    """Return pairs of alike keypoints in each cell: of changed images, and of later images."""
    found = []
    for changed, columns in cells:
        members = descriptors[columns].astype(np.float32)
        for start in range(0, len(changed), _BLOCK):
            rows = changed[start : start + _BLOCK]
            cosine = variant.descriptors(descriptors[rows]) @ members.T
            cosine[owners[rows, np.newaxis] >= owners[columns]] = -1
            i, j = _nearest(cosine)
            found.append((rows[i], columns[j]))
    return [np.concatenate(side) for side in zip(*found)]


def _nearest(cosine):
    """Return the positions of the largest cosines of each row."""
    alike = cosine >= _VOTE_COSINE
    for row in np.flatnonzero(alike.sum(axis=1) > _N_NEAREST):
        best = np.argsort(-cosine[row], kind="stable")[:_N_NEAREST]
        alike[row] = False
        alike[row, best] = True
    return np.nonzero(alike)


def _quantize(points, others):
    """Yield the cell of the transform between each pair of keypoints, in each of two grids.

    The second grid is half a cell apart, so that similar transforms share a cell in one of them.
    """
    turn, ratio = others[:, 3] - points[:, 3], others[:, 2] / points[:, 2]
    cos, sin = ratio * np.cos(turn), ratio * np.sin(turn)
    x = others[:, 0] - cos * points[:, 0] + sin * points[:, 1]
    y = others[:, 1] - sin * points[:, 0] - cos * points[:, 1]
    steps = np.stack([turn / _TURN % _N_TURNS, np.log2(ratio), x / _SHIFT, y / _SHIFT])
    for offset in (0, 0.5):
        turn, *others = np.floor(steps + offset).astype(np.int64)
        others = [np.clip(other, -16, 15) + 16 for other in others]
        yield np.ravel_multi_index([turn % _N_TURNS, *others], (_N_TURNS, 32, 32, 32))


def _count_votes(left, right, cells):
    """Return the votes for the transform that most keypoints of each pair of images agree on."""
    found = []
    for cell in cells:
        votes = pd.DataFrame({"left": left, "right": right, "cell": cell}).value_counts()
        found.append(votes[votes >= _N_VOTES])
    votes = pd.concat(found).groupby(level=["left", "right"]).max()
    return votes.rename("votes").reset_index()


def _keep_best(pairs, by, n_pairs):
    """Return the pairs that are among the best for one of their images, in a fixed order."""
    others = [column for column in pairs if column != by]
    pairs = pairs.sort_values([by, *others], ascending=[False, *[True] * len(others)])
    images = pairs[["left", "right"]].to_numpy().ravel()  # by pair
    rank = pd.Series(images).groupby(images).cumcount().to_numpy().reshape(-1, 2)
    return pairs[(rank < n_pairs).any(axis=1)].sort_values(others)


def propose_alike(scenes):
    """Propose pairs of images whose textures are alike as a whole.

    Neighboring frames and stretched images have few keypoints in common.

    Parameters
    ----------
    scenes : SceneFiles
        The images.

    Returns
    -------
    ndarray of int of shape (n_pairs, 2)
        The positions of two images.
    """
    small, best = scenes.small, None
    for row in range(0, len(small), _BLOCK):
        for column in range(row, len(small), _COLUMNS):
            correlation = small[row : row + _BLOCK] @ small[column : column + _COLUMNS].T
            i, j = np.nonzero(np.triu(correlation >= _CORRELATION, k=1 + row - column))
            pairs = {"left": row + i, "right": column + j, "correlation": correlation[i, j]}
            best = _keep_best(pd.concat([best, pd.DataFrame(pairs)]), "correlation", _N_ALIKE)
    return best[["left", "right"]].to_numpy()


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
    correlation : float
        Of the details of both textures where they overlap, -1..1; 0 without an alignment.
    is_changed : bool
        Whether the alignment mirrors, inverts or turns the first image.
    """
    affine = _align(scene, other, variant)
    if affine is None:
        return 0.0, False
    turn = np.degrees(np.arctan2(affine[1, 0], affine[0, 0]))
    is_changed = variant.mirrored or variant.inverted or abs(turn) > _TURNED
    correlation = _agreement(variant.texture(scene.texture), other.texture, affine, _HOPEFUL)
    return correlation, bool(is_changed)


def match_stretched(scene, other):
    """Match two images whose tissue fills the same frame, stretched by the ratio of their sides.

    Parameters
    ----------
    scene, other : Scene
        The images.

    Returns
    -------
    correlation : float
        Of the details of both textures where they overlap, -1..1.
    is_changed : bool
        False.
    """
    height, width = np.divide(other.texture.shape, scene.texture.shape)
    affine = np.array([[width, 0, (width - 1) / 2], [0, height, (height - 1) / 2]])
    return _agreement(scene.texture, other.texture, affine), False


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
    source = variant.points(scene.points)[mutual, :2] + find_center(scene.texture)
    target = other.points[best[mutual], :2] + find_center(other.texture)
    affine, used = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=_TOLERANCE)
    if affine is None or used.sum() < _N_INLIERS:
        return None
    scale = np.sqrt(np.linalg.det(affine[:, :2]))
    return affine if 1 / _SCALE <= scale <= _SCALE else None


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
    mean = blur(texture * weight, _DETAIL) / np.maximum(blur(weight, _DETAIL), 1e-6)
    details = weight * (texture - mean)
    variance = blur(details**2, _CONTRAST) / np.maximum(blur(weight, _CONTRAST), 1e-6)
    return details / np.sqrt(variance + _NOISE)


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
