"""
BreastDensity: how much of a breast is dense tissue
===================================================

:class:`~featbus.BreastDensity` measures the share of the breast that is brighter than a threshold:
fibroglandular tissue absorbs more X-rays than fat. The breast is what
:class:`~featbus.BreastRegion` and :class:`~featbus.PectoralMuscleRemover` leave of the image.
"""

# %%
# Four breasts
# ------------
# Red: the outline of the breast without the muscle. Yellow: the outline of its dense tissue, pixels
# brighter than 1.2 times the median brightness of the breast.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from featbus import BreastDensity, BreastRegion, PectoralMuscleRemover, make_mammograms

images = make_mammograms(24, weights=[1, 0], random_state=0).images
steps = make_pipeline(BreastRegion(), PectoralMuscleRemover())
breasts = steps.transform(images)
density = BreastDensity().set_output(transform="pandas")
table = density.fit_transform(breasts)

ascending = np.argsort(table["density_percent"].to_numpy())
shown = ascending[[0, 8, 15, -1]]
figure, axes = plt.subplots(1, 4, figsize=(10, 3.8), layout="constrained")
for axis, index in zip(axes, shown):
    brightness = breasts[index] / 255
    level = table["density_threshold"][index]
    axis.imshow(images[index], cmap="gray")
    axis.contour(~np.ma.getmaskarray(breasts[index]), [0.5], colors="red", linewidths=1)
    axis.contour((brightness > level).filled(False), [0.5], colors="gold", linewidths=0.7)
    axis.set(xticks=[], yticks=[], title=f"{table['density_percent'][index]:.0f} %")

# %%
# The threshold decides
# ---------------------
# Otsu's method separates the two largest groups of pixels. In a fatty breast, these are fat and the
# darker rim below the skin, and nearly all of the breast counts as dense.

otsu = BreastDensity(threshold="otsu").set_output(transform="pandas")
other = otsu.fit_transform(breasts)

figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for axis, index, name in zip(axes, shown[[0, -1]], ("least dense", "densest")):
    axis.hist(breasts[index].compressed() / 255, bins=32, color="0.7")
    axis.axvline(table["density_threshold"][index], color="C1", label="1.2 medians")
    axis.axvline(other["density_threshold"][index], color="C0", linestyle="--", label="Otsu")
    axis.set(xlabel="brightness", ylabel="pixels", title=name)
axes[0].legend()

# %%
# All columns
# -----------
# With ``spacing``, areas are in square millimeters.

table.iloc[shown].T.round(2)
