"""The positive class: given, or guessed from the English names of two classes."""

import re


def _words_of(name):
    """Return the words of a name in lower case: CamelCase, digits and signs separate words."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return frozenset(re.findall(r"[^\W\d_]+", name.casefold()))


_POSITIVE = _words_of(
    """
    abnormal abnormality cancer cancerous cancers carcinoma carcinomas disease diseased malignancy
    malignant metastasis metastatic pathologic pathological pathology pos positive sick tumor
    tumors tumour tumours unhealthy
    """
)
# Harmless findings and negations, which make a name the opposite of a positive one.
_NEGATIVE = _words_of(
    """
    absence absent benign control controls excluded false free healthy like neg negative no non none
    normal not other pseudo remission stable unlikely without
    """
)
# These alone name no disease: "ER positive" is not the opposite of "triple negative".
_SIGNS = _words_of("neg negative pos positive")


def positive_class(target_names):
    """Guess the positive one of two classes from their names.

    Read more in the :ref:`User Guide <evaluation>`.

    Parameters
    ----------
    target_names : list of str
        The names of the classes.

    Returns
    -------
    str or None
        The name with an English word such as "malignant", "abnormal", "cancer", "tumor" or
        "positive", if the other is its opposite: with a word such as "benign", "normal" or
        "healthy", or a negation, as in "no cancer". None if the two names are anything else, or
        there are not two classes.

    See Also
    --------
    featbus.evaluate : Its parameter `pos_label` takes a name, too.

    Examples
    --------
    >>> from featbus.classes import positive_class
    >>> positive_class(["cancer", "healthy"])
    'cancer'
    >>> positive_class(["non-malignant", "Malignant"])
    'Malignant'
    >>> positive_class(["left", "right"]) is None
    True
    """
    if len(target_names) != 2:
        return None
    words = [_words_of(name) for name in target_names]
    for name, positive, negative in zip(target_names, words, reversed(words)):
        if _are_opposite(positive, negative):
            return name
    return None


def _is_negative(words):
    joined = (re.fullmatch(r"(?:non?|not)(\w+)", word) for word in words)  # nonmalignant
    return bool(words & _NEGATIVE) or any(found and found[1] in _POSITIVE for found in joined)


def _are_opposite(positive, negative):
    """Return whether the first name is positive and the second one its opposite."""
    if not positive & _POSITIVE or positive & _NEGATIVE or not _is_negative(negative):
        return False
    one, other = positive - _SIGNS, negative - _SIGNS
    both_are_signs = positive & _SIGNS and negative & _SIGNS
    return not both_are_signs or one <= other or other <= one


def find_positive(labels, target_names, pos_label=None):
    """Return the position of the positive class, and how it is known.

    Parameters
    ----------
    labels : ndarray of shape (n_classes,)
        The classes, sorted.
    target_names : list of str, or None
        Their names. None if nobody named them.
    pos_label : str or int, default=None
        A label or a name. None: the guess of `positive_class`, or, if the labels are 0 and 1, -1
        and 1, or False and True, without names: 1, as in scikit-learn.

    Returns
    -------
    position : int or None
        None if no class is positive.
    source : {"given", "name", "convention"} or None
        How the class was found: it is `pos_label`, was guessed from the names, or is 1.

    Raises
    ------
    ValueError
        If `pos_label` is not a class, or is the label of a class and the name of another.
    """
    values = labels.tolist()
    names = [str(label) for label in values] if target_names is None else list(target_names)
    if pos_label is not None:
        return _find_given(pos_label, values, names), "given"
    if target_names is None and values in ([0, 1], [-1, 1]):  # False == 0
        return 1, "convention"
    guess = positive_class(names)
    return (None, None) if guess is None else (names.index(guess), "name")


def _find_given(pos_label, labels, names):
    """Return the position of the class with a label or name."""
    found = {known.index(pos_label) for known in (labels, names) if pos_label in known}
    # Without names, the label 1 may be given as "1"; with them, 1 may stand for the name "1".
    found |= {names.index(str(pos_label))} if str(pos_label) in names else set()
    if len(found) == 1:
        return found.pop()
    if found:
        raise ValueError(
            f"pos_label is {pos_label!r}, the label of the class "
            f"{names[labels.index(pos_label)]!r} and the name of another, expected one of the "
            f"names {names}. Pass a name, as a str."
        )
    raise ValueError(
        f"pos_label is {pos_label!r}, expected one of the classes {labels} or of their "
        f"names {names}."
    )


def describe_positive(name, source):
    """Return a sentence: which of two classes is the positive one, and why.

    Parameters
    ----------
    name : str or None
        The class.
    source : {"given", "name", "convention"} or None
        As `find_positive` returns it.

    Returns
    -------
    str
        The sentence.
    """
    choose = "pass pos_label= to choose"
    why = {
        "given": "",
        "name": f", guessed from its name; {choose}",
        "convention": f", by scikit-learn's convention; {choose}",
    }
    if name is None:
        return f"Positive class: unknown, metrics are those of each class; {choose}."
    return f"Positive class: {name}{why[source]}."
