"""Near-duplicates: images that show the same scene."""

from __future__ import annotations

from numbers import Real

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from featbus.groups import GROUPS_FOUND, Groups, merge_labelings
from featbus.images import ImageError, ImageErrors, as_batch, at_index
from featbus.io import read_item
from featbus.model_selection._copies import MIN_CORRELATION, find_matches
from featbus.model_selection._scenes import describe_scene
from featbus.parameters import N_JOBS, Interval, check_parameters
from featbus.typing import Images

_PARAMETER_CONSTRAINTS = {
    "min_correlation": [Interval(Real, 0, 1, closed="neither")],
    "n_jobs": N_JOBS,
    "verbose": ["verbose"],
}


def map_images(function, batch, *others, chosen=None, n_jobs=None, verbose=False):
    """Yield ``function(image, *others)`` of each image, with one image per thread in memory.

    Parameters
    ----------
    function : callable
        Takes a checked image, and the item of each of `others` at its position.
    batch : ndarray or list
        What `featbus.images.as_batch` returned.
    *others : sequence
        As long as `batch`.
    chosen : sequence of int, default=None
        The positions of the images to read; None reads all.
    n_jobs : int or None, default=None
        Number of threads.
    verbose : bool, default=False
        Whether to show a progress bar, if on a terminal.

    Yields
    ------
    object
        What `function` returned.

    Raises
    ------
    ImageError
        If images are invalid, after all have been read: an `ImageErrors` if there are several.
    """

    def call(index):
        item = batch[index]
        try:
            with at_index(index, item):
                return function(read_item(item, index), *(other[index] for other in others))
        except ImageError as error:
            return error.at(error.index, error.path)  # a traceback would keep the pixels

    chosen = range(len(batch)) if chosen is None else chosen
    tasks = (delayed(call)(index) for index in chosen)
    results = Parallel(n_jobs=n_jobs, backend="threading", return_as="generator")(tasks)
    hidden = None if verbose else True  # None: hidden unless on a terminal
    errors = []
    for result in tqdm(results, "images", len(chosen), unit="image", disable=hidden):
        if isinstance(result, ImageError):
            errors.append(result)
        else:
            yield result
    if errors:
        raise errors[0] if len(errors) == 1 else ImageErrors(errors, len(chosen))


def find_near_duplicates(
    images: Images,
    *,
    min_correlation: float = MIN_CORRELATION,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> np.ndarray:
    """Group images that show the same scene: copies, near-copies and neighboring frames.

    Local keypoints of two images propose how to align them; the images are near-duplicates if
    their details correlate after the alignment. Copies are found if they are resized, shifted,
    rotated, moderately cropped, brighter or darker, mirrored or inverted. Groups are transitive: if
    A matches B and B matches C, all three form one group. Keep each group on one side of every
    split.

    Read more in the :ref:`User Guide <near_duplicates>`.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`. Paths are read one at a time; 33 kB per image are written to temporary
        files, in the folder that ``tempfile.gettempdir()`` returns. Masks are ignored.
    min_correlation : float, default=0.2
        Smallest correlation of the details of two aligned images, 0 to 1. Copies usually have more
        than 0.5, neighboring frames from 0.2, and different scenes below 0.15. It grows with the
        inverse of the side of images with sides below 135 pixels.
    n_jobs : int or None, default=None
        Number of threads, see `joblib.Parallel`.
    verbose : bool, default=False
        Whether to show a progress bar, if on a terminal.

    Returns
    -------
    ndarray of int of shape (n_images,)
        The group of each image, from 0, in the order in which groups first appear. `audit` and
        `evaluate` say that such groups are not patients.

    Raises
    ------
    ImageError
        If images are invalid; the message names them.
    ValueError
        If `images` is no batch of images, or a parameter is invalid.

    See Also
    --------
    audit : Look for these and other leaks across the folds of a cross-validation.

    Notes
    -----
    The :ref:`user guide <near_duplicates>` describes the steps: SIFT keypoints [1]_ of images with
    locally normalized contrast, an index of their descriptors, an alignment by RANSAC that is
    refined to maximize the correlation [2]_, and the correlation itself. Black, white and large
    flat areas, such as background and marks, are ignored.

    Images that are too small (below about 40 pixels) or too uniform for keypoints are compared by
    thumbnails of 32 by 32 pixels, which must correlate by 0.98 or more. Flat images, whose
    thumbnail has a single gray value, match flat images of the same value only.

    Most of the time grows linearly with the number of images: only pairs that an index proposes are
    aligned, a limited number for each image. The temporary files are mapped into memory, and pairs
    are proposed in blocks: each image adds 8 to 13 kB to the memory of the process.

    References
    ----------
    .. [1] Lowe DG. Distinctive image features from scale-invariant keypoints. International Journal
       of Computer Vision 60 (2004) 91-110.
    .. [2] Evangelidis GD, Psarakis EZ. Parametric image alignment using enhanced correlation
       coefficient maximization. IEEE Transactions on Pattern Analysis and Machine Intelligence 30
       (2008) 1858-1865.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import find_near_duplicates, make_breast_ultrasound
    >>> images = make_breast_ultrasound(3, random_state=0).images
    >>> brighter = np.clip(images[0] * 1.2, 0, 255).astype(np.uint8)
    >>> find_near_duplicates([*images, brighter[20:, 30:], images[1][:, ::-1]])
    Groups([0, 1, 2, 0, 1])
    """
    check_parameters(_PARAMETER_CONSTRAINTS, locals())
    scenes = map_images(describe_scene, as_batch(images), n_jobs=n_jobs, verbose=verbose)
    return Groups(merge_labelings(*find_matches(scenes, min_correlation, n_jobs)), GROUPS_FOUND)
