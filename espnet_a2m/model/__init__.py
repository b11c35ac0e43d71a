"""The masked speech model: from audio and confidences to the loss."""
