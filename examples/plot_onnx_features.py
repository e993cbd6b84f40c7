"""
DeepFeatures: a network from an ONNX file
=========================================

:class:`~featbus.DeepFeatures` runs any image network that was exported to ONNX, vision transformers
included: PyTorch is not needed. :ref:`onnx` shows how to export DINOv2, BiomedCLIP and others. This
page is built offline, so that it makes a small network itself.
"""

# %%
# A network
# ---------
# Its patches are described as those of a vision transformer are: a convolution, tokens, and a class
# token before them. The weights are not learned but those of a filter bank: 24 Gabor filters, of
# three widths and eight directions, respond to edges and texture. With the averages of the pixels,
# each patch of 8 x 8 pixels is described by 25 numbers.

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import onnx
from skimage.filters import gabor_kernel

from featbus import DeepFeatures, make_breast_ultrasound

HEIGHT, WIDTH, PATCH, SIDE = 192, 256, 8, 31


def centered(kernel):
    """Return a filter with zeros around it, so that all have the same size."""
    kernel = kernel[:SIDE, :SIDE]
    before = [(SIDE - side) // 2 for side in kernel.shape]
    around = [(n, SIDE - side - n) for n, side in zip(before, kernel.shape)]
    return np.pad(kernel - kernel.mean(), around)


filters = [
    centered(gabor_kernel(frequency, theta=np.pi * turn / 8, n_stds=2).real)
    for frequency in (0.08, 0.15, 0.25)
    for turn in range(8)
]
filters.append(centered(np.ones((5, 5)) / 25 + np.eye(5)))
