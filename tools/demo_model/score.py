"""Score a checkpoint on unseen scenes, against a constant depth and the best vertical ramp.

python score.py model.safetensors --scenes 500
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from contact_sheet import load_network
from evaluate import RAMP_SEED, UnseenScenes, evaluate, fit_ramp, ramp
from scenes import make_atlas

__all__ = ["main"]


def main() -> None:
    """Print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--scales", type=float, nargs="+", default=[0.5, 0.667, 1.0], help="of the rendered size")
    options = parser.parse_args()
    atlas, network = make_atlas(), load_network(options.weights)
    with torch.inference_mode():
        unseen = UnseenScenes(options.scenes, atlas)
        top, bottom, _ = fit_ramp(UnseenScenes(options.scenes, atlas, RAMP_SEED))
        rows = [
            ("constant depth", unseen.score(ramp(1.0, 1.0))),
            (f"ramp, ratio {top:g}", unseen.score(ramp(top, bottom))),
        ]
        rows += [(f"network at {scale:g}", evaluate(network, unseen, scale)) for scale in options.scales]
    for name, scores in rows:
        sys.stdout.write(f"{name:16} {scores}\n")


if __name__ == "__main__":
    main()
