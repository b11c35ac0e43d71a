"""Pack a model for ESPnet's unpack."""

from espnet_a2m.publish.pack import main

if __name__ == "__main__":
    main()
