"""Whom we ask: recognisers that say how confident they are of every frame."""
