"""
Report: results in one file
===========================

:func:`~featbus.evaluate` returns an :class:`~featbus.evaluation.Evaluation`. It draws figures by
name, and writes a report: one HTML file with tables, figures and the images with the most confident
errors, to view in any browser, to print or to send.

Three classifiers learn from the texture of synthetic ultrasound images.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import LBP, evaluate, make_breast_ultrasound

data = make_breast_ultrasound(
    150, n_images_per_patient=3, weights=[2, 1, 0], contrast=0.75, random_state=1
)
rows = LBP(n_points=(8, 16), radius=(1, 3), cells=(3, 3)).fit_transform(data.images)
pipelines = {
    "SVM": make_pipeline(StandardScaler(), SVC()),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.01)),
    "random forest": RandomForestClassifier(random_state=0),
}
result = evaluate(
    pipelines, rows, data.target, groups=data.groups, target_names=data.target_names[:2]
)

# %%
# Figures by name
# ---------------
# Curves pool the test parts of all folds; the areas in the legend are means over the folds.
# ``plot`` returns a figure that is not managed by pyplot; ``plt.figure`` hands it over.

figure = plt.figure(result.plot("roc"))

# %%
# How reliable are the metrics? With 50 patients, not very: most intervals overlap.

figure = plt.figure(result.plot("intervals"))

# %%
# Only probabilities can be calibrated: are 30% of the images with a probability of 0.3 malignant?
# The SVM has decision values.

figure = plt.figure(result.plot("calibration"))

# %%
# The report
# ----------
# With the images, the report shows the most confident errors, and describes sizes and brightness.
# Pass an audit of the same images as ``audit=``.

with TemporaryDirectory() as folder:
    path = Path(folder) / "report.html"
    result.to_html(path, images=data.images, title="Benign or malignant?")
    html = path.read_text(encoding="utf-8")
print(f"{len(html) / 1e6:.1f} MB, {html.count('<svg')} figures, {html.count('<img')} images")
