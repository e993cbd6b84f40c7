"""Learn from rows on a disk: a table that is read in parts, its folds, and what learns from it."""

from __future__ import annotations

import hashlib
import warnings
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.model_selection import GroupKFold
from sklearn.utils import check_consistent_length, check_random_state, gen_batches
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _estimator_has, check_is_fitted, validate_data

from featbus.bus._parquet import IMAGE_COLUMNS, ROW_GROUP, Directory, import_pyarrow
from featbus.groups import check_groups, check_target
from featbus.parameters import POSITIVE_INTEGER, HasMethods, check_parameters
from featbus.steps import learns
from featbus.typing import PathLike

_BLOCK = 1_000  # neighboring rows that stay together when batches are shuffled


def _column(name, doc):
    def read(table: FeatureTable) -> np.ndarray:
        return table._texts(name)

    return property(read, doc=doc)


class FeatureTable:
    """The rows that `FeatureBus.to_parquet` wrote, read from the disk as they are needed.

    It stands for the array of the features: scikit-learn's splitters and `featbus.evaluate` take it
    as `X`, indexing returns the table of some rows, and ``numpy.asarray`` reads them.
    `StreamingClassifier` learns from it in parts.

    Read more in the :ref:`User Guide <scale_learning>`.

    Parameters
    ----------
    directory : path-like
        What `FeatureBus.to_parquet` wrote to: a directory or an address.

    Attributes
    ----------
    feature_names : list of str
        The columns of the features.
    manifest : DataFrame
        Of each partition its file, the numbers of rows, failures and files left out, its bytes and
        checksum.
    shape : (int, int)
        Number of rows and of features.

    Raises
    ------
    FileNotFoundError
        If there is no manifest.
    ImportError
        If pyarrow or fsspec is not installed.

    Warns
    -----
    UserWarning
        If the last `FeatureBus.to_parquet` was interrupted.

    See Also
    --------
    featbus.FeatureBus.to_parquet : Write such a table.
    featbus.StreamingClassifier : Learn from it in parts.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from featbus import LBP, FeatureBus, FeatureTable, make_breast_ultrasound
    >>> directory = pathlib.Path(tempfile.mkdtemp()) / "lbp"
    >>> images = make_breast_ultrasound(10, random_state=0).images
    >>> _ = FeatureBus(LBP()).to_parquet(images, directory)
    >>> table = FeatureTable(directory)
    >>> table
    FeatureTable: 10 rows of 10 features
    >>> np.asarray(table[2:4]).shape
    (2, 10)
    """

    def __init__(self, directory: PathLike) -> None:
        self._directory = Directory(directory)
        header, lines = self._directory.manifest()
        if not lines:
            raise FileNotFoundError(
                f"Found no rows in {self._directory.name!r}, expected what FeatureBus.to_parquet "
                "writes. Run it, or run it again if it was interrupted."
            )
        if not header.get("complete"):
            warnings.warn(
                f"The last run of to_parquet to {self._directory.name!r} did not finish: rows may "
                "be missing, old, or there twice. Run it again.",
                stacklevel=2,
            )
        self.manifest = pd.DataFrame([lines[name] for name in sorted(lines)])
        self._ends = self.manifest["rows"].cumsum().to_numpy()
        self.dtype = np.dtype(self.manifest["columns"][0][1])
        self._positions = np.arange(self._ends[-1])
        self._schema = None
        self._schema = self._open(0).schema_arrow
        self.feature_names = self._schema.names[len(IMAGE_COLUMNS) :]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self._positions), len(self.feature_names)

    def __len__(self):
        return len(self._positions)

    def __repr__(self):
        return f"FeatureTable: {self.shape[0]:,} rows of {self.shape[1]:,} features"

    def __getitem__(self, rows):
        rows, *columns = rows if isinstance(rows, tuple) else (rows,)
        positions = self._positions[rows]
        part = object.__new__(type(self))
        vars(part).update(vars(self))
        part._positions = np.atleast_1d(positions)
        if np.ndim(positions) == 1 and all(column is ... for column in columns):
            return part  # as for scikit-learn's X[rows, ...]
        return np.asarray(part)[0 if np.ndim(positions) == 0 else slice(None), *columns]

    def __array__(self, dtype=None, copy=None):
        array = np.empty(self.shape, self.dtype)
        for where, table in self._read(self.feature_names):
            for index, column in enumerate(table.itercolumns()):
                array[where, index] = column.to_numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    paths = _column("path", "The path of each image, None of an array: ndarray of object.")
    digests = _column("digest", "The digest of each image, None if unreadable: ndarray of object.")
    groups = _column("group", "The group of each image, None if unknown: ndarray of object.")
    labels = _column("label", "The label of each image, None if unknown: ndarray of object.")
    errors = _column("error", "Why an image has no features, else None: ndarray of object.")

    def failures(self) -> pd.DataFrame:
        """List the images without features.

        Returns
        -------
        DataFrame
            Their ``path`` and ``error``, indexed by their position in the table.
        """
        frame = pd.DataFrame({"path": self.paths, "error": self.errors}, dtype=object)
        return frame[frame["error"].notna()]

    def _texts(self, name):
        values = np.empty(len(self), dtype=object)
        for where, table in self._read([name]):
            column = table[name].combine_chunks().dictionary_encode()
            # Each text is one object, however many rows have it.
            texts = np.append(np.array(column.dictionary.to_pylist(), dtype=object), None)
            values[where] = texts[column.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        return values

    def _read(self, columns):
        """Yield positions in this table and a table of their columns, partition by partition."""
        order = np.argsort(self._positions, kind="stable")
        places = self._positions[order]
        bounds = np.searchsorted(places, self._ends)
        for partition, (start, stop) in enumerate(zip([0, *bounds[:-1]], bounds)):
            if start == stop:
                continue
            rows = places[start:stop] - (self._ends[partition - 1] if partition else 0)
            file, groups = self._open(partition), np.unique(rows // ROW_GROUP)
            # Threads of Arrow that hold a file of Python may abort the exit of the process.
            table = file.read_row_groups(groups.tolist(), columns, use_threads=False)
            # Where each row is among those of the row groups that were read.
            within = np.searchsorted(groups, rows // ROW_GROUP) * ROW_GROUP + rows % ROW_GROUP
            yield order[start:stop], table.take(within)

    def _open(self, partition):
        line = self.manifest.iloc[partition]
        try:
            file = self._directory.open(line["partition"])
            if file.size != line["bytes"]:
                raise OSError(f"it has {file.size} bytes, expected {line['bytes']}")
            file = import_pyarrow().parquet.ParquetFile(file, page_checksum_verification=True)
            if self._schema not in (None, file.schema_arrow):
                raise ValueError("it has other columns than the first file")
            return file
        except (OSError, ValueError) as error:
            path = self._directory.path(line["partition"])
            raise OSError(
                f"{path!r} is not the file of the manifest ({error}). Delete it if it exists, run "
                "to_parquet again, and make another FeatureTable."
            ) from error


class HashedGroupKFold(GroupKFold):
    """Folds of whole groups, each of which goes where the hash of its name says.

    A group is always in the same fold, whatever other groups there are: more images leave the folds
    of the others as they are. Folds have equal sizes only on average.

    Inside one of its folds, use `GroupKFold`: with the same `n_splits`, all rows would have the
    same fold again.

    Read more in the :ref:`User Guide <scale_learning>`.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds.

    See Also
    --------
    sklearn.model_selection.StratifiedGroupKFold : Folds of equal sizes and classes.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import HashedGroupKFold
    >>> groups = np.array(["anna", "anna", "berta", "carla"])
    >>> for train, test in HashedGroupKFold(2).split(groups, groups=groups):
    ...     print(train, test)
    [0 1 2] [3]
    [3] [0 1 2]
    """

    def __init__(self, n_splits: int = 5) -> None:
        super().__init__(n_splits)

    def _iter_test_indices(self, X, y, groups):
        if groups is None:
            raise ValueError("groups is None, expected the group of each row.")
        names, inverse = np.unique(check_groups(groups).astype(str), return_inverse=True)
        texts = (f"{self.n_splits} {name}".encode() for name in names)
        digests = (hashlib.blake2b(text, digest_size=8).digest() for text in texts)
        folds = np.array([int.from_bytes(digest) % self.n_splits for digest in digests])[inverse]
        for fold in range(self.n_splits):
            test = np.flatnonzero(folds == fold)
            if len(test) in (0, len(folds)):
                raise ValueError(
                    f"Fold {fold} of {self.n_splits} has {len(test)} of {len(folds)} rows, in "
                    f"{len(names)} groups. Use fewer folds, or StratifiedGroupKFold."
                )
            yield test


def _steps(estimator):
    steps = getattr(estimator, "steps", [("", estimator)])  # of a pipeline
    return [step for _, step in steps if step not in (None, "passthrough")]


class StreamingClassifier(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """Learn from batches of rows, so that a table of any size needs the memory of a batch.

    Read more in the :ref:`User Guide <scale_learning>`.

    Parameters
    ----------
    estimator : estimator
        A classifier with `partial_fit`, such as `sklearn.linear_model.SGDClassifier`; an
        ``xgboost.XGBClassifier``, which is trained from quantiles on the disk; or a pipeline of
        transformers with `partial_fit`, such as `sklearn.preprocessing.StandardScaler` and
        `sklearn.decomposition.IncrementalPCA`, or that learn nothing, and such a classifier.
    batch_size : int, default=10_000
        Number of rows in memory, above 1,000 rounded down to whole thousands. `IncrementalPCA`
        needs at least as many as components.
    max_iter : int, default=5
        How often a classifier with `partial_fit` gets all rows. Transformers get them once.
    random_state : int, RandomState or None, default=None
        Of the order in which a classifier with `partial_fit` gets the rows: blocks of 1,000
        neighbors are shuffled, and the rows of each batch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes.
    estimator_ : estimator
        The fitted estimator.
    n_features_in_ : int
        Number of features.
    n_iter_ : int
        `max_iter`; not set by XGBoost.

    See Also
    --------
    FeatureTable : Rows on a disk.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import SGDClassifier
    >>> from featbus import StreamingClassifier
    >>> X = np.linspace(-1, 1, 100)[:, np.newaxis]
    >>> model = StreamingClassifier(SGDClassifier(random_state=0), batch_size=10, random_state=0)
    >>> model.fit(X, X[:, 0] > 0).predict([[-0.9], [0.9]])
    array([False,  True])
    """

    _parameter_constraints = {
        "estimator": [HasMethods("fit")],
        "batch_size": [POSITIVE_INTEGER],
        "max_iter": [POSITIVE_INTEGER],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        batch_size: int = 10_000,
        max_iter: int = 5,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.estimator = estimator
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: FeatureTable | ArrayLike, y: ArrayLike) -> Self:
        """Learn from all rows.

        Parameters
        ----------
        X : FeatureTable or array_like of shape (n_rows, n_features)
            The rows.
        y : array_like of shape (n_rows,)
            Their classes.

        Returns
        -------
        StreamingClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If `y` is no target of a classifier, or has missing values; if a step that learns has
            no `partial_fit`; or if an XGBClassifier cannot be trained in batches.
        """
        check_parameters(self._parameter_constraints, self.get_params(deep=False))
        X, y = self._check_rows(X, y=y)
        _, self.classes_, codes = check_target(y)
        check_consistent_length(X, codes)
        self.estimator_ = clone(self.estimator)
        *before, last = _steps(self.estimator_)
        is_xgboost = hasattr(last, "get_xgb_params")
        learning = [step for step in before if learns(step)] + [last] * (not is_xgboost)
        for step in learning:
            if not (learns(step) and hasattr(step, "partial_fit")):
                raise ValueError(
                    f"{step!r} has no partial_fit, expected an estimator whose steps have it, or "
                    "learn nothing, or an XGBClassifier at the end."
                )
        for index, step in enumerate(before):
            if learns(step):
                for batch, _ in self._batches(X, before[:index]):
                    step.partial_fit(batch)
        if is_xgboost:
            _train_xgboost(last, lambda: self._batches(X, before), codes, len(self.classes_))
            return self
        rng, classes = check_random_state(self.random_state), np.arange(len(self.classes_))
        self.n_iter_ = self.max_iter
        for _ in range(self.max_iter):
            for batch, where in self._batches(X, before, rng):
                last.partial_fit(batch, codes[where], classes=classes)
        return self

    def _check_rows(self, X, **options):
        """Return checked rows; the estimator checks those of a table, batch by batch."""
        is_table = isinstance(X, FeatureTable) and len(X) > 0
        return validate_data(self, X, skip_check_array=is_table, ensure_all_finite=False, **options)

    def _batches(self, X, transformers, rng=None):
        """Yield transformed batches, with the positions of their rows."""
        blocks = list(gen_batches(len(X), min(_BLOCK, self.batch_size)))
        order = np.arange(len(blocks)) if rng is None else rng.permutation(len(blocks))
        n_blocks = max(1, self.batch_size // _BLOCK)
        for some in gen_batches(len(blocks), n_blocks):
            where = np.r_[tuple(blocks[block] for block in order[some])]
            if rng is not None:
                rng.shuffle(where)
            batch = np.asarray(X[where])
            for step in transformers:
                batch = step.transform(batch)
            yield batch, where

    def predict(self, X: FeatureTable | ArrayLike) -> np.ndarray:
        """Predict the class of each row.

        Parameters
        ----------
        X : FeatureTable or array_like of shape (n_rows, n_features)
            The rows.

        Returns
        -------
        ndarray of shape (n_rows,)
            The classes.
        """
        codes = self._predict(X, "predict")
        return self.classes_[codes.astype(np.intp)]

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: FeatureTable | ArrayLike) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : FeatureTable or array_like of shape (n_rows, n_features)
            The rows.

        Returns
        -------
        ndarray of shape (n_rows, n_classes)
            The probabilities, in the order of `classes_`.
        """
        return self._predict(X, "predict_proba")

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: FeatureTable | ArrayLike) -> np.ndarray:
        """Return what the estimator decides by.

        Parameters
        ----------
        X : FeatureTable or array_like of shape (n_rows, n_features)
            The rows.

        Returns
        -------
        ndarray of shape (n_rows,) or (n_rows, n_classes)
            The values.
        """
        return self._predict(X, "decision_function")

    def _predict(self, X, method):
        check_is_fitted(self)
        X = self._check_rows(X, reset=False)
        *before, last = _steps(self.estimator_)
        return np.concatenate([getattr(last, method)(part) for part, _ in self._batches(X, before)])


def _train_xgboost(model, batches, codes, n_classes):
    """Fit a classifier of XGBoost on quantiles of the rows, which it keeps in files."""
    import xgboost

    class Batches(xgboost.DataIter):
        def __init__(self, cache):
            super().__init__(cache_prefix=cache)
            self.reset()

        def reset(self):
            self._left = batches()

        def next(self, add):
            part = next(self._left, None)
            if part is not None:
                add(data=part[0], label=codes[part[1]])
            return part is not None

    ignored = ["early_stopping_rounds", "callbacks", "feature_types"]
    found = [name for name in ignored if getattr(model, name) is not None]
    if type(model) is not xgboost.XGBClassifier or callable(model.objective) or found:
        raise ValueError(
            f"{model!r} cannot be trained in batches, expected an XGBClassifier with the name of "
            f"an objective, and without {', '.join(ignored)}."
        )
    options = {"objective": "binary:logistic", **model.get_xgb_params()}
    if n_classes > 2:
        options |= {"objective": "multi:softprob", "num_class": n_classes}
    matrix = getattr(xgboost, "ExtMemQuantileDMatrix", None)  # since release 3
    with TemporaryDirectory(prefix="featbus") as folder:
        rows = Batches(f"{folder}/rows" if matrix else None)
        sizes = {"max_bin": model.max_bin or 256, "missing": model.missing}
        rows = (matrix or xgboost.QuantileDMatrix)(rows, **sizes)
        booster = xgboost.train(options, rows, model.get_num_boosting_rounds())
        del rows  # removes its files
        booster.save_model(f"{folder}/model.ubj")
        model.load_model(f"{folder}/model.ubj")
