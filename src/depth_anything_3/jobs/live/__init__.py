"""Show live depth in a window or a recording, or on a page that the caller serves."""

from depth_anything_3.jobs.live.frame_view import FrameView
from depth_anything_3.jobs.live.window import WindowViewer, why_no_window

__all__ = ["FrameView", "WindowViewer", "why_no_window"]
