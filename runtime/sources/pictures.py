"""What a part is called on its way to the inspector."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.errors import ImageError
from runtime.images.preprocess import Source

_LOGIN = re.compile(r"(?<=://)[^/?#]*@")


@dataclass(frozen=True)
class Arrival:
    """One part to inspect.

    Attributes:
        name: the file's path, or ``SOURCE#frame``, without a password.
        source: what :meth:`runtime.inspector.Inspector.inspect` takes.
        fault: why it cannot be judged, where the source knows; empty if it does not.
        content: a file's bytes at the end of its writing, for it may be gone when its turn comes;
            None where they have to be read.
        stamp: size in bytes and time of writing in ns that belong to them.
    """

    name: str
    source: Source
    fault: str = ""
    content: bytes | None = None
    stamp: tuple[int, int] = (0, 0)

    @property
    def picture(self) -> Source:
        """What there is to judge."""
        return self.source if self.content is None else self.content

    def checked(self) -> Source:
        """The picture.

        Raises:
            ImageError: the source knows that it cannot be judged.
        """
        if self.fault:
            raise ImageError(self.fault)
        return self.picture

    def named(self, error: ImageError) -> ImageError:
        """What is wrong with the picture, under the name of its file."""
        if self.content is None:
            return error
        return ImageError(f"{self.name}: {str(error).removeprefix('picture: ')}")


def shown(source: str) -> str:
    """A source as it may be printed and logged: a URL without its user name and password."""
    return _LOGIN.sub("", source)
