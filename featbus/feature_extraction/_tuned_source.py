"""A network with weights that were trained further."""

import hashlib

import numpy as np

from featbus.networks import KerasSource


class TunedSource(KerasSource):
    """Networks from one source, some of whose weights were trained, each time to other values.

    Parameters
    ----------
    source : KerasSource
        The network before.
    weights : dict of str to ndarray of shape (n_members, ...)
        The trained weights of each member, by the path of the Keras variable.
    digest : str
        Digest of these weights, see `digest_weights`.
    """

    engines = ("keras",)

    def __init__(self, source, weights, digest):
        self._source = source
        self._weights = weights
        self.digest = digest
        self.name = source.name
        self.preprocessing = source.preprocessing
        self.input_size = source.input_size

    @property
    def identity(self):
        """See `Source`."""
        return self._source.identity | {"learned": self.digest}

    @property
    def members(self):
        """See `Source`."""
        n_members = next((len(values) for values in self._weights.values()), 1)
        if n_members == 1:
            return (self,)
        parts = (
            {path: values[[number]] for path, values in self._weights.items()}
            for number in range(n_members)
        )
        return tuple(TunedSource(self._source, part, digest_weights(part)) for part in parts)

    def label(self, layer):
        """See `Source.label`."""
        return self._source.label(layer)

    def build(self):
        """See `KerasSource.build`; the trained weights come with `find_taps`."""
        return self._source.build()

    def find_taps(self, base):
        """Return the feature maps, and assign the first member's weights.

        Auxiliary stages come only now.
        """
        import keras

        taps = self._source.find_taps(base)
        whole = keras.Model(base.input, [*base.outputs, *taps.values()])
        for variable in whole.variables:
            if variable.path in self._weights:
                variable.assign(self._weights[variable.path][0])
        return taps


def digest_weights(weights):
    """Return a digest of weights.

    Parameters
    ----------
    weights : dict of str to ndarray
        The weights, in any order.

    Returns
    -------
    str
        SHA-256, in hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in sorted(weights):
        digest.update(f"{path}{weights[path].shape}".encode())
        digest.update(np.ascontiguousarray(weights[path]).data)
    return digest.hexdigest()
