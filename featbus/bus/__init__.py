"""The bus: images in, rows out, every image computed once."""

from featbus.bus._digest import digest_image
from featbus.bus._feature_bus import FeatureBus, ImageWarning
from featbus.bus._fingerprint import fingerprint
from featbus.bus._store import FeatureStore, FeatureStoreError, FeatureStoreWarning
from featbus.bus._walk import FingerprintError

__all__ = [
    "FeatureBus",
    "FeatureStore",
    "FeatureStoreError",
    "FeatureStoreWarning",
    "FingerprintError",
    "ImageWarning",
    "digest_image",
    "fingerprint",
]
