"""
Filters: spots, edges, waves and bands of frequency
===================================================

Filters of radiomics turn an image into a map of responses, which may be negative. The six filters
that the IBSI defines are in ``featbus.preprocessing.filters``.
"""

# %%
# Responses
# ---------
# A synthetic lesion, and its response to each filter, symmetric about 0 (white) in color.

import matplotlib.pyplot as plt
import numpy as np

from featbus import (
    GaborFilter,
    LaplacianOfGaussian,
    LawsFilter,
    MeanFilter,
    SimoncelliFilter,
    WaveletFilter,
    load_masked,
    make_breast_ultrasound,
)

data = make_breast_ultrasound(1, weights=[0, 1, 0], random_state=1)
(image,) = load_masked(data)
filters = [
    MeanFilter(size=9),
    LaplacianOfGaussian(sigma=4),
    LawsFilter(kernels="L5E5"),
    GaborFilter(sigma=4, wavelength=8),
    WaveletFilter(wavelet="db3", band="LH", level=2),
    SimoncelliFilter(level=2),
]
figure, axes = plt.subplots(2, 4, figsize=(11, 4.6), layout="constrained")
axes = axes.ravel()
axes[0].imshow(image.data, cmap="gray")
axes[0].set_title("image", fontsize="medium")
for axis, step in zip(axes[1:], filters):
    (response,) = step.transform([image])
    limit = np.percentile(np.abs(response.data), 99)
    axis.imshow(response.data, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.set_title(type(step).__name__, fontsize="medium")
for axis in axes:
    axis.contour(np.ma.getmaskarray(image), levels=[0.5], colors="black", linewidths=0.8)
    axis.set(xticks=[], yticks=[])
axes[-1].set_visible(False)

# %%
# Spots of one size
# -----------------
# The Laplacian of a Gaussian is strongest where dark spots have its size. The mean response in the
# lesion, multiplied by the square of ``sigma`` so that sizes can be compared, tells its scale.

sigmas = np.geomspace(1, 40, 20)
means = [
    sigma**2 * LaplacianOfGaussian(sigma=sigma).transform([image])[0].mean() for sigma in sigmas
]
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.semilogx(sigmas, means, marker="o")
axis.set(xlabel="sigma in pixels", ylabel="mean scaled response in the lesion")
