"""Old name of :mod:`espnet_a2m.confidence`, to be removed in the next release."""
