"""The parser of the command line; importing it imports nothing heavy."""

import argparse
import ast
import re

from featbus import __version__
from featbus.cli import _commands

_DATA = "folder of BUSI, of mini-MIAS or with one folder per class"


def make_parser():
    """Return the parser; the function of the command is in ``command``."""
    parser = argparse.ArgumentParser(
        prog="featbus", description="Medical images to features, and honest scores of classifiers."
    )
    parser.add_argument("--version", action="version", version=f"featbus {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_extract(commands)
    _add_train(commands)
    _add_predict(commands)
    _add_evaluate(commands)
    _add_audit(commands)
    text = "list the recipes that train, evaluate and extract know"
    _add_parser(commands, "recipes", text).set_defaults(command=_commands.recipes)
    text = "list the networks that features can come from"
    _add_parser(commands, "backbones", text).set_defaults(command=_commands.backbones)
    _add_cache(commands)
    _add_weights(commands)
    text = "recompute the reference values of the Image Biomarker Standardisation Initiative"
    _add_parser(commands, "verify", text).set_defaults(command=_commands.verify)
    return parser


def _add_parser(commands, name, text, **options):
    return commands.add_parser(name, help=text, description=f"{text.capitalize()}.", **options)


def _add_demo(commands):
    demo = _add_parser(
        commands,
        "demo",
        "compare four classifiers on images in grouped, stratified cross-validation",
        argument_default=argparse.SUPPRESS,
    )
    demo.set_defaults(command=_commands.demo)
    demo.add_argument("--data", metavar="DIR", help=f"{_DATA}; default: synthetic images")
    demo.add_argument("--backbone", metavar="NAME", help="add a network's features: mobilenet_v2")
    _add_network_options(demo, "--backbone-option")
    demo.add_argument("--weights", metavar="FILE", help="weights of the network; default: imagenet")
    demo.add_argument("--output", metavar="DIR", help="folder to write to; default: featbus-demo")
    _add_cross_validation(demo, "parallel fits")


def _add_extract(commands):
    extract = _add_parser(
        commands,
        "extract",
        "compute a table of features, one row per image",
        argument_default=argparse.SUPPRESS,
        epilog="Exit status: 0; 1 if some images have no features, which the table and the end of "
        "the output list with the reason; 2 after an error, without a table.",
    )
    extract.set_defaults(command=_commands.extract, verbose=True)
    _add_images(extract)
    which = extract.add_mutually_exclusive_group()
    which.add_argument("--recipe", metavar="NAME", dest="features", help="features of a recipe")
    which.add_argument(
        "--features",
        metavar="LIST",
        type=lambda names: names.split(","),
        help="names separated by commas: glcm, glrlm, glszm, hog, intensity, lbp, shape, "
        "deep:NETWORK; default: intensity,lbp,glcm",
    )
    _add_masks(extract, "; without, whole images are used")
    _add_groups(extract)
    _add_output(extract, "table to write: a .parquet, .csv or .npz file")
    _add_network(extract)
    _add_memory(extract)
    _add_jobs(extract, "batches of images in parallel")


def _add_train(commands):
    train = _add_parser(
        commands,
        "train",
        "evaluate a recipe, fit it on all images, and save the model",
        argument_default=argparse.SUPPRESS,
        epilog="Exit status: 0; 2 after an error, such as an image that cannot be read.",
    )
    train.set_defaults(command=_commands.train)
    _add_recipe(train)
    _add_output(
        train,
        "model to write: a .skops file; the report (.report.html) and the scores of each fold "
        "(.scores.csv) are written beside it",
    )
    train.add_argument(
        "--no-embed",
        dest="embed",
        action="store_false",
        help="save the names and digests of networks' weights, not the weights",
    )


def _add_evaluate(commands):
    evaluate = _add_parser(
        commands,
        "evaluate",
        "cross-validate a recipe, and write a report",
        argument_default=argparse.SUPPRESS,
        epilog="Exit status: 0; 2 after an error, such as an image that cannot be read.",
    )
    evaluate.set_defaults(command=_commands.evaluate, output="report.html")
    _add_recipe(evaluate)
    evaluate.add_argument(
        "-o", "--output", metavar="FILE", help="report to write; default: report.html"
    )


def _add_recipe(parser):
    """Add the data set, the recipe, and how it is evaluated."""
    parser.set_defaults(verbose=True)
    parser.add_argument("data", metavar="DIR", help=_DATA)
    parser.add_argument(
        "--recipe", metavar="NAME", required=True, help="a name that `featbus recipes` lists"
    )
    _add_masks(parser, ", for recipes that learn where lesions are")
    parser.add_argument(
        "--positive",
        metavar="CLASS",
        dest="pos_label",
        help="class that scores are about; default: malignant or abnormal, if it is one of two",
    )
    _add_network(parser)
    _add_memory(parser)
    _add_cross_validation(parser, "parallel fits")


def _add_predict(commands):
    predict = _add_parser(
        commands,
        "predict",
        "predict the classes of images with a saved model",
        argument_default=argparse.SUPPRESS,
        epilog="Exit status: 0; 1 if some images have no prediction, which the table and the end "
        "of the output list with the reason; 2 after an error, without a table.",
    )
    predict.set_defaults(command=_commands.predict, verbose=True)
    predict.add_argument("model", metavar="MODEL", help="the file that `featbus train` wrote")
    _add_images(predict)
    _add_output(predict, "table to write: a .csv or .parquet file")
    _add_jobs(predict, "batches of images in parallel")


def _add_images(parser):
    parser.add_argument(
        "data",
        metavar="DIR|FILE",
        nargs="+",
        help="a folder of images, in subfolders or not; files",
    )


def _add_output(parser, text):
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help=text)


def _add_masks(parser, more):
    parser.add_argument(
        "--masks",
        metavar="DIR|SUFFIX",
        help="masks: a folder that mirrors the images, or the suffix of those next to their "
        f"images, such as _mask{more}",
    )


def _add_network(parser):
    parser.add_argument(
        "--weights", metavar="FILE", help="weights of the network; default: imagenet"
    )
    _add_network_options(parser, "--backbone-option")
    _add_options(parser, "--option", "recipe, such as classifier=knn")


def _add_memory(parser):
    parser.add_argument(
        "--memory",
        metavar="FILE",
        help="store of rows: the same command continues after an interruption, and later runs "
        "compute only what is new",
    )


def _add_audit(commands):
    audit = _add_parser(
        commands, "audit", "look for leaks between folds, and for shortcuts to the label"
    )
    audit.set_defaults(command=_commands.audit, verbose=True)
    audit.add_argument("data", metavar="DIR", help=_DATA)
    audit.add_argument(
        "--output", metavar="FILE", help="write the suggested groups there, as a table for --groups"
    )
    _add_cross_validation(audit, "threads")
    audit.set_defaults(cv=5, random_state=0)


def _add_cross_validation(parser, jobs):
    """Add the options of the groups, folds and jobs."""
    _add_groups(parser)
    parser.add_argument("--folds", metavar="K", dest="cv", type=int, help="default: 5")
    _add_jobs(parser, jobs)
    parser.add_argument("--seed", metavar="S", dest="random_state", type=int, help="default: 0")


def _add_groups(parser):
    parser.add_argument(
        "--groups", metavar="FILE", help="CSV table of the images that belong together: file,group"
    )


def _add_jobs(parser, what):
    parser.add_argument(
        "--jobs", metavar="N", dest="n_jobs", type=int, help=f"{what}; -1: one per processor"
    )


def _add_network_options(parser, flag):
    """Add a flag for the options of a network."""
    _add_options(parser, flag, "network, such as alpha=0.35")


def _add_options(parser, flag, what):
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


def _add_cache(commands):
    cache = _add_parser(commands, "cache", "show what is in a feature store, or make it smaller")
    cache.set_defaults(command=_commands.cache)
    actions = cache.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in {
        "info": "list the transformers, with their numbers of rows and bytes",
        "prune": "drop the oldest rows until the file is small enough",
        "clear": "drop all rows",
    }.items():
        parser = _add_parser(actions, action, text)
        parser.add_argument("path", metavar="PATH", help="the file passed as FeatureBus(memory=)")
        if action == "prune":
            parser.add_argument(
                "--max-bytes",
                required=True,
                type=_bytes,
                metavar="SIZE",
                help="maximum size of the file: a number, or with a unit such as 500MB or 2GB",
            )


def _add_weights(commands):
    weights = _add_parser(
        commands,
        "weights",
        "collect the weights of networks in a bundle for machines without internet, or check one",
    )
    weights.set_defaults(command=_commands.weights)
    actions = weights.add_subparsers(dest="action", required=True, metavar="ACTION")
    fetch = _add_parser(actions, "fetch", "add the weights of a network to a bundle")
    fetch.add_argument("name", metavar="NAME", help="the network: mobilenet_v2")
    fetch.add_argument("--out", metavar="DIR", required=True, help="folder of the bundle")
    _add_network_options(fetch, "--option")
    fetch.add_argument(
        "--input-size",
        metavar="PIXELS",
        type=int,
        help="size of the images, if Keras has weights for several; default: the network's own",
    )
    fetch.add_argument("--source", metavar="FILE", help="a local file; default: Keras downloads")
    table = _add_parser(
        actions,
        "list",
        "read and verify the files of a bundle, and list them",
        argument_default=argparse.SUPPRESS,
    )
    table.add_argument(
        "folder", metavar="DIR", nargs="?", help="the bundle; default: that in FEATBUS_WEIGHTS"
    )


def _bytes(text):
    """Return a size such as 500MB in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 500MB or 2GB, got {text!r}")
    return int(float(match[1]) * 1000 ** " kMGT".index(match[2] or " "))


def _key_value(text):
    """Split KEY=VALUE; the value is a Python literal, or otherwise a str."""
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value
