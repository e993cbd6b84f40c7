"""A network with a classifier after it, which learn together."""

from collections import Counter

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from featbus.augmentation import augment
from featbus.base import iter_ahead
from featbus.color import to_rgb
from featbus.images import at_index
from featbus.masks import fill_mask, inside_mask
from featbus.networks import build_models, region_weights
from featbus.parameters import InvalidParameterError

_WARM_UP = 0.1  # share of the steps


def _classifier(rows, head, mean, scale):
    """Return the model to train: `head` after the standardized rows of a network."""
    import keras

    class Classifier(keras.Model):
        def __init__(self):
            super().__init__(name="classifier", dtype="float32")
            self.rows, self.head = rows, head

        def call(self, inputs):
            # Given in a functional model, Keras 3.15 forgets this argument when it trains.
            outputs = self.rows(inputs, training=False)
            return self.head((outputs - mean.astype("float32")) / scale.astype("float32"))

    return Classifier()


class Learner:
    """A network with a linear classifier after it, and the images to train with.

    The network always runs as in inference: no statistics are updated, and nothing is dropped out.

    Parameters
    ----------
    network : Network
        The network before training.
    unfreeze : str
        The layers to train, see `build_models`.
    images : list of ndarray of uint8
        Images of the network's size, gray or RGB, masked or not.
    batch_size : int
        Number of images per training step.
    """

    def __init__(self, network, unfreeze, images, batch_size):
        self._images = images
        self._batch_size = batch_size
        self._preprocess = network.source.preprocessing
        self._masked = any(np.ma.isMaskedArray(image) for image in images)
        self._shapes, self._rows = build_models(network, self._masked, unfreeze=unfreeze)
        self._learning = self._rows.trainable_variables
        if not self._learning:
            raise InvalidParameterError(
                f"unfreeze is {unfreeze!r}, and {network.source} has no weights between that stage "
                f"and the layers {list(network.layers)}: expected an earlier stage, or 'all'."
            )
        paths = Counter(variable.path for variable in self._rows.variables)
        twice = [one.path for one in self._learning if paths[one.path] > 1]
        if twice:
            raise InvalidParameterError(
                f"{network.source} has several weights of the name {twice[0]!r}, expected a name "
                "of its own for each layer: trained weights are kept by name."
            )
        import keras  # which `build_models` has set up

        # As in `KerasEngine`.
        self._compiling = {"jit_compile": keras.backend.backend() == "jax"}
        self._rows.compile(**self._compiling)

    def add_classifier(self, y, weight, learning_rate, n_epochs):
        """Add a classifier after the network: the logistic regression on its present rows.

        Parameters
        ----------
        y : ndarray of int of shape (n_images,)
            The classes, numbered from 0.
        weight : ndarray of shape (n_images,)
            Weight of each image in the loss.
        learning_rate : float
            The largest step size of Adam.
        n_epochs : int
            Number of epochs. The step size rises for a tenth of them, and falls as a cosine to 0.
        """
        import keras

        self._y, self._weight = y, weight
        kernel, bias = self._fit_classifier(self._predict(self._images))
        zeros = {"kernel_initializer": "zeros", "dtype": "float32"}
        head = keras.layers.Dense(len(bias), **zeros, name="classifier")
        head.build((None, len(kernel)))
        head.set_weights([kernel, bias])
        model = _classifier(self._rows, head, self._mean, self._scale)
        n_steps = n_epochs * -(-len(y) // self._batch_size)
        rising = int(_WARM_UP * n_steps)
        schedule = keras.optimizers.schedules.CosineDecay(
            learning_rate / (rising + 1),
            n_steps - rising,
            warmup_target=learning_rate,
            warmup_steps=rising,
        )
        optimizer = keras.optimizers.Adam(schedule)
        model.compile(
            optimizer=optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            **self._compiling,
        )
        optimizer.build([*self._learning, *head.trainable_variables])
        self._model = model
        self._variables = [*self._learning, *head.trainable_variables, *optimizer.variables]

    def _fit_classifier(self, rows):
        """Return kernel and bias of a logistic regression on standardized rows."""
        # One thread, because their number decides about rounding.
        with threadpool_limits(1, "blas"):
            variance = rows.var(axis=0)
            # A channel that is hardly ever active must not get the weight of the others.
            self._mean, self._scale = rows.mean(axis=0), np.sqrt(variance + variance.mean()) + 1e-12
            regression = LogisticRegression(C=1 / rows.shape[1], max_iter=1000)
            standardized = (rows - self._mean) / self._scale
            regression.fit(standardized, self._y, sample_weight=self._weight)
        kernel, bias = regression.coef_.T, regression.intercept_
        if len(bias) == 1:
            kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.hstack([-bias / 2, bias / 2])
        return kernel, bias

    def learn(self, rng, augmentation):
        """Train on each of the images once.

        Parameters
        ----------
        rng : numpy.random.Generator
            Draws the order of the images, and their changes.
        augmentation : Augmentation or False
            How images change.

        Returns
        -------
        float
            The loss, averaged over the steps.
        """
        total = 0.0
        for inputs, y, weight in self._iter_batches(rng, augmentation):
            # Some releases of Keras return the mean since the last reset.
            self._model.reset_metrics()
            loss = self._model.train_on_batch(inputs, y, sample_weight=weight)
            total += float(loss) * self._batch_size
        return total / len(self._y)

    def _iter_batches(self, rng, augmentation):
        """Return inputs, classes and weights; each batch is made while the one before is used."""
        order = rng.permutation(len(self._y))
        parts = [
            order[start : start + self._batch_size]
            for start in range(0, len(order), self._batch_size)
        ]
        return iter_ahead(self._make_batch(part, rng, augmentation) for part in parts)

    def _make_batch(self, part, rng, augmentation):
        images = [self._changed(index, rng, augmentation) for index in part]
        # The last batch is padded with weight 0, so that no other shape has to be compiled.
        missing = (0, self._batch_size - len(part))
        weight = np.pad(self._weight[part], missing).astype(np.float32)
        return self._inputs(images), np.pad(self._y[part], missing), weight

    def _changed(self, index, rng, augmentation):
        if not augmentation:
            return self._images[index]
        with at_index(index):
            return augment(self._images[index], rng, augmentation)

    def first_rows(self):
        """Return the present rows of the first batch of images as they are."""
        return self._predict(self._images[: self._batch_size])

    def _predict(self, images):
        """Return the rows of images as they are."""
        rows = []
        for start in range(0, len(images), self._batch_size):
            batch = images[start : start + self._batch_size]
            rows.append(self._rows.predict_on_batch(self._inputs(batch))[: len(batch)])
        return np.concatenate(rows).astype(np.float64)

    def _inputs(self, images):
        """Return what the network takes, filled up to a whole batch."""
        height, width = images[0].shape[:2]
        pixels = np.zeros((self._batch_size, height, width, 3), np.uint8)
        for index, image in enumerate(images):
            pixels[index] = to_rgb(fill_mask(image))
        values = self._preprocess(pixels)
        if not self._masked:
            return values
        regions = np.ones((self._batch_size, height, width), np.float32)
        for index, image in enumerate(images):
            inside = inside_mask(image)
            regions[index] = 1 if inside is None else inside
        return [values, *region_weights(regions, self._shapes)]

    def weights(self):
        """Return copies of the weights that are trained, by the path of the Keras variable."""
        return {variable.path: variable.numpy().copy() for variable in self._learning}

    def state(self):
        """Return copies of all that training changes: weights, and what the optimizer keeps."""
        return [variable.numpy().copy() for variable in self._variables]

    def set_state(self, state):
        """Go back to what `state` returned.

        Parameters
        ----------
        state : list of ndarray
            Of a learner of the same network.
        """
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)
