"""The training of a U-Net, which can be stopped and go on."""

import json
import os

import numpy as np

from featbus.augmentation import Augmentation, change_image, change_mask
from featbus.base import iter_ahead
from featbus.color import to_rgb
from featbus.files import written_whole
from featbus.masks import dice
from featbus.networks import import_keras
from featbus.segmentation._unet import build_unet, overlap_loss

# Stronger than for classification: outlines move with their images.
_AUGMENTATION = Augmentation(
    rotation=20, shear=0.15, zoom=0.3, brightness=(0.5, 1.6), horizontal_flip=True
)


class Training:
    """A U-Net in training: network, optimizer, and how far it has come.

    Parameters
    ----------
    source : KerasSource
        The encoder.
    images : list of ndarray of uint8
        Images of the network's size, gray or RGB.
    regions : list of ndarray of bool
        Their regions.
    segmenter : UNetSegmenter
        How to train.
    """

    def __init__(self, source, images, regions, segmenter):
        keras = import_keras()
        self._images, self._regions = images, regions
        self._preprocess = source.preprocessing
        self._batch_size = segmenter.batch_size
        self._rate, self._n_epochs = segmenter.learning_rate, segmenter.epochs
        self._augmentation = segmenter.augmentation
        if self._augmentation is None:
            self._augmentation = _AUGMENTATION
        seed = int(segmenter.random_state)
        self._rng = np.random.default_rng(seed)
        self._loss = overlap_loss(segmenter.region_weight)
        self._model = build_unet(source, source.build(), seed)
        self._optimizer = keras.optimizers.Adam(self._rate)
        self._model.compile(
            optimizer=self._optimizer,
            loss=self._loss,
            jit_compile=keras.backend.backend() == "jax",
        )
        self._optimizer.build(self._model.trainable_variables)
        self.epoch = self.best_epoch = 0
        self.history = {"loss": [], "val_loss": [], "val_dice": []}
        self.best_weights = None

    def run_epoch(self, learning, watching):
        """Train on each image once, but for what whole batches leave over, and validate."""
        order = self._rng.permutation(learning)
        # Another size of batch would be compiled anew.
        n_batches = max(1, len(order) // self._batch_size)
        parts = np.array_split(order[: n_batches * self._batch_size], n_batches)
        losses = []
        for number, batch in enumerate(self._iter_batches(parts), start=1):
            self._set_rate((self.epoch + number / n_batches) / self._n_epochs)
            self._model.reset_metrics()
            losses.append(float(self._model.train_on_batch(*batch)))
        self.epoch += 1
        val_loss, val_dice = self._validate(watching)
        self.history["loss"].append(float(np.mean(losses)))
        self.history["val_loss"].append(val_loss)
        self.history["val_dice"].append(val_dice)
        best = np.nanmin([*self.history["val_loss"][:-1], np.inf])
        if val_loss < best or not len(watching):
            self.best_epoch, self.best_weights = self.epoch, self._model.get_weights()

    def check(self):
        """Refuse a training that led nowhere."""
        weights = self.best_weights or [np.array(np.nan)]
        if not all(np.isfinite(weight).all() for weight in weights):
            raise ValueError(
                "The training diverged: losses or weights are NaN or infinite. Use a smaller "
                f"learning_rate than {self._rate:g}."
            )

    def _iter_batches(self, parts):
        """Return batches of changed images and regions, each made while the one before is used."""
        draws = [self._draw(part) for part in parts]
        return iter_ahead(self._make_batch(*draw) for draw in draws)

    def _draw(self, indices):
        """Return images and the random change of each; drawn before threads start."""
        if self._augmentation is False:
            return indices, [None] * len(indices)
        return indices, [self._augmentation.draw(self._rng) for _ in indices]

    def _make_batch(self, indices, changes):
        """Return preprocessed images and their regions, changed at random."""
        images, regions = [], []
        for index, change in zip(indices, changes):
            image, region = self._images[index], self._regions[index]
            if change is not None:
                image, region = change_image(image, change), change_mask(region, change)
            images.append(to_rgb(image))
            regions.append(region[..., np.newaxis])
        return self._preprocess(np.stack(images)), np.stack(regions).astype(np.float32)

    def _set_rate(self, progress):
        """Set the learning rate: up for a twentieth of the training, then down as a cosine."""
        rise = min(1, 20 * progress)
        self._optimizer.learning_rate = self._rate * max(
            1e-3, rise * (1 + np.cos(np.pi * progress)) / 2
        )

    def _validate(self, indices):
        """Return the loss of images as they are, and the mean Dice of those with a region."""
        losses, scores = [], []
        for start in range(0, len(indices), self._batch_size):
            part = indices[start : start + self._batch_size]
            filled = np.resize(part, self._batch_size)
            images, regions = self._make_batch(filled, [None] * len(filled))
            maps = np.asarray(self._model.predict_on_batch(images))[: len(part)]
            regions = regions[: len(part)]
            losses += np.asarray(self._loss(regions, maps)).tolist()
            pairs = zip(regions[..., 0] > 0, maps[..., 0] >= 0.5)
            scores += [dice(true, found) for true, found in pairs if true.any()]
        return tuple(float(np.mean(values)) if values else np.nan for values in (losses, scores))

    def save(self, path, key):
        """Write all that is needed to go on, whole or not at all."""
        state = {
            "key": key,
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "history": self.history,
            "rng": self._rng.bit_generator.state,
        }
        parts = {
            "model": self._model.get_weights(),
            "optimizer": [np.asarray(variable) for variable in self._optimizer.variables],
            "best": self.best_weights or [],
        }
        arrays = {
            f"{name}_{i}": part for name, some in parts.items() for i, part in enumerate(some)
        }
        with written_whole(path) as hidden, open(hidden, "wb") as file:
            np.savez(file, state=np.array(json.dumps(state)), **arrays)

    def load(self, path, key):
        """Go on from where a training of the same key was stopped."""
        try:
            with np.load(path, allow_pickle=False) as file:
                state = json.loads(str(file["state"]))
                is_ours = state["key"] == key
                if is_ours:
                    self._take(state, file)
        except Exception as error:  # what NumPy and Keras raise depends on the damage
            raise ValueError(
                f"{os.fspath(path)!r} cannot be read ({error!r}): expected what `fit` wrote. "
                "Delete it to train anew."
            ) from error
        if not is_ours:
            raise ValueError(
                f"{os.fspath(path)!r} was written for other images, masks or parameters. Delete it "
                "to train anew."
            )

    def _take(self, state, arrays):
        """Take over what `save` wrote."""
        parts = {name: [] for name in ("model", "optimizer", "best")}
        for name, some in parts.items():
            while f"{name}_{len(some)}" in arrays:
                some.append(arrays[f"{name}_{len(some)}"])
        if len(parts["best"]) != (len(parts["model"]) if state["best_epoch"] else 0):
            raise ValueError("weights are missing")
        self._model.set_weights(parts["model"])
        for variable, value in zip(self._optimizer.variables, parts["optimizer"], strict=True):
            variable.assign(value)
        self._rng.bit_generator.state = state["rng"]
        self.epoch, self.best_epoch = int(state["epoch"]), int(state["best_epoch"])
        self.history, self.best_weights = dict(state["history"]), parts["best"] or None
