"""Error rates, confidence reports and plots."""
