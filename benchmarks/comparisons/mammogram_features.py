"""What removing labels and the pectoral muscle is worth: grouped cross-validation on mini-MIAS.

python benchmarks/comparisons/mammogram_features.py

Needs the folders mini-mias and weights in the folder that FEATBUS_TEST_DATA names. Prints, for
texture and deep features, the macro-averaged AUC of the whole film, of the breast, and of the
breast without the muscle, with 95% intervals over women, and the differences. Nothing was tuned:
the classifier and all steps have their defaults.
"""

import os
import warnings
from pathlib import Path

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus import (
    GLCM,
    GLRLM,
    LBP,
    BreastRegion,
    DeepFeatures,
    IntensityStatistics,
    PectoralMuscleRemover,
    evaluate,
    load_mini_mias,
)

DATA = Path(os.environ["FEATBUS_TEST_DATA"])
REGIONS = {
    "film": [],
    "breast": [BreastRegion()],
    "no muscle": [BreastRegion(), PectoralMuscleRemover()],
}


def extractors():
    texture = FeatureUnion(
        [
            ("glcm", GLCM()),
            ("glrlm", GLRLM()),
            ("lbp", LBP(n_points=(8, 16), radius=(1, 2))),
            ("intensity", IntensityStatistics()),
        ]
    )
    deep = DeepFeatures(
        "mobilenet_v2",
        weights=DATA / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5",
        backbone_options={"alpha": 0.35},
    )
    return {"texture": texture, "deep": deep}


def main():
    for target in ("abnormality", "tissue"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about variants of the table
            data = load_mini_mias(DATA / "mini-mias", target=target)
        pipelines = {
            f"{features}, {region}": make_pipeline(
                *steps, extractor, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)
            )
            for features, extractor in extractors().items()
            for region, steps in REGIONS.items()
        }
        result = evaluate(
            pipelines, data.images, data.target, groups=data.groups, cv=5, n_repeats=10
        )
        print(f"{target}: {result.protocol}")
        table = result.to_frame()[["roc_auc", "roc_auc_low", "roc_auc_high"]]
        for name, mean, low, high in table.itertuples():
            print(f"  {name:20} AUC {mean:.3f} ({low:.3f} to {high:.3f})")
        for features in extractors():
            rows = result.compare("roc_auc", baseline=f"{features}, film")
            for _, row in rows[rows["first"].str.startswith(features)].iterrows():
                print(
                    f"  {row['first']:20} {row['difference']:+.3f} against the film "
                    f"({row['low']:+.3f} to {row['high']:+.3f}), p = {row['p_value']:.2f}"
                )


if __name__ == "__main__":
    main()
