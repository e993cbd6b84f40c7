"""A first session; scans has one folder of images per class:

  featbus demo                        # four classifiers
  featbus audit scans                 # look for leaks
  featbus train scans -o model.skops  # score, fit, save
  featbus predict model.skops new     # classify images

`featbus --help` lists the commands, and
`featbus COMMAND --help` the options of one.
"""

# The text above is what `featbus` alone prints. Each command is made from the signature and
# docstring of a public function. Flags are named as parameters are, so that messages about
# parameters need no translation.

import argparse
import os
import re
import signal
import sys
import warnings
from difflib import get_close_matches
from importlib import import_module

from featbus import __version__

__all__ = ["main"]

# The function of each command, and a line for the list of commands; the functions are imported
# when they are called.
_COMMANDS = {
    "demo": ("demo.run_demo", "compare four classifiers on synthetic images, or on yours"),
    "extract": ("commands.extract", "compute a table of features, one row per image"),
    "train": ("commands.train", "evaluate a recipe, fit it, and save the model"),
    "predict": ("commands.predict", "predict the classes of images with a saved model"),
    "app": ("app.run_app", "serve a page on which readers examine images with a saved model"),
    "evaluate": ("commands.evaluate", "cross-validate a recipe, and write a report"),
    "honesty": ("commands.honesty", "compare the honest score with those of protocols that leak"),
    "audit": ("commands.audit", "look for leaks between folds, and for shortcuts to the label"),
    "recipes": ("recipes.list_recipes", "list the recipes"),
    "backbones": ("feature_extraction.list_backbones", "list the networks"),
    "weights fetch": ("networks.fetch_weights", "add the weights of a network to a bundle"),
    "weights list": ("networks.list_weights", "verify the files of a bundle, and list them"),
    "verify": ("verify.verify", "recompute the reference values of the IBSI"),
}
_GROUPS = {  # of the options in the help; all others say how it runs
    "what goes in": "data model name source masks classes groups max_images strict on_error",
    "what is computed": "recipe features backbone backbone_options weights layers pooling "
    "input_size options preprocessing n_copies dihedral",
    "how it is scored": "cv by pool label_rule pos_label sensitivity audit",
    "what comes out": "output out embed verbose",
}
_GROUP_OF = {name: title for title, names in _GROUPS.items() for name in names.split()}
# Success criteria of the commands that can return 1.
_IS_WELL = {
    "audit": lambda report: report.passed,
    "extract": lambda table: table["error"].isna().all(),
    "predict": lambda table: table["error"].isna().all(),
    "verify": lambda table: table["passed"].all(),
    "weights list": lambda table: (table["state"] == "verified").all(),
}


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit status:

        - 0: success.
        - 1: completed, with problems. `extract` or `predict` found images without a result, which
          the table lists with the reason; `audit` found a leak, `verify` missed a value, or a file
          in a weights bundle is damaged.
        - 2: an error that the user can fix, in one line on the standard error stream; files are as
          they were before, except feature stores.
        - 130: interrupted by Ctrl-C. Rows of features that are in a store stay there.
        - 141: whoever reads the output has closed it. Files that were written stay.
        - 143: stopped by the signal SIGTERM, in the same way as by Ctrl-C.

        An unknown command (status 2), ``--help`` and ``--version`` (status 0) raise `SystemExit`,
        as always with `argparse`.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv:
        print(__doc__)
        return 0
    command, arguments = _choose_command(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors of TensorFlow are exceptions, too
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # names of files need not be Unicode
            stream.reconfigure(errors="backslashreplace")
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            is_well = _run(command, arguments)
            sys.stdout.flush()
            return 0 if is_well else 1
    except BrokenPipeError:
        # Python would write the rest at its end, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, ImportError, argparse.ArgumentError) as error:
        _tell(f"error: {error}", "red")
        return 2
    except KeyboardInterrupt as error:
        _tell("stopped", "yellow")
        return 128 + (error.args or (signal.SIGINT,))[0]
    finally:
        signal.signal(signal.SIGTERM, before)


def _choose_command(argv):
    """Return the name of the command, of one word or two, and its arguments."""
    parser = argparse.ArgumentParser(
        prog="featbus",
        description="Medical images to features, and honest scores of classifiers.",
        epilog="`featbus COMMAND --help` lists the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"featbus {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, text) in _COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    two_words = " ".join(argv[:2])
    argv = [two_words, *argv[2:]] if two_words in _COMMANDS else argv
    if not argv[0].startswith("-") and argv[0] not in _COMMANDS:
        near = " or ".join(map(repr, get_close_matches(argv[0], _COMMANDS)))
        parser.error(f"found no command {argv[0]!r}." + (f" Did you mean {near}?" if near else ""))
    options, arguments = parser.parse_known_args(argv)
    return options.command, arguments


def _run(command, arguments):
    """Run a command; return whether all is well."""
    module, _, name = _COMMANDS[command][0].rpartition(".")
    function = getattr(import_module(f"featbus.{module}"), name)
    arguments = ["--output" if argument == "-o" else argument for argument in arguments]
    options = vars(_make_parser(command, function).parse_args(arguments))
    options.pop("config")
    if isinstance(options.get("data"), list) and len(options["data"]) == 1:
        (options["data"],) = options["data"]
    result = function(**options)
    if result is not None and "verbose" not in options:
        _print(result)
    return command not in _IS_WELL or _IS_WELL[command](result)


def _make_parser(command, function):
    """Make a parser from the signature and docstring of a function."""
    from jsonargparse import ArgumentParser

    description, _, rest = function.__doc__.partition("\n")
    example = re.search(r"On the command line: ``(.+)``", rest)[1]
    texts = {"description": description, "epilog": f"example: {example}"}
    texts |= {"prog": f"featbus {command}", "formatter_class": argparse.HelpFormatter}
    parser = ArgumentParser(**texts, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_function_arguments(function, as_group=False, as_positional=True, fail_untyped=False)
    for action in parser._actions:
        annotation = function.__annotations__.get(action.dest, "")
        if annotation == "bool":  # --strict, or --strict false
            action.nargs, action.const = "?", True
        elif action.dest == "data" and "Sequence" in annotation:  # several files
            action.nargs = "+"
        if action.dest == "verbose":
            action.default = True
        action.help = action.help.replace("``", "`").replace("%", "%%")
        if action.option_strings and action.default not in (None, argparse.SUPPRESS):
            action.help += " (default: %(default)s)"
    required = [one for one in parser._actions if one.required]
    required = [" ".join([*one.option_strings, one.dest.upper()]) for one in required]
    parser.usage = " ".join(["%(prog)s", *required, "[OPTIONS]"])
    parser._action_groups.clear()
    for title in (*_GROUPS, "how it runs"):
        found = [one for one in parser._actions if _GROUP_OF.get(one.dest, "how it runs") == title]
        parser.add_argument_group(title)._group_actions += found
    return parser


def _print(result):
    """Print a table, or what else a function returned."""
    from featbus.commands._data import show
    from featbus.files import escape

    if hasattr(result, "to_string"):
        result = result.map(lambda cell: "" if cell != cell else escape(str(cell)))  # NaN
    show(result)


def _stop(signum, frame):
    """End a command so that it removes its temporary files."""
    raise KeyboardInterrupt(signum)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    _tell(f"warning: {message}", "yellow")


def _tell(message, style):
    """Print a message on the standard error stream, in one line."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)
    console.print(f"featbus: {' '.join(str(message).split())}", style=style)
