"""Peak memory of the hand-crafted features, as a multiple of the image's own.

python benchmarks/comparisons/feature_memory.py

Of one image of noise, and of smooth noise, whose zones are larger. A thread's first call counts, so
that buffers kept for the next image do, too.
"""

import threading
import tracemalloc

import cv2
import numpy as np

from featbus import GLCM, GLRLM, GLSZM, HOG, LBP, IntensityStatistics

EXTRACTORS = [
    HOG(),
    LBP(),
    LBP(n_points=24, radius=3),
    GLCM(),
    GLRLM(),
    GLSZM(),
    IntensityStatistics(),
]


def peak(extractor, image):
    """Return the peak memory in bytes of one image's row, in a thread of its own."""
    extractor.fit([image])
    thread = threading.Thread(target=extractor.transform, args=([image],))
    tracemalloc.start()
    thread.start()
    thread.join()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def main():
    generator = np.random.default_rng(0)
    images = {}
    for side in (256, 1024):
        for dtype in (np.uint8, np.uint16):
            noise = generator.integers(0, np.iinfo(dtype).max, (side, side), dtype, endpoint=True)
            images[f"{side} {noise.dtype}"] = noise
            images[f"{side} {noise.dtype} smooth"] = cv2.blur(noise, (9, 9))
    for extractor in EXTRACTORS:
        extractor.fit([noise]).transform([noise])  # what is imported on first use does not count
        print(extractor)
        for name, image in images.items():
            print(f"    {name:20} {peak(extractor, image) / image.nbytes:6.1f} x the image")


if __name__ == "__main__":
    main()
