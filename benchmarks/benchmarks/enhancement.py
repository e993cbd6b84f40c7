"""Enhancement steps."""

import featbus

from .common import disc, speckle

_STEPS = (
    "CLAHE",
    "HistogramEqualizer",
    "ContrastStretch",
    "GammaCorrection",
    "Normalize",
    "Denoise",
    "Despeckle",
    "AdaptiveThreshold",
    "RemoveAnnotations",
)


class EnhancementSuite:
    """Sixteen images of 224 x 224 pixels."""

    params = _STEPS
    param_names = ("step",)

    def setup(self, step):
        self.images = speckle(16)
        self.masked = [disc(image) for image in self.images]
        self.step = getattr(featbus, step)()

    def time_gray(self, step):
        self.step.transform(self.images)

    def time_masked(self, step):
        self.step.transform(self.masked)

    def peakmem_gray(self, step):
        self.step.transform(self.images)


class MethodSuite:
    """The methods of Denoise and Despeckle, on four images of 224 x 224 pixels."""

    params = (
        *(f"Denoise {method}" for method in ("median", "gaussian", "bilateral", "nlmeans", "tv")),
        *(f"Despeckle {method}" for method in ("lee", "kuan", "frost", "srad")),
    )
    param_names = ("method",)

    def setup(self, method):
        step, method = method.split()
        self.images = speckle(4)
        self.step = getattr(featbus, step)(method)

    def time_gray(self, method):
        self.step.transform(self.images)

    def peakmem_gray(self, method):
        self.step.transform(self.images)
