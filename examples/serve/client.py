"""Ask a server for the depth of photos, several at a time, and print a line for each.

python examples/serve/client.py photo.jpg other.jpg
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import httpx
import numpy as np

URL = os.environ.get("DA3_URL", "http://127.0.0.1:8008")
TOKEN = os.environ.get("DA3_TOKEN")
AT_A_TIME = 8


async def depth_of(client: httpx.AsyncClient, path: Path) -> tuple[np.ndarray, str]:
    """Return float32 depth (H, W) and its unit; wait as long as a busy server asks."""
    while True:
        answer = await client.post(
            "/v1/depth", content=path.read_bytes(), headers={"Accept": "application/octet-stream"}
        )
        if answer.status_code != 429:
            break
        await asyncio.sleep(float(answer.headers["Retry-After"]))
    if answer.is_error:
        problem = answer.json()  # application/problem+json
        raise SystemExit(f"{path}: {problem['detail']} ({problem['type']})")
    height, width = map(int, answer.headers["X-Depth-Shape"].split(","))
    return np.frombuffer(answer.content, "<f4").reshape(height, width), answer.headers["X-Depth-Unit"]


async def main() -> None:
    """Ask for the photos that the command line names."""
    headers = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}
    limit = asyncio.Semaphore(AT_A_TIME)
    async with httpx.AsyncClient(base_url=URL, headers=headers, timeout=120) as client:

        async def one(path: Path) -> None:
            async with limit:
                depth, unit = await depth_of(client, path)
            valid = depth[depth > 0]
            print(f"{path}: {depth.shape[1]}x{depth.shape[0]}, {valid.min():.3f} to {valid.max():.3f}, {unit}")

        await asyncio.gather(*(one(Path(name)) for name in sys.argv[1:]))


if __name__ == "__main__":
    asyncio.run(main())
