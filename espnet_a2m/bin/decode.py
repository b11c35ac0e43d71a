"""Decode a set with ESPnet's asr_inference in parallel jobs."""

from espnet_a2m.evaluation.decode import main

if __name__ == "__main__":
    main()
