"""The parsers of extract, train, evaluate, honesty and predict."""

import argparse

from featbus.cli import _commands
from featbus.cli._options import (
    DATA,
    add_cross_validation,
    add_groups,
    add_jobs,
    add_masks,
    add_network_options,
    add_options,
    add_parser,
    add_positive,
    add_strict,
    as_list,
)


def add_extract(commands):
    extract = add_parser(
        commands,
        "extract",
        "compute a table of features, one row per image",
        argument_default=argparse.SUPPRESS,
        epilog="Exit status: 0; 1 if some images have no features, which the table and the end of "
        "the output list with the reason; 2 after an error, without a table.",
    )
    extract.set_defaults(command=_commands.extract, verbose=True)
    _add_images(extract)
    _add_features(extract, "intensity,lbp,glcm")
    add_masks(extract, "; without, whole images are used")
    add_groups(extract)
    _add_output(extract, "table to write: a .parquet, .csv or .npz file")
    _add_network(extract)
    _add_memory(extract)
    add_jobs(extract, "batches of images in parallel")


def add_train(commands):
    train = add_parser(
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


def add_evaluate(commands):
    evaluate = add_parser(
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


def add_honesty(commands):
    honesty = add_parser(
        commands,
        "honesty",
        "score the same features and SVM by the honest protocol, and by those that leak",
        argument_default=argparse.SUPPRESS,
        epilog="Exit status: 0; 2 after an error, such as an image that cannot be read.",
    )
    honesty.set_defaults(command=_commands.honesty, verbose=True)
    honesty.add_argument("data", metavar="DIR", help=DATA)
    honesty.add_argument(
        "-o", "--output", metavar="DIR", help="folder to write to; default: featbus-honesty"
    )
    _add_features(honesty, "hog,intensity,lbp")
    honesty.add_argument(
        "--copies", metavar="N", dest="n_copies", type=int, help="copies per image; default: 2"
    )
    honesty.add_argument(
        "--dihedral",
        metavar="N",
        type=int,
        choices=[2, 6, 8],
        help="copies by flips and quarter turns: 2, 6 or 8 orientations; default: random changes",
    )
    add_masks(honesty, ", which are not used")
    add_positive(honesty)
    _add_network(honesty)
    add_cross_validation(honesty, "parallel fits", folds="5")


def add_predict(commands):
    predict = add_parser(
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
    add_jobs(predict, "batches of images in parallel")


def _add_recipe(parser):
    """Add the data set, the recipe, and how it is evaluated."""
    parser.set_defaults(verbose=True)
    parser.add_argument("data", metavar="DIR", help=DATA)
    parser.add_argument(
        "--recipe", metavar="NAME", required=True, help="a name that `featbus recipes` lists"
    )
    add_masks(parser, ", for recipes that learn where lesions are")
    add_positive(parser)
    _add_network(parser)
    _add_memory(parser)
    add_cross_validation(parser, "parallel fits")


def _add_features(parser, default):
    """Add the features, by their names or as those of a recipe."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--recipe", metavar="NAME", dest="features", help="features of a recipe")
    which.add_argument(
        "--features",
        metavar="LIST",
        type=as_list,
        help="names separated by commas: glcm, glrlm, glszm, hog, intensity, lbp, shape, "
        f"deep:NETWORK; default: {default}",
    )


def _add_images(parser):
    parser.add_argument(
        "data",
        metavar="DIR|FILE",
        nargs="+",
        help="a folder of images, in subfolders or not; files",
    )
    add_strict(parser)


def _add_output(parser, text):
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help=text)


def _add_network(parser):
    parser.add_argument(
        "--weights", metavar="FILE", help="weights of the network; default: imagenet"
    )
    add_network_options(parser, "--backbone-option")
    add_options(parser, "--option", "recipe, such as classifier=knn")


def _add_memory(parser):
    parser.add_argument(
        "--memory",
        metavar="FILE",
        help="store of rows: the same command continues after an interruption, and later runs "
        "compute only what is new",
    )
