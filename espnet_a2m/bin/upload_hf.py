"""Upload a packed model to the Hugging Face Hub."""

from espnet_a2m.publish.upload_hf import main

if __name__ == "__main__":
    main()
