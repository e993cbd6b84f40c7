"""Local binary patterns."""

import warnings

import cv2
import numpy as np
from skimage.feature import local_binary_pattern

from featbus.base import FeatureExtractor
from featbus.images import inside_mask, to_gray

# Number of codes and their letter in the columns' names, by method.
_METHODS = {
    "default": (lambda n_points: 2**n_points, "d"),
    "ror": (lambda n_points: 2**n_points, "r"),
    "uniform": (lambda n_points: n_points + 2, "u"),
    "nri_uniform": (lambda n_points: n_points * (n_points - 1) + 3, "n"),
}


def lbp_codes(image, n_points=8, radius=1, method="uniform"):
    """Compute the local binary pattern of each pixel.

    Parameters
    ----------
    image : ndarray of shape (height, width)
        Grey image of any of the dtypes of the image contract.
    n_points : int, default=8
        Number of neighbours on the circle.
    radius : float, default=1
        Radius of the circle in pixels.
    method : {"default", "ror", "uniform", "nri_uniform"}, default="uniform"
        Which patterns share a code, see `LBP`.

    Returns
    -------
    ndarray of int of shape (height, width)
        Codes from 0; those of `skimage.feature.local_binary_pattern`.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.feature_extraction import lbp_codes
    >>> lbp_codes(np.array([[9, 9, 9], [9, 5, 9], [9, 9, 9]], np.uint8))[1, 1]
    np.int64(8)
    """
    with warnings.catch_warnings():
        # scikit-image warns that floating-point noise makes patterns; the user chose the image.
        warnings.filterwarnings("ignore", message="Applying `local_binary_pattern`")
        codes = local_binary_pattern(image, n_points, radius, method)
    return codes.astype(np.int64)


def _circle_inside(inside, radius):
    """Tell which pixels have their whole circle inside the region."""
    reach = int(np.ceil(radius))
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return cv2.erode(inside.astype(np.uint8), square, borderValue=1).astype(bool)


class LBP(FeatureExtractor):
    """Histogram of local binary patterns.

    Each pixel is compared with neighbours on a circle; which are at least as bright gives its
    pattern ([1]_). The histogram of the patterns describes the texture, whatever the brightness.

    Parameters
    ----------
    n_points : int, default=8
        Number of neighbours on the circle.
    radius : float, default=1
        Radius of the circle in pixels.
    method : {"default", "ror", "uniform", "nri_uniform"}, default="uniform"
        Which patterns share a column. "default": none (``2**n_points`` columns). "ror": those that
        are rotations of each other (as many columns, of which most stay 0). "uniform": those whose
        bright neighbours are one run of the same length, and all others in the last column
        (``n_points + 2``). "nri_uniform": the same, but rotations are kept apart
        (``n_points * (n_points - 1) + 3``, [2]_).
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype.

    See Also
    --------
    HOG : Histograms of oriented gradients.
    lbp_codes : The pattern of each pixel.

    Notes
    -----
    Neighbours beyond the image's border count as 0, as in scikit-image. Of a masked image only
    pixels whose whole circle lies in the region count. Colour images count by their luma.

    References
    ----------
    .. [1] Ojala T, Pietikainen M, Maenpaa T. Multiresolution gray-scale and rotation invariant
       texture classification with local binary patterns. IEEE TPAMI 24 (2002) 971-987,
       doi:10.1109/TPAMI.2002.1017623.
    .. [2] Ahonen T, Hadid A, Pietikainen M. Face description with local binary patterns. IEEE TPAMI
       28 (2006) 2037-2041, doi:10.1109/TPAMI.2006.244.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import LBP
    >>> flat = np.full((32, 32), 100, np.uint8)
    >>> rows = LBP().fit_transform([flat])
    >>> rows.shape, round(float(rows.sum()), 6)
    ((1, 10), 1.0)
    >>> str(LBP().get_feature_names_out()[3])
    'lbp_p8_r1_u03'
    """

    def __init__(self, *, n_points=8, radius=1, method="uniform", dtype=np.float32):
        self.n_points = n_points
        self.radius = radius
        self.method = method
        self.dtype = dtype

    def _extract(self, image):
        n_codes, _ = self._codes()
        inside = inside_mask(image)
        codes = lbp_codes(np.ma.getdata(to_gray(image)), self.n_points, self.radius, self.method)
        if inside is not None:
            codes = codes[_circle_inside(inside, self.radius)]
            if codes.size == 0:
                raise ValueError(
                    f"the region holds no circle of radius {self.radius}, expected at least one "
                    "pixel whose neighbours are all inside. Use a larger region or smaller radius."
                )
        return np.bincount(codes.ravel(), minlength=n_codes) / codes.size

    def _codes(self):
        """Return the number of codes and their letter."""
        if self.method not in _METHODS:
            raise ValueError(f"method is {self.method!r}, expected one of {sorted(_METHODS)}.")
        count, letter = _METHODS[self.method]
        return count(self.n_points), letter

    def get_feature_names_out(self, input_features=None):
        """Return the columns' names.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            ``lbp_p8_r1_u03``: 8 points, radius 1, uniform pattern of 3 bright neighbours.
        """
        n_codes, letter = self._codes()
        digits = max(2, len(str(n_codes - 1)))
        return np.array(
            [
                f"lbp_p{self.n_points}_r{self.radius:g}_{letter}{code:0{digits}d}"
                for code in range(n_codes)
            ],
            dtype=object,
        )
