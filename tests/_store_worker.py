"""A process that fills a store, for tests that run several of them or kill one."""

import signal
import sys

import numpy as np
from _spies import CountingMean

from featbus import FeatureBus


def images(n_images=200):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n_images, 16, 16)).astype(np.uint8)


def main(memory, log, delay, start, stop):
    bus = FeatureBus(CountingMean(log=log, delay=float(delay)), memory=memory, batch_size=4)
    rows = bus.fit_transform(images()[int(start) : int(stop)])
    np.save(f"{log}-{start}-{stop}.npy", rows)


if __name__ == "__main__":
    # A shell that runs the tests in the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(*sys.argv[1:])
