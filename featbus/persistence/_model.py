"""Save and load: a fitted pipeline, its networks and its card in one file."""

from __future__ import annotations

import io
import json
import os
import tempfile
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from featbus.files import escape, written_whole
from featbus.parameters import HasMethods, SequenceOf, check_parameters
from featbus.persistence._archive import (
    SCHEMA,
    ModelFileError,
    opened,
    read_json,
    write,
)
from featbus.persistence._card import complete_card
from featbus.persistence._networks import Packer, Unpacker
from featbus.persistence._pack import pack, parts_of, unpack
from featbus.persistence._schema import check_array, check_schema, find_type, share_parts
from featbus.persistence._trust import algorithms_of, check_algorithms, trusted_types

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from featbus.typing import PathLike


def save(
    pipeline: Any,
    path: PathLike,
    *,
    classes: Sequence[str] | None = None,
    card: dict | None = None,
    embed: bool = True,
) -> None:
    """Save a fitted pipeline in one file, without pickle.

    Read more in the :ref:`User Guide <models>`.

    Parameters
    ----------
    pipeline : estimator
        A fitted estimator of images, usually a pipeline; it stays as it is.
    path : str or os.PathLike
        The file, by convention ``NAME.skops``. It appears whole or not at all.
    classes : sequence of str or None, default=None
        Names of the classes, in the order of ``pipeline.classes_``. None: the classes as text.
    card : dict or None, default=None
        What the model card says: recipe, data set, scores. Strings, numbers, lists and dicts.
        Added are "classes", "steps", "networks", "versions", "saved" and "note".
    embed : bool, default=True
        Whether the networks of `DeepFeatures` and `FineTunedFeatures` travel in the file. False:
        only their names and digests; `load` looks for the weights where it is called. What was
        trained always travels.

    Raises
    ------
    ModelFileError
        A ValueError: if the pipeline has a part that is not trusted, such as a function of yours;
        the message names its type and where it is. A file is written only if `load` accepts it.
    InvalidParameterError
        If a parameter is invalid, or the card has a path, a user's name or a patient's attribute.
    NotFittedError
        If the pipeline is not fitted.

    See Also
    --------
    load : Read the file.
    featbus.persistence.write_card_html : The model card as a page.

    Notes
    -----
    The guide says what is trusted, see :ref:`models`. Requested metadata and what resamplers
    learned are not saved, nor is where a `FeatureBus` keeps its rows.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import SVC
    >>> from featbus import LBP, FeatureBus, load, make_breast_ultrasound, save
    >>> data = make_breast_ultrasound(12, random_state=0)
    >>> pipeline = make_pipeline(FeatureBus(LBP()), SVC()).fit(data.images, data.target)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.skops"
    >>> save(pipeline, path, classes=data.target_names)
    >>> bool((load(path).predict(data.images) == pipeline.predict(data.images)).all())
    True
    """
    check_parameters(
        {
            "pipeline": [HasMethods("fit")],
            "path": [str, os.PathLike],
            "classes": [SequenceOf(str), None],
            "card": [dict, None],
            "embed": ["boolean"],
        },
        {"pipeline": pipeline, "path": path, "classes": classes, "card": card, "embed": embed},
    )
    check_is_fitted(pipeline)
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(Path(path).parent)!r}. Make it first.")
    with tempfile.TemporaryDirectory() as folder:
        packer = Packer(folder, embed)
        try:
            packed = pack(pipeline, packer)
            schema = _dump(packed)
            with zipfile.ZipFile(io.BytesIO(schema)) as archive:
                _rebuild(archive, packer)
        except ModelFileError:
            raise
        except Exception as error:  # what skops and Keras raise depends on the part
            # What is not from featbus may say little without the name of its class.
            found = error if isinstance(error, FileNotFoundError) else repr(error)
            raise ModelFileError(f"the pipeline cannot be saved: {found}") from error
        manifest = {
            "featbus": version("featbus"),
            "scikit-learn": version("scikit-learn"),
            "algorithms": algorithms_of(parts_of(packed)),
            "networks": packer.entries,
        }
        card = complete_card(card or {}, pipeline, classes, packer.entries)
        with written_whole(path) as hidden:
            write(hidden, schema, card=card, files=packer.files, manifest=manifest)


def _dump(packed):
    """Return a zip file of what skops writes of a pipeline, each part of it once."""
    import skops.io

    content = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(skops.io.dumps(packed))) as source,
        zipfile.ZipFile(content, "w") as target,
    ):
        schema = json.loads(source.read(SCHEMA))
        for name in sorted(share_parts(schema)):
            target.writestr(name, source.read(name))
        target.writestr(SCHEMA, json.dumps(schema))
    return content.getvalue()


def _rebuild(archive, networks):
    """Return the pipeline in an archive, after all checks.

    Parameters
    ----------
    archive : zipfile.ZipFile
        An archive with the schema and its files.
    networks : Unpacker or Packer
        Gives the networks, or, before the pipeline is saved, only checks them.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    schema = read_json(archive, SCHEMA)
    _check_files(archive, *check_schema(schema))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)  # `load` names it once
        try:
            pipeline = skops.io.load(archive.fp, trusted=trusted_types())
        except UntrustedTypesFoundException:
            found = set(skops.io.get_untrusted_types(file=archive.fp)) - set(trusted_types())
            _refuse_untrusted(sorted(found), schema)
            raise
    unpack(pipeline, networks)
    return pipeline


def _check_files(archive, expected, lengths):
    """Refuse files that the schema does not name, and arrays larger than they are."""
    sizes = {member.filename: member.file_size for member in archive.infolist()}
    found = {name for name in sizes if name.endswith((".npy", ".bin"))}
    if found != set(expected):
        raise ModelFileError(f"{min(found ^ set(expected))} is in the file or in its schema only.")
    for name in found:
        if name.endswith(".npy"):
            with archive.open(name) as file:
                check_array(file, sizes[name], expected[name], lengths.get(name))


def _refuse_untrusted(types, schema):
    places = [f"{name} in {find_type(schema, name) or 'the pipeline'}" for name in types]
    raise ModelFileError(
        f"found {', '.join(places)}, expected types of featbus, scikit-learn, imbalanced-learn "
        "and NumPy that the guide lists. Functions and classes of your own, lambdas and "
        "distributions do not travel: replace them by names, lists or functions of NumPy."
    )


def load(path: PathLike) -> Any:
    """Load a pipeline that `save` wrote.

    Read more in the :ref:`User Guide <models>`.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    estimator
        The fitted pipeline. Its networks are loaded when they are first used.

    Raises
    ------
    ModelFileError
        A ValueError: if the file is damaged or was changed, has types that are not trusted, was
        written by a newer featbus or another major version of scikit-learn, or needs other versions
        of algorithms or other weights; the message names them. Nothing in the file is run.
    ImportError
        If a package of the model, such as XGBoost or Keras, is not installed.

    Warns
    -----
    UserWarning
        If another minor version of scikit-learn wrote the file.

    See Also
    --------
    save : Write such a file, with an example.
    featbus.persistence.read_card : The model card alone.
    """
    with opened(path) as (archive, manifest):
        _check_scikit_learn(manifest["scikit-learn"])
        check_algorithms(manifest)
        return _rebuild(archive, Unpacker(archive, manifest["networks"]))


def _check_scikit_learn(found):
    """Refuse another major version of scikit-learn, and warn of another minor one."""
    here = version("scikit-learn")
    if found.split(".")[0] != here.split(".")[0]:
        raise ModelFileError(
            f"it was saved with scikit-learn {found}, and {here} is installed. Install "
            f"scikit-learn {found}, or train the model again."
        )
    if found.split(".")[:2] != here.split(".")[:2]:
        warnings.warn(
            f"The model was saved with scikit-learn {escape(found)}, and {here} is installed: its "
            "predictions can differ. Compare some with those where it was saved.",
            stacklevel=3,
        )
