"""What the contract with unmodified ESPnet costs; nothing of Ask2Mask."""
