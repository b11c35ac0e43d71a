"""Pseudo-labels for HuBERT: k-means classes of every frame of a set."""
