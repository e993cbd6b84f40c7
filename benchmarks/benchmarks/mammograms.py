"""The breast and the pectoral muscle in mammograms."""

from featbus import BreastRegion, PectoralMuscleRemover, make_mammograms


class MammogramSuite:
    """Four synthetic mammograms of 1024 x 768 pixels, of 8 and 16 bits."""

    params = ("BreastRegion", "PectoralMuscleRemover")
    param_names = ("step",)

    def setup(self, step):
        self.images = make_mammograms(4, image_shape=(1024, 768), random_state=0).images
        self.deep = self.images.astype("uint16") * 257
        kinds = {"BreastRegion": BreastRegion, "PectoralMuscleRemover": PectoralMuscleRemover}
        self.step = kinds[step]()

    def time_8_bits(self, step):
        self.step.transform(self.images)

    def time_16_bits(self, step):
        self.step.transform(self.deep)

    def peakmem_8_bits(self, step):
        self.step.transform(self.images)
