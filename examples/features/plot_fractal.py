"""
FractalDimension: how rough outlines and surfaces are
=====================================================

:class:`~featbus.FractalDimension` measures how fast details become more numerous as they become
smaller: of the outline of a region, of its bright part, and of its brightness.
"""

# %%
# Surfaces of known roughness
# ---------------------------
# Fractional Brownian surfaces with the exponent H have the dimension 3 - H. The slope of the power
# spectrum finds it. Box counting keeps the order, but finds too little in rough surfaces, whose
# peaks lie between the pixels.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from featbus import FractalDimension, load_masked, make_breast_ultrasound


def draw_surface(hurst, side=256):
    noise = np.random.default_rng(0).standard_normal((2 * side, 2 * side))
    frequency = np.hypot(np.fft.fftfreq(2 * side)[:, np.newaxis], np.fft.fftfreq(2 * side))
    frequency[0, 0] = np.inf
    surface = np.fft.ifft2(np.fft.fft2(noise) * frequency ** -(hurst + 1)).real[:side, :side]
    return (surface - surface.min()) / np.ptp(surface)


exponents = [0.2, 0.5, 0.8]
surfaces = [draw_surface(hurst) for hurst in exponents]
fractal = FractalDimension().set_output(transform="pandas")
found = fractal.fit_transform(surfaces)[["fractal_surface", "fractal_spectrum"]]
found.insert(0, "true", 3 - np.array(exponents))

figure, axes = plt.subplots(1, 3, figsize=(9, 3.6), layout="constrained")
for axis, surface, (_, row) in zip(axes, surfaces, found.iterrows()):
    axis.imshow(surface, cmap="gray")
    axis.set(xticks=[], yticks=[], title=f"dimension {row['true']:.1f}")
    axis.set_xlabel(f"surface {row['fractal_surface']:.2f}, spectrum {row['fractal_spectrum']:.2f}")

# %%
# In numbers:

found.round(2)

# %%
# Lesions
# -------
# Outlines of so few pixels differ little. The spectrum separates these synthetic lesions better; in
# real images, speckle depends on the scanner, too.

data = make_breast_ultrasound(80, weights=[1, 1, 0], n_images_per_patient=1, random_state=0)
table = fractal.fit_transform(load_masked(data))
kinds = pd.Series(np.array(data.target_names)[data.target], name="kind")

figure, axis = plt.subplots(figsize=(5, 3.6), layout="constrained")
for kind, rows in table.groupby(kinds):
    axis.scatter(rows["fractal_outline"], rows["fractal_spectrum"], label=kind, alpha=0.7)
axis.set(xlabel="fractal_outline", ylabel="fractal_spectrum")
axis.legend()

# %%
# Means of all four:

table.groupby(kinds).mean().round(2)
