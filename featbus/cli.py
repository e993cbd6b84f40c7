"""Command line: parses arguments; each command calls one public function or method."""

import argparse
import ast
import os
import re
import sys
import warnings

from featbus import __version__

__all__ = ["main"]

_DATA = "folder of BUSI, of mini-MIAS or with one folder per class"


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit status: 0; 1 if `verify` misses a value, `audit` finds a leak or a file in a weights
        bundle is damaged; 2 after an error that the user can fix. Arguments that cannot be parsed,
        ``--help`` and ``--version`` raise `SystemExit`, as always with `argparse`.
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


def _weights(options):
    from featbus.networks import fetch_weights, list_weights

    if options.pop("action") == "fetch":
        options["options"] = dict(options["options"])
        print(f"In the bundle: {fetch_weights(**options)}")
        return 0
    table = list_weights(**options)
    columns = ["network", "options", "input_size", "bytes", "source", "file", "state"]
    print(table[columns].to_string(index=False))
    return 0 if (table["state"] == "verified").all() else 1


def _audit(options):
    from featbus.datasets import load_dataset
    from featbus.files import written_whole
    from featbus.model_selection import audit

    output = options.pop("output")
    dataset = load_dataset(options.pop("data"), groups=options.pop("groups"))
    names = [dataset.target_names[label] for label in dataset.target]
    report = audit(dataset.images, names, groups=dataset.groups, masks=dataset.masks, **options)
    print(f"{dataset.name}\n{report}")
    if output is not None:
        table = dataset.frame[["file"]].assign(group=report.suggested_groups)
        with written_whole(output) as path:
            table.to_csv(path, index=False)
        print(f"\nWrote the suggested groups to {output}")
    return 0 if report.passed else 1


def _parser():
    parser = argparse.ArgumentParser(
        prog="featbus", description="Medical images to features, and honest scores of classifiers."
    )
    parser.add_argument("--version", action="version", version=f"featbus {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_audit(commands)
    _add_cache(commands)
    _add_weights(commands)
    text = "recompute the reference values of the Image Biomarker Standardisation Initiative"
    _add_parser(commands, "verify", text).set_defaults(command=_verify)
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
    demo.set_defaults(command=_demo)
    demo.add_argument("--data", metavar="DIR", help=f"{_DATA}; default: synthetic images")
    demo.add_argument("--backbone", metavar="NAME", help="add a network's features: mobilenet_v2")
    _add_network_options(demo, "--backbone-option")
    demo.add_argument("--weights", metavar="FILE", help="weights of the network; default: imagenet")
    demo.add_argument("--output", metavar="DIR", help="folder to write to; default: featbus-demo")
    _add_cross_validation(demo, "parallel fits")


def _add_audit(commands):
    audit = _add_parser(
        commands, "audit", "look for leaks between folds, and for shortcuts to the label"
    )
    audit.set_defaults(command=_audit, verbose=True)
    audit.add_argument("data", metavar="DIR", help=_DATA)
    audit.add_argument(
        "--output", metavar="FILE", help="write the suggested groups there, as a table for --groups"
    )
    _add_cross_validation(audit, "threads")
    audit.set_defaults(cv=5, random_state=0)


def _add_cross_validation(parser, jobs):
    """Add the options of the groups, folds and jobs."""
    parser.add_argument(
        "--groups", metavar="FILE", help="CSV table of the images that belong together: file,group"
    )
    parser.add_argument("--folds", metavar="K", dest="cv", type=int, help="default: 5")
    parser.add_argument(
        "--jobs", metavar="N", dest="n_jobs", type=int, help=f"{jobs}; -1: one per processor"
    )
    parser.add_argument("--seed", metavar="S", dest="random_state", type=int, help="default: 0")


def _add_network_options(parser, flag):
    """Add a flag for the options of a network."""
    dest = f"{flag.lstrip('-')}s".replace("-", "_")
    parser.set_defaults(**{dest: []})
    parser.add_argument(
        flag,
        metavar="KEY=VALUE",
        dest=dest,
        type=_key_value,
        action="append",
        help="option of the network, such as alpha=0.35; may be repeated",
    )


def _add_cache(commands):
    cache = _add_parser(commands, "cache", "show what is in a feature store, or make it smaller")
    cache.set_defaults(command=_cache)
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
    weights.set_defaults(command=_weights)
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


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"featbus: warning: {_one_line(message)}", file=sys.stderr)


def _one_line(message):
    return " ".join(str(message).split())
