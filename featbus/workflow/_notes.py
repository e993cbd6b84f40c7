"""What must be said beside the numbers."""

from dataclasses import replace

from featbus.groups import GROUPS_FOUND


def note_groups(result, dataset):
    """Return a result that says so if the groups of its data set are no patients.

    Parameters
    ----------
    result : Evaluation or AuditReport
        The result.
    dataset : Bunch
        The images; with ``groups_of`` if the groups are near-duplicates.

    Returns
    -------
    Evaluation or AuditReport
        The result, or a copy.
    """
    if "groups_of" not in dataset:
        return result
    protocol = f"{GROUPS_FOUND.capitalize()}.\n{result.protocol}"
    return replace(result, groups_note=GROUPS_FOUND, protocol=protocol)


def say_nothing(text):
    """Take the place of `print`."""
