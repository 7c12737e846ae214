"""``mflux-port inspect``: show what a checkpoint contains, and infer answers from it."""

from __future__ import annotations

import argparse
from pathlib import Path

from mflux_port.errors import PortError
from mflux_port.files.writing import write_whole
from mflux_port.json_output import print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="folder in diffusers layout, .safetensors file, or Hugging Face repo id")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the answers here, for copier copy --data-file")
    parser.add_argument("--repo", metavar="ORG/NAME", help="the repo id of a local folder, for the answers")
    parser.add_argument("--force", action="store_true", help="overwrite FILE when it exists")
    parser.add_argument("--sizes", metavar="MODEL", help="write the sizes on disk into the README of this port")
    parser.add_argument(
        "--saved", action="append", default=[], type=Path, metavar="DIR", help="a copy of mflux-save, for --sizes"
    )


def run(args: argparse.Namespace) -> int:
    """Print the summary; write the answers if requested. Only headers and JSON files are read."""
    from mflux_port.checkpoint.answers_file import answers_yaml, only_offered
    from mflux_port.checkpoint.inference import infer
    from mflux_port.checkpoint.layout import open_checkpoint
    from mflux_port.checkpoint.sources import is_repo_id
    from mflux_port.checkpoint.summary import describe, format_summary

    if args.sizes or args.saved:
        return _write_sizes(args)
    output = Path(args.output) if args.output else None
    if output and output.exists() and not args.force:
        raise PortError(f"{output} exists; name another file, or add --force to overwrite it")
    checkpoint = open_checkpoint(args.checkpoint)
    checkpoint.verify_complete()
    if args.repo and not is_repo_id(args.repo):
        raise PortError(f"{args.repo!r} is not a Hugging Face repo id; type it as organisation/name")
    checkpoint.repo = args.repo or checkpoint.repo
    answers = only_offered(infer(checkpoint))
    facts = describe(checkpoint, answers)
    text = answers_yaml(answers, checkpoint.repo or checkpoint.where)
    if output:
        write_whole(output, text)
    if args.json:
        print_json("inspect", facts)
        return 0
    print(format_summary(facts))
    if output:
        print(f"\nanswers: {output}; next: copier copy --trust --data-file {output} <template> .")
    return 0


def _write_sizes(args: argparse.Namespace) -> int:
    from mflux_port.checkout.lock import exclusive
    from mflux_port.checkout.tree import verify_inside
    from mflux_port.checkpoint.disk_sizes import in_words, measured, saved_bits
    from mflux_port.checkpoint.sources import downloaded
    from mflux_port.port.port import load_port

    if not args.sizes:
        raise PortError("--saved needs --sizes MODEL, the port whose README gets the figures")
    port = load_port(Path(args.checkout), args.sizes)
    folder, repo = downloaded(args.checkpoint)
    repo = args.repo or repo or port.hf_repo
    verify_inside(Path(args.checkout), f"{port.folder}/README.md")
    readme = Path(args.checkout) / port.folder / "README.md"
    saved = {saved_bits(copy): measured(copy) for copy in args.saved}
    with exclusive(Path(args.checkout)):
        _fill_readme(readme, repo, measured(folder), saved)
    sizes = {"download": measured(folder), **{f"{bits}-bit copy": size for bits, size in saved.items()}}
    if args.json:
        print_json("inspect --sizes", {"readme": str(readme), "repo": repo, "bytes": sizes})
    else:
        print(f"{readme}: {repo}, " + ", ".join(f"{name} {in_words(size)}" for name, size in sizes.items()))
    return 0


def _fill_readme(readme: Path, repo: str, downloaded: int, saved: dict) -> None:
    from mflux_port.checkpoint.disk_sizes import fill_sizes

    try:
        text = readme.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise PortError(f"{readme} is not UTF-8 text; save it as UTF-8 and run this again") from None
    filled = fill_sizes(text, readme, repo, downloaded, saved)
    if filled != text:
        write_whole(readme, filled)
