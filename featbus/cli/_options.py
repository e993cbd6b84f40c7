"""Options that several commands share."""

import argparse
import ast

DATA = "folder of BUSI, of mini-MIAS or with one folder per class, in train and test or not"
FOLDS = "the split that folders called train and test give, or 5"

_CONSTANTS = {"none": None, "true": True, "false": False}


def add_parser(commands, name, text, **options):
    parser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.", **options)
    parser.set_defaults(parser=parser)
    return parser


def add_groups(parser):
    parser.add_argument(
        "--groups", metavar="FILE", help="CSV table of the images that belong together: file,group"
    )


def add_masks(parser, more):
    parser.add_argument(
        "--masks",
        metavar="DIR|SUFFIX",
        help="masks: a folder that mirrors the images, or the suffix of those next to their "
        f"images, such as _mask{more}",
    )


def add_positive(parser):
    parser.add_argument(
        "--positive",
        metavar="CLASS",
        dest="pos_label",
        help="class that scores are about; default: guessed from the names of two classes, such as "
        "malignant",
    )


def add_strict(parser):
    parser.add_argument(
        "--strict",
        action="store_true",
        help="files that are no images are an error, instead of left out with a warning",
    )


def add_jobs(parser, what):
    parser.add_argument(
        "--jobs", metavar="N", dest="n_jobs", type=int, help=f"{what}; -1: one per processor"
    )


def add_cross_validation(parser, jobs, folds=FOLDS):
    """Add the options of the groups, files, folds and jobs."""
    add_groups(parser)
    add_strict(parser)
    parser.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        help="skip leaves out images that cannot be read; default: raise, an error that lists them",
    )
    parser.add_argument("--folds", metavar="K", dest="cv", type=int, help=f"default: {folds}")
    add_jobs(parser, jobs)
    parser.add_argument("--seed", metavar="S", dest="random_state", type=int, help="default: 0")


def add_network_options(parser, flag):
    """Add a flag for the options of a network."""
    add_options(parser, flag, "network, such as alpha=0.35")


def as_list(text):
    """Split names at commas."""
    return [name.strip() for name in text.split(",")]


def add_options(parser, flag, what):
    dest = f"{flag.lstrip('-')}s".replace("-", "_")
    parser.set_defaults(**{dest: []})
    parser.add_argument(
        flag,
        metavar="KEY=VALUE",
        dest=dest,
        type=_key_value,
        action="append",
        help=f"option of the {what}; may be repeated",
    )


def _key_value(text):
    """Split KEY=VALUE; the value is a Python literal, or otherwise a str."""
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    if value.lower() in _CONSTANTS:
        return key, _CONSTANTS[value.lower()]
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value
