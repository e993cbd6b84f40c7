"""CLAHE against `skimage.exposure.equalize_adapthist`, and what each enhancement step costs.

python benchmarks/comparisons/enhancement.py

Both sides take an image of the contract, 8 bits and 1024 x 1024 pixels, divide it into 8 x 8 tiles,
and limit the contrast of each. They count different histograms, so results are compared by their
correlation. Of each step, time and peak memory of one image are printed, beside those of the image
inside a mask: CPU time, and the peak of all arrays, result included. Buffers inside OpenCV's
functions do not count.
"""

import time
import tracemalloc
from functools import partial

import cv2
import numpy as np
from _interleaved import compare
from skimage import data
from skimage.exposure import equalize_adapthist

from featbus import (
    CLAHE,
    AdaptiveThreshold,
    ContrastStretch,
    Denoise,
    Despeckle,
    GammaCorrection,
    HistogramEqualizer,
    Normalize,
    RemoveAnnotations,
)

SIDE = 1024
STEPS = {
    "CLAHE": CLAHE(),
    "HistogramEqualizer": HistogramEqualizer(),
    "ContrastStretch": ContrastStretch(),
    "Normalize": Normalize(),
    "GammaCorrection": GammaCorrection(),
    **{f"Denoise {name}": Denoise(name) for name in ("median", "gaussian", "bilateral", "nlmeans")},
    "Denoise tv": Denoise("tv"),
    **{f"Despeckle {name}": Despeckle(name) for name in ("lee", "kuan", "frost", "srad")},
    "AdaptiveThreshold": AdaptiveThreshold(),
    "RemoveAnnotations": RemoveAnnotations(),
}


def make_image(dtype, masked):
    image = cv2.resize(data.camera(), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    cv2.drawMarker(image, (300, 300), 226, cv2.MARKER_CROSS, 15, 2)
    image = image.astype(dtype) * 257 if dtype == "uint16" else image
    if not masked:
        return image
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return np.ma.MaskedArray(image, np.hypot(rows - SIDE / 2, columns - SIDE / 2) > SIDE / 2)


def measure(step, image):
    """Print the median time in ms and the peak memory, in images, of one step."""
    tracemalloc.start()
    step.transform([image])
    peak = tracemalloc.get_traced_memory()[1] / np.ma.getdata(image).nbytes
    tracemalloc.stop()
    times = []
    for _ in range(3):
        start = time.process_time()
        step.transform([image])
        times.append(time.process_time() - start)
    print(f"{1e3 * np.median(times):8.1f} ms {peak:6.1f} x", end="    ")


def main():
    image = make_image("uint8", masked=False)
    scikit_image = partial(equalize_adapthist, image, kernel_size=SIDE // 8, clip_limit=0.01)
    ours = CLAHE().transform([image])[0]
    print(f"correlation {np.corrcoef(ours.ravel(), scikit_image().ravel())[0, 1]:.3f}")
    assert (ours == cv2.createCLAHE(2.0, (8, 8)).apply(image)).all()
    times = compare(
        {"featbus": partial(CLAHE().transform, [image]), "scikit-image": scikit_image},
        packages=["featbus", "scikit-image", "numpy", "opencv-python-headless"],
        threads="1",
    )
    ratio = np.median(times["scikit-image"] / times["featbus"])
    print(f"CLAHE is {ratio:.1f} x as fast as equalize_adapthist\n")
    print(f"{'one image, one thread':24}{'8 bits':25}{'8 bits, masked':25}{'16 bits':25}")
    images = [make_image("uint8", False), make_image("uint8", True), make_image("uint16", False)]
    for name, step in STEPS.items():
        step.transform([image[:64, :64]])  # what is imported on first use does not count
        print(f"{name:20}", end="", flush=True)
        for picture in images:
            measure(step, picture)
        print(flush=True)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
