"""The page: what a reader sees; every number comes from `featbus.workflow`."""

from importlib.resources import files

import streamlit as st

from featbus.app import _html
from featbus.app._download import download_link
from featbus.app._drawing import draw
from featbus.app._model import open_model
from featbus.app._results import Result, examine, to_csv

MAX_IMAGES = 20  # at a time: all of them are in memory
_CARD = ("classes", "data", "scores", "positive_class", "protocol", "audit", "recipe", "note")
_LOGO = str(files("featbus.app").joinpath("logo.svg"))


def show_page(path):
    """Show the page of a model.

    Parameters
    ----------
    path : str
        The file of the model.
    """
    model = open_model(path)
    st.set_page_config(page_title=f"{model.name} – featbus", page_icon=_LOGO, layout="wide")
    st.html(_html.style())
    st.html(_html.header(model.name))
    left, middle, right = st.columns([0.25, 0.42, 0.33], gap="medium")
    with left:
        images = _choose_images(model)
        shown = _choose_shown(images)
        overview = st.container()
    if shown is None:
        with middle:
            _show_welcome(model)
        with right:
            _show_card(model, is_open=True)
        return
    results = _results_of(images)
    with middle, st.spinner("Examining the image"):
        _examine(model, images, results, shown)
    _show_result(results[shown], middle, right)
    with right:
        _show_card(model)
    with overview:
        _show_all(model, images, results)


def _choose_images(model):
    """Return the content of all chosen images by their keys, with their names."""
    uploads = st.file_uploader(
        "Images: PNG, JPEG, TIFF or DICOM", accept_multiple_files=True, key="uploads"
    )
    example = st.selectbox(
        "Or a synthetic example", [*model.examples], index=None, placeholder="Choose an example"
    )
    if len(uploads) > MAX_IMAGES:
        st.html(_html.error(f"{len(uploads)} images", f"only the first {MAX_IMAGES} are examined."))
    chosen = {upload.file_id: (upload.name, upload) for upload in uploads[:MAX_IMAGES]}
    return chosen | ({example: (example, model.examples[example])} if example else {})


def _choose_shown(images):
    """Return the key of the image that is shown."""
    if len(images) < 2:
        return next(iter(images), None)
    names = {key: f"{i}. {name}" for i, (key, (name, _)) in enumerate(images.items(), start=1)}
    return st.selectbox("Image shown", [*images], format_func=names.get)


def _results_of(images):
    """Return this reader's results, without those of images that were removed."""
    kept = st.session_state.get("results", {})
    st.session_state.results = {key: kept[key] for key in images if key in kept}
    return st.session_state.results


def _examine(model, images, results, key):
    if key not in results:
        name, image = images[key]
        data = image.getvalue() if hasattr(image, "getvalue") else image
        results[key] = examine(model, name, data)


def _show_result(result, middle, right):
    if result.examination is None:
        with middle:
            st.html(_html.error(result.name, result.error))
        return
    found = result.examination
    with middle:
        importance = st.toggle(
            "Show what the class rests on",
            value=found.importance is not None,
            disabled=found.importance is None,
            help=found.importance_reason,
        )
        url = draw(found, importance=importance)
        st.html(_html.picture(url, result.name, found, importance))
    with right:
        st.html(_html.warning(found) + _html.classes(found))
        st.html(_html.histograms(found))


def _show_all(model, images, results):
    """Examine the images that are not shown, and list all of them."""
    place = st.empty()
    for key in images:
        _list(images, results, place)
        _examine(model, images, results, key)
    _list(images, results, place)
    download_link(to_csv(results[key] for key in images))


def _list(images, results, place):
    if len(images) > 1:
        listed = [results.get(key, Result(name)) for key, (name, _) in images.items()]
        place.html(_html.table(listed))


def _show_welcome(model):
    classes = ", ".join(model.card["classes"])
    st.html(_html.welcome(classes))


def _show_card(model, is_open=False):
    with st.expander("Model card: data, scores, limits", expanded=is_open):
        st.html(_html.card({key: model.card[key] for key in _CARD if key in model.card}))
