"""Upload a packed model to the Hugging Face Hub, in the layout of ESPnet's downloader.

The archive is extracted to a directory, which is then uploaded.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import zipfile
from pathlib import Path

from espnet_a2m.core.errors import UserError, main_guard


def extract(archive: Path, directory: Path, repo: str) -> None:
    """Extract an archive to a directory and write the repository into its model card.

    The directory is replaced when all files are extracted.

    Raises:
        UserError: The directory exists and holds something else.
    """
    if directory.exists() and not (directory / "README.md").is_file():
        raise UserError(f"--outdir {directory}: has no model card: name another folder")
    temporary = directory.with_name(f"{directory.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with zipfile.ZipFile(archive) as files:
        files.extractall(temporary)
    card = temporary / "README.md"
    text = card.read_text(encoding="utf-8").replace("user/name", repo)
    card.write_text(text, encoding="utf-8")
    shutil.rmtree(directory, ignore_errors=True)
    os.replace(temporary, directory)


@main_guard
def main() -> None:
    """Command line: check all that can be checked here, then upload."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--archive", type=Path, required=True, help="Written by pack")
    add("--repo", required=True, help="user/name on the Hub")
    add("--outdir", type=Path, required=True, help="Directory to upload")
    args = parser.parse_args()

    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", args.repo):
        raise UserError(f"--hf_repo {args.repo!r}: expected user/name")
    if not zipfile.is_zipfile(args.archive):
        raise UserError(f"{args.archive}: no archive: pack the model first (bin.pack)")
    extract(args.archive, args.outdir.absolute(), args.repo)
    if not get_token():
        raise UserError(
            f"{args.outdir} is ready, but there is no token of the Hugging Face Hub: "
            "run `hf auth login` or set HF_TOKEN, then this stage again"
        )
    api, message = HfApi(), f"Upload {args.archive.name}"
    try:
        api.create_repo(args.repo, exist_ok=True)
        api.upload_folder(
            repo_id=args.repo, folder_path=args.outdir, commit_message=message
        )
    except (HfHubHTTPError, HFValidationError) as e:
        raise UserError(
            f"--hf_repo {args.repo}: the Hub refused: {e}; may the token write there?"
        ) from e
    print(f"uploaded: https://huggingface.co/{args.repo}")


if __name__ == "__main__":
    main()
