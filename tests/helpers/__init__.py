"""What tests share: speech, miniatures of corpora, processes, small models."""
