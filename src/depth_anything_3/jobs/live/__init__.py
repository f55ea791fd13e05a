"""Show live depth in a browser, a window or a recording."""

from depth_anything_3.jobs.live.frame_view import FrameView
from depth_anything_3.jobs.live.web import WebViewer
from depth_anything_3.jobs.live.window import WindowViewer, why_no_window

__all__ = ["FrameView", "WebViewer", "WindowViewer", "why_no_window"]
