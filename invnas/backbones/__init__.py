"""The feature maps of a network for programs that put their own layers behind it; adapters, one file a library."""

from invnas.backbones.features import Backbone, FeatureInfo
from invnas.backbones.source import backbone

__all__ = ["Backbone", "FeatureInfo", "backbone"]
