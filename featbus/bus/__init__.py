"""The bus: images in, rows out, every image computed once."""

from featbus.bus._feature_bus import FeatureBus, ImageWarning
from featbus.bus._fingerprint import FingerprintError
from featbus.bus._fingerprint import digest_image as digest_image
from featbus.bus._fingerprint import fingerprint as fingerprint
from featbus.bus._store import FeatureStore, FeatureStoreError
from featbus.bus._table import FeatureTable, HashedGroupKFold, StreamingClassifier

__all__ = [
    "FeatureBus",
    "FeatureStore",
    "FeatureStoreError",
    "FeatureTable",
    "FingerprintError",
    "HashedGroupKFold",
    "ImageWarning",
    "StreamingClassifier",
]
