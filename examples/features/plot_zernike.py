"""
ZernikeMoments: a region as polynomials in a disc
=================================================

:class:`~featbus.ZernikeMoments` describes how the pixels of a region, or their brightness, are
spread in the disc around it. Rotation does not change the magnitudes.
"""

# %%
# Shapes
# ------
# With ``outline=True``, all pixels count alike. A star with five points stands out in the moments
# whose frequency is 5, however it is turned; an ellipse in those of frequency 2.

import matplotlib.pyplot as plt
import numpy as np

from featbus import ZernikeMoments, load_masked, make_breast_ultrasound
from featbus.masks import with_mask

row, column = np.mgrid[-80:81, -80:81]
radius, angle = np.hypot(row, column), np.arctan2(row, column)
regions = {
    "disc": radius < 60,
    "ellipse": np.hypot(row / 70, column / 35) < 1,
    "star": radius < 50 + 20 * np.cos(5 * angle),
    "the star, turned": radius < 50 + 20 * np.cos(5 * (angle - 0.4)),
}
zernike = ZernikeMoments(outline=True).set_output(transform="pandas")
table = zernike.fit_transform(
    [with_mask(np.zeros(row.shape), inside) for inside in regions.values()]
)
table.index = list(regions)

figure, axes = plt.subplots(
    2,
    4,
    figsize=(11, 5.5),
    layout="constrained",
    height_ratios=(1, 1.5),
    sharex="row",
    sharey="row",
)
names = [name.removeprefix("zernike_") for name in table]
for (above, below), (name, inside) in zip(axes.T, regions.items()):
    above.imshow(inside, cmap="gray")
    above.set(xticks=[], yticks=[], title=name)
    below.barh(names, table.loc[name])
    below.tick_params(axis="y", labelsize=5)
    below.set_xlabel("magnitude")
axes[1, 0].invert_yaxis()

# %%
# Lesions
# -------
# Magnitudes of the outline and of the brightness of two synthetic lesions.

data = make_breast_ultrasound(2, weights=[1, 1, 0], n_images_per_patient=1, random_state=1)
lesions = load_masked(data)
both = {
    "outline": zernike.fit_transform(lesions).mean(),
    "brightness": ZernikeMoments().set_output(transform="pandas").fit_transform(lesions).mean(),
}
both["brightness"].sub(both["outline"]).abs().nlargest(5).round(3)
