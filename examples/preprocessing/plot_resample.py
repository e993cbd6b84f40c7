"""
Resample: millimeters instead of pixels
=======================================

An ultrasound image that reaches twice as deep has pixels of twice the spacing.
:class:`~featbus.Resample` brings images to one spacing, so that lengths can be compared.
"""

# %%
# One lesion, two depth settings
# ------------------------------
# A synthetic lesion, seen at 0.1 mm from pixel to pixel, and once more at 0.2 mm. Files state
# their spacing; here, :class:`~featbus.io.SpacedImage` does.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from featbus import Resample, ShapeStatistics, load_masked, make_breast_ultrasound
from featbus.io import SpacedImage

data = make_breast_ultrasound(1, image_shape=(240, 320), weights=[0, 1, 0], random_state=1)
speckle, (region,) = data.images[0], load_masked(data)


def scans(image):
    """Return an image as one device sees it, and as another."""
    near = SpacedImage(image, 0.1)
    return [near, SpacedImage(Resample(0.2).transform([near])[0], 0.2)]


before = [scan.image for scan in scans(speckle)]
pictures = [*before, *Resample(0.15).transform(scans(speckle))]
regions = [scan.image for scan in scans(region)] + [*Resample(0.15).transform(scans(region))]
titles = ["0.1 mm per pixel", "0.2 mm per pixel", "0.1 mm, resampled", "0.2 mm, resampled"]

figure, axes = plt.subplots(1, 4, figsize=(9, 2.2), layout="constrained")
for axis, picture, masked, title in zip(axes, pictures, regions, titles):
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axis.contour(np.ma.getmaskarray(masked), levels=[0.5], colors="tab:orange")
    axis.set(xlim=(0, 320), ylim=(240, 0), xticks=[0, 300], yticks=[0, 200])
    axis.set_title(title, fontsize="medium")

# %%
# Lengths and areas
# -----------------
# Counted in pixels, the lesion seems half as long and a quarter as large in the second image.

columns = ["area", "perimeter", "major_axis_length"]
shape = ShapeStatistics(dtype=np.float64).set_output(transform="pandas")
table = shape.fit_transform(regions[:2])
table.index = ["0.1 mm", "0.2 mm"]
print(table[[f"shape_{name}" for name in columns]].round(2).to_string())

# %%
# In millimeters, both images agree, except for what was lost at 0.2 mm.
# :class:`~featbus.ShapeStatistics` is told the spacing once more, since arrays do not know theirs,
# and names the units.

pipeline = make_pipeline(Resample(0.15), ShapeStatistics(spacing=0.15, dtype=np.float64))
table = pipeline.set_output(transform="pandas").fit_transform(scans(region))
table.index = ["0.1 mm", "0.2 mm"]
print(
    table[["shape_area_mm2", "shape_perimeter_mm", "shape_major_axis_length_mm"]]
    .round(1)
    .to_string()
)
