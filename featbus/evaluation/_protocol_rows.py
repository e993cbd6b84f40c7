"""The features of images and of their copies, each computed once."""

import numpy as np
from tqdm import tqdm

from featbus.images import ImageError, is_path

_CHUNK = 64  # images whose copies are in memory at a time


def compute_rows(bus, augmenter, images, y, verbose):
    """Compute the features of images and of their copies.

    Parameters
    ----------
    bus : FeatureBus
        From images to rows.
    augmenter : ImageAugmenter
        With `n_copies`; each copy depends on its image alone.
    images : batch of images
        The images.
    y : ndarray of shape (n_images,)
        Their classes.
    verbose : bool
        Whether to show a progress bar, if on a terminal.

    Returns
    -------
    ndarray of shape (n_images, 1 + n_copies, n_features)
        The row of each image, and those of its copies.

    Raises
    ------
    ImageError
        If an image is invalid.
    ValueError
        If features are NaN.
    """
    bus = bus.fit(images)
    parts = []
    with tqdm(
        total=len(images), desc="features", unit="image", disable=None if verbose else True
    ) as bar:
        for start in range(0, len(images), _CHUNK):
            part = slice(start, start + _CHUNK)
            parts.append(_rows_of(bus, augmenter, images[part], y[part], start))
            bar.update(len(parts[-1]))
    return np.concatenate(parts)


def _rows_of(bus, augmenter, images, y, start):
    n_images, sources = len(images), np.arange(len(images))
    try:
        made, _ = augmenter.fit_resample(images, y)
        sources = augmenter.sample_indices_
        rows = bus.transform(made)
    except ImageError as error:
        image = int(sources[error.index])
        raise error.at(start + image, images[image] if is_path(images[image]) else None) from error
    if np.isnan(rows).any():
        image = start + sources[np.isnan(rows).any(axis=1).argmax()]
        raise ValueError(
            f"Found features of image {image}, or of a copy of it, that are NaN, expected numbers. "
            "Leave the image out, or use other features."
        )
    # Copies come after all images, image by image.
    copies = rows[n_images:].reshape(n_images, -1, rows.shape[1])
    return np.concatenate([rows[:n_images, np.newaxis], copies], axis=1)
