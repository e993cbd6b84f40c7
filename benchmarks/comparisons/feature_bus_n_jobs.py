"""FeatureBus: two jobs against one, on HOG and LBP of image files.

python benchmarks/comparisons/feature_bus_n_jobs.py
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from _interleaved import compare
from sklearn.pipeline import make_pipeline, make_union

from featbus import HOG, LBP, FeatureBus, Resize, make_breast_ultrasound


def main(n_images=96):
    images = make_breast_ultrasound(n_images, image_shape=(480, 640), random_state=0).images
    transformer = make_pipeline(Resize((256, 256)), make_union(HOG(), LBP()))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.png" for index in range(n_images)]
        for path, image in zip(paths, images):
            cv2.imwrite(str(path), image)
        one = FeatureBus(transformer, n_jobs=1, batch_size=8).fit(paths)
        two = FeatureBus(transformer, n_jobs=2, batch_size=8).fit(paths)
        np.testing.assert_array_equal(one.transform(paths), two.transform(paths))
        compare(
            {
                "2 jobs": lambda: two.transform(paths),
                "1 job": lambda: one.transform(paths),
                "1 job, no bus": lambda: transformer.fit_transform(paths),
            },
            repeats=9,
            packages=["featbus", "opencv-python-headless", "numpy"],
            threads="as the jobs say; OpenCV's own off",
        )


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
