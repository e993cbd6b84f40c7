"""The bus: streams images through a transformer, and computes each of them once."""

from functools import partial
from numbers import Integral

from sklearn.base import clone
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from featbus.base import ImageEstimator
from featbus.bus._batches import iter_results
from featbus.bus._fingerprint import fingerprint, learns
from featbus.bus._parquet import ParquetRun
from featbus.bus._rows import Rows, named_error
from featbus.bus._store import FeatureStore
from featbus.bus._stored import StoredRun


def _inner_has_names(bus):
    return hasattr(getattr(bus, "transformer_", bus.transformer), "get_feature_names_out")


class FeatureBus(ImageEstimator):
    """Stream images through a transformer, and compute each of them once.

    The bus takes any transformer from images to rows, usually a `Pipeline` or `FeatureUnion` of
    featbus steps. It hands images over in batches, so that memory does not grow with their number,
    runs batches in parallel, and keeps rows in a store: the folds and the candidates of a grid
    search, several classifiers, processes and later runs share them.

    Parameters
    ----------
    transformer : estimator
        From images to rows.
    memory : str, os.PathLike, FeatureStore or None, default=None
        The file that keeps the rows, made on first use. None keeps none.
    batch_size : int, default=32
        Number of images that go through all steps at a time. Memory grows with it.
    n_jobs : int or None, default=None
        Number of batches at a time. None means one, while other threads read and prepare the
        next; 1 has nothing beside it. In a `joblib.parallel_config` context its backend is used,
        and its number for None: threads (the default), loky, Dask or Ray.
    on_error : {"raise", "nan"}, default="raise"
        What an invalid or unreadable image does: raise an error that names it, or give a row of
        NaN, an entry in `errors_` and one warning for all.
    verbose : bool, default=False
        Whether to show a progress bar.

    Attributes
    ----------
    transformer_ : estimator
        The fitted transformer.
    errors_ : list of ImageFailure
        ``(index, path, message)`` of each image that gave no row in the last `transform`.

    See Also
    --------
    FeatureStore : The file of rows: what it holds, and how to shrink it.

    Notes
    -----
    A row is stored under the digest of the image's content and the fingerprint of the
    transformer: its class and version, all parameters, weights and learned state. Whatever changes
    there makes another row; a file's name or time stamp does not matter. Only a transformer that
    learns nothing from the data has the same fingerprint in every fold. One that does, such as a
    PCA, is fitted on each fold's training part, and its rows serve that fold alone: put it behind
    the bus.

    Processes that share a store claim what they compute, so that no image is computed twice.

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

    def __init__(
        self,
        transformer,
        *,
        memory=None,
        batch_size=32,
        n_jobs=None,
        on_error="raise",
        verbose=False,
    ):
        self.transformer = transformer
        self.memory = memory
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X, y=None, **params):
        """Fit the transformer; a stateless one on the first valid image alone.

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
        batch = self._check_batch(X, reset=True)
        if learns(self.transformer):
            routed = process_routing(self, "fit", **params)
            self.transformer_ = clone(self.transformer).fit(X, y, **routed.transformer.fit)
        else:
            self.transformer_ = self._fitted_on_one(batch)
        self.errors_ = []
        return self

    def transform(self, X):
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
        ValueError
            If `X` is no batch of images, or, with ``on_error="raise"``, an image is invalid; the
            message names the image. What was computed before stays in the store. With
            ``on_error="nan"``, if no image is valid.
        """
        transformer, batch = self._transformer_and_batch(X)
        rows = Rows(batch, self.on_error, self.verbose)
        try:
            self._fill(transformer, rows)
        finally:
            rows.close()
        array, self.errors_ = rows.result()
        return array

    def to_parquet(self, X, directory, *, partition_size=10_000):
        """Write the rows of images to a Parquet data set, for more than memory can hold.

        Partitions are written one after another, each as a whole. Call it again after a run that
        broke off, and only those that are missing are computed. It needs the extra
        ``featbus[parquet]``.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`. Paths, where the images do not fit into memory either.
        directory : str or os.PathLike
            Where to write ``part-000000.parquet`` and so on; made if need be. It holds nothing
            else, but files whose names begin with a dot or an underscore.
        partition_size : int, default=10_000
            Number of images a partition. Its rows take their place in memory twice.

        Raises
        ------
        FingerprintError
            If the transformer holds a lambda or another thing that gives no hint of its changes:
            nothing could tell whether partitions that are there are its own.
        ImportError
            If pyarrow is not installed.
        ValueError
            If `directory` holds rows of another transformer, other images, another partition size
            or other files; nothing is mixed or overwritten. Else as in `transform`; partitions that
            were written stay. With ``on_error="nan"``, if the first partition has no valid image.

        See Also
        --------
        transform : The rows as an array.

        Notes
        -----
        A line has the columns ``path`` (null for an array), ``digest`` (of the image's content, see
        `featbus.bus.digest_image`), ``error`` (null, or why there is no row) and one for each
        feature. The schema's metadata hold, under ``featbus``, JSON with the transformer, its
        fingerprint, the names of the features and the version of featbus.

        A partition is up to date if it was written by the same transformer from files that have not
        been written since; where a file's time stamps have changed, its content decides. One with
        changed files, and the last one of a list that has grown, is computed again; with `memory`,
        that costs nothing for images that stayed. So do rows of NaN stay: delete a partition
        to try again.

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
        transformer, batch = self._transformer_and_batch(X)
        run = ParquetRun(batch, directory, partition_size, transformer)
        self.errors_ = run.execute(partial(self._fill, transformer), self.on_error, self.verbose)

    def _transformer_and_batch(self, X):
        """Return the fitted transformer and the checked container `X`."""
        check_is_fitted(self)
        self._check_parameters()
        batch = self._check_batch(X, reset=False)
        transformer = getattr(self, "transformer_", None)
        if transformer is None:
            transformer = self._fitted_on_one(batch)
        return transformer, batch

    def _fill(self, transformer, rows):
        """Fill `rows` by way of the store, if there is one."""
        if self.memory is None:
            self._compute(transformer, rows)
        else:
            self._look_up_or_compute(transformer, rows)

    def _check_parameters(self):
        if self.on_error not in ("raise", "nan"):
            raise ValueError(f"on_error is {self.on_error!r}, expected 'raise' or 'nan'.")
        if not isinstance(self.batch_size, Integral) or self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size!r}, expected a positive integer.")

    def _fitted_on_one(self, batch):
        """Return the stateless transformer fitted on the first image that it accepts."""
        for index in range(len(batch)):
            try:
                return clone(self.transformer).fit(batch[index : index + 1])
            except ValueError as error:
                if self.on_error == "raise" or index == len(batch) - 1:
                    raise named_error(error, index) from error

    def _compute(self, transformer, rows):
        """Compute all rows, without a store."""
        starts = range(0, len(rows.batch), self.batch_size)
        batches = (rows.batch[start : start + self.batch_size] for start in starts)
        for start, results in zip(starts, iter_results(transformer, batches, self.n_jobs)):
            for index, result in enumerate(results, start):
                if isinstance(result, Exception):
                    rows.fail(index, result)
                else:
                    rows.put(index, result)

    def _look_up_or_compute(self, transformer, rows):
        """Fill all rows, from the store where they are there."""
        is_ours = not isinstance(self.memory, FeatureStore)
        store = FeatureStore(self.memory) if is_ours else self.memory
        key = fingerprint(transformer)
        store.open()
        try:
            StoredRun(store, key, rows).execute(transformer, self.batch_size, self.n_jobs)
        finally:
            if is_ours:
                store.close()

    @available_if(_inner_has_names)
    def get_feature_names_out(self, input_features=None):
        """Return the columns' names: the transformer's.

        Parameters
        ----------
        input_features : array_like of str or None, default=None
            Handed to the transformer.

        Returns
        -------
        ndarray of str
            Names, one a column.
        """
        transformer = getattr(self, "transformer_", self.transformer)
        return transformer.get_feature_names_out(input_features)

    def get_metadata_routing(self):
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
