"""A process that fills a store, for tests that run several of them or kill one."""

import signal
import sys

import numpy as np
from _spies import CountingMean, noise

from featbus import FeatureBus

IMAGES = noise(200, (16, 16))


def main(memory, log, delay, start, stop):
    bus = FeatureBus(CountingMean(log=log, delay=float(delay)), memory=memory, batch_size=4)
    rows = bus.fit_transform(IMAGES[int(start) : int(stop)])
    np.save(f"{log}-{start}-{stop}.npy", rows)


if __name__ == "__main__":
    # A shell that runs the tests in the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(*sys.argv[1:])
