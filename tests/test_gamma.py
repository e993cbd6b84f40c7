"""GammaCorrection."""

import numpy as np
import pytest
from skimage.exposure import adjust_gamma

from featbus import GammaCorrection


@pytest.mark.parametrize("gamma", [0.5, 1, 2.2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_all_levels(gamma, dtype):
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)[np.newaxis]
    expected = np.rint((levels / levels.max()) ** gamma * levels.max())
    np.testing.assert_array_equal(GammaCorrection(gamma).transform([levels])[0], expected)


def test_it_is_that_of_scikit_image():
    image = np.random.default_rng(0).random((20, 20))
    np.testing.assert_allclose(GammaCorrection(0.7).transform([image])[0], adjust_gamma(image, 0.7))


@pytest.mark.parametrize("gamma", [0, -1, "bright"])
def test_bad_parameters(gamma):
    with pytest.raises(ValueError, match="gamma is .*, expected"):
        GammaCorrection(gamma).fit([np.zeros((2, 2))])
