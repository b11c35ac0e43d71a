"""Old name of :mod:`espnet_a2m.confidence`; it goes with the next release."""
