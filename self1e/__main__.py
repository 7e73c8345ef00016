"""`python -m self1e`: segment photos, evaluate, train, and check against reference outputs."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from self1e.checkpoint import CheckpointError, load_predictor
from self1e.dataset import SamplesError, read_samples
from self1e.errors import PromptError
from self1e.evaluate import evaluate
from self1e.image import load_image
from self1e.parity import ParityError, run_parity
from self1e.predictor import Predictor

_OVERLAY_COLOUR = (255, 64, 64)
_OVERLAY_STRENGTH = 0.5
_USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = command_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (CheckpointError, ParityError, PromptError, SamplesError, OSError, ValueError) as error:
        print("self1e:", *str(error).split(), file=sys.stderr)  # some have line breaks
        return _USAGE_ERROR
    return code


def command_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m self1e",
        description="SELF1E: masks from text prompts, by a multimodal language model alone.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=(
            "examples:\n"
            '  python -m self1e segment photo.jpg --prompt "the left dog" --out masks\n'
            "  python -m self1e evaluate samples.jsonl --model UltraDoughnut/SELF1E\n"
        ),
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    segment = commands.add_parser("segment", help="write a mask and an overlay for each prompt")
    segment.add_argument("image", type=Path, help="a photo")
    segment.add_argument(
        "--prompt", action="append", required=True, help="what to segment; may be repeated"
    )
    segment.add_argument("--out", type=Path, default=Path(), help="directory for the PNGs")
    _add_model_options(segment)
    segment.set_defaults(run=_segment)

    evaluation = commands.add_parser("evaluate", help="gIoU and cIoU over a samples file")
    evaluation.add_argument(
        "samples",
        type=Path,
        help='JSONL, each line {"image", "prompt", "mask"} with paths relative to the file',
    )
    _add_model_options(evaluation)
    evaluation.set_defaults(run=_evaluate)

    train = commands.add_parser("train", help="train the bundled model again")
    train.add_argument("--recipe", choices=["demo"], required=True, help="what to train")
    train.add_argument("--data", type=Path, required=True, help="directory of the photo sources")
    train.add_argument(
        "--out", type=Path, required=True, help="results; a stopped run goes on from here"
    )
    train.add_argument("--seed", type=int, default=0)
    train.add_argument(
        "--steps", type=_count, help="steps of the last stage, default: the recipe's"
    )
    train.add_argument("--views", type=_count, help="augmented photos, default: the recipe's")
    train.set_defaults(run=_train)

    parity = commands.add_parser("parity", help="compare with a directory of exact outputs")
    parity.add_argument("directory", type=Path)
    parity.set_defaults(run=_parity)
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="demo", help="demo (bundled), a directory or a hub id; default demo"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--max-tiles", type=_count, default=1, help="most tiles of an image")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _load(options: argparse.Namespace) -> Predictor:
    return load_predictor(
        options.model, device=options.device, dtype=options.dtype, max_tiles=options.max_tiles
    )


def _segment(options: argparse.Namespace) -> int:
    image = load_image(options.image)
    predictor = _load(options)
    found = predictor.segment(predictor.encode_image(image), options.prompt)
    options.out.mkdir(parents=True, exist_ok=True)
    report = []
    for number, segmentation in enumerate(found, start=1):
        stem = f"{options.image.stem}-{number}"
        mask_path = options.out / f"{stem}-mask.png"
        overlay_path = options.out / f"{stem}-overlay.png"
        Image.fromarray(segmentation.mask.astype(np.uint8) * 255).save(mask_path)
        _overlay(image, segmentation.mask).save(overlay_path)
        report.append(
            {
                "prompt": segmentation.prompt,
                "score": round(segmentation.score, 4),
                "area": int(segmentation.mask.sum()),
                "mask": str(mask_path),
                "overlay": str(overlay_path),
            }
        )
    print(json.dumps(report, indent=2))
    return 0


def _overlay(image: Image.Image, mask: NDArray[np.bool_]) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float32)
    tinted = pixels + _OVERLAY_STRENGTH * (np.array(_OVERLAY_COLOUR) - pixels)
    return Image.fromarray(np.where(mask[..., None], tinted, pixels).astype(np.uint8))


def _evaluate(options: argparse.Namespace) -> int:
    samples = read_samples(options.samples)
    print(json.dumps(asdict(evaluate(_load(options), samples).metrics)))
    return 0


def _train(options: argparse.Namespace) -> int:
    # The recipe's packages are slow to import and nothing else needs them.
    from self1e.recipe.demo import train_demo
    from self1e.recipe.options import DemoRecipe

    given = {"seed": options.seed, "steps": options.steps, "views": options.views}
    recipe = DemoRecipe(**{key: value for key, value in given.items() if value is not None})
    print(json.dumps(train_demo(options.data, options.out, recipe), indent=2))
    return 0


def _parity(options: argparse.Namespace) -> int:
    failed = 0
    for result in run_parity(options.directory):
        print(
            f"{'pass' if result.passed else 'FAIL'}  {result.name}: "
            f"{result.measure} off by {result.error:.2e}"
        )
        failed += not result.passed
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
