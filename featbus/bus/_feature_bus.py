"""The bus: stream images through a transformer, and compute each of them once."""

from __future__ import annotations

import os
import warnings
from numbers import Integral
from typing import TYPE_CHECKING

import cv2
import numpy as np
from sklearn.base import clone
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from featbus.base import ImageEstimator, ImageTransformer
from featbus.bus._compute import Rows, as_image_errors, copied, fill
from featbus.bus._fingerprint import fingerprint
from featbus.bus._store import FeatureStore
from featbus.images import ImageError, at_index, stack_images
from featbus.parameters import (
    N_JOBS,
    POSITIVE_INTEGER,
    HasMethods,
    InvalidParameterError,
    StrOptions,
    check_parameters,
)
from featbus.segmentation import find_regions
from featbus.steps import all_steps, check_all_parameters, learns, unwrap

if TYPE_CHECKING:
    from typing import Any, Literal, Self

    from numpy.typing import ArrayLike

    from featbus.typing import Images, PathLike


def _inner_has_names(bus):
    return hasattr(getattr(bus, "transformer_", bus.transformer), "get_feature_names_out")


def _inner_finds_regions(bus):
    inner = unwrap(bus.transformer)
    return isinstance(inner, ImageTransformer) and hasattr(inner, "predict")


class ImageWarning(UserWarning):
    """Some images have no row; the attribute ``errors_`` says which, and why.

    Read more in the :ref:`User Guide <feature_bus>`.
    """


def _check_stateless(fitted):
    """Raise an error if the user's own step has learned something from the first image alone."""
    for step in all_steps(fitted):
        learned = sorted(name for name in vars(step) if name.endswith("_"))
        is_own = not type(step).fit.__module__.startswith("featbus.")
        if learned and is_own and isinstance(step, ImageEstimator) and not learns(step):
            raise InvalidParameterError(
                f"{type(step).__name__} sets {learned[0]} in fit, expected a tag requires_fit that "
                "is True: otherwise it is fitted on the first image alone."
            )


class _EncodedRegions(ImageEstimator):
    """The regions that a segmenter predicts, as rows: the bytes of a PNG file."""

    _wraps = "segmenter"

    def __init__(self, segmenter):
        self.segmenter = segmenter

    def transform(self, X):
        rows = np.empty(len(X), dtype=object)
        for index, region in enumerate(find_regions(self.segmenter, X)):
            rows[index] = cv2.imencode(".png", region.astype(np.uint8))[1]
        return rows


class FeatureBus(ImageEstimator):
    """Stream images through a transformer, and compute each of them once.

    The bus takes any transformer from images to rows, usually a `Pipeline` or `FeatureUnion` of
    featbus steps. It hands images over in batches, so that memory does not grow with their number,
    runs batches in parallel, and keeps rows in a store: the folds and the candidates of a grid
    search, several classifiers, processes and later runs share them.

    Read more in the :ref:`User Guide <feature_bus>`.

    Parameters
    ----------
    transformer : estimator
        From images to rows; or a segmenter or cropper, whose `predict` then keeps its regions.
    memory : str, os.PathLike, FeatureStore or None, default=None
        The file that stores the rows, created on first use. None stores nothing.
    batch_size : int, default=32
        Number of images that go through all steps at a time. Memory grows with it.
    n_jobs : int or None, default=None
        Number of batches computed in parallel, by joblib's threads or the backend of the
        `joblib.parallel_config` context: loky, Dask or Ray. None means 1 unless in such a context,
        while another thread reads and prepares the next batch; 1 uses no other thread.
    on_error : {"raise", "nan"}, default="raise"
        What to do about an image that cannot be read, is invalid, or that a step cannot use: raise
        an error that names it, or return a row of NaN, list it in `errors_` and warn once for all
        of them. Other errors, such as a wrong parameter, are always raised.
    verbose : bool, default=False
        Whether to show a progress bar.
    version : str, int or None, default=None
        The version of anything that rows depend on but their key cannot see, such as modules that
        your own function calls, or a model on a server: rows of another version are not used.

    Attributes
    ----------
    transformer_ : estimator
        The fitted transformer.
    errors_ : list of ImageError
        The images without a row in the last `transform` or `to_parquet`: each error has ``index``,
        ``path`` (None for an array) and ``reason``, see `featbus.images.ImageError`.

    See Also
    --------
    FeatureStore : The file of rows: what it contains, and how to shrink it.

    Notes
    -----
    A row is stored under the digest of the image's content and the fingerprint of the
    transformer: its class and version, all parameters, weights and learned state, and the code of
    your own functions and classes. If any of these changes, the row is computed again; a file's
    name or time stamp does not matter. Edits in modules that your function calls in turn are not
    detected: change `version`.

    Only a transformer that learns nothing from the data, or is frozen
    (`sklearn.frozen.FrozenEstimator`), has the same fingerprint in every fold. One that learns,
    such as a PCA, is fitted on each fold's training part, and its rows are of use in that fold
    only: put it after the bus.

    Processes that share a store claim the images they compute, so that no image is computed twice.

    A `ValueError` or ``cv2.error`` that a step raises on one image, for example a function of
    scikit-image in a `FunctionTransformer`, becomes an `ImageError` that names the image.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import SVC
    >>> from featbus import LBP, FeatureBus, make_breast_ultrasound
    >>> data = make_breast_ultrasound(30, random_state=0)
    >>> memory = pathlib.Path(tempfile.mkdtemp()) / "features.sqlite"
    >>> pipeline = make_pipeline(FeatureBus(LBP(), memory=memory), SVC())
    >>> grid = {"featurebus__transformer__radius": [1, 2], "svc__C": [1, 10]}
    >>> search = GridSearchCV(pipeline, grid, cv=3).fit(data.images, data.target)
    >>> sorted(search.best_params_)
    ['featurebus__transformer__radius', 'svc__C']
    """

    _wraps = "transformer"
    _parameter_constraints = {
        "transformer": [HasMethods("transform")],
        "memory": [str, os.PathLike, FeatureStore, None],
        "batch_size": [POSITIVE_INTEGER],
        "n_jobs": N_JOBS,
        "on_error": [StrOptions({"raise", "nan"})],
        "verbose": ["boolean"],
        "version": [str, Integral, None],
    }

    def __init__(
        self,
        transformer: Any,
        *,
        memory: PathLike | FeatureStore | None = None,
        batch_size: int = 32,
        n_jobs: int | None = None,
        on_error: Literal["raise", "nan"] = "raise",
        verbose: bool = False,
        version: str | int | None = None,
    ) -> None:
        self.transformer = transformer
        self.memory = memory
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.on_error = on_error
        self.verbose = verbose
        self.version = version

    def fit(self, X: Images, y: ArrayLike | None = None, **params: Any) -> Self:
        """Fit the transformer; a stateless one only on the first valid image.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : array_like of shape (n_images,) or None, default=None
            Target, for transformers that learn from it.
        **params : dict
            Metadata for the transformer's `fit`, see scikit-learn's metadata routing.

        Returns
        -------
        self : FeatureBus
            The estimator itself.
        """
        self._check_parameters()
        check_all_parameters(self.transformer)
        batch = self._check_batch(X, reset=True)
        if learns(self.transformer):
            routed = process_routing(self, "fit", **params)
            self.transformer_ = clone(self.transformer).fit(X, y, **routed.transformer.fit)
        else:
            self.transformer_ = self._fitted_on_one(batch)
        self.errors_ = []
        return self

    def transform(self, X: Images) -> np.ndarray:
        """Compute the rows of images, or look them up.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of shape (n_images, n_features)
            What the transformer makes of each image.

        Raises
        ------
        ImageError
            With ``on_error="raise"``, if an image gives no row; the message names the image. Rows
            computed before stay in the store.
        InvalidParameterError
            If a parameter of the bus or of a step is invalid.
        ValueError
            If `X` is not a batch of images, or, with ``on_error="nan"``, if no image gives a row.
        """
        transformer, batch = self._transformer_and_batch(X)
        with self._progress(len(batch)) as progress:
            rows = self._rows(transformer, batch, progress)
        array, errors = rows.array(), rows.errors()
        if array is None:
            raise ValueError(f"No image gave a row. {errors[0]}") from errors[0]
        self._keep_errors(errors, len(batch))
        return array

    @available_if(_inner_finds_regions)
    def predict(self, X: Images) -> np.ndarray | list[np.ndarray]:
        """Find the region in each image, or look it up; only if `transformer` is a segmenter.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of bool of shape (n_images, height, width), or list of ndarray
            True inside the region; a list if the images differ in size.

        Raises
        ------
        ImageError
            If an image is invalid, whatever `on_error` is; the message names the image.
        """
        segmenter, batch = self._transformer_and_batch(X)
        with self._progress(len(batch)) as progress:
            rows = self._rows(_EncodedRegions(segmenter), batch, progress, on_error="raise")
        regions = [cv2.imdecode(row, cv2.IMREAD_UNCHANGED) for row in rows.results]
        return stack_images([region.astype(bool) for region in regions])

    def to_parquet(self, X: Images, directory: PathLike, *, partition_size: int = 10_000) -> None:
        """Write the rows of images to a Parquet data set, for more than memory can hold.

        Partitions are written one after another, and each file appears whole or not at all. Call
        this again after an interrupted run, and only the missing partitions are computed. Requires
        the extra ``featbus[parquet]``.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`. Use paths if the images do not fit into memory either.
        directory : str or os.PathLike
            Where to write ``part-000000.parquet`` and so on; created if needed. It must contain
            no other files, except those whose names begin with a dot or an underscore.
        partition_size : int, default=10_000
            Number of images per partition. Peak memory is three times the rows of one partition.

        Raises
        ------
        FingerprintError
            If the transformer contains an object that changes with use or cannot be pickled, such
            as a random state: its partitions could not be distinguished from those of another one.
        ImportError
            If pyarrow is not installed.
        ImageError
            As in `transform`, also about images without a row in finished partitions, and if a file
            changes while it is used; partitions that were written stay.
        ValueError
            If `directory` contains rows of another transformer, of other images or with another
            partition size, or other files; nothing is mixed or overwritten. With
            ``on_error="nan"``, if no image of the first partition gives a row.

        See Also
        --------
        transform : The rows as an array.

        Notes
        -----
        The table has one row per image, with the columns ``path`` (null for an array), ``digest``
        (of the image's content), ``error`` (null, or the reason why there are no features) and one
        column per feature. The schema's metadata contain, under ``featbus``, JSON with the
        transformer, its fingerprint, the names of the features, the partition size and the version
        of featbus.

        A partition is skipped if it matches: same transformer, same partition size, same paths with
        the same contents. Contents are compared by digest, so every call reads all files. A
        partition with changed files, and the last one of a list that has grown, is computed again
        as a whole; with `memory`, unchanged images are looked up. Rows of NaN stay: delete the
        partition to try again.

        A killed run leaves a hidden file, which readers ignore: delete it.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> import pandas as pd
        >>> from featbus import LBP, FeatureBus, make_breast_ultrasound
        >>> directory = pathlib.Path(tempfile.mkdtemp()) / "lbp"
        >>> images = make_breast_ultrasound(10, random_state=0).images
        >>> FeatureBus(LBP()).to_parquet(images, directory, partition_size=4)
        >>> sorted(path.name for path in directory.iterdir())
        ['part-000000.parquet', 'part-000001.parquet', 'part-000002.parquet']
        >>> pd.read_parquet(directory).shape
        (10, 13)
        """
        from featbus.bus._parquet import ParquetDirectory

        check_parameters({"partition_size": [POSITIVE_INTEGER]}, {"partition_size": partition_size})
        transformer, batch = self._transformer_and_batch(X)
        key = fingerprint(transformer, self.version)
        partitions = ParquetDirectory(directory, partition_size, transformer, key)
        missing, errors = partitions.missing(batch)
        if errors and self.on_error == "raise":
            raise errors[0]
        n_done = len(batch) - sum(len(partition.items) for partition in missing)
        with self._progress(len(batch), n_done) as progress:
            for partition in missing:
                contents = partition.contents()
                rows = self._rows(transformer, partition.items, progress, partition.start, key)
                partitions.write(partition, contents, rows)
                errors += rows.errors()
        self._keep_errors(sorted(errors, key=lambda error: error.index), len(batch))

    def _progress(self, n_images, n_done=0):
        options = {"desc": "FeatureBus", "unit": "image", "disable": not self.verbose}
        return tqdm(total=n_images, initial=n_done, **options)

    def _transformer_and_batch(self, X):
        """Return the fitted transformer and the checked container `X`."""
        self._check_parameters()
        check_is_fitted(self)
        check_all_parameters(getattr(self, "transformer_", self.transformer))
        batch = self._check_batch(X, reset=False)
        if hasattr(self, "transformer_"):
            return self.transformer_, batch
        return self._fitted_on_one(batch), batch

    def _fitted_on_one(self, batch):
        """Return the stateless transformer fitted on the first image that it accepts."""
        for index, item in enumerate(batch):
            try:
                with at_index(index, item), as_image_errors():
                    fitted = clone(self.transformer).fit(copied(batch[index : index + 1]), None)
            except ImageError:
                if self.on_error == "raise" or index == len(batch) - 1:
                    raise
            else:
                _check_stateless(fitted)
                return fitted

    def _rows(self, transformer, items, progress, start=0, key=None, on_error=None):
        """Return the rows of images, the first of which is at `start` in the batch."""
        if key is None and self.memory is not None:
            key = fingerprint(transformer, self.version)
        rows = Rows(items, on_error or self.on_error, progress, start)
        fill(rows, transformer, self, key)
        return rows

    def _keep_errors(self, errors, n_images):
        """Set `errors_`, and warn once about all of them."""
        self.errors_ = errors
        if errors:
            warnings.warn(
                f"{len(errors)} of {n_images} images failed: their rows are NaN, see `errors_`. "
                f"The first: {errors[0]}",
                ImageWarning,
                stacklevel=3,
            )

    def _fingerprint_params(self):
        fitted = getattr(self, "transformer_", self.transformer)
        return {"transformer": fitted, "on_error": self.on_error, "version": self.version}

    @available_if(_inner_has_names)
    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Return the columns' names: the transformer's.

        Parameters
        ----------
        input_features : array_like of str or None, default=None
            Handed to the transformer.

        Returns
        -------
        ndarray of str
            One name per column.
        """
        transformer = getattr(self, "transformer_", self.transformer)
        return transformer.get_feature_names_out(input_features)

    def get_metadata_routing(self) -> Any:
        """Return how metadata reaches the transformer.

        Returns
        -------
        MetadataRouter
            See scikit-learn's metadata routing.
        """
        mapping = MethodMapping()
        for caller in ("fit", "fit_transform"):
            mapping.add(caller=caller, callee="fit")
        return MetadataRouter(owner=self).add(transformer=self.transformer, method_mapping=mapping)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = learns(self.transformer)
        return tags
