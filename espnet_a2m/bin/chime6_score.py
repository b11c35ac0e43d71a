"""CHiME-6 error rates per session and location."""

from espnet_a2m.evaluation.chime6 import main

if __name__ == "__main__":
    main()
