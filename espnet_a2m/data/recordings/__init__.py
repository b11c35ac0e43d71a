"""A data directory of somebody's own recordings: a folder of audio, or a manifest."""
