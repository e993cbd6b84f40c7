"""Any function of an image as a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featbus.base import ImageTransformer
from featbus.images import ImageError, check_image
from featbus.masks import inside_mask, restrict, with_mask_of
from featbus.preprocessing._pixels import extend

if TYPE_CHECKING:
    from collections.abc import Callable


class ImageFunction(ImageTransformer):
    """Make a step of a function.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    func : callable
        Called as ``func(image, **kwargs)`` with a plain array ``(height, width)`` or
        ``(height, width, channels)``. Returns an image.
    kwargs : dict or None, default=None
        Arguments of `func`.

    See Also
    --------
    sklearn.preprocessing.FunctionTransformer : A step of a function of a whole batch.

    Notes
    -----
    `func` gets a copy that it may change, with the pixels outside the mask replaced by the nearest
    ones inside. The mask stays: the result must then be of the same height and width. A result that
    is masked itself restricts the mask.

    `FeatureBus` keeps rows of any function, as its code is part of their key. Only a function that
    can be imported pickles; a lambda, or a function of ``__main__``, does not.

    `map_boxes` takes pixels to stay where they are.

    Examples
    --------
    >>> import numpy as np
    >>> from skimage.exposure import adjust_sigmoid
    >>> from featbus import ImageFunction
    >>> images = np.full((2, 8, 8), 128, np.uint8)
    >>> ImageFunction(adjust_sigmoid, {"cutoff": 0.25}).transform(images)[0, 0, 0]
    np.uint8(236)
    """

    _parameter_constraints = {"func": [callable], "kwargs": [dict, None]}

    def __init__(self, func: Callable, kwargs: dict | None = None) -> None:
        self.func = func
        self.kwargs = kwargs

    def _transform_image(self, image):
        name = getattr(self.func, "__name__", type(self.func).__name__)
        # What `extend` returns is the caller's own array unless there is a mask.
        result = self.func(extend(image).copy(), **(self.kwargs or {}))
        try:
            result = check_image(result)
        except ImageError as error:
            raise ImageError(f"{name} returned no image: {error.reason}") from error
        inside = inside_mask(image)
        if inside is None:
            return result
        if result.shape[:2] != image.shape[:2]:
            raise ImageError(
                f"found a result of shape {result.shape} of {name}, expected height and width of "
                f"the masked image, {image.shape[:2]}. Take the mask off first, or write an "
                "ImageTransformer that moves it along."
            )
        if np.ma.isMaskedArray(result):
            return restrict(result, inside)
        return with_mask_of(result, image)
