"""
DeepFeatures: a network from an ONNX file
=========================================

:class:`~featbus.DeepFeatures` runs any image network that was exported to ONNX, vision transformers
included, without PyTorch. :ref:`onnx` shows how to export DINOv2, BiomedCLIP and others. This page
is built offline, so that it writes a small network of its own, and looks at what its tokens see.
"""

# %%
# A network
# ---------
# It has the outputs of a vision transformer: a class token, and one token for each patch of 8 x 8
# pixels. Its weights are not learned, they are those of a filter bank: Gabor filters of three
# frequencies and four directions respond to lines, and a mean filter to brightness. The responses
# are averaged around each patch, and each channel is normalized over the image.

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import onnx
from onnx.numpy_helper import from_array
from skimage.filters import gabor_kernel

from featbus import DeepFeatures, list_layers, make_breast_ultrasound

network = onnx.parser.parse_model("""
<ir_version: 8, opset_import: ["": 17]>
filter_bank (float[1, 1, 192, 256] image) => (float[1, 769, 13] tokens) {
  responses = Conv <pads = [12, 12, 12, 12]> (image, filters)
  energy = Abs (responses)
  means = AveragePool <kernel_shape = [24, 24], strides = [8, 8], pads = [8, 8, 8, 8]> (energy)
  maps = InstanceNormalization (means, ones, zeros)
  flat = Reshape (maps, sides)
  patches = Transpose <perm = [0, 2, 1]> (flat)
  everywhere = GlobalAveragePool (means)
  column = Reshape (everywhere, one)
  first = Transpose <perm = [0, 2, 1]> (column)
  tokens = Concat <axis = 1> (first, patches)
}""")


def draw_filter(frequency, angle):
    """Return a Gabor filter of 25 x 25 pixels without response to brightness."""
    sigma = 0.4 / frequency
    kernel = gabor_kernel(frequency, angle, sigma_x=sigma, sigma_y=sigma, n_stds=2.5).real
    kernel -= kernel.mean()
    return np.pad(kernel / abs(kernel).sum(), (25 - len(kernel)) // 2)


turns = np.arange(4) * np.pi / 4
filters = [draw_filter(frequency, turn) for frequency in (0.1, 0.2, 0.35) for turn in turns]
filters.append(np.pad(np.full((9, 9), 1 / 81), 8))
weights = {
    "filters": np.float32(filters)[:, np.newaxis],
    "ones": np.ones(13, np.float32),
    "zeros": np.zeros(13, np.float32),
    "sides": np.array([1, 13, 768]),
    "one": np.array([1, 13, 1]),
}
network.graph.initializer.extend(from_array(array, name) for name, array in weights.items())

folder = TemporaryDirectory()
path = Path(folder.name) / "filter_bank.onnx"
onnx.save(network, path)

# %%
# How pixels become the numbers that the network expects has to be said: here, one channel of 0..1.
# Features can be taken from the maps and from the tokens. That one token comes before a grid of
# 24 x 32 patches is read from the shapes.

gray = {"mean": 0, "std": 1, "scale": 1 / 255, "channels": "gray"}
list_layers(path, preprocessing=gray)

# %%
# Rows
# ----
# "cls" is the class token; the other poolings are over the patches, in a masked image over those
# inside the region.

from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(12, random_state=0)
chosen = [index for index, mask in enumerate(ultrasound.masks) if mask.any()][1:4]
images = [ultrasound.images[index] for index in chosen]
masks = [ultrasound.masks[index] for index in chosen]

deep = DeepFeatures(path, preprocessing=gray, pooling=["cls", "avg", "max"])
deep.set_output(transform="pandas")
rows = deep.fit_transform([with_mask(image, mask) for image, mask in zip(images, masks)])
print(rows.shape)
rows.iloc[:, [0, 12, 13, 26]].round(3)

# %%
# Where tokens look alike
# -----------------------
# "flatten" has the tokens themselves. Their cosine similarity with one of them, marked by a cross,
# shows what the network holds to be the same: with a patch of the lesion, all that is dark and
# smooth, such as the shadow; with a patch of tissue, what is bright and has lines. For DINOv2 and
# its relatives, such maps are a quick look at what they see before anything is trained.

flat = DeepFeatures(path, preprocessing=gray, pooling="flatten").fit_transform(images)
tokens = flat.reshape(len(images), 24, 32, 13)
tokens /= np.linalg.norm(tokens, axis=-1, keepdims=True)

figure, axes = plt.subplots(3, 3, figsize=(9, 6.6), layout="constrained")
for line, image, mask, grid in zip(axes, images, masks, tokens):
    height, width = image.shape
    inside = np.argwhere(mask).mean(0) / mask.shape * grid.shape[:2]
    line[0].imshow(image, cmap="gray", extent=(0, width, height, 0))
    for axis, (row, column) in zip(line[1:], [inside.astype(int), (9, 5)]):
        similarity = grid @ grid[row, column]
        shown = axis.imshow(
            similarity, cmap="RdBu_r", vmin=-1, vmax=1, extent=(0, width, height, 0)
        )
        place = (column + 0.5) * width / 32, (row + 0.5) * height / 24
        for panel, color in ((line[0], "C1"), (axis, "black")):
            panel.plot(*place, "+", color=color, markersize=12, markeredgewidth=2)
    for axis in line:
        axis.contour(mask, [0.5], colors="C3" if axis is line[0] else "black", linewidths=1)
        axis.set(xticks=[], yticks=[])
for axis, title in zip(axes[0], ["image and lesion", "a patch of the lesion", "a patch of tissue"]):
    axis.set_title(title)
figure.colorbar(shown, ax=axes, label="cosine similarity", shrink=0.6)
folder.cleanup()
