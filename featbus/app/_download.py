"""A download that the browser makes itself: no address of the server has the results."""

import streamlit as st

_HTML = '<a role="button" tabindex="0" download="featbus-results.csv">Download results (CSV)</a>'
_CSS = """
a { display: block; box-sizing: border-box; padding: .45rem .75rem; text-align: center;
    border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius, .5rem);
    color: var(--st-text-color); font-family: var(--st-font); text-decoration: none; }
a:hover, a:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color); }
a:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
"""
_JS = """
export default function ({ parentElement, data }) {
  const link = parentElement.querySelector("a");
  const url = URL.createObjectURL(new Blob([data], { type: "text/csv;charset=utf-8" }));
  link.href = url;
  return () => URL.revokeObjectURL(url);
}
"""


def download_link(text):
    """Show a link that saves a text as a CSV file.

    Parameters
    ----------
    text : str
        The table.
    """
    st.components.v2.component("featbus_download", html=_HTML, css=_CSS, js=_JS)(data=text)
