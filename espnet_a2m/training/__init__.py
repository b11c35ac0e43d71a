"""Pre-training and fine-tuning in ESPnet's own trainer."""
