"""Random geometry and brightness, as pure functions of an image or of its mask."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from numbers import Real

import cv2
import numpy as np

from featbus.images import ImageError, ResponseMap, fill_value, update_digest
from featbus.masks import inside_mask, with_mask
from featbus.parameters import Interval, InvalidParameterError, SequenceOf, check_parameters

# Subsets of the dihedral group, see `dihedral`, by their size: the mirror image; flips and quarter
# turns; these and the reflections about the diagonals.
DIHEDRAL = {2: (0, 4), 6: (0, 1, 2, 3, 4, 6), 8: (0, 1, 2, 3, 4, 5, 6, 7)}
_N_DRAWS = 20  # attempts to keep the region of a masked image inside


@dataclass(frozen=True)
class Change:
    """Changes to one image: first `element`, then the geometry, then the brightness.

    Read more in the :ref:`User Guide <augmentation>`.

    Parameters
    ----------
    rotation : float, default=0
        Angle about the center in degrees, counter-clockwise.
    column_shift, row_shift : float, default=0
        Shift to the right, as a share of the width, and downward, as a share of the height.
    shear : float, default=0
        Angle in radians by which vertical lines lean to the right.
    column_zoom, row_zoom : float, default=1
        Factors of the horizontal and vertical scale.
    brightness : float, default=1
        Factor of the pixel values.
    element : int, default=0
        Flip or quarter turns that come first, see `dihedral`.

    See Also
    --------
    Augmentation : Draws changes at random.
    """

    rotation: float = 0.0
    column_shift: float = 0.0
    row_shift: float = 0.0
    shear: float = 0.0
    column_zoom: float = 1.0
    row_zoom: float = 1.0
    brightness: float = 1.0
    element: int = 0

    def matrix(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """Return the geometry as a matrix.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the image in pixels.

        Returns
        -------
        ndarray of float64 of shape (2, 3), or None
            Maps ``(column, row, 1)`` to the new ``(column, row)``: zoom, shear and rotation about
            the center, then the shift. None if nothing moves.
        """
        if astuple(self)[:6] == astuple(Change())[:6]:
            return None
        height, width = shape[:2]
        angle = np.deg2rad(self.rotation)
        cosine, sine = np.cos(angle), np.sin(angle)
        # Rows count downward.
        turn = np.array([[cosine, sine], [-sine, cosine]])
        lean = np.array([[1, -np.tan(self.shear)], [0, 1]])
        linear = turn @ lean @ np.diag([self.column_zoom, self.row_zoom])
        center = np.array([width - 1, height - 1]) / 2
        shift = np.array([self.column_shift * width, self.row_shift * height])
        return np.column_stack([linear, center + shift - linear @ center])


@dataclass(frozen=True)
class Augmentation:
    """How much images may change at random.

    Read more in the :ref:`User Guide <augmentation>`.

    Parameters
    ----------
    rotation : float, default=5
        Largest rotation in degrees, in either direction.
    width_shift, height_shift : float, default=0.1
        Largest shift as a share of the width and of the height, in either direction.
    shear : float, default=0.05
        Largest shear angle in radians, in either direction.
    zoom : float, default=0.05
        Largest relative change of the width and, independently, of the height.
    brightness : tuple of float, default=(1, 1.4)
        Smallest and largest factor of the pixel values.
    horizontal_flip : bool, default=True
        Whether to mirror half of the images left to right.
    dihedral : bool, default=False
        Whether to flip and rotate images by quarter turns; all eight orientations are equally
        likely.

    Raises
    ------
    InvalidParameterError
        A ValueError, if a parameter is invalid.

    See Also
    --------
    featbus.ImageAugmenter : Adds changed copies to the training part of a fold.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.augmentation import Augmentation, change_image, change_mask
    >>> rng = np.random.default_rng(0)
    >>> image, mask = rng.random((64, 48)), np.ones((64, 48), bool)
    >>> change = Augmentation(rotation=10).draw(rng)
    >>> change_image(image, change).shape, change_mask(mask, change).dtype
    ((64, 48), dtype('bool'))
    """

    rotation: float = 5.0
    width_shift: float = 0.1
    height_shift: float = 0.1
    shear: float = 0.05
    zoom: float = 0.05
    brightness: tuple[float, float] = (1.0, 1.4)
    horizontal_flip: bool = True
    dihedral: bool = False

    _parameter_constraints = {
        "rotation": [Interval(Real, 0, 360, closed="left")],
        "width_shift": [Interval(Real, 0, 1, closed="left")],
        "height_shift": [Interval(Real, 0, 1, closed="left")],
        "shear": [Interval(Real, 0, np.pi / 2, closed="left")],
        "zoom": [Interval(Real, 0, 1, closed="left")],
        "brightness": [SequenceOf(Interval(Real, 0, None, closed="left"), length=2)],
        "horizontal_flip": ["boolean"],
        "dihedral": ["boolean"],
    }

    def __post_init__(self):
        check_parameters(self._parameter_constraints, vars(self))
        if self.brightness[0] > self.brightness[1]:
            raise InvalidParameterError(
                f"brightness is {self.brightness}, expected the smaller factor first."
            )

    def draw(self, rng: np.random.Generator) -> Change:
        """Draw the changes to an image.

        Parameters
        ----------
        rng : numpy.random.Generator
            Every call draws the same number of values, so that no parameter influences another.

        Returns
        -------
        Change
            All amounts are uniformly distributed within their range.
        """
        turn, right, down, lean, wide, high = rng.uniform(-1, 1, 6).tolist()
        bright, flip, element = rng.random(3).tolist()
        darkest, brightest = self.brightness
        mirrored = self.horizontal_flip and flip < 0.5
        return Change(
            rotation=turn * self.rotation,
            column_shift=right * self.width_shift,
            row_shift=down * self.height_shift,
            shear=lean * self.shear,
            column_zoom=1 + wide * self.zoom,
            row_zoom=1 + high * self.zoom,
            brightness=darkest + bright * (brightest - darkest),
            element=int(8 * element) if self.dihedral else 4 * mirrored,
        )


def dihedral(image: np.ndarray, element: int) -> np.ndarray:
    """Rotate an image by quarter turns and mirror it, without changing pixel values.

    Read more in the :ref:`User Guide <augmentation>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image, or a mask.
    element : int
        One of the eight elements of the dihedral group: 0 to 3 are the numbers of quarter turns,
        counter-clockwise; 4 to 7 are the left-right mirror images of ``element - 4``.

    Returns
    -------
    ndarray or MaskedArray
        The image, and its mask with it. An odd number of quarter turns swaps height and width.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.augmentation import dihedral
    >>> dihedral(np.array([[1, 2], [3, 4]], np.uint8), 1)
    array([[2, 4],
           [1, 3]], dtype=uint8)
    """
    if element == 0:
        return image
    turned = np.rot90(image, element % 4)
    return (turned if element < 4 else turned[:, ::-1]).copy()


def brighten(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the brightness of an image.

    Read more in the :ref:`User Guide <augmentation>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.
    factor : float
        Factor, at least 0.

    Returns
    -------
    ndarray or MaskedArray
        The image, in its dtype; integers are rounded. Values are limited to the maximum of the
        dtype (1 for floating point). An alpha channel stays as it is.

    See Also
    --------
    featbus.augmentation.Augmentation : Draw changes at random.
    featbus.augmentation.change_image : Change an image.
    featbus.augmentation.change_mask : Change its mask.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.augmentation import brighten
    >>> brighten(np.array([[100, 200]], dtype=np.uint8), 1.5)
    array([[150, 255]], dtype=uint8)
    """
    if factor == 1 or image.dtype == bool:
        return image
    pixels = np.ma.getdata(image)
    if pixels.dtype.kind == "f":
        bright = np.minimum(pixels * pixels.dtype.type(factor), 1)
    else:
        top = np.iinfo(pixels.dtype).max
        table = np.rint(np.minimum(np.arange(top + 1) * factor, top)).astype(pixels.dtype)
        bright = table[pixels]
    if image.ndim == 3 and image.shape[2] == 4:
        bright[..., 3] = pixels[..., 3]
    return with_mask(bright, inside_mask(image), fill_value(image))


def change_image(image: np.ndarray, change: Change) -> np.ndarray:
    """Apply a change to an image.

    Read more in the :ref:`User Guide <augmentation>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.
    change : Change
        The changes.

    Returns
    -------
    ndarray or MaskedArray
        The image, in its dtype and, except for quarter turns, its shape. Pixels are interpolated
        linearly (``bool`` images: nearest neighbor); beyond the border, the nearest pixel is
        repeated. A mask is changed, too: pixels from beyond the border are outside the
        region, and pixels outside the region do not influence those inside. The region may end up
        empty. Interpolated values depend on the version of OpenCV: OpenCV 4 rounds positions to
        1/32 pixel.

    See Also
    --------
    featbus.augmentation.Augmentation : Draw changes at random.
    featbus.augmentation.change_mask : Change its mask.
    featbus.augmentation.brighten : Change the brightness alone.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.augmentation import Augmentation, change_image
    >>> change = Augmentation(rotation=10).draw(np.random.default_rng(0))
    >>> change_image(np.ones((64, 48), np.uint8), change).shape
    (64, 48)
    """
    image = dihedral(image, change.element)
    matrix = change.matrix(image.shape)
    if matrix is not None:
        image = _warp(image, matrix)
    return brighten(image, change.brightness)


def change_mask(mask: np.ndarray | int, change: Change) -> np.ndarray | int:
    """Apply the change of an image to its mask.

    Read more in the :ref:`User Guide <augmentation>`.

    Parameters
    ----------
    mask : ndarray of bool or int of shape (height, width)
        The region, or labels of regions; 0 is the background.
    change : Change
        The changes to the image; the brightness is ignored.

    Returns
    -------
    ndarray of bool or int
        The mask, interpolated by nearest neighbor; 0 beyond the border.

    See Also
    --------
    featbus.augmentation.Augmentation : Draw changes at random.
    featbus.augmentation.change_image : Change an image.
    featbus.augmentation.brighten : Change the brightness alone.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.augmentation import Augmentation, change_mask
    >>> change = Augmentation(rotation=10).draw(np.random.default_rng(0))
    >>> change_mask(np.ones((64, 48), bool), change).shape
    (64, 48)
    """
    mask = dihedral(mask, change.element)
    matrix = change.matrix(mask.shape)
    return mask if matrix is None else _warp_mask(mask, matrix)


def augment(
    image: np.ndarray, rng: np.random.Generator, augmentation: Augmentation = Augmentation()
) -> np.ndarray:
    """Change an image at random.

    Read more in the :ref:`User Guide <augmentation>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.
    rng : numpy.random.Generator
        Source of randomness.
    augmentation : Augmentation
        How much the image may change.

    Returns
    -------
    ndarray or MaskedArray
        See `change_image`. If the region of a masked image leaves the image, another change is
        drawn.

    Raises
    ------
    ImageError
        If the region leaves the image in 20 draws.
    """
    for _ in range(_N_DRAWS):
        result = change_image(image, augmentation.draw(rng))
        if not np.ma.isMaskedArray(result) or not np.ma.getmaskarray(result).all():
            return result
    raise ImageError(
        f"found a region that left the image in {_N_DRAWS} draws of {augmentation}, expected one "
        "that stays: it is tiny and at the border. Reduce the shifts and the zoom."
    )


def content_rng(image: np.ndarray, seed: int | str) -> np.random.Generator:
    """Return a source of randomness that depends on an image alone, not on others or their order.

    Read more in the :ref:`User Guide <augmentation>`.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.
    seed : int or str
        Another seed gives other numbers.

    Returns
    -------
    numpy.random.Generator
        The same for the same content and seed.

    Raises
    ------
    ImageError
        If the image is a `ResponseMap`: changes are those of images.
    """
    if isinstance(image, ResponseMap):
        raise ImageError("found a ResponseMap, expected an image. Put the filter after this step.")
    digest = hashlib.blake2b(str(seed).encode(), digest_size=16)
    update_digest(digest, image)
    return np.random.default_rng(int.from_bytes(digest.digest()))


def _warp(image, matrix):
    """Apply an affine map to a checked image, and to its mask if there is one."""
    pixels, inside = np.ma.getdata(image), inside_mask(image)
    moved = _warp_pixels(pixels, matrix, cv2.BORDER_REPLICATE)
    if inside is None:
        return moved
    region = _warp_mask(inside, matrix)
    if pixels.dtype != bool:
        seen = region if image.ndim == 2 else np.repeat(region[..., None], image.shape[2], axis=2)
        np.copyto(moved, _warp_region(pixels, inside, matrix), where=seen)
    return with_mask(moved, region, fill_value(image))


def _warp_region(pixels, inside, matrix):
    """Apply an affine map to pixels, interpolating only between those inside the region."""
    channels = inside if pixels.ndim == 2 else inside[..., np.newaxis]
    weight, region = (
        _warp_affine(values.astype(np.float32), matrix, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        for values in (inside, np.where(channels, pixels, 0))
    )
    # If the nearest pixel is inside the region, its weight is at least a quarter.
    region /= np.maximum(weight, 0.1).reshape(weight.shape + (1,) * (pixels.ndim - 2))
    if pixels.dtype.kind == "f":
        return np.minimum(region, 1)
    return np.rint(np.minimum(region, np.iinfo(pixels.dtype).max)).astype(pixels.dtype)


def _warp_pixels(pixels, matrix, border):
    if pixels.dtype == bool:
        nearest = cv2.INTER_NEAREST
        return _warp_affine(pixels.view(np.uint8), matrix, nearest, border).view(bool)
    if pixels.dtype.kind != "f":
        return _warp_affine(pixels, matrix, cv2.INTER_LINEAR, border)
    # OpenCV is faster in single precision and, since 5.0, more accurate.
    moved = _warp_affine(pixels.astype(np.float32), matrix, cv2.INTER_LINEAR, border)
    # Rounding errors can leave 0..1.
    return np.clip(moved, 0, 1).astype(pixels.dtype, copy=False)


def _warp_mask(mask, matrix):
    # OpenCV supports neither bool nor most integer dtypes.
    small = np.uint8 if mask.dtype == bool else np.float64
    moved = _warp_affine(mask.astype(small), matrix, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
    return moved.astype(mask.dtype)


def _warp_affine(pixels, matrix, interpolation, border):
    size = pixels.shape[1::-1]
    return cv2.warpAffine(pixels, matrix, size, flags=interpolation, borderMode=border)
