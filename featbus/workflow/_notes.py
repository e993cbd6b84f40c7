"""What must be said beside the numbers."""

from dataclasses import replace


def note_groups(result, dataset):
    """Return a result that says so if the groups of its data set are no patients.

    Parameters
    ----------
    result : Evaluation or AuditReport
        The result.
    dataset : Bunch
        The images; ``groups_of`` tells what the groups are, if not patients.

    Returns
    -------
    Evaluation or AuditReport
        The result, or a copy.
    """
    if "groups_of" not in dataset:
        return result
    note = f"groups are {dataset.groups_of} found in the images, not patients"
    protocol = f"{note.capitalize()}.\n{result.protocol}"
    return replace(result, groups_note=note, protocol=protocol)
