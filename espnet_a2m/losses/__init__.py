"""Objectives of masked speech modelling, one per file, and what they share."""
