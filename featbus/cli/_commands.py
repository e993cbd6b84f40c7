"""The commands: each calls one public function, which is imported only then."""

import os


def demo(options):
    from featbus.demo import run_demo

    options["backbone_options"] = dict(options["backbone_options"])
    run_demo(**options)


def cache(options):
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


def verify(options):
    from featbus.verify import verify

    return 0 if verify()["passed"].all() else 1


def weights(options):
    from featbus.files import escape
    from featbus.networks import fetch_weights, list_weights

    if options.pop("action") == "fetch":
        options["options"] = dict(options["options"])
        print(f"In the bundle: {fetch_weights(**options)}")
        return 0
    table = list_weights(**options)
    columns = ["network", "options", "input_size", "bytes", "license", "source", "file", "state"]
    shown = table[columns].fillna("").map(lambda value: escape(str(value)))
    print(shown.to_string(index=False))
    return 0 if (table["state"] == "verified").all() else 1


def audit(options):
    from featbus.workflow import audit_folder

    return 0 if audit_folder(**options).passed else 1


def extract(options):
    from featbus.workflow import extract_features

    table = extract_features(**_with_dicts(_with_data(options)))
    return 1 if table["error"].notna().any() else 0


def train(options):
    from featbus.workflow import train_model

    train_model(**_with_dicts(options))


def evaluate(options):
    from featbus.workflow import evaluate_recipe

    evaluate_recipe(**_with_dicts(options))


def honesty(options):
    from featbus.workflow import measure_leaks

    measure_leaks(**_with_dicts(options))


def predict(options):
    from featbus.workflow import predict_images

    table = predict_images(**_with_data(options))
    return 1 if table["error"].notna().any() else 0


def app(options):
    from featbus.app import run_app

    run_app(**options)


def backbones(options):
    from featbus.feature_extraction import list_backbones

    print(list_backbones().to_string(index=False))


def recipes(options):
    from featbus.recipes import list_recipes

    print(list_recipes().to_string(index=False))


def _with_data(options):
    """Return options whose data are a single path, a folder perhaps, or a list of files."""
    data = options["data"]
    options["data"] = data[0] if len(data) == 1 else data
    return options


def _with_dicts(options):
    """Return options with a dict of the network's, and of the recipe's, own options."""
    return options | {name: dict(options[name]) for name in ("backbone_options", "options")}
