"""Tables, archives, audio, data directories: what lies on the disk."""
