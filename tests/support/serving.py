"""A server in this process, asked without sockets, and a network whose depth says which image it belongs to."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager, contextmanager

import httpx
import numpy as np
import torch
import uvicorn
from PIL import Image
from torch import nn

from depth_anything_3.inference.engine import Engine
from depth_anything_3.model.catalog import MODEL_CARDS
from depth_anything_3.services.server.app import create_app
from depth_anything_3.services.server.run import address_of, listen
from depth_anything_3.services.server.settings import ServerSettings
from support.images import encoded

__all__ = ["DARK", "GreyNetwork", "asking", "grey_engine", "grey_jpeg", "serve_on_socket", "serving"]

DARK = -1.9
"""Mean of a normalised image below which it is black, or nearly so."""


class GreyNetwork(nn.Module):
    """Returns 1 + the mean of the normalised image as depth, everywhere; `gate` makes it wait, `fault` fail."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.gate = threading.Event()
        self.gate.set()
        self.batches = []
        self.fault = None

    def check_options(self, **options):
        pass

    def forward(self, x, **options):
        assert self.gate.wait(20)
        self.batches.append(tuple(x.shape))
        if self.fault is not None:
            self.fault(x)
        mean = x.float().mean(dim=(2, 3, 4), keepdim=True)[:, :, 0]
        return {"depth": (10 + mean).expand(*x.shape[:2], *x.shape[3:]).contiguous()}


def grey_engine(card="da3mono-large"):
    """An engine with a `GreyNetwork`."""
    return Engine(GreyNetwork(), MODEL_CARDS[card])


def grey_jpeg(level, width=56, height=42):
    """A file of one grey, lossless."""
    return encoded(Image.fromarray(np.full((height, width, 3), level, np.uint8)), "PNG")


def depth_of(level):
    """The depth that `GreyNetwork` returns for it."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return 10 + float(((level / 255 - mean) / std).mean())


@asynccontextmanager
async def serving(engine, **settings):
    """Yield a client of a server that is ready; `client.server` is its `Server`."""
    app = create_app(engine, ServerSettings(**settings))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost:8008", timeout=30) as client,
    ):
        client.server = app.state.server
        until = time.monotonic() + 30
        while client.server.why_not_ready() == "starting":
            assert time.monotonic() < until
            await asyncio.sleep(0.005)
        yield client


def asking(engine, question, **settings):
    """Run `question(client)`, a coroutine function, and return what it returns."""

    async def run():
        async with serving(engine, **settings) as client:
            return await question(client)

    return asyncio.run(run())


@contextmanager
def serve_on_socket(engine, **settings):
    """Yield the address of a server that is ready, on a socket and in another thread."""
    socket = listen("127.0.0.1", 0)
    app = create_app(engine, ServerSettings(port=socket.getsockname()[1], **settings))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([socket],))
    thread.start()
    try:
        until = time.monotonic() + 30
        while not server.started or app.state.server.why_not_ready() is not None:
            assert time.monotonic() < until
            time.sleep(0.005)
        yield address_of(socket).rstrip("/")
    finally:
        server.should_exit = True
        thread.join(30)
