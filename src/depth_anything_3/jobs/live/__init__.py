"""Live depth in, pictures for people to watch out: in a browser or in a window."""

from depth_anything_3.jobs.live.frame_view import LivePicture
from depth_anything_3.jobs.live.web import WebViewer
from depth_anything_3.jobs.live.window import WindowViewer, why_no_window

__all__ = ["LivePicture", "WebViewer", "WindowViewer", "why_no_window"]
