"""FeatureBus: two jobs against one, on HOG and LBP of image files.

python benchmarks/comparisons/feature_bus_n_jobs.py

The first side is what this machine's cores can do at best: two processes with half of the files
each, which share nothing and return nothing.
"""

import tempfile
from pathlib import Path

import cv2
import joblib
import numpy as np
from _interleaved import compare
from joblib.externals.loky import get_reusable_executor
from sklearn.pipeline import make_pipeline, make_union

from featbus import HOG, LBP, FeatureBus, Resize, make_breast_ultrasound


def on_processes(bus, paths):
    # The first call starts them and is not timed.
    with joblib.parallel_config("loky"):
        return bus.transform(paths)


def apart(bus, paths):
    joblib.Parallel(n_jobs=2)(joblib.delayed(compute)(bus, paths[start::2]) for start in range(2))


def compute(bus, paths):
    bus.transform(paths)


def main(n_images=512):
    images = make_breast_ultrasound(64, image_shape=(480, 640), random_state=0).images
    transformer = make_pipeline(Resize((256, 256)), make_union(HOG(), LBP()))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.png" for index in range(n_images)]
        for index, path in enumerate(paths):
            cv2.imwrite(str(path), images[index % len(images)])
        one, ahead, two = (FeatureBus(transformer, n_jobs=jobs).fit(paths) for jobs in (1, None, 2))
        rows = one.transform(paths)
        np.testing.assert_array_equal(rows, two.transform(paths))
        np.testing.assert_array_equal(rows, on_processes(two, paths))
        compare(
            {
                "2 processes apart": lambda: apart(one, paths),
                "2 jobs, processes": lambda: on_processes(two, paths),
                "2 jobs, threads": lambda: two.transform(paths),
                "1 job": lambda: one.transform(paths),
                "1 job that reads ahead": lambda: ahead.transform(paths),
            },
            repeats=9,
            packages=["featbus", "joblib", "opencv-python-headless", "numpy"],
            threads="as the jobs say; OpenCV's own off",
        )


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
    get_reusable_executor().shutdown()
