"""
BI-RADS features: what a radiologist sees of a lesion
=====================================================

:class:`~featbus.BIRADSFeatures` describes orientation, shape, margin, echo pattern and posterior
features of a lesion that a mask outlines. It compares regions in and around the lesion.
"""

# %%
# The regions
# -----------
# Two synthetic lesions, benign and malignant. :func:`~featbus.birads_regions` returns what is
# compared: bands at both sides of the outline, the tissue above, beside and below the lesion, and
# that at both sides of the region below.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from featbus import BIRADSFeatures, birads_regions, load_masked, make_breast_ultrasound

data = make_breast_ultrasound(40, weights=[1, 1, 0], random_state=3)
images = load_masked(data)
names = ["benign", "malignant"]
shown = [int(np.flatnonzero(data.target == data.target_names.index(name))[0]) for name in names]
colors = {
    "inner_band": "tab:purple",
    "outer_band": "tab:orange",
    "above": "tab:green",
    "beside": "tab:blue",
    "posterior": "tab:red",
    "posterior_left": "tab:pink",
    "posterior_right": "tab:pink",
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for axis, index, name in zip(axes, shown, names):
    axis.imshow(images[index].data, cmap="gray", vmin=0, vmax=255)
    regions = birads_regions(images[index])
    for region, color in colors.items():
        if regions[region].any():
            axis.contour(regions[region], levels=[0.5], colors=color, linewidths=1.2)
    axis.set(xticks=[], yticks=[], title=name)
labels = {color: name for name, color in colors.items()} | {"tab:pink": "beside posterior"}
handles = [plt.Line2D([], [], color=color) for color in labels]
figure.legend(handles, labels.values(), loc="outside lower center", ncols=4, fontsize="small")

# %%
# The numbers
# -----------
# A benign lesion is wider than deep, smooth, and bright below; a malignant one is deeper than
# wide, ragged, and casts a shadow. Simulated lesions show this by construction.

extractor = BIRADSFeatures().set_output(transform="pandas")
table = extractor.fit_transform(images).rename(columns=lambda name: name.removeprefix("birads_"))
columns = [
    "orientation_depth_to_width",
    "shape_solidity",
    "shape_undulations",
    "margin_angularity",
    "margin_sharpness",
    "echo_contrast_surroundings",
    "posterior_contrast",
]
print(table.iloc[shown][columns].T.set_axis(names, axis=1).round(2).to_string())

# %%
# All columns, as the difference of the classes' means in standard deviations.

classes = pd.Series(np.array(data.target_names)[data.target])
means = table.groupby(classes).mean()
effect = ((means.loc["malignant"] - means.loc["benign"]) / table.std()).fillna(0).sort_values()
figure, axis = plt.subplots(figsize=(7, 6.5), layout="constrained")
axis.barh(effect.index, effect, color="tab:gray")
axis.set_xlabel("malignant minus benign, in standard deviations")
axis.tick_params(axis="y", labelsize="x-small")
