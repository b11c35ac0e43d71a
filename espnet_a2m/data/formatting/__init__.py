"""From a data directory to formatted audio, transcripts and token lists."""
