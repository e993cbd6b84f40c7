"""The class that a study looks for: given, or guessed from the names of two classes."""

import re
import unicodedata

from featbus.wording import argument, named


def _words_of(name):
    """Return the words of a name, in lower case and without accents."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)  # NonMalignant
    name = unicodedata.normalize("NFKD", name.casefold().replace("ł", "l"))
    plain = "".join(mark for mark in name if not unicodedata.combining(mark))
    return frozenset(re.findall(r"[^\W\d_]+", plain))


# English; Dutch, French, German, Italian, Polish, Portuguese, Spanish, Turkish; Russian; Chinese
# and Japanese.
_POSITIVE = _words_of(
    """
    abnormal abnormality cancer cancerous cancers carcinoma carcinomas disease diseased malignancy
    malignant metastasis metastatic pathologic pathological pathology pos positive sick tumor
    tumors tumour tumours unhealthy

    anormal anormale anormales bösartig bösartige boesartig cáncer cancéreuse cancéreux cancro
    doença doente enferma enfermedad enfermo erkrankt kanker kanser karzinom krank krebs
    kwaadaardig malade maladie malata malato maligna maligne maligno malin patológica patológico
    pathologique pathologisch positif positiv positiva positivo rak tumeur tumore tumores złośliwy

    злокачественная злокачественный опухоль рак

    恶性 惡性 悪性 癌 癌症
    """
)
_NEGATING = _words_of(
    """
    benign false free healthy neg negative no non none normal not without

    benigna benigne benigno bénin frei geen gutartig kein keine keinen não negatif negativ negativa
    negativo nicht niet ohne sans senza sem sin zonder

    без не нет
    """
)


def positive_class(target_names):
    """Guess which of two classes is looked for, by their names.

    Parameters
    ----------
    target_names : list of str
        The names of the classes.

    Returns
    -------
    str or None
        The only one of two names with a word such as "malignant", "abnormal", "cancer", "tumor" or
        "positive", in one of several languages, and without a negation, such as in "no cancer" or
        "benign tumor". None if there is no such name, or both are, or there are not two classes.

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
    found = [name for name in target_names if _is_positive(name)]
    return found[0] if len(target_names) == 2 and len(found) == 1 else None


def _is_positive(name):
    words = _words_of(name)
    return bool(words & _POSITIVE) and not words & _NEGATING


def find_positive(labels, target_names, pos_label=None):
    """Return the position of the positive class, and how it is known.

    Parameters
    ----------
    labels : ndarray of shape (n_classes,)
        The classes, sorted.
    target_names : list of str, or None
        Their names. None if nobody named them.
    pos_label : str or int, default=None
        A label or a name. None takes that of `positive_class`; of two classes without names that
        are 0 and 1, -1 and 1, or False and True, it takes 1, as scikit-learn does.

    Returns
    -------
    position : int or None
        None if no class is positive.
    source : {"given", "name", "convention"} or None
        Whether the class is `pos_label`, or was guessed from the names, or is 1.

    Raises
    ------
    ValueError
        If `pos_label` is no class.
    """
    values = labels.tolist()
    names = [str(label) for label in values] if target_names is None else list(target_names)
    if pos_label is not None:
        for known in (values, names):
            if pos_label in known:
                return known.index(pos_label), "given"
        raise ValueError(
            f"{named('pos_label')} is {pos_label!r}, expected one of the classes {values} or of "
            f"their names {names}."
        )
    if target_names is None and values in ([0, 1], [-1, 1]):  # False == 0
        return 1, "convention"
    guess = positive_class(names)
    return (None, None) if guess is None else (names.index(guess), "name")


def describe_positive(name, source):
    """Say in a sentence which of two classes is the positive one, and why.

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
    choose = f"pass {argument('pos_label')} to choose"
    why = {
        "given": "",
        "name": f", guessed from its name; {choose}",
        "convention": f", by scikit-learn's convention; {choose}",
    }
    if name is None:
        return f"Positive class: unknown, metrics are those of each class; {choose}."
    return f"Positive class: {name}{why[source]}."
