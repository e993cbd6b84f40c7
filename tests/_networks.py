"""Networks of `keras.applications`, as tests describe them."""

from dataclasses import replace

from featbus.networks import KerasApplication, Network


def make_network(name, size, layers=("top",), pooling=("avg",), engine="keras", **source):
    """Return a network of the table; `source` are further attributes of its source."""
    return Network(KerasApplication(name, size, **source), layers, pooling, engine)


def change_source(network, **changes):
    """Return a network whose source has other attributes."""
    return replace(network, source=replace(network.source, **changes))
