"""Show frames in a Tk window; OpenCV's headless build has no windows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from depth_anything_3.errors import UnsupportedError

__all__ = ["WindowViewer", "why_no_window"]


def why_no_window() -> str | None:
    """Return why no window can be opened; None if one can."""
    try:
        import tkinter
    except ImportError:
        return "this Python has no tkinter (on Debian and Ubuntu: apt install python3-tk)"
    try:
        tkinter.Tk().destroy()
    except tkinter.TclError as error:
        return f"there is no display ({error})"
    return None


class WindowViewer:
    """Shows an image with a line of text below it, until Esc, q or the close button is pressed.

    Use it in the main thread only, as Tk requires.

    Raises:
        UnsupportedError: there is no display, or no Tk.
    """

    def __init__(self, title: str) -> None:
        reason = why_no_window()
        if reason is not None:
            raise UnsupportedError(f"cannot open a window: {reason}; watch in a browser with --http 8000")
        import tkinter

        self._root = tkinter.Tk()
        self._root.title(title)
        self._image = tkinter.Label(self._root)
        self._image.pack()
        self._text = tkinter.Label(self._root, font="TkFixedFont")
        self._text.pack()
        self._open = True
        self._root.protocol("WM_DELETE_WINDOW", self.close)
        for key in ("<Escape>", "q"):
            self._root.bind(key, lambda _event: self.close())
        self._shown: object = None  # Tk keeps no reference to its images

    def show(self, image: npt.NDArray[np.uint8], text: str) -> bool:
        """Replace the image, (H, W, 3) uint8 RGB; return False once the window is closed."""
        import tkinter

        if self._open:
            height, width = image.shape[:2]
            photo = tkinter.PhotoImage(data=b"P6 %d %d 255\n" % (width, height) + image.tobytes(), format="PPM")
            self._image.configure(image=photo)
            self._text.configure(text=text)
            self._shown = photo
            self._root.update()
        return self._open

    def close(self) -> None:
        """Close the window; can be called more than once."""
        if self._open:
            self._open = False
            self._root.destroy()
