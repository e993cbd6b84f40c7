"""
Radiomics: all families in one step
===================================

:class:`~featbus.Radiomics` computes all families of features of a lesion in one step.
"""

# %%
# Benign and malignant lesions
# ----------------------------
# The features that differ most between the classes of synthetic lesions, in standard deviations.

import matplotlib.pyplot as plt

from featbus import Radiomics, load_masked, make_breast_ultrasound

data = make_breast_ultrasound(40, weights=[1, 1, 0], random_state=0)
rows = Radiomics().set_output(transform="pandas").fit_transform(load_masked(data))
scaled = (rows - rows.mean()) / rows.std().clip(lower=1e-6)
difference = scaled[data.target == 1].mean() - scaled[data.target == 0].mean()
largest = difference[difference.abs().nlargest(15).index].sort_values()

figure, axis = plt.subplots(figsize=(9, 4.5), layout="constrained")
axis.barh(largest.index, largest)
axis.set_xlabel("malignant minus benign, in standard deviations")
