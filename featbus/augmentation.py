"""Random geometry and brightness, as pure functions of an image, or of a mask that goes with it."""

from dataclasses import astuple, dataclass
from numbers import Real

import cv2
import numpy as np

from featbus.images import fill_value, inside_mask, with_mask

__all__ = [
    "Augmentation",
    "Change",
    "augment",
    "brighten",
    "change_image",
    "change_mask",
    "dihedral",
]

# Elements, see `dihedral`, by their number: the mirror image, turns by a quarter and flips, and
# the reflections about the diagonals.
DIHEDRAL = {2: (0, 4), 6: (0, 1, 2, 3, 4, 6), 8: (0, 1, 2, 3, 4, 5, 6, 7)}
_N_DRAWS = 20  # until a region that left the image comes back

# The highest value of each share or angle, which is itself not allowed.
_LIMITS = {
    "rotation": 360,
    "width_shift": 1,
    "height_shift": 1,
    "shear": np.pi / 2,
    "zoom": 1,
}


@dataclass(frozen=True)
class Change:
    """What happens to one image: first `element`, then the geometry, then the brightness.

    Parameters
    ----------
    rotation : float, default=0
        Degrees, counter-clockwise, about the centre.
    column_shift, row_shift : float, default=0
        Shares of the width, to the right, and of the height, downwards.
    shear : float, default=0
        Radians by which upright lines lean to the right.
    column_zoom, row_zoom : float, default=1
        How many times as wide and as high things become.
    brightness : float, default=1
        Factor of the pixels.
    element : int, default=0
        Flips and quarter turns before, see `dihedral`.

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

    def matrix(self, shape):
        """Return the geometry as a matrix.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the image in pixels.

        Returns
        -------
        ndarray of float64 of shape (2, 3), or None
            From ``(column, row, 1)`` to the new ``(column, row)``: zoomed, sheared and turned about
            the centre, then shifted. None where nothing moves.
        """
        if astuple(self)[:6] == astuple(Change())[:6]:
            return None
        height, width = shape[:2]
        angle = np.deg2rad(self.rotation)
        cosine, sine = np.cos(angle), np.sin(angle)
        # Rows count downwards.
        turn = np.array([[cosine, sine], [-sine, cosine]])
        lean = np.array([[1, -np.tan(self.shear)], [0, 1]])
        linear = turn @ lean @ np.diag([self.column_zoom, self.row_zoom])
        centre = np.array([width - 1, height - 1]) / 2
        shift = np.array([self.column_shift * width, self.row_shift * height])
        return np.column_stack([linear, centre + shift - linear @ centre])


@dataclass(frozen=True)
class Augmentation:
    """How much images may change at random.

    Parameters
    ----------
    rotation : float, default=5
        Up to so many degrees, either way.
    width_shift, height_shift : float, default=0.1
        Up to this share of the width and of the height, either way.
    shear : float, default=0.05
        Up to so many radians, either way.
    zoom : float, default=0.05
        Width and height change, each for itself, by up to this share, either way.
    brightness : tuple of float, default=(1, 1.4)
        Lowest and highest factor of the pixels.
    horizontal_flip : bool, default=True
        Whether every other image is mirrored, left to right.
    dihedral : bool, default=False
        Whether images are flipped and turned by quarters, all eight ways alike.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

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

    def __post_init__(self):
        for name, limit in _LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 <= value < limit:
                raise ValueError(
                    f"{name} is {value!r}, expected a number from 0 to less than {limit:.3g}."
                )
        ends = self.brightness
        if np.shape(ends) != (2,) or not 0 <= ends[0] <= ends[1] < np.inf:
            raise ValueError(
                f"brightness is {ends!r}, expected two factors, the lower one first: (1, 1.4)."
            )

    def draw(self, rng):
        """Draw what happens to an image.

        Parameters
        ----------
        rng : numpy.random.Generator
            Always moves on by as much, so that a parameter has no influence on the others.

        Returns
        -------
        Change
            All amounts uniform within their range.
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


def dihedral(image, element):
    """Turn an image by quarters, and mirror it; no pixel changes its value.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image, or a mask.
    element : int
        One of the eight elements of the dihedral group: below 4, so many quarter turns
        counter-clockwise; from 4, the mirror image, left to right, of ``element - 4``.

    Returns
    -------
    ndarray or MaskedArray
        The image; its mask moves along. An odd number of quarter turns swaps height and width.

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


def brighten(image, factor):
    """Multiply the brightness of an image.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.
    factor : float
        Factor, not negative.

    Returns
    -------
    ndarray or MaskedArray
        The image in its dtype; integers are rounded. What would be brighter than the dtype's
        maximum (1 for floating point) is the maximum. Opacity stays.
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


def change_image(image, change):
    """Apply a change to an image.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.
    change : Change
        What happens to it.

    Returns
    -------
    ndarray or MaskedArray
        The image, in its dtype and, but for quarter turns, its shape. Pixels are interpolated
        linearly (of ``bool`` images the nearest one counts), and repeat those of the border beyond
        it. A mask moves along; what comes from beyond the border is outside the region, and pixels
        outside do not bleed into it. The region may end up empty.
    """
    image = dihedral(image, change.element)
    matrix = change.matrix(image.shape)
    if matrix is not None:
        image = _warp(image, matrix)
    return brighten(image, change.brightness)


def change_mask(mask, change):
    """Apply a change to a mask that goes with an image.

    Parameters
    ----------
    mask : ndarray of bool or int of shape (height, width)
        The region, or labels of regions; 0 is the background.
    change : Change
        What happens to the image. Its brightness does not matter.

    Returns
    -------
    ndarray of bool or int
        The mask, of which each pixel is the nearest one of `mask`; beyond the border, 0.
    """
    mask = dihedral(mask, change.element)
    matrix = change.matrix(mask.shape)
    return mask if matrix is None else _warp_mask(mask, matrix)


def augment(image, rng, augmentation=Augmentation()):
    """Change an image at random.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.
    rng : numpy.random.Generator
        Draws the change.
    augmentation : Augmentation
        How much the image may change.

    Returns
    -------
    ndarray or MaskedArray
        See `change_image`. Where the region of a masked image leaves the image, another change is
        drawn.

    Raises
    ------
    ValueError
        If the region leaves the image time and again.
    """
    for _ in range(_N_DRAWS):
        result = change_image(image, augmentation.draw(rng))
        if not np.ma.isMaskedArray(result) or not np.ma.getmaskarray(result).all():
            return result
    raise ValueError(
        f"the region left the image in {_N_DRAWS} draws of {augmentation}: it is tiny, and at the "
        "border. Let images shift and zoom by less."
    )


def _warp(image, matrix):
    """Move the pixels of a checked image, and its mask if there is one."""
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
    """Move pixels, interpolating between those inside the region alone."""
    channels = inside if pixels.ndim == 2 else inside[..., np.newaxis]
    weight, region = (
        _warp_affine(values.astype(np.float32), matrix, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        for values in (inside, np.where(channels, pixels, 0))
    )
    # Where the nearest pixel is in the region, it has a quarter of the weight or more.
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
    # OpenCV is quicker in single precision, and since 5.0 more exact.
    moved = _warp_affine(pixels.astype(np.float32), matrix, cv2.INTER_LINEAR, border)
    # Rounding may leave 0..1 by a hair.
    return np.clip(moved, 0, 1).astype(pixels.dtype, copy=False)


def _warp_mask(mask, matrix):
    # OpenCV takes no bool, and few integers.
    small = np.uint8 if mask.dtype == bool else np.float64
    moved = _warp_affine(mask.astype(small), matrix, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
    return moved.astype(mask.dtype)


def _warp_affine(pixels, matrix, interpolation, border):
    size = pixels.shape[1::-1]
    return cv2.warpAffine(pixels, matrix, size, flags=interpolation, borderMode=border)
