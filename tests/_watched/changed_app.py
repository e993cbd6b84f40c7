"""``featbus`` with one change of the page: ``python changed_app.py CHANGE app MODEL``.

Four keep something of the images, which the test that nothing is kept has to find; the others make
sessions short, and an image slow.
"""

import sys
from pathlib import Path

import featbus.app._model as model
import featbus.app._page as page
from featbus.cli import main


def keep_rows():
    """Have the bus of the model store its rows."""
    load = model.load

    def load_with_memory(path):
        pipeline = load(path)
        return pipeline.set_params(featurebus__memory="store")

    model.load = load_with_memory


def keep_results():
    """Have Streamlit cache results on disk."""
    import streamlit as st

    examine = page.examine

    @st.cache_data(persist="disk", show_spinner=False)
    def examine_once(_model, *args, **options):
        return examine(_model, *args, **options)

    page.examine = examine_once


def keep_uploads():
    """Have large uploads parsed in temporary files, which is the default of Starlette."""
    from starlette.formparsers import MultiPartParser

    from featbus.app import _server

    prepare = _server.prepare_server

    def prepare_for_files(*args):
        prepare(*args)
        MultiPartParser.spool_max_size = 1024**2

    _server.prepare_server = prepare_for_files


def tell_names():
    """Have the names of files logged."""
    examine = page.examine

    def examine_aloud(model, name, *args, **options):
        print("Examining", name, flush=True)
        return examine(model, name, *args, **options)

    page.examine = examine_aloud


def forget_soon():
    """Have sessions dropped a second after their page is closed."""
    from featbus.app import _settings

    _settings._SETTINGS["server.disconnectedSessionTTL"] = 1


def wait_for_release():
    """Have the image ``slow.png`` take all of Python's time until there is a file ``release``."""
    examine = page.examine

    def examine_slowly(model, name, *args, **options):
        while name == "slow.png" and not Path("release").exists():
            pass
        return examine(model, name, *args, **options)

    page.examine = examine_slowly


CHANGES = {
    change.__name__: change
    for change in (keep_rows, keep_results, keep_uploads, tell_names, forget_soon, wait_for_release)
}

if __name__ == "__main__":
    CHANGES[sys.argv.pop(1)]()
    main()
