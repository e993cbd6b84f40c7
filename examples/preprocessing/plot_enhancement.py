"""
Enhancement: contrast, noise and speckle
========================================

What each enhancement step makes of a synthetic ultrasound image, and of a photograph of a retina.
"""

# %%
# Contrast
# --------
# A scan at low gain, and the steps that spread its gray values. They differ in what they look at:
# a tile, a histogram, two percentiles, or nothing but the pixel itself.

import matplotlib.pyplot as plt
import numpy as np

from featbus import (
    CLAHE,
    AdaptiveThreshold,
    ContrastStretch,
    Denoise,
    Despeckle,
    GammaCorrection,
    HistogramEqualizer,
    ImageFunction,
    Normalize,
    Resize,
    make_breast_ultrasound,
)
from featbus.color import to_float
from featbus.masks import with_mask


def show(image, steps):
    """Show an image, and what steps make of it."""
    pictures = [image, *(step.transform([image])[0] for step in steps)]
    rows = -(-len(pictures) // 3)
    _, axes = plt.subplots(rows, 3, figsize=(9, 2.8 * rows), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture, title in zip(axes.flat, pictures, ["before", *steps]):
        axis.imshow(to_float(picture), cmap="gray", vmin=0, vmax=1)
        axis.set_title(str(title).replace(", ", ",\n"), fontsize="small")


scan = make_breast_ultrasound(1, image_shape=(192, 256), random_state=3).images[0]
faint = (scan // 3 + 15).astype(np.uint8)
show(
    faint,
    [CLAHE(), HistogramEqualizer(), ContrastStretch(), Normalize(), GammaCorrection()],
)

# %%
# A photograph of a retina (scikit-image, CC0). Vessels are clearest in the green channel. The image
# is brighter on the left: :class:`~featbus.CLAHE`, which looks at tiles, shows vessels everywhere;
# a stretch or equalization of the whole image burns out the left side.

from skimage.data import retina

green = Resize(384).transform([retina()[..., 1]])[0]
show(green, [CLAHE(), HistogramEqualizer(), ContrastStretch(), Normalize(), GammaCorrection()])

# %%
# Noise
# -----
# Electronic noise does not depend on the signal. The median takes single pixels away; the others
# are means that differ in which pixels they leave out.

rng = np.random.default_rng(0)
noisy = np.clip(to_float(scan) + rng.normal(0, 0.08, scan.shape), 0, 1)
show(
    noisy,
    [
        Denoise("median"),
        Denoise("gaussian"),
        Denoise("bilateral", strength=0.2),
        Denoise("nlmeans"),
        Denoise("tv", strength=0.15),
    ],
)

# %%
# Speckle
# -------
# Speckle grows with the signal. These filters smooth a window that varies no more than speckle
# does, and leave others alone. The scan is log-compressed: with `dynamic_range`, it is expanded
# first.

show(
    scan,
    [
        Despeckle("lee", dynamic_range=60),
        Despeckle("kuan", dynamic_range=60),
        Despeckle("frost", dynamic_range=60),
        Despeckle("srad", dynamic_range=60),
        Despeckle("srad", n_iterations=200, dynamic_range=60),
    ],
)

# %%
# Inside a mask
# -------------
# Histograms are those of the region, and what lies outside does not bleed into it. The white
# surroundings of this region leave no trace in its pixels.

rows, columns = np.ogrid[:192, :256]
inside = ((rows - 90) / 70) ** 2 + ((columns - 128) / 100) ** 2 < 1
region = with_mask(np.where(inside, faint, 255).astype(np.uint8), inside)
show(
    region,
    [
        CLAHE(),
        HistogramEqualizer(),
        Denoise(size=9),
        AdaptiveThreshold(51),
        ImageFunction(np.invert),
    ],
)
