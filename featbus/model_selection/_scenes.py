"""The scene that an image shows: its local texture, and keypoints of the texture."""

from contextlib import ExitStack
from functools import cache
from tempfile import TemporaryFile
from typing import NamedTuple

import cv2
import joblib
import numpy as np
from scipy import fft

from featbus.color import to_float, to_gray
from featbus.resizing import resize

# Images are reduced to the area of a square of this side: speckle is averaged, structures remain.
_SIDE = 144
# Sides below this have too few structures for keypoints.
_SMALLEST = 40
_N_KEYPOINTS = 64
_FEWEST_KEYPOINTS = 8
_THUMBNAIL = 32
# Standard deviation, in pixels, of the neighborhood whose mean and contrast are normalized.
_NEIGHBORHOOD = 6.0
# Contrast, of 255, that is added to the local one: less than it is noise.
_NOISE = 3.0
# Levels, of 255, below and above which pixels are background or marks.
_DARK, _BRIGHT = 10, 245
# Pixels of the neighborhoods that are flat if their range is at most so many levels of 255, and the
# share of the image from which flat areas, such as frames of user interfaces, are left out.
_FLAT_SIDE, _FLAT, _FRAME = 9, 2, 0.02
# Images whose white is below this level, such as 12 bits stored in 16, are made brighter.
_DIM = 0.4
# Areas below this share of the largest one, such as labels and borders of films, are left out.
_SPECK = 0.5
# Mean and levels per standard deviation of the texture.
_GRAY, _SPREAD = 128, 45
# Side of the textures that are compared as a whole.
_SMALL_SIDE = 24
# Shapes of what is stored of images that are compared by keypoints; of others, of the thumbnail.
_SHAPES = {"texture": -1, "points": (-1, 4), "descriptors": (-1, 40), "small": (-1, 576)}
_SHAPES["thumbnail"] = (-1, _THUMBNAIL, _THUMBNAIL)


class Scene(NamedTuple):
    """What two images are compared by.

    Attributes
    ----------
    texture : ndarray of uint8 of shape (height, width)
        The bounding box of the tissue, reduced, with the mean and the contrast of each neighborhood
        normalized; 128 is the mean, and 0 is outside of the tissue: black, white or large flat
        areas, such as background and marks.
    points : ndarray of float32 of shape (n_keypoints, 4)
        x and y from the center of `texture`, size, and direction in radians.
    descriptors : ndarray of float16 of shape (n_keypoints, 40)
        Unit vectors.
    thumbnail : ndarray of float32 of shape (32, 32)
        The whole image, gray 0..1.
    """

    texture: np.ndarray
    points: np.ndarray
    descriptors: np.ndarray
    thumbnail: np.ndarray

    @property
    def is_plain(self):
        """Whether the image is too small or too uniform to be recognized by keypoints."""
        return len(self.points) < _FEWEST_KEYPOINTS

    @property
    def digest(self):
        """The digest of the texture, or of the 8-bit thumbnail of a plain image."""
        thumbnail = np.rint(255 * self.thumbnail).astype(np.uint8)
        return joblib.hash(thumbnail if self.is_plain else self.texture)

    @property
    def small(self):
        """The texture as a small image, mean 0 and norm 1; 0 if it has none."""
        filled = np.where(self.texture, self.texture, np.uint8(_GRAY)).astype(np.float32)
        small = cv2.resize(filled, (_SMALL_SIDE,) * 2, interpolation=cv2.INTER_AREA).ravel()
        small -= small.mean()
        return small / max(np.linalg.norm(small), 1e-6)


class SceneFiles:
    """The scenes of many images, in temporary files that are mapped into memory.

    Images that are neither plain nor equal to an earlier one are its items, in their order:
    thousands of equal images, compared with each other, would hide all others.

    Parameters
    ----------
    scenes : iterable of Scene
        The images. Each is written when it is taken.

    Attributes
    ----------
    same : ndarray of int of shape (n_images,)
        The position of the first image that is equal.
    plain, items : ndarray of int
        The positions of the plain images, and of the items.
    texture : ndarray of uint8 of shape (n_pixels,)
        The textures of all items, one after another.
    points, descriptors : ndarray of shape (n_keypoints, 4) and (n_keypoints, 40)
        The keypoints of all items.
    small : ndarray of float32 of shape (n_items, 576)
        Their textures as small images.
    thumbnail : ndarray of float32 of shape (n_images, 32, 32)
        Those of all images.
    width : ndarray of int of shape (n_items,)
        The widths of the textures.
    pixels, keypoints : ndarray of int of shape (n_items + 1,)
        Where those of each item begin, and their number.
    """

    def __init__(self, scenes):
        known, rows = {}, []
        with ExitStack() as stack:
            files = {name: stack.enter_context(TemporaryFile()) for name in _SHAPES}
            for index, scene in enumerate(scenes):
                first = known.setdefault(scene.digest, index)
                is_item = first == index and not scene.is_plain
                sizes = scene.texture.shape[1], scene.texture.size, len(scene.points)
                rows.append((first, scene.is_plain, is_item, *sizes))
                for name in _SHAPES if is_item else ["thumbnail"]:
                    files[name].write(getattr(scene, name).tobytes())
            arrays = [_map(files[x], getattr(scene, x), shape) for x, shape in _SHAPES.items()]
        self.texture, self.points, self.descriptors, self.small, self.thumbnail = arrays
        self.same, is_plain, is_item, *sizes = np.array(rows).T
        self.plain, self.items = np.flatnonzero(is_plain), np.flatnonzero(is_item)
        self.width, *sizes = np.array(sizes)[:, self.items]
        self.pixels, self.keypoints = (np.cumsum([0, *size]) for size in sizes)

    def __getitem__(self, item):
        pixels, keypoints = (slice(*x[item : item + 2]) for x in (self.pixels, self.keypoints))
        texture = self.texture[pixels].reshape(-1, self.width[item])
        thumbnail = self.thumbnail[self.items[item]]
        return Scene(texture, self.points[keypoints], self.descriptors[keypoints], thumbnail)


def _map(file, example, shape):
    """Return arrays like an example from the file that they were written to, mapped into memory."""
    file.flush()
    numbers = np.memmap(file, example.dtype, "r") if file.tell() else example[:0]
    return np.asarray(numbers).reshape(shape)


class Variant(NamedTuple):
    """A change of an image that its keypoints follow exactly: mirrored, inverted, or both."""

    mirrored: bool
    inverted: bool

    def descriptors(self, descriptors):
        """Return the descriptors that the changed image has."""
        return descriptors * _signs(*self)

    def points(self, points):
        """Return the keypoints that the changed image has."""
        x, y, size, angle = points.T
        x, angle = (-x, np.pi - angle) if self.mirrored else (x, angle)
        return np.stack([x, y, size, angle + np.pi * self.inverted], axis=1)

    def texture(self, texture):
        """Return the texture that the changed image has."""
        texture = np.ascontiguousarray(texture[:, ::-1]) if self.mirrored else texture
        # Modulo 256, 0 stays 0.
        return np.negative(texture) if self.inverted else texture


VARIANTS = [Variant(bool(k % 2), bool(k // 2)) for k in range(4)]


def describe_scene(image):
    """Return the scene of a checked image; its mask is ignored."""
    pixels = to_float(to_gray(np.ma.getdata(image)))
    thumbnail = resize(pixels, (_THUMBNAIL, _THUMBNAIL))
    pixels = _leave_out_flat(_brighten(pixels))
    pixels = _reduce(_crop_to_tissue(pixels))
    inside = _find_tissue(pixels)
    texture = _normalize(pixels, inside)
    return Scene(texture, *_find_keypoints(texture, inside), thumbnail)


def _brighten(pixels):
    """Return a dim image, 0..1, with the white of most others."""
    white = np.quantile(pixels[::4, ::4], 0.995)
    return np.clip(0.8 * pixels / white, 0, 1) if 0 < white < _DIM else pixels


def _leave_out_flat(pixels):
    """Return the image with 0 in large flat areas: tissue is nowhere flat."""
    box = np.ones((_FLAT_SIDE, _FLAT_SIDE), np.uint8)
    flat = cv2.dilate(pixels, box) - cv2.erode(pixels, box) <= _FLAT / 255
    flat = cv2.dilate(flat.astype(np.uint8), box)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(flat)
    large = boxes[:, cv2.CC_STAT_AREA] >= _FRAME * pixels.size
    large[0] = False  # what is not flat
    return np.where(large[labels], np.float32(0), pixels)


def _reduce(pixels):
    """Return a gray image, 0..255, of the largest allowed area."""
    scale = min(1, _SIDE / np.sqrt(pixels.size))
    shape = tuple(max(1, round(scale * side)) for side in pixels.shape)
    return 255 * np.clip(resize(pixels, shape), 0, 1)


def _crop_to_tissue(pixels):
    """Return the bounding box of the tissue, without smaller areas such as labels."""
    inside = _find_tissue(_reduce(pixels))
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(inside)
    areas = boxes[1:, cv2.CC_STAT_AREA]
    if not areas.size:
        return pixels
    large = 1 + np.flatnonzero(areas >= _SPECK * areas.max())
    rows, columns = (np.isin(labels, large).any(axis=axis).nonzero()[0] for axis in (1, 0))
    height, width = np.array(pixels.shape) / inside.shape
    top, bottom = int(height * rows[0]), int(np.ceil(height * (rows[-1] + 1)))
    left, right = int(width * columns[0]), int(np.ceil(width * (columns[-1] + 1)))
    return pixels[top:bottom, left:right]


def _find_tissue(pixels):
    """Return 1 where the image is neither black nor white, away from the border of such areas."""
    inside = ((pixels > _DARK) & (pixels < _BRIGHT)).astype(np.uint8)
    box = np.ones((3, 3), np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, box)
    inside = cv2.morphologyEx(inside, cv2.MORPH_CLOSE, box)
    return cv2.erode(inside, np.ones((5, 5), np.uint8))


def _normalize(pixels, inside):
    """Return the image with the mean and the contrast of each neighborhood normalized."""
    weight = inside.astype(np.float32)
    total = blur(weight, _NEIGHBORHOOD) + 1e-6
    pixels = pixels - blur(pixels * weight, _NEIGHBORHOOD) / total
    contrast = np.sqrt(np.maximum(blur(pixels**2 * weight, _NEIGHBORHOOD) / total, 0))
    pixels = _GRAY + _SPREAD * pixels / (contrast + _NOISE)
    return inside * np.clip(np.rint(pixels), 1, 255).astype(np.uint8)


def blur(pixels, sigma):
    """Return the Gaussian mean of each neighborhood."""
    return cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def find_center(texture):
    """Return x and y of the center of a texture, in pixels."""
    height, width = texture.shape
    return np.array([(width - 1) / 2, (height - 1) / 2], np.float32)


def _find_keypoints(texture, inside):
    """Return the strongest keypoints and their descriptors."""
    none = np.zeros((0, 4), np.float32), np.zeros((0, len(_basis())), np.float16)
    if min(texture.shape) < _SMALLEST:
        return none
    # The texture has the same contrast everywhere: no threshold of it is needed.
    sift = cv2.SIFT_create(nfeatures=_N_KEYPOINTS, contrastThreshold=0, edgeThreshold=20)
    filled = np.where(inside, texture, np.uint8(_GRAY))  # no edge at the border of the tissue
    points, histograms = sift.detectAndCompute(filled, inside)
    if not points:
        return none
    points, center = points[:_N_KEYPOINTS], find_center(texture)
    points = [(*(point.pt - center), point.size, np.deg2rad(point.angle)) for point in points]
    return np.array(points, np.float32), _compress(histograms[:_N_KEYPOINTS])


def _compress(histograms):
    """Return the low frequencies of SIFT histograms as unit vectors."""
    total = np.maximum(histograms.sum(axis=1, keepdims=True), 1e-6)
    vectors = np.sqrt(histograms / total) @ _basis().T
    norm = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return (vectors / norm).astype(np.float16)


_FREQUENCIES = [
    (u, v, k, wave) for u in range(4) for v in range(4 - u) for k in (1, 2) for wave in "cs"
]


@cache
def _basis():
    """Return the waves over the 4 x 4 cells and the 8 directions of a histogram, one per row."""
    cosine = fft.dct(np.eye(4), axis=0, norm="ortho")
    turn = np.pi / 4 * np.arange(8)
    rows = [
        np.einsum("a,b,c->abc", cosine[u], cosine[v], (np.cos if wave == "c" else np.sin)(k * turn))
        for u, v, k, wave in _FREQUENCIES
    ]
    return np.array(rows, np.float32).reshape(len(rows), -1) / 2


@cache
def _signs(mirrored, inverted):
    """Return the sign by which a change of the image multiplies each number of a descriptor.

    A histogram is relative to the direction of its keypoint. A mirror image has its cells in
    reverse order across this direction, and its directions with the opposite sign. In an inverted
    image the direction of each keypoint is opposite: its cells are in reverse order along both
    axes. Waves are even or odd under each of these.
    """
    signs = [
        (-1) ** ((u + (wave == "s")) * mirrored + (u + v) * inverted)
        for u, v, _, wave in _FREQUENCIES
    ]
    return np.array(signs, np.float32)
