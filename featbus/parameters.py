"""Parameters: how they are declared, and the one check of them.

An estimator declares its constraints as scikit-learn's do, in the class attribute
``_parameter_constraints``: a list of alternatives for each parameter.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from numbers import Integral, Real
from textwrap import shorten
from typing import Any

import numpy as np
from sklearn.utils import _param_validation
from sklearn.utils._param_validation import Interval as Interval
from sklearn.utils._param_validation import InvalidParameterError as InvalidParameterError
from sklearn.utils._param_validation import Options as Options
from sklearn.utils._param_validation import StrOptions as StrOptions

from featbus.typing import Images, PathLike

POSITIVE_INTEGER = Interval(Integral, 1, None, closed="left")
N_JOBS = [POSITIVE_INTEGER, Interval(Integral, None, -1, closed="right"), None]  # joblib's


class HasMethods(_param_validation.HasMethods):
    """An object with these methods. A class is not one, although it has them, too."""

    def is_satisfied_by(self, value):
        return not isinstance(value, type) and super().is_satisfied_by(value)


class _FloatDtype:
    """Anything that NumPy converts to the dtype float32 or float64."""

    def is_satisfied_by(self, value):
        try:
            return value is not None and np.dtype(value) in (np.float32, np.float64)
        except (TypeError, ValueError):
            return False

    def __str__(self):
        return "numpy.float32 or numpy.float64"


FLOAT_DTYPE = _FloatDtype()


class SequenceOf:
    """A list, tuple, range or 1-D array, not empty, whose items satisfy a constraint.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    item : constraint
        Constraint of each item.
    length : int or None, default=None
        The number of items; None for any.

    See Also
    --------
    featbus.parameters.PairOf : Of two items, or one that stands for both.

    Examples
    --------
    >>> from featbus.parameters import POSITIVE_INTEGER, SequenceOf
    >>> constraint = SequenceOf(POSITIVE_INTEGER)
    >>> [constraint.is_satisfied_by(value) for value in ([1, 2, 3], [1, 0])]
    [True, False]
    """

    def __init__(self, item: Any, length: int | None = None) -> None:
        self.item = _as_constraint(item)
        self.length = length

    def is_satisfied_by(self, value: Any) -> bool:
        """Return whether a value satisfies the constraint.

        Parameters
        ----------
        value : object
            The value.

        Returns
        -------
        bool
            True if it does.
        """
        is_vector = isinstance(value, np.ndarray) and value.ndim == 1
        if not is_vector and not isinstance(value, (list, tuple, range)):
            return False
        n_items = self.length or max(len(value), 1)
        return len(value) == n_items and all(_accepts(self.item, item) for item in value)

    def __str__(self):
        return f"a sequence of {self.length or 'one or more'}, each {_describe(self.item)}"


class PairOf(SequenceOf):
    """Two values, or a single one for both; `as_pair` returns both.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    item : constraint
        Constraint of each value.

    See Also
    --------
    featbus.parameters.SequenceOf : Of any length.
    featbus.parameters.as_pair : Make a pair of such a value.

    Examples
    --------
    >>> from featbus.parameters import POSITIVE_INTEGER, PairOf
    >>> constraint = PairOf(POSITIVE_INTEGER)
    >>> [constraint.is_satisfied_by(value) for value in (3, (3, 4), (3, 0))]
    [True, True, False]
    """

    def __init__(self, item: Any) -> None:
        super().__init__(item, length=2)

    def is_satisfied_by(self, value: Any) -> bool:
        """Return whether a value satisfies the constraint.

        Parameters
        ----------
        value : object
            The value.

        Returns
        -------
        bool
            True if it does.
        """
        return _accepts(self.item, value) or super().is_satisfied_by(value)

    def __str__(self):
        return f"{self.item}, or a pair of these"


class LowHigh(SequenceOf):
    """A pair ``(low, high)`` of numbers, the first smaller than the second.

    Parameters
    ----------
    least, most : float
        The range of both numbers.
    """

    def __init__(self, least: float, most: float) -> None:
        super().__init__(Interval(Real, least, most, closed="both"), length=2)

    def is_satisfied_by(self, value: Any) -> bool:
        """Return whether a value satisfies the constraint.

        Parameters
        ----------
        value : object
            The value.

        Returns
        -------
        bool
            True if it does.
        """
        return super().is_satisfied_by(value) and bool(value[0] < value[1])

    def __str__(self):
        return f"a pair (low, high) with low < high, each {self.item}"


def as_plain(value: Any) -> Any:
    """Return a number as Python's: small or unsigned NumPy integers overflow in products.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    value : object
        A parameter's value.

    Returns
    -------
    object
        An int or float for a NumPy scalar, anything else as it is.
    """
    return value.item() if isinstance(value, np.generic) else value


def as_list(value: float | Images) -> list:
    """Return a list: a scalar stands for a list of one.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    value : scalar or sequence
        One value, or several.

    Returns
    -------
    list
        The values.
    """
    return [as_plain(item) for item in ([value] if np.ndim(value) == 0 else value)]


def as_pair(value: float | Images) -> tuple:
    """Return a pair: a scalar stands for two equal values.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    value : scalar or sequence of length 2
        A value that `PairOf` accepts.

    Returns
    -------
    tuple of length 2
        The two values.

    See Also
    --------
    featbus.parameters.PairOf : Declare such a parameter.

    Examples
    --------
    >>> from featbus.parameters import as_pair
    >>> as_pair(3), as_pair([3, 4])
    ((3, 3), (3, 4))
    """
    values = as_list(value)
    return tuple(2 * values if np.ndim(value) == 0 else values)


def _as_constraint(constraint):
    is_ours = hasattr(constraint, "is_satisfied_by")
    return constraint if is_ours else _param_validation.make_constraint(constraint)


def _accepts(constraint, value):
    if isinstance(constraint, Interval) and not _is_number(value):
        return False
    return constraint.is_satisfied_by(value)


def _is_number(value):
    """Return whether a value is a number for NumPy, which neither a Fraction nor a huge int is."""
    # Python counts a bool among the integers; nobody means it as one.
    if isinstance(value, (bool, np.bool_)):
        return False
    if isinstance(value, int):
        return value.bit_length() < sys.float_info.max_exp
    return isinstance(value, (float, np.integer, np.floating))


def check_parameters(constraints: dict[str, list], values: dict[str, Any]) -> None:
    """Check the values of parameters.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    constraints : dict of str to list
        The alternatives for each parameter: `Interval`, `StrOptions`, `Options`, `PairOf`,
        `SequenceOf`, `FLOAT_DTYPE`, a type, None, ``"boolean"`` or another of scikit-learn's.
    values : dict of str to object
        The values. Those without constraints pass.

    Raises
    ------
    InvalidParameterError
        A ValueError, if a value satisfies none of its constraints; the message names the
        parameter, the value and what was expected.

    Examples
    --------
    >>> from numbers import Integral
    >>> from featbus.parameters import Interval, check_parameters
    >>> constraints = {"levels": [Interval(Integral, 1, 1024, closed="both")]}
    >>> try:
    ...     check_parameters(constraints, {"levels": 0})
    ... except ValueError as error:
    ...     print(error)
    levels is 0, expected an int in the range [1, 1024].
    """
    _check(_prepared(constraints), values)


def _prepared(constraints):
    return {name: [_as_constraint(one) for one in allowed] for name, allowed in constraints.items()}


def _describe(constraint):
    """Spell a constraint; options in order, which scikit-learn lists as their set does."""
    if not isinstance(constraint, Options):
        return str(constraint)
    options = ", ".join(map(repr, sorted(constraint.options)))
    kind = {str: "a str", bool: "a bool"}.get(constraint.type, "an int")
    return f"{kind} among {{{options}}}"


def _check(constraints, values):
    for name, allowed in constraints.items():
        if name in values and not any(_accepts(one, values[name]) for one in allowed):
            value = shorten(repr(values[name]), 200)
            raise InvalidParameterError(
                f"{name} is {value}, expected {' or '.join(map(_describe, allowed))}."
            )


@cache
def constraints_of(cls: type) -> dict[str, list]:
    """Return the constraints of all parameters of a class of estimators.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    cls : type
        A class whose ancestors may declare constraints, too.

    Returns
    -------
    dict of str to list
        The alternatives for each parameter, as objects with ``is_satisfied_by``; a subclass
        overrides its ancestors.
    """
    constraints = {}
    for ancestor in reversed(cls.__mro__):
        constraints |= vars(ancestor).get("_parameter_constraints", {})
    return _prepared(constraints)


def check_estimator_parameters(estimator: Any) -> None:
    """Check all parameters of an estimator.

    Read more in the :ref:`User Guide <adding_a_feature>`.

    Parameters
    ----------
    estimator : estimator
        Its constraints are those of its class, see `constraints_of`.

    Raises
    ------
    InvalidParameterError
        If a parameter is invalid, see `check_parameters`.
    """
    # Parameters are attributes; `get_params` would inspect the signature each time.
    _check(constraints_of(type(estimator)), vars(estimator))


def make_folder(name: str, path: PathLike) -> None:
    """Make the folder that a parameter names, unless there is one.

    Parameters
    ----------
    name : str
        The parameter.
    path : path-like
        Its value.

    Raises
    ------
    InvalidParameterError
        If there is a file of that name, or no folder can be made there.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise InvalidParameterError(
            f"{name} is {os.fspath(path)!r}, expected a folder, or where one can be made: {error}."
        ) from error
