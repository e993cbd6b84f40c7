"""
FourierEnergy: how fine a texture is, and in which direction
============================================================

:class:`~featbus.FourierEnergy` sums the power spectrum of a region over rings, bands of frequency,
and over wedges, ranges of direction.
"""

# %%
# Rings and wedges
# ----------------
# A grating is two points in the power spectrum, in one ring and one wedge. In ultrasound, layers of
# tissue and long speckles change their brightness mostly downward, at 90 degrees. Smoothing takes
# the energy of all but the first rings.

import cv2
import matplotlib.pyplot as plt
import numpy as np

from featbus import FourierEnergy, make_breast_ultrasound
from featbus.masks import with_mask

ultrasound = make_breast_ultrasound(1, weights=[1, 0, 0], random_state=8)
speckle = ultrasound.images[0][40:168, 40:168]
row, column = np.indices(speckle.shape)
images = {
    "grating at 45 degrees": 0.5 + 0.4 * np.cos(2 * np.pi * 0.1 * (column - row)),
    "speckle": speckle,
    "smoothed": cv2.GaussianBlur(speckle, (0, 0), 2),
}
fourier = FourierEnergy().set_output(transform="pandas")
table = fourier.fit_transform(list(images.values()))

figure, axes = plt.subplots(3, 4, figsize=(11, 7.5), layout="constrained")
for line, (name, image), (_, shares) in zip(axes, images.items(), table.iterrows()):
    line[0].imshow(image, cmap="gray")
    line[0].set(title=name, xticks=[], yticks=[])
    power = np.abs(np.fft.fftshift(np.fft.fft2(image - image.mean()))) ** 2
    extent = (-0.5, 0.5, -0.5, 0.5)
    line[1].imshow(np.log10(power + 1e-3 * power.max()), cmap="magma", extent=extent)
    for radius in np.arange(1, 9) / 16:
        line[1].add_patch(plt.Circle((0, 0), radius, fill=False, color="w", linewidth=0.4))
    line[1].set(title="power spectrum", xlabel="cycles per pixel")
    line[2].bar(np.arange(1, 9), shares.filter(like="ring"))
    line[2].set(title="rings", ylim=(0, 1))
    line[3].bar(np.arange(8) * 22.5, shares.filter(like="wedge"), width=18, color="C1")
    line[3].set(title="wedges", ylim=(0, 1), xlabel="degrees")

# %%
# A lesion
# --------
# Of a masked image, only pixels of the region are used. The outline itself has low frequencies.

lesion = ultrasound.masks[0].astype(bool)
masked = with_mask(ultrasound.images[0], lesion)
fourier.fit_transform([ultrasound.images[0], masked]).filter(like="ring").round(3)
