"""Scorers: models that return per-frame confidences (eq. 2, eq. 9)."""
