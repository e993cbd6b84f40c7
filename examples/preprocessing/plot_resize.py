"""
Resize: bring images to one size
================================

Classical features and networks need images of one size. :class:`~featbus.Resize` has two ways to
get there, and averages where it shrinks.
"""

# %%
# Stretch or letterbox
# --------------------
# Scans come in all proportions. *Stretch* fills the new size and changes the shape of things: a
# lesion wider than tall becomes round. *Letterbox* keeps the shape. What it leaves at two sides is
# no part of the image: it is masked (hatched here), and features of the region leave it out.

import matplotlib.pyplot as plt
import numpy as np

from featbus import IntensityStatistics, Resize, make_breast_ultrasound

benign_only = [1, 0, 0]
shape = (160, 280)
image = make_breast_ultrasound(1, image_shape=shape, weights=benign_only, random_state=3).images[0]
stretched = Resize(160).transform([image])[0]
boxed = Resize(160, method="letterbox").transform([image])[0]

figure, axes = plt.subplots(
    1, 3, figsize=(9, 3.2), layout="constrained", width_ratios=[280, 160, 160]
)
titles = ["160 x 280 pixels", 'Resize(160)\nmethod="stretch"', 'Resize(160)\nmethod="letterbox"']
for axis, picture, title in zip(axes, [image, stretched, boxed], titles):
    axis.imshow(np.ma.getdata(picture), cmap="gray", vmin=0, vmax=255)
    axis.set_title(title, fontsize="medium")
    axis.set(xticks=[], yticks=[])
with plt.rc_context({"hatch.color": "0.5"}):
    axes[2].contourf(boxed.mask, levels=[0.5, 1], colors="none", hatches=["///"])

# %%
# The mask is worth its trouble. Black bars that count as pixels would make every wide image darker:

bars = np.ma.getdata(boxed)
for name, picture in {"with the mask": boxed, "bars as pixels": bars, "original": image}.items():
    mean = IntensityStatistics().fit_transform([picture])[0, 0]
    print(f"mean brightness, {name:15} {mean:.3f}")

# %%
# Averages, not samples
# ---------------------
# Sides that shrink are averaged over the area that a new pixel covers. To pick every eighth pixel
# instead, as the simplest resizers do, invents rings that are not in the image: aliasing. A texture
# feature cannot tell them from tissue. Averages fade to gray where the rings are too fine to show.

row, column = np.mgrid[-1:1:512j, -1:1:512j]
rings = 0.5 + 0.5 * np.cos(110 * (row**2 + column**2))
averaged = Resize(64).transform([rings])[0]

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
titles = ["512 x 512 pixels", "every eighth pixel", "Resize(64)"]
for axis, picture, title in zip(axes, [rings, rings[::8, ::8], averaged], titles):
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize="medium")
    axis.set(xticks=[], yticks=[])
