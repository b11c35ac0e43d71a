"""Command lines; each is run as ``python -m espnet_a2m.bin.<name> --help``."""
