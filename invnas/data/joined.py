"""Two lists of encoded images as one: training and validation images that are trained on together."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from invnas.data.pictures import Pictures, Span


@dataclass(frozen=True)
class JoinedPictures:
    """The images of one list, then those of another; black and white are those of the first."""

    first: Pictures
    second: Pictures

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    @property
    def span(self) -> Span | None:
        """See `Pictures`."""
        return self.first.span

    @property
    def remedy(self) -> str:
        """See `Pictures`."""
        return self.first.remedy

    def encoded(self, index: int) -> bytes | str | Image.Image:
        """Return what the list that holds it returns."""
        pictures, own = self._of(index)
        return pictures.encoded(own)

    def place(self, index: int) -> str:
        """Return the words of the list that holds it."""
        pictures, own = self._of(index)
        return pictures.place(own)

    def _of(self, index: int) -> tuple[Pictures, int]:
        return (self.first, index) if index < len(self.first) else (self.second, index - len(self.first))
