"""
BreastRegion: mammograms without labels and padding
===================================================

Labels, tape and the border of the film are as bright as any tissue, and tell scanners and hospitals
apart. :class:`~featbus.BreastRegion` restricts an image to the breast.
"""

# %%
# What is found
# -------------
# Two synthetic films with what real ones have: a label, a white border, padding. The region found
# is outlined; everything else is masked, and features of the region leave it out.

import matplotlib.pyplot as plt
import numpy as np

from featbus import BreastRegion, IntensityStatistics, make_mammograms

films = []
for image in make_mammograms(2, image_shape=(384, 288), random_state=4).images:
    side = BreastRegion().detect(image).side
    film = np.pad(image, ((0, 0), (0, 60)) if side == "left" else ((0, 0), (60, 0)))
    film[:, slice(-30, None) if side == "left" else slice(30)] = 250
    film[30:70, slice(-130, -75) if side == "left" else slice(75, 130)] = 255
    films.append(film)
regions = BreastRegion(orient="left").fit_transform(films)

figure, axes = plt.subplots(2, 2, figsize=(7, 8), layout="constrained")
for row, film, region in zip(axes, films, regions):
    outline = BreastRegion().detect(film)
    row[0].imshow(film, cmap="gray", vmin=0, vmax=255)
    row[0].contour(outline.mask, levels=[0.5], colors="tab:green")
    row[0].set_title(f"chest wall: {outline.side}", fontsize="medium")
    row[1].imshow(region, cmap="gray", vmin=0, vmax=255)
    row[1].set_facecolor("tab:blue")
    row[1].set_title('orient="left", the rest masked', fontsize="medium")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])

# %%
# What it changes
# ---------------
# Label, border and padding no longer count. Mean brightness:

for name, images in {"whole film": films, "breast": regions}.items():
    table = IntensityStatistics().set_output(transform="pandas").fit_transform(images)
    print(f"{name:10}", *table["intensity_mean"].map("{:.3f}".format))
