"""Export and pack models for others; upload them."""
