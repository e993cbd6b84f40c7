"""Settings that every test shares."""

import os

import hypothesis

# The suite must give the same numbers with and without a graphics card or a screen.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

# Random examples are for those who can look into what they find; newer releases do this themselves.
hypothesis.settings.register_profile("same", derandomize=True)
if "CI" in os.environ:
    hypothesis.settings.load_profile("same")
