"""Save and load: a fitted pipeline, its networks and its card in one file."""

import io
import os
import tempfile
import warnings
import zipfile
from importlib.metadata import version
from pathlib import Path

from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.validation import check_is_fitted

from featbus.files import written_whole
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
from featbus.persistence._trust import (
    algorithms_of,
    check_algorithms,
    check_array,
    check_schema,
    trusted_types,
)


def save(pipeline, path, *, classes=None, card=None, embed=True):
    """Save a fitted pipeline in one file, without pickle.

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
        Versions, steps, networks and a note against clinical use are added.
    embed : bool, default=True
        Whether the networks of `DeepFeatures` and `FineTunedFeatures` travel in the file. False:
        only their names and digests; `load` looks for the weights where it is called. What was
        trained always travels.

    Raises
    ------
    ModelFileError
        A ValueError: if the pipeline has a part that is not trusted, such as a function of yours;
        the message names its type.
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
        packed = pack(pipeline, packer)
        schema = _dump(packed)
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
    """Return what skops writes of a pipeline, after the checks that `load` will make."""
    import skops.io

    try:
        schema = skops.io.dumps(packed)
        with zipfile.ZipFile(io.BytesIO(schema)) as archive:
            check_schema(read_json(archive, SCHEMA))
        _refuse_untrusted(skops.io.get_untrusted_types(data=schema))
    except ModelFileError:
        raise
    except Exception as error:  # what skops raises depends on the part
        raise ModelFileError(f"the pipeline cannot be saved: {error!r}") from error
    return schema


def _refuse_untrusted(types):
    untrusted = set(types) - set(trusted_types())
    if untrusted:
        raise ModelFileError(
            f"found {', '.join(sorted(untrusted))}, expected types of featbus, scikit-learn, "
            "imbalanced-learn and NumPy. Functions and classes of your own, and lambdas, do not "
            "travel in a model."
        )


def load(path):
    """Load a pipeline that `save` wrote.

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

    Warns
    -----
    UserWarning
        If another minor version of scikit-learn wrote the file.

    See Also
    --------
    save : Write such a file, with an example.
    featbus.persistence.read_card : The model card alone.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    with opened(path) as (archive, manifest):
        _check_scikit_learn(manifest["scikit-learn"])
        check_algorithms(manifest)
        check_schema(read_json(archive, SCHEMA))
        _check_arrays(archive)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InconsistentVersionWarning)  # named once, above
            try:
                pipeline = skops.io.load(archive.fp, trusted=trusted_types())
            except UntrustedTypesFoundException:
                _refuse_untrusted(skops.io.get_untrusted_types(file=archive.fp))
                raise
        unpack(pipeline, Unpacker(archive, manifest["networks"]))
    return pipeline


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
            f"The model was saved with scikit-learn {found}, and {here} is installed: its "
            "predictions can differ. Compare some with those where it was saved.",
            stacklevel=3,
        )


def _check_arrays(archive):
    for member in archive.infolist():
        if member.filename.endswith(".npy"):
            with archive.open(member) as file:
                check_array(file, member.file_size)
