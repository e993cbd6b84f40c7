"""Fine-tuning: a network with a linear classifier after it, trained by Keras' `fit`."""

import os
from collections import Counter
from functools import cached_property

import joblib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.utils import gen_batches
from threadpoolctl import threadpool_limits

from featbus.augmentation import augment
from featbus.color import to_rgb
from featbus.files import written_whole
from featbus.masks import fill_mask, inside_mask
from featbus.networks import (
    KerasSource,
    build_apart,
    build_maps,
    import_keras,
    pool,
    region_weights,
)
from featbus.parameters import InvalidParameterError

_WARM_UP = 0.1  # share of the steps
_AVERAGED = 0.25  # share of the epochs, the last ones


class _Wrapper(KerasSource):
    """A network that differs from another one only in its maps or weights."""

    def __init__(self, source):
        self._source, self.name, self.digest = source, source.name, source.digest
        self.preprocessing, self.input_size = source.preprocessing, source.input_size
        self.label, self.build = source.label, source.build


class AuxiliarySource(_Wrapper):
    """A network with a depthwise and a pointwise convolution after some of its maps.

    Parameters
    ----------
    source : KerasSource
        The network.
    layers : sequence of str
        The maps: "top", or stages.
    channels : int
        Channels of each stage.
    random_state : int
        Seed of the weights.

    Attributes
    ----------
    outputs : tuple of str
        The names in `find_taps` of the maps after the stages, in the order of `layers`.
    """

    def __init__(self, source, layers, channels, random_state):
        super().__init__(source)
        self._channels, self._random_state = int(channels), int(random_state)
        self._layers = {f"{layer}_auxiliary": layer for layer in layers}
        self.outputs = tuple(self._layers)
        self.label = lambda output: f"{source.label(self._layers[output])}_auxiliary"

    @cached_property
    def identity(self):
        """See `Source`."""
        stage = {"auxiliary": self._channels, "auxiliary_random_state": self._random_state}
        return self._source.identity | stage

    def find_taps(self, base):
        """See `KerasSource`."""
        taps = self._source.find_taps(base)
        stages = {
            output: self._add_stage(taps[layer], output)
            for output, layer in self._layers.items()
            if layer in taps
        }
        return taps | stages

    def _add_stage(self, maps, name):
        """Return the maps after a depthwise and a pointwise convolution."""
        from keras import initializers, layers

        # Without batch normalization, which would keep its initial statistics.
        first, second = (initializers.HeNormal(self._random_state + number) for number in range(2))
        relu6 = {"padding": "same", "activation": "relu6"}
        maps = layers.DepthwiseConv2D(
            3, **relu6, depthwise_initializer=first, name=f"{name}_depthwise"
        )(maps)
        return layers.Conv2D(
            self._channels, 1, **relu6, kernel_initializer=second, name=f"{name}_pointwise"
        )(maps)


class TunedSource(_Wrapper):
    """Networks from one source, some of whose weights were trained, one or several times.

    Parameters
    ----------
    source : KerasSource
        The network before training.
    weights : dict of str to ndarray of shape (n_members, ...)
        The trained weights of each member, by the path of the Keras variable.
    """

    def __init__(self, source, weights):
        super().__init__(source)
        self._weights, self.digest = weights, joblib.hash(weights)

    @cached_property
    def identity(self):
        """See `Source`."""
        return self._source.identity | {"learned": self.digest}

    @cached_property
    def members(self):
        """See `Source`."""
        n_members = max(map(len, self._weights.values()), default=1)
        if n_members == 1:
            return (self,)
        parts = (
            {path: values[[number]] for path, values in self._weights.items()}
            for number in range(n_members)
        )
        return tuple(TunedSource(self._source, part) for part in parts)

    def find_taps(self, base):
        """Return the feature maps, and assign the weights; auxiliary stages come only now."""
        import keras

        taps = self._source.find_taps(base)
        whole = keras.Model(base.input, [*base.outputs, *taps.values()])
        for variable in whole.variables:
            if variable.path in self._weights:
                variable.assign(self._weights[variable.path][0])
        return taps


class Training:
    """Members trained from the same start, one after another.

    The network always runs as in inference: no statistics are updated, and nothing is dropped out.

    Parameters
    ----------
    network : Network
        The network before training.
    images : list of ndarray of uint8
        Images of the network's size, gray or RGB, masked or not.
    y : ndarray of int of shape (n_images,)
        The classes, numbered from 0.
    weight : ndarray of shape (n_images,)
        Weight of each image in the loss.
    augmentation : Augmentation or False
        Random changes of the images.
    settings : FineTunedFeatures
        Has the other parameters.

    Attributes
    ----------
    losses : list of float
        The loss of each epoch so far, member by member.
    """

    def __init__(self, network, images, y, weight, augmentation, settings):
        self._network, self._images, self._y, self._weight = network, images, y, weight
        self._augmentation, self._settings = augmentation, settings
        self._batch_size, self._n_epochs = settings.batch_size, settings.epochs
        self._n_steps = -(-len(y) // settings.batch_size)
        self._n_averaged = max(1, round(_AVERAGED * settings.epochs))
        self._masked = any(np.ma.isMaskedArray(image) for image in images)
        self._sums = {}  # of the weights after the epochs that are averaged
        self.losses = []

    def run(self, path=None):
        """Train all members.

        Parameters
        ----------
        path : str or None, default=None
            File to save the state to after each epoch. If it exists, training continues from
            there; a finished training is not repeated.

        Raises
        ------
        ValueError
            If the training diverges, or the file is damaged.
        """
        saved = self._load(path) if path and os.path.exists(path) else None
        n_epochs = self._settings.n_members * self._n_epochs
        if len(self.losses) == n_epochs:
            return
        keras = import_keras()

        def end_epoch(epoch, logs):
            self._end_epoch(epoch, logs["loss"])
            if path:
                self._save(path, is_finished=len(self.losses) == n_epochs)

        model = build_apart(self._build)
        start = self._state()
        self._set_state(saved or start)
        while len(self.losses) < n_epochs:
            member, epoch = divmod(len(self.losses), self._n_epochs)
            if epoch == 0:
                self._set_state(start)
            model.fit(
                self._iter_batches(member, epoch),
                initial_epoch=epoch,
                epochs=self._n_epochs,
                steps_per_epoch=self._n_steps,
                callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=end_epoch)],
                shuffle=False,
                verbose=int(self._settings.verbose),
            )

    def weights(self):
        """Return the mean of the weights after the last quarter of each member's epochs.

        Returns
        -------
        dict of str to ndarray of float32 of shape (n_members, ...)
            The weights, by the path of the Keras variable.
        """
        return {
            path: (total / self._n_averaged).astype(np.float32)
            for path, total in self._sums.items()
        }

    def _build(self):
        """Build the network and its classifier; return the model to train."""
        import keras

        maps = build_maps(self._network, self._settings.unfreeze)
        self._shapes = [tensor.shape[1:] for tensor in maps.outputs]
        shares = [None] * len(self._shapes)
        if self._masked:
            shares = [
                keras.Input((*cells, 1), dtype="float32", name=f"region_{index}")
                for index, (*cells, _) in enumerate(self._shapes)
            ]
        rows = [
            pool(tensor, name, share, keras.ops)
            for tensor, share in zip(maps.outputs, shares)
            for name in self._network.pooling
        ]
        inputs = [maps.input, *shares] if self._masked else maps.input
        self._rows = keras.Model(inputs, keras.ops.concatenate(rows, axis=-1))
        self._learning = self._rows.trainable_variables
        self._check_weights()
        # As in `KerasEngine`.
        compiling = {"jit_compile": keras.backend.backend() == "jax"}
        self._rows.compile(**compiling)
        kernel, bias, mean, scale = self._fit_classifier()
        head = keras.layers.Dense(len(bias), name="classifier")
        head.build((None, len(kernel)))
        head.set_weights([kernel, bias])
        model = _classifier(self._rows, head, mean, scale)
        n_steps = self._n_epochs * self._n_steps
        rising = int(_WARM_UP * n_steps)
        learning_rate = np.float32(self._settings.learning_rate)
        schedule = keras.optimizers.schedules.CosineDecay(
            learning_rate / np.float32(rising + 1),
            n_steps - rising,
            warmup_target=learning_rate,
            warmup_steps=rising,
        )
        optimizer = keras.optimizers.Adam(schedule)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float32")
        model.compile(optimizer=optimizer, loss=loss, **compiling)
        optimizer.build([*self._learning, *head.trainable_variables])
        self._variables = [*self._learning, *head.trainable_variables, *optimizer.variables]
        return model

    def _check_weights(self):
        """Check that there are weights to train, and that each has a name of its own."""
        source, unfreeze = self._network.source, self._settings.unfreeze
        if not self._learning:
            raise InvalidParameterError(
                f"unfreeze is {unfreeze!r}, and {source} has no weights between that stage and the "
                f"layers {list(self._network.layers)}: expected an earlier stage, or 'all'."
            )
        paths = Counter(variable.path for variable in self._rows.variables)
        twice = [one.path for one in self._learning if paths[one.path] > 1]
        if twice:
            raise InvalidParameterError(
                f"{source} has several weights of the name {twice[0]!r}, expected a name of its "
                "own for each layer: trained weights are kept by name."
            )

    def _fit_classifier(self):
        """Fit a logistic regression; return its kernel and bias, and how rows are standardized."""
        parts = gen_batches(len(self._images), self._batch_size)
        rows = [self._rows.predict_on_batch(self._inputs(self._images[part])) for part in parts]
        rows = np.concatenate(rows)[: len(self._images)].astype(np.float64)
        # One thread, because rounding depends on their number.
        with threadpool_limits(1, "blas"):
            variance = rows.var(axis=0)
            # A channel that is hardly ever active must not be scaled up to the others.
            mean, scale = rows.mean(axis=0), np.sqrt(variance + variance.mean()) + 1e-12
            regression = LogisticRegression(C=1 / rows.shape[1], max_iter=1000)
            regression.fit((rows - mean) / scale, self._y, sample_weight=self._weight)
        kernel, bias = regression.coef_.T, regression.intercept_
        if len(bias) == 1:
            kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.hstack([-bias / 2, bias / 2])
        return kernel, bias, mean, scale

    def _iter_batches(self, member, first_epoch):
        """Yield inputs, classes and weights; each epoch has random numbers of its own."""
        for epoch in range(first_epoch, self._n_epochs):
            rng = np.random.default_rng([int(self._settings.random_state), member, epoch])
            order = rng.permutation(len(self._y))
            for batch in gen_batches(len(order), self._batch_size):
                part = order[batch]
                images = [self._images[index] for index in part]
                if self._augmentation:
                    images = [augment(image, rng, self._augmentation) for image in images]
                # The last batch is padded with weight 0, so that no other shape is compiled.
                missing = (0, self._batch_size - len(part))
                weight = np.pad(self._weight[part], missing).astype(np.float32)
                yield self._inputs(images), np.pad(self._y[part], missing), weight

    def _inputs(self, images):
        """Return the inputs of the network, padded to a whole batch."""
        height, width = images[0].shape[:2]
        pixels = np.zeros((self._batch_size, height, width, 3), np.uint8)
        regions = np.ones((self._batch_size, height, width), np.float32)
        for index, image in enumerate(images):
            pixels[index] = to_rgb(fill_mask(image))
            inside = inside_mask(image)
            regions[index] = 1 if inside is None else inside
        values = self._network.source.preprocessing(pixels)
        return (values, *region_weights(regions, self._shapes)) if self._masked else values

    def _end_epoch(self, epoch, loss):
        """Append the loss; add up the weights of the last epochs."""
        weights = {variable.path: variable.numpy().copy() for variable in self._learning}
        if not all(np.isfinite(part).all() for part in (loss, *weights.values())):
            raise ValueError(
                f"The training diverged in epoch {epoch + 1}: the loss is {loss}, or weights are "
                "not finite. Use a smaller learning_rate, or smaller weights of the classes."
            )
        # Keras' mean over the steps counts the padding of the last batch.
        self.losses.append(float(loss) * self._n_steps * self._batch_size / len(self._y))
        if epoch >= self._n_epochs - self._n_averaged:
            member = (len(self.losses) - 1) // self._n_epochs
            for path, values in weights.items():
                zeros = np.zeros((self._settings.n_members, *values.shape))
                self._sums.setdefault(path, zeros)[member] += values

    def _state(self):
        """Return copies of the weights, and of the variables of the optimizer."""
        return [variable.numpy().copy() for variable in self._variables]

    def _set_state(self, state):
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)

    def _save(self, path, is_finished):
        """Write all that is needed to continue; the file is written whole or not at all."""
        state = [] if is_finished else self._state()
        with written_whole(path) as hidden, open(hidden, "wb") as file:
            np.savez(file, self.losses, [*self._sums], *self._sums.values(), *state)

    def _load(self, path):
        """Read what `_save` wrote; return the state."""
        try:
            # Reading an array to its end compares the checksum in the archive.
            with np.load(path, allow_pickle=False) as file:
                losses, paths, *arrays = (file[name] for name in file.files)
        except Exception as error:  # what NumPy raises depends on the damage
            raise ValueError(
                f"{os.fspath(path)!r} is damaged ({error!r}), expected what `fit` wrote for these "
                "images and parameters. Delete it to train again."
            ) from error
        self.losses, self._sums = losses.tolist(), dict(zip(paths.tolist(), arrays))
        return arrays[len(self._sums) :]


def _classifier(rows, head, mean, scale):
    """Return the model to train: `head` after the standardized rows of a network."""
    import keras

    class Classifier(keras.Model):
        def __init__(self):
            super().__init__(name="classifier")
            self.rows, self.head = rows, head

        def call(self, inputs):
            # Given in a functional model, Keras 3.15 forgets this argument when it trains.
            outputs = self.rows(inputs, training=False)
            return self.head((outputs - mean.astype("float32")) / scale.astype("float32"))

    return Classifier()
