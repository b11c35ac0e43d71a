"""Guided masking (section III-B): from confidences to masked frames."""
