"""The page, a script of Streamlit: what a reader sees of each image."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import streamlit as st
from jinja2 import Environment, PackageLoader

from featbus.app import _results
from featbus.files import escape

MAX_IMAGES = 20  # at a time: all of them are in memory
_NOTE = "Not a medical device and not for clinical use. Nothing you upload is kept."
_FILES = "Images: PNG, JPEG, TIFF, BMP, PGM, PPM or DICOM"
_COLORS = "Hiding a red part lowers the probability, a blue one raises it: by {:.2f} at most."


def show_page(path):
    """Show the page of a model.

    Parameters
    ----------
    path : str
        The file of the model.
    """
    model = _results.open_model(path)
    logo, style = (Path(__file__).with_name(name) for name in ("logo.svg", "page.css"))
    st.set_page_config(page_title=f"{model.name} – featbus", page_icon=logo, layout="wide")
    st.html(style)
    st.title(_plain(model.name))
    st.write(_small(_NOTE))
    images = _choose_images(model)
    known = st.session_state.get("results", {}).items()
    st.session_state.results = {key: result for key, result in known if key[0] in images}
    with st.spinner("Examining the images"):
        results = {key: _examine(model, images, key) for key in images}
    names = {key: result.name for key, result in results.items() if result.error is None}
    if names:
        shown = next(iter(names))
        if len(names) > 1:
            shown = st.selectbox("Image shown", [*names], format_func=names.get)
        picture, answer = st.columns(2, gap="medium")
        with picture:
            _show_image(results[shown].name, results[shown].examination)
        with answer:
            _show_prediction(model.card, results[shown].examination)
            _show_reasons(model, images, shown)
    if results:
        _list_results(results.values())
    with st.expander("Model card: data, scores, limits", expanded=not images):
        st.write(_describe(model.card))


def _plain(text):
    """Return a text that Markdown shows as it is."""
    return re.sub(r"([^\w\s,;=%])", r"\\\1", escape(" ".join(str(text).split())))


def _small(text):
    """Return a text in small letters, in the color of the others: captions are pale."""
    return f":small[{_plain(text)}]"


def _choose_images(model):
    """Return, by their keys, the names of all chosen images and functions that read them."""
    is_chosen = st.session_state.get("uploads") or st.session_state.get("example")
    with st.expander("Choose images", expanded=not is_chosen):
        uploads = st.file_uploader(_FILES, accept_multiple_files=True, key="uploads")
        name = st.selectbox("Or a synthetic example", [*model.examples], index=None, key="example")
    if len(uploads) > MAX_IMAGES:
        st.error(f"{len(uploads)} images are chosen; only the first {MAX_IMAGES} are examined.")
    chosen = {upload.file_id: (upload.name, upload.getvalue) for upload in uploads[:MAX_IMAGES]}
    return chosen | ({name: (name, lambda: model.examples[name])} if name else {})


def _examine(model, images, key, importance=False):
    """Examine an image, unless that was done before."""
    results = st.session_state.results
    if (key, importance) not in results:
        name, read = images[key]
        results[key, importance] = _results.examine(model, name, read(), importance)
    return results[key, importance]


def _show_image(name, found):
    """Show an image with its outline."""
    st.image(_results.draw(replace(found, importance=None)))
    outline = "" if found.outline is None else ", yellow: the region that the model found"
    st.write(_small(name + outline))


def _show_prediction(card, found):
    """Show the class and what it is worth, warnings, and the probabilities."""
    show = st.write if card.get("doubt") or found.is_unfamiliar else st.subheader
    show(f"Predicted class: {_plain(found.predicted)}")
    tested, *called = _results.describe_call(card, found)
    st.write(_plain(tested))
    if found.is_unfamiliar:
        st.error("**Unlike the training images.** The class means nothing: do not rely on it.")
    if card.get("doubt"):
        st.warning(_plain(f"{card['doubt']} Do not rely on the class."))
    if found.probabilities is None:
        st.write("This model gives no probabilities.")
    else:
        for name, value in found.probabilities.items():
            st.progress(float(value), f"{_plain(name)} {value:.2f}")
    st.write(_small(" ".join(called)))


def _show_reasons(model, images, key):
    """Show the importance map if wanted, or why there is none."""
    if st.toggle("Show what the class rests on"):
        with st.spinner("Examining the image"):
            result = _examine(model, images, key, importance=True)
        found = result.examination
        if found is None or found.importance is None:
            st.write(_plain(result.error or found.importance_reason))
        else:
            st.image(_results.draw(found))
            st.write(_small(_COLORS.format(abs(found.importance).max())))


def _list_results(results):
    """Show why images have no result, a row per image, and a button to download all columns."""
    for result in results:
        if result.error:
            st.error(f"**{_plain(result.name)}** has no result: {_plain(result.error)}")
    table = _results.tabulate(results)
    if len(table) > 1:
        shown = table.filter(["image", "predicted", "unlike_training_images"])
        st.dataframe(shown.rename(columns=lambda name: name.replace("_", " ")), hide_index=True)
    content = table.to_csv(index=False)
    st.download_button("Download results (CSV)", content, "featbus-results.csv", "text/csv")


def _describe(card):
    """Return the model card in words, as Markdown."""
    pages = Environment(loader=PackageLoader("featbus"), trim_blocks=True)
    pages.filters["plain"] = _plain
    return pages.get_template("model_card.md").render(card=card)


if __name__ == "__main__":
    show_page(sys.argv[1])
