"""The training of a network by several members, which can be stopped and go on."""

import hashlib
import json
import os

import numpy as np

from featbus.files import written_whole

_AVERAGED = 0.25  # share of the epochs, the last ones


class Training:
    """Members trained from the same start, one after another, and the weights of each.

    Parameters
    ----------
    make_learner : callable
        Returns a `Learner` with its classifier; called when the first epoch is run.
    n_epochs : int
        Number of epochs of each member.
    n_members : int
        Number of members.
    random_state : int
        Seed. Each epoch of each member has random numbers of its own.
    augmentation : Augmentation or False
        How images change.

    Attributes
    ----------
    losses : list of float
        The loss of each epoch run, of one member after another.
    """

    def __init__(self, make_learner, n_epochs, n_members, random_state, augmentation):
        self._make_learner = make_learner
        self._n_epochs, self._n_members = n_epochs, n_members
        self._n_averaged = max(1, round(_AVERAGED * n_epochs))
        self._random_state, self._augmentation = random_state, augmentation
        self._learner = self._saved = None
        self._sums = {}  # of the weights after the epochs that are averaged
        self.losses = []

    @property
    def is_finished(self):
        """Whether all members are trained."""
        return len(self.losses) == self._n_epochs * self._n_members

    def run_epoch(self):
        """Train the next epoch."""
        self._prepare()
        member, epoch = divmod(len(self.losses), self._n_epochs)
        if epoch == 0:
            self._learner.set_state(self._start)
        rng = np.random.default_rng([self._random_state, member, epoch])
        loss = self._learner.learn(rng, self._augmentation)
        weights = self._learner.weights()
        numbers = [loss, *weights.values()]
        if epoch + 1 == self._n_epochs:
            # The loss is that before the last step.
            numbers.append(self._learner.first_rows())
        if not all(np.isfinite(part).all() for part in numbers):
            raise ValueError(
                f"The training diverged in epoch {epoch + 1}: the loss is {loss}, or weights or "
                "rows are not finite. Use a smaller learning_rate, or smaller weights of the "
                "classes."
            )
        self.losses.append(loss)
        if epoch >= self._n_epochs - self._n_averaged:
            for path, values in weights.items():
                zeros = np.zeros((self._n_members, *values.shape))
                self._sums.setdefault(path, zeros)[member] += values

    def _prepare(self):
        """Build the network once, and go to where a training was when it was saved."""
        if self._learner is None:
            self._learner = self._make_learner()
            self._start = self._learner.state()
        if self._saved is not None:
            self._learner.set_state(self._saved)
            self._saved = None

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

    def save(self, path, key):
        """Write all that is needed to go on, or take what another process has written.

        A file is written whole or not at all. One that is as far along stays, and is loaded: all
        processes end with the weights of the one that finishes first.

        Parameters
        ----------
        path : str or os.PathLike
            The file.
        key : str
            What the training depends on, see `load`.
        """
        if self.load(path, key):
            return
        # A finished training needs no optimizer any more.
        state = [] if self.is_finished else self._learner.state()
        about = {"key": key, "losses": self.losses, "paths": list(self._sums)}
        arrays = [*self._sums.values(), *state]
        about["digest"] = _digest(about, arrays)
        named = {f"array_{number}": array for number, array in enumerate(arrays)}
        with written_whole(path) as hidden, open(hidden, "wb") as file:
            np.savez(file, about=np.array(json.dumps(about)), **named)

    def load(self, path, key):
        """Go on from where a training of the same key was stopped, or take its result.

        Nothing is done if there is no file, or if it is not as far along as this training.

        Parameters
        ----------
        path : str or os.PathLike
            What `save` wrote.
        key : str
            What the training depends on.

        Returns
        -------
        bool
            Whether the file was taken.

        Raises
        ------
        ValueError
            If the file is damaged, or was written for another key.
        """
        if not os.path.exists(path):
            return False
        try:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                if len(about["losses"]) < len(self.losses):
                    return False
                arrays = [file[f"array_{number}"] for number in range(len(file.files) - 1)]
            digest = about.pop("digest")
            if digest != _digest(about, arrays) or about["key"] != key:
                raise ValueError("another digest or key than expected")
        except Exception as error:  # what NumPy raises depends on the damage
            raise ValueError(
                f"{os.fspath(path)!r} is damaged ({error!r}), expected what `fit` wrote for these "
                "images and parameters. Delete it to train again."
            ) from error
        self.losses, n_paths = about["losses"], len(about["paths"])
        self._sums = dict(zip(about["paths"], arrays))
        self._saved = arrays[n_paths:] or None
        return True


def _digest(about, arrays):
    """Return a digest of what a file contains."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
