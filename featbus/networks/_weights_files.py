"""Bounds on what files of weights and models ask for, checked before Keras loads them."""

import os
import zipfile

# What a file may ask for: times its size, plus text and small tables that are compressed. Keras
# stores weights as they are.
_RATIO, _SMALL = 4, 1 << 26


def check_weights_file(path):
    """Refuse a file that would be far larger in memory than it is on the disk, or refers to others.

    Keras loads whatever comes out of an archive or a compressed data set.

    Parameters
    ----------
    path : str or path
        A ``.keras`` or HDF5 file; of any other kind, nothing is checked.

    Raises
    ------
    ValueError
        If it is refused.
    OSError
        If an HDF5 file is damaged.
    """
    import h5py

    if h5py.is_hdf5(path):  # even if it ends as an archive, too
        _check_hdf5(path)
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}
        _check_size(sum(sizes.values()), path)
        for name in sizes:
            if name.endswith(".h5"):
                with archive.open(name) as file:
                    _check_hdf5(file, path)


def _check_hdf5(file, path=None):
    import h5py

    with h5py.File(file, "r") as content:
        links, items = [], []
        content.visititems_links(lambda name, link: links.append(link))
        content.visititems(lambda name, item: items.append(item))
        tables = [item for item in items if isinstance(item, h5py.Dataset)]
        if any(isinstance(link, h5py.ExternalLink) for link in links) or any(
            table.external or table.is_virtual for table in tables
        ):
            raise ValueError("it refers to other files, expected all weights in one.")
        _check_size(sum(table.nbytes for table in tables), path or file)


def _check_size(size, path):
    limit = _RATIO * os.path.getsize(path) + _SMALL
    if size > limit:
        raise ValueError(f"it inflates to {size} bytes, expected at most {limit}.")
