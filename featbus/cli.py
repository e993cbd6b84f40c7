"""Command line: parses arguments; each command calls one public function or method."""

import argparse
import ast
import os
import re
import sys
import warnings

from featbus import __version__

__all__ = ["main"]


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit status: 0, 1 if `verify` misses a value, or 2 after an error that the user can mend.
        As `argparse` does, arguments that cannot be parsed, ``--help`` and ``--version`` raise
        `SystemExit`.
    """
    options = vars(_parser().parse_args(argv))
    command = options.pop("command")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return command(options) or 0
        except (ValueError, OSError, ImportError) as error:
            print(f"featbus: error: {_one_line(error)}", file=sys.stderr)
            return 2


def _demo(options):
    from featbus.demo import run_demo

    options["backbone_options"] = dict(options["backbone_options"])
    run_demo(**options)


def _cache(options):
    from featbus.bus import FeatureStore

    if not os.path.isfile(options["path"]):
        raise FileNotFoundError(f"Found no feature store {options['path']!r}, expected its file.")
    with FeatureStore(options["path"]) as store:
        if options["action"] == "info":
            print(store.info().to_string(index=False, max_colwidth=60))
        elif options["action"] == "prune":
            print(f"Dropped {store.prune(options['max_bytes'])} rows, the oldest ones")
        else:
            print(f"Dropped {store.clear()} rows")


def _verify(options):
    from featbus.verify import verify

    return 0 if verify()["passed"].all() else 1


def _parser():
    parser = argparse.ArgumentParser(
        prog="featbus", description="Medical images to features, and classifiers judged honestly."
    )
    parser.add_argument("--version", action="version", version=f"featbus {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_cache(commands)
    text = "recompute the reference values of the Image Biomarker Standardisation Initiative"
    verify = commands.add_parser("verify", help=text, description=f"{text}.")
    verify.set_defaults(command=_verify)
    return parser


def _add_demo(commands):
    text = "compare four classifiers on images in grouped, stratified cross-validation"
    demo = commands.add_parser(
        "demo", help=text, description=f"{text.capitalize()}.", argument_default=argparse.SUPPRESS
    )
    demo.set_defaults(command=_demo, backbone_options=[])
    demo.add_argument(
        "--data",
        metavar="DIR",
        help="folder of BUSI, of mini-MIAS or of one folder per class; default: synthetic images",
    )
    demo.add_argument(
        "--groups", metavar="FILE", help="CSV table of the images that belong together: file,group"
    )
    demo.add_argument("--backbone", metavar="NAME", help="add a network's features: mobilenet_v2")
    demo.add_argument(
        "--backbone-option",
        metavar="KEY=VALUE",
        dest="backbone_options",
        type=_key_value,
        action="append",
        help="option of the network, such as alpha=0.35; may be given several times",
    )
    demo.add_argument("--weights", metavar="FILE", help="weights of the network; default: imagenet")
    demo.add_argument("--output", metavar="DIR", help="folder to write to; default: featbus-demo")
    demo.add_argument(
        "--jobs", metavar="N", dest="n_jobs", type=int, help="parallel fits; -1: one per processor"
    )
    demo.add_argument("--folds", metavar="K", dest="cv", type=int, help="default: 5")
    demo.add_argument("--seed", metavar="S", dest="random_state", type=int, help="default: 0")


def _add_cache(commands):
    text = "look into a feature store, or make it smaller"
    cache = commands.add_parser("cache", help=text, description=f"{text.capitalize()}.")
    cache.set_defaults(command=_cache)
    actions = cache.add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in {
        "info": "list the transformers, with their number of rows and bytes",
        "prune": "drop the oldest rows until the file is small enough",
        "clear": "drop all rows",
    }.items():
        parser = actions.add_parser(action, help=text, description=f"{text.capitalize()}.")
        parser.add_argument("path", metavar="PATH", help="the file that FeatureBus(memory=) names")
        if action == "prune":
            parser.add_argument(
                "--max-bytes",
                required=True,
                type=_bytes,
                metavar="SIZE",
                help="largest size of the file: a number, or with a unit such as 500MB or 2GB",
            )


def _bytes(text):
    """Return a size like 500MB in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 500MB or 2GB, got {text!r}")
    return int(float(match[1]) * 1000 ** " kMGT".index(match[2] or " "))


def _key_value(text):
    """Split KEY=VALUE; the value is a Python literal, or else a str."""
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"featbus: warning: {_one_line(message)}", file=sys.stderr)


def _one_line(message):
    return " ".join(str(message).split())
