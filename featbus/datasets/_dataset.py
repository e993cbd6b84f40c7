"""The loader that a folder calls for."""

from pathlib import Path

from sklearn.utils import Bunch

from featbus.datasets._busi import load_busi
from featbus.datasets._folder import load_image_folder
from featbus.datasets._mini_mias import load_mini_mias
from featbus.parameters import InvalidParameterError

__all__ = ["load_dataset"]


def load_dataset(root, *, groups=None):
    """Load the data set in a folder with the loader that its contents call for.

    Parameters
    ----------
    root : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class.
    groups : path-like, DataFrame, callable or "near-duplicates", default=None
        Which images belong together, see `load_busi` and `load_image_folder`. mini-MIAS has groups
        of its own.

    Returns
    -------
    Bunch
        The result of the loader, and the ``name`` of the data set.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the data set cannot be read, or `groups` is given for mini-MIAS.

    See Also
    --------
    load_busi : Breast ultrasound images.
    load_mini_mias : Mammograms.
    load_image_folder : Any images, in one folder per class.

    Examples
    --------
    >>> from featbus.datasets import load_dataset
    >>> data = load_dataset("all-mias")  # doctest: +SKIP
    >>> data.name  # doctest: +SKIP
    'mini-MIAS'
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"Found no folder {str(root)!r}, expected a folder of images.")
    names = {path.name.lower() for path in root.iterdir()}
    if names & {"info.txt", "all-mias"}:
        if groups is not None:
            raise InvalidParameterError(
                f"groups is {str(groups)!r}, expected None: mini-MIAS comes with groups, the women."
            )
        return Bunch(name="mini-MIAS", **load_mini_mias(root))
    if "dataset_busi_with_gt" in names or any(root.glob("benign/benign (*)_mask*")):
        return Bunch(name="BUSI", **load_busi(root, groups=groups))
    return Bunch(name=root.resolve().name, **load_image_folder(root, groups=groups))
