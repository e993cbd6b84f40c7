"""
ShapeStatistics: how round, how ragged
======================================

:class:`~featbus.ShapeStatistics` measures the region of a masked image: size, circularity,
solidity, axes and Hu moments. Pixel values are ignored.
"""

# %%
# Four shapes
# -----------
# A disc is round and solid. An ellipse is solid but long, a star neither round nor solid. The
# convex hull of a region in two parts spans both.

import matplotlib.pyplot as plt
import numpy as np

from featbus import ShapeStatistics, make_breast_ultrasound
from featbus.masks import with_mask

row, column = np.mgrid[-60:61, -60:61]
radius, angle = np.hypot(row, column), np.arctan2(row, column)
regions = {
    "disc": radius < 40,
    "ellipse": np.hypot(row / 50, column / 22) < 1,
    "star": radius < 36 + 14 * np.cos(7 * angle),
    "two parts": (np.hypot(row + 28, column + 28) < 22) | (np.hypot(row - 28, column - 28) < 22),
}
shapes = ShapeStatistics().set_output(transform="pandas")
table = shapes.fit_transform(
    [with_mask(np.zeros(row.shape), inside) for inside in regions.values()]
)
table.index = list(regions)

figure, axes = plt.subplots(1, 4, figsize=(9, 2.8), layout="constrained")
for axis, (name, inside) in zip(axes, regions.items()):
    axis.imshow(inside, cmap="gray")
    circularity, solidity = table.loc[name, ["shape_circularity", "shape_solidity"]]
    axis.set(xticks=[], yticks=[], title=name)
    axis.set_xlabel(f"circularity {circularity:.2f}\nsolidity {solidity:.2f}")

# %%
# All of them
# -----------
# Lengths are in pixels, angles in radians.

table.T.round(4)

# %%
# Beware of masks drawn with the answer in mind
# ---------------------------------------------
# The outlines of a data set were mostly drawn by people who knew the diagnosis. Then the outline
# tells it. Here it is the simulation that knows: malignant lesions are made ragged. A column that
# separates the classes this well is a reason to ask where the masks come from; in use they will
# come from a segmentation, not from a reader who knows.

ultrasound = make_breast_ultrasound(80, weights=[1, 1, 0], random_state=0)
lesions = [with_mask(image, inside) for image, inside in zip(ultrasound.images, ultrasound.masks)]
columns = shapes.fit_transform(lesions)

figure, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
for kind, color in [(0, "C0"), (1, "C3")]:
    chosen = columns[ultrasound.target == kind]
    axis.scatter(
        chosen["shape_solidity"],
        chosen["shape_circularity"],
        color=color,
        alpha=0.7,
        label=ultrasound.target_names[kind],
    )
axis.set(xlabel="solidity", ylabel="circularity")
axis.legend()
