"""The parser of the command line; importing it imports nothing heavy."""

import argparse
import re

from featbus import __version__
from featbus.cli import _commands
from featbus.cli._options import (
    DATA,
    add_cross_validation,
    add_masks,
    add_network_options,
    add_parser,
    add_positive,
    as_list,
)
from featbus.cli._workflow import add_evaluate, add_extract, add_honesty, add_predict, add_train


def make_parser():
    """Return the parser; the function of the command is in ``command``."""
    parser = argparse.ArgumentParser(
        prog="featbus", description="Medical images to features, and honest scores of classifiers."
    )
    parser.add_argument("--version", action="version", version=f"featbus {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    add_extract(commands)
    add_train(commands)
    add_predict(commands)
    _add_app(commands)
    add_evaluate(commands)
    add_honesty(commands)
    _add_audit(commands)
    text = "list the recipes that train, evaluate, honesty and extract know"
    add_parser(commands, "recipes", text).set_defaults(command=_commands.recipes)
    text = "list the networks that features can come from"
    add_parser(commands, "backbones", text).set_defaults(command=_commands.backbones)
    _add_cache(commands)
    _add_weights(commands)
    text = "recompute the reference values of the Image Biomarker Standardisation Initiative"
    add_parser(commands, "verify", text).set_defaults(command=_commands.verify)
    return parser


def _add_demo(commands):
    demo = add_parser(
        commands,
        "demo",
        "compare four classifiers on images in grouped, stratified cross-validation",
        argument_default=argparse.SUPPRESS,
    )
    demo.set_defaults(command=_commands.demo)
    demo.add_argument("--data", metavar="DIR", help=f"{DATA}; default: synthetic images")
    demo.add_argument(
        "--backbone",
        metavar="NAME",
        help="add a network's features, such as mobilenet_v2; `featbus backbones` lists them",
    )
    add_network_options(demo, "--backbone-option")
    demo.add_argument("--weights", metavar="FILE", help="weights of the network; default: imagenet")
    demo.add_argument(
        "--layers",
        metavar="LIST",
        type=as_list,
        help="layers of the network, separated by commas; default: C3,C4,C5",
    )
    demo.add_argument(
        "--pooling",
        metavar="LIST",
        type=as_list,
        help="how its feature maps become numbers: avg, max, gem, std; default: avg,max",
    )
    demo.add_argument(
        "--input-size",
        metavar="PIXELS",
        type=int,
        help="size that images are stretched to; default: 320 with a network, 224 without",
    )
    demo.add_argument("--output", metavar="DIR", help="folder to write to; default: featbus-demo")
    add_positive(demo)
    add_cross_validation(demo, "parallel fits")


def _add_app(commands):
    app = add_parser(
        commands,
        "app",
        "serve a page on which readers examine images with a saved model; nothing is kept",
        argument_default=argparse.SUPPRESS,
        epilog="The page is served to this machine alone. To serve it to others, put a reverse "
        "proxy with TLS and logins in front of it, and give its address by --url.",
    )
    app.set_defaults(command=_commands.app)
    app.add_argument("model", metavar="MODEL", help="the file that `featbus train` wrote")
    app.add_argument("--port", metavar="N", type=int, help="port to listen on; default: 8501")
    app.add_argument(
        "--url",
        metavar="URL",
        help="where a reverse proxy on this machine serves the page, such as "
        "https://reader.hospital.example",
    )
    app.add_argument("--no-browser", dest="browser", action="store_false", help="open no browser")


def _add_audit(commands):
    audit = add_parser(
        commands,
        "audit",
        "look for leaks between folds, and for shortcuts to the label",
        argument_default=argparse.SUPPRESS,
    )
    audit.set_defaults(command=_commands.audit, verbose=True)
    audit.add_argument("data", metavar="DIR", help=DATA)
    audit.add_argument(
        "--output", metavar="FILE", help="write the suggested groups, a .csv table for --groups"
    )
    add_masks(audit, "")
    add_cross_validation(audit, "threads")


def _add_cache(commands):
    cache = add_parser(commands, "cache", "show what is in a feature store, or make it smaller")
    cache.set_defaults(command=_commands.cache)
    actions = cache.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in {
        "info": "list the transformers, with their numbers of rows and bytes",
        "prune": "drop the oldest rows until the file is small enough",
        "clear": "drop all rows",
    }.items():
        parser = add_parser(actions, action, text)
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
    weights = add_parser(
        commands,
        "weights",
        "collect the weights of networks in a bundle for machines without internet, or check one",
    )
    weights.set_defaults(command=_commands.weights)
    actions = weights.add_subparsers(dest="action", required=True, metavar="ACTION")
    fetch = add_parser(actions, "fetch", "add the weights of a network, or a model, to a bundle")
    fetch.add_argument(
        "name",
        metavar="NAME",
        help="the network: mobilenet_v2; or a new name for the model in an ONNX or .keras file",
    )
    fetch.add_argument("--out", metavar="DIR", required=True, help="folder of the bundle")
    add_network_options(fetch, "--option")
    fetch.add_argument(
        "--input-size",
        metavar="PIXELS",
        type=int,
        help="size of the images, if Keras has weights for several, or a model takes any; "
        "default: the network's own",
    )
    fetch.add_argument("--source", metavar="FILE", help="a local file; default: Keras downloads")
    fetch.add_argument(
        "--preprocessing",
        metavar="NAME|FILE",
        help="what the model was trained on: caffe, tf, torch, none, or its "
        "preprocessor_config.json (transformers) or config.json (timm)",
    )
    fetch.add_argument(
        "--license", metavar="TEXT", help="license of the weights; a model needs one"
    )
    fetch.add_argument("--origin", metavar="TEXT", help="where the file comes from")
    table = add_parser(
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
