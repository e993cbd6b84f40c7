"""The bus: stream images through a transformer, and compute each of them once."""

from __future__ import annotations

import os
import warnings
from numbers import Integral
from typing import Any, Literal, Self

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas.api.types import is_scalar
from sklearn.base import clone
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from featbus.base import ImageEstimator, ImageTransformer
from featbus.bus._compute import Rows, as_image_errors, copied, fill
from featbus.bus._fingerprint import fingerprint
from featbus.bus._sources import LazyImage, list_partitions, opened
from featbus.bus._store import FeatureStore
from featbus.bus._table import FeatureTable
from featbus.images import ImageError, at_index, is_path, stack_images
from featbus.io import read_image
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
from featbus.typing import Images, PathLike


def _inner_has_names(bus):
    return hasattr(getattr(bus, "transformer_", bus.transformer), "get_feature_names_out")


def _inner_finds_regions(bus):
    inner = unwrap(bus.transformer)
    return isinstance(inner, ImageTransformer) and hasattr(inner, "predict")


_TO_PARQUET = {
    "executor": [StrOptions({"loky", "ray"}), HasMethods(["get_executor", "nthreads"]), None],
    "partition_bytes": [POSITIVE_INTEGER],
}


class ImageWarning(UserWarning):
    """Some images have no row; the attribute ``errors_`` says which, and why.

    Read more in the :ref:`User Guide <feature_bus>`.

    See Also
    --------
    featbus.FeatureBus : Warns with `on_error="nan"`.
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


class _BatchFunction:
    """Adds the rows of a bus to a table; its subclasses have a bus and a column."""

    _dtype = np.float32  # of rows, until some are known

    def __call__(self, batch):
        items = [
            LazyImage(read_image, item) if isinstance(item, bytes) else item
            for item in batch[self.column]
        ]
        columns, reasons = {**batch}, [""] * len(items)
        rows = self._transform(items, reasons) if items else None
        names = self.bus.get_feature_names_out().tolist()
        if rows is None:
            rows = np.full((len(items), len(names)), np.nan, self._dtype)
        self._dtype = rows.dtype
        added = dict(zip(names, rows.T))
        if self.bus.on_error == "nan":
            added["error"] = np.array(reasons, dtype=object)
        if clash := sorted(columns.keys() & added):
            raise ValueError(f"The batch has columns {clash}, as the features. Rename them.")
        are_paths = [is_path(item) for item in items if is_path(item) or not is_scalar(item)]
        if are_paths and not any(are_paths):
            del columns[self.column]
        columns |= added
        return pd.DataFrame(columns, batch.index) if isinstance(batch, pd.DataFrame) else columns

    def _transform(self, items, reasons):
        """Return the rows, None if there are none; set the reasons of images without one."""
        try:
            if not (hasattr(self.bus, "transformer_") or learns(self.bus.transformer)):
                self.bus = clone(self.bus).fit(items)  # once, not for each batch
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ImageWarning)  # the column says it
                rows = self.bus.transform(items)
        except ValueError as error:  # other batches may have rows
            is_of_image = isinstance(error, ImageError) or isinstance(error.__cause__, ImageError)
            if self.bus.on_error == "raise" or not is_of_image:
                raise
            reasons[:] = [str(error)] * len(items)
            return None
        for error in self.bus.errors_:
            reasons[error.index] = error.reason
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
        `joblib.parallel_config` context, such as loky. None means 1 unless in such a context,
        while another thread reads and prepares the next batch; 1 uses no other thread. Dask and Ray
        run `to_parquet`.
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
        The images without a row in the last `transform`: each error has ``index``,
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
    _requires_fit = property(lambda self: learns(self.transformer))
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
        array = rows.array()
        self.errors_ = [result for result in rows.results if isinstance(result, ImageError)]
        if array is None:
            raise ValueError(f"No image gave a row. {self.errors_[0]}") from self.errors_[0]
        if self.errors_:
            self._warn(len(self.errors_), len(batch), "`errors_`", self.errors_[0])
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

    def to_parquet(
        self,
        source: Images | PathLike | pd.DataFrame,
        directory: PathLike,
        *,
        executor: Any = None,
        partition_bytes: int = 2**27,
    ) -> FeatureTable:
        """Write the rows of any number of images to a directory of Parquet files.

        Each partition of the images is one task: a worker reads its images, computes their rows and
        writes its own file, which appears whole or not at all. Nothing passes through this process
        but a line per partition. Call this again after an interrupted run, or with more images in
        the source, and only what is missing is computed. Requires the extra ``featbus[parquet]``.

        Parameters
        ----------
        source : path-like, DataFrame or batch of images
            Where the images are, listed as they are needed:

            - a folder, with all of its subfolders;
            - a table, ``.csv`` or ``.parquet``, or a DataFrame, with the columns ``path`` and,
              where known, ``mask``, ``group`` and ``label``; relative paths are those from the
              table's folder;
            - tar files whose names follow the convention of WebDataset, by a pattern such as
              ``"shards/*.tar"``; ``a.left.mask.png`` is the mask of ``a.left.png``;
            - any of these at an address that fsspec knows, such as ``"s3://bucket/scans"``, with
              its package and its credentials;
            - a batch of images, see :ref:`images`.
        directory : path-like
            Where to write ``part-000000-<images>.parquet`` and so on, also an address; created if
            needed. It must contain no other files, except those whose names begin with a dot or an
            underscore, and not be inside the source.
        executor : None, "loky", "ray" or distributed.Client, default=None
            Where tasks run: in this process, one after another, with `n_jobs` batches at a time; in
            `n_jobs` processes of loky (None: one per core); on Ray, as ``ray.init`` connected it;
            or on the Dask cluster of a client. A Ray or Dask worker does not use `memory`.
        partition_bytes : int, default=134_217_728
            Size of a partition: about so many bytes of image files, 10,000 images at most.

        Returns
        -------
        FeatureTable
            The table, nothing of which has been read.

        Raises
        ------
        FingerprintError
            If the transformer contains an object that changes with use or cannot be pickled, such
            as a random state, or differs between this process and a worker.
        ImportError
            If pyarrow, fsspec, or the package of an address is not installed.
        ImageError
            With ``on_error="raise"``, if an image gives no row, or if a file changes while it is
            used; partitions that were written stay.
        OSError
            If the source cannot be listed, or a file cannot be written.
        ValueError
            If `directory` contains rows of another transformer or source, other files, or a
            partition that something else has changed; nothing is mixed or overwritten. If the
            source has no images, or none of them gives a row.

        Warns
        -----
        ImageWarning
            With ``on_error="nan"``, how many images have no row; `FeatureTable.failures` names
            them.

        See Also
        --------
        FeatureTable : Learn from the rows.
        transform : The rows as an array.

        Notes
        -----
        The files have one row per image, in the order of the source, with the columns ``path``
        (null for an array), ``digest`` (of the image's content), ``group``, ``label`` (null if
        unknown), ``error`` (null, or the reason why there are no features) and one column per
        feature. Files of a folder that are no images by content or extension are left out and
        counted.

        ``_manifest.jsonl`` has a line per partition: its file, the number of rows, failures and
        files left out, its bytes and checksum. The first line says whether the run is complete.

        A partition is kept if it has the same transformer and the same paths, groups, labels and
        contents: files whose size and times, or whose version in a store of objects, are unchanged,
        or else whose digests are. Where a partition ends depends on the names around its end, so
        new images in a folder change only the partitions that they are in. Partitions of images
        that are no longer in the source are removed at the end. Rows of NaN stay: delete the
        partition to try again.

        A killed run leaves hidden files, which readers ignore: delete them.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from featbus import LBP, FeatureBus, make_breast_ultrasound
        >>> directory = pathlib.Path(tempfile.mkdtemp()) / "lbp"
        >>> images = make_breast_ultrasound(10, random_state=0).images
        >>> table = FeatureBus(LBP()).to_parquet(images, directory)
        >>> table.shape
        (10, 10)
        """
        from featbus.bus._parquet import Directory, Task, write_partitions

        check_parameters(_TO_PARQUET, locals())
        transformer = self._fitted_on_source(source, partition_bytes)
        worker = self
        if executor is not None:
            is_here = executor == "loky"
            worker = clone(self).set_params(n_jobs=None, memory=self.memory if is_here else None)
        key = fingerprint(transformer, self.version)
        task = Task(worker, transformer, key, Directory(directory))
        with self._progress(None) as progress:
            write_partitions(task, source, partition_bytes, executor, self.n_jobs, progress)
        table = FeatureTable(directory)
        if n_failed := table.manifest["failures"].sum():
            first = table.manifest["failures"].to_numpy().nonzero()[0][0]
            start, stop = np.r_[0, table._ends][first : first + 2]
            index, path, reason = next(table[start:stop].failures().itertuples())
            error = ImageError(reason, start + index, path)
            if self.on_error == "raise":
                raise error
            self._warn(n_failed, len(table), "FeatureTable.failures()", error)
        return table

    def as_batch_function(self, column: str = "path") -> type:
        """Return a class whose instances add the rows to batches of Ray Data, Dask or pandas.

        Ray Data makes one instance per actor, in which a network is built once.

        Parameters
        ----------
        column : str, default="path"
            The column of the images: paths, arrays, or the bytes of files.

        Returns
        -------
        type
            Its instances take a DataFrame, or a dict of arrays, and return the same kind: without
            `column` if it contains arrays or bytes, and with one column per feature. With
            ``on_error="nan"`` there is a column ``error``, the reason why there are no features or
            an empty text. A batch that has columns of these names is an error.
            Where the names of the features depend on the images, as those of `HOG` do, an empty
            batch needs a bus that is fitted.

        See Also
        --------
        to_parquet : Needs no other library.

        Examples
        --------
        >>> import pandas as pd
        >>> from featbus import LBP, FeatureBus, make_breast_ultrasound
        >>> images = make_breast_ultrasound(4, random_state=0).images
        >>> batch = pd.DataFrame({"image": list(images), "patient": [1, 1, 2, 3]})
        >>> add_rows = FeatureBus(LBP()).as_batch_function("image")()
        >>> add_rows(batch).shape
        (4, 11)
        """
        return type("BatchFunction", (_BatchFunction,), {"bus": self, "column": column})

    def _fitted_on_source(self, source, n_bytes):
        """Return the fitted transformer; one that learns nothing is fitted on the first image."""
        check_all_parameters(self)
        check_is_fitted(self)
        if hasattr(self, "transformer_"):
            return self.transformer_
        for partition in list_partitions(source, n_bytes):
            with opened(partition) as (items, _, _):
                if items:
                    return self._fitted_on_one(self._check_batch(items, reset=False))
        raise ValueError(f"Found no images in {source!r}, expected at least one.")

    def _progress(self, n_images):
        options = {"desc": "FeatureBus", "unit": "image", "disable": not self.verbose}
        return tqdm(total=n_images, **options)

    def _transformer_and_batch(self, X):
        """Return the fitted transformer and the checked container `X`."""
        check_all_parameters(self)
        check_is_fitted(self)
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

    def _rows(self, transformer, items, progress, key=None, on_error=None):
        """Return the rows of images."""
        if key is None and self.memory is not None:
            key = fingerprint(transformer, self.version)
        rows = Rows(items, on_error or self.on_error, progress)
        fill(rows, transformer, self, key)
        return rows

    def _warn(self, n_errors, n_images, where, first):
        warnings.warn(
            f"{n_errors} of {n_images} images failed: their rows are NaN, see {where}. "
            f"The first: {first}",
            ImageWarning,
            stacklevel=4,
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
        mapping = MethodMapping().add(caller="fit", callee="fit")
        mapping.add(caller="fit_transform", callee="fit")
        return MetadataRouter(owner=self).add(transformer=self.transformer, method_mapping=mapping)
