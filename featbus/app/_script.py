"""The script that Streamlit runs, once for each change on the page."""

import sys

from featbus.app._page import show_page

if __name__ == "__main__":
    show_page(sys.argv[1])
