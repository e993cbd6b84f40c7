"""Masks of images: next to them, or in a folder that mirrors theirs; none is an image itself."""

import re
from collections import defaultdict

from featbus.datasets._base import object_array
from featbus.datasets._files import list_images, quote
from featbus.datasets._names import stem_of
from featbus.wording import argument

SURE = {"mask", "masks"}  # folders of these names never hold images
_FOLDERS = SURE | {
    *("annotation", "annotations", "contour", "contours", "groundtruth", "gt", "label", "labels"),
    *("overlay", "overlays", "seg", "segs", "segmentation", "segmentations", "truth"),
}
_WORDS = _FOLDERS | {"lesion", "outline", "roi"}
_SEPARATOR = re.compile(r"[_\- ]+")
_SUFFIX = re.compile(r"((?:[_\- ]+[^\W\d_]+)+)(?:_?\d+)?")  # words, and a number


def is_suffix(masks):
    """Tell whether masks are next to their images, rather than in a folder of their own."""
    return isinstance(masks, str) and masks.startswith(("_", "-", " "))


def check_found(found, masks):
    """Raise if there are no masks, although they were asked for."""
    if masks is not None and not found:
        raise ValueError(
            f"Found no masks for {argument('masks', str(masks))}, expected the suffix of masks "
            "next to their images, such as '_mask', or a folder that mirrors the images."
        )


def split_masks(paths, suffix):
    """Separate masks, such as ``a_mask.png`` and ``a_mask_1.png``, from images, such as ``a.png``.

    Returns the images, and a dict from each mask to the path of its image without the extension.
    """
    pattern = re.compile(rf"(.+){re.escape(suffix)}(?:_?\d+)?", re.IGNORECASE)
    matches = {path: pattern.fullmatch(stem_of(path).name) for path in paths}
    images = [path for path, match in matches.items() if match is None]
    masks = {path: path.with_name(match[1]) for path, match in matches.items() if match}
    return images, masks


def pair_masks(images, masks):
    """Return the tuple of mask files of each image, None if it has none.

    `masks` is a dict from each mask to the path of its image without the extension.
    """
    files_of = {stem_of(image): [] for image in images}
    _refuse_shared(images, {*masks.values()})
    lost = [mask for mask, image in masks.items() if image not in files_of]
    if lost:
        raise ValueError(
            f"Found no image for {quote(lost)}, expected an image for every mask. Add the images, "
            "or remove these masks."
        )
    for mask, image in masks.items():
        files_of[image].append(str(mask))
    return object_array([tuple(files_of[stem_of(image)]) or None for image in images])


def _refuse_shared(images, masked):
    """Raise if two images would have one mask: ``a.png``, ``a.jpg`` and ``a_mask.png``."""
    first = {}
    for image in images:
        other = first.setdefault(stem_of(image), image)
        if other is not image and stem_of(image) in masked:
            raise ValueError(
                f"Found one mask for {quote([other, image])}, expected a mask of each: masks are "
                "found by the name without the extension. Rename an image and its mask."
            )


def mirrored(folder, root):
    """Return the masks in a folder, and of each the path of its image without the extension."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Found no folder {str(folder)!r}, expected the folder of the masks."
        )
    masks, _ = list_images(folder)
    return {mask: root / stem_of(mask.relative_to(folder)) for mask in masks}


def refuse_masks(paths, masks, root):
    """Raise if masks would count as images: those next to others, or in a folder of masks.

    `paths` are the images below `root`; `masks` says where masks are that are not among them.
    """
    beside = _find_beside(paths, masks if is_suffix(masks) else "_mask")
    if beside:
        suffix = _SUFFIX.fullmatch(_end_of(beside[0], _stems(paths)))
        raise ValueError(
            f"Found masks next to their images: {quote(beside)}; expected images only. Pass "
            f"{argument('masks', suffix[1] if suffix else '_mask')} for masks that are named so, "
            "or so and with a number, such as a_mask.png and a_mask_1.png; move others to a folder "
            "outside the classes, and rename those that are images of their own."
        )
    folders = _find_folders(paths, root)
    if folders:
        raise ValueError(
            f"Found folders of masks, {quote(folders)}, in {str(root)!r}; expected images only. "
            f"Pass a folder that mirrors that of the images as {argument('masks')}, and move "
            "others elsewhere."
        )


def _find_beside(paths, suffix):
    """Return the masks next to images: by their names, or since half of the images have one."""
    stems = _stems(paths)
    ends = {path: end for path in paths if (end := _end_of(path, stems))}
    sure = [path for path, end in ends.items() if _is_sure(end.casefold(), suffix.casefold())]
    if sure:
        return sure
    alike = defaultdict(list)
    for path, end in ends.items():
        if match := _SUFFIX.fullmatch(end):
            alike[match[1].casefold()].append(path)
    return next((found for found in alike.values() if _are_many(found, paths)), [])


def _stems(paths):
    return {str(stem_of(path)) for path in paths}


def _end_of(path, stems):
    """Return what follows the name of another image in a name: "_seg" of a_seg.png beside a.png."""
    stem = stem_of(path)
    start = len(str(stem)) - len(stem.name)
    for gap in reversed([*_SEPARATOR.finditer(stem.name)]):
        if gap.start() and str(stem)[: start + gap.start()] in stems:
            return stem.name[gap.start() :]
    return ""


def _is_sure(end, suffix):
    return suffix in end or not _WORDS.isdisjoint(re.split(r"[\W\d_]+", end))


def _are_many(found, paths):
    """Tell whether at least two, and half of the images in the same folders, have such a file."""
    folders = {path.parent for path in found}
    n_images = sum(path.parent in folders for path in paths) - len(found)
    return len(found) > 1 and 2 * len(found) >= n_images


def _find_folders(paths, root):
    """Return the folders of masks: by their names, most only if their files are named as others."""
    inside, outside = defaultdict(set), set()
    for path in paths:
        folder = _folder_of_masks(path.relative_to(root))
        (outside if folder is None else inside[folder]).add(stem_of(path).name.casefold())
    return sorted(
        folder.as_posix()
        for folder, stems in inside.items()
        if folder.name.casefold() in SURE or 2 * len(_paired(stems, outside)) >= len(stems)
    )


def _folder_of_masks(path):
    """Return the uppermost folder of a relative path whose name is one of masks, or None."""
    folders = [*reversed(path.parents)][1:]
    words = [{*re.split(r"[\W\d_]+", folder.name.casefold())} for folder in folders]
    return next((folder for folder, found in zip(folders, words) if found & _FOLDERS), None)


def _paired(stems, others):
    """Return the stems that are others, also without their last word: a_seg for a."""
    return [stem for stem in stems if {stem, re.sub(r"[_\- ]+[^\W\d_]+\d*$", "", stem)} & others]
