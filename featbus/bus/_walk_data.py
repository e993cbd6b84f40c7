"""Fingerprints of data: arrays, sets, files."""

import os
import random
import types
from pathlib import Path, PurePath

import numpy as np

from featbus.bus._walk import Walk, refuse

_RANDOM = (
    np.random.RandomState,
    np.random.Generator,
    np.random.BitGenerator,
    np.random.SeedSequence,
    random.Random,
)


def _feed_array(walk, array, where):
    """Update with an array; `dtype.str` would leave out the fields of a structured one."""
    is_transposed = array.flags.f_contiguous and not array.flags.c_contiguous
    walk.update(f"{array.dtype!r}{array.shape}{is_transposed}")
    if array.dtype.kind in "mM":
        array = array.view(np.int64)
    if array.dtype.hasobject or array.dtype.kind not in "biufcSUV":
        walk.feed(array.ravel().tolist(), where)
    else:
        walk.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _feed_scalar(walk, scalar, where):
    _feed_array(walk, np.asarray(scalar), where)
    if isinstance(scalar, np.str_):
        walk.feed_named_file(str(scalar), where)


def _feed_dtype(walk, dtype, where):
    walk.update(f"{dtype!r}{dtype.metadata!r}")


def _feed_set(walk, values, where):
    """Update with digests in order: a set has no order, and the repr of a value no meaning."""
    digests = [walk.digest_of(value, Walk.feed, where) for value in values]
    walk.feed_sequence(sorted(digests), where)


def _feed_path(walk, path, where):
    walk.update(os.fspath(path))
    if Path(path).is_file():
        walk.update_with_file(path)
    elif Path(path).is_dir():
        refuse(where, f"the folder {os.fspath(path)!r}", "Name its files")


def _feed_random_state(walk, state, where):
    found = f"a {type(state).__name__}, whose numbers change with each use"
    refuse(where, found, "Use a seed: an int")


EXACT_DATA = {
    np.ndarray: _feed_array,
    list: Walk.feed_sequence,
    tuple: Walk.feed_sequence,
    set: _feed_set,
    frozenset: _feed_set,
    dict: Walk.feed_dict,
    types.MappingProxyType: Walk.feed_dict,
}
DATA = [
    (np.generic, _feed_scalar),
    (np.dtype, _feed_dtype),
    ((PurePath, os.DirEntry), _feed_path),
    (_RANDOM, _feed_random_state),
]
