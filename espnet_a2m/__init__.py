"""Ask2Mask: guided masking for self-supervised speech models in ESPnet."""

__version__ = "0.1.0"
