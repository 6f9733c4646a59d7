"""Directed links between two incarnations: one writer, one reader, bounded, never blocking."""

from actors.links.pipes import LinkClosed, LinkReader, LinkWriter, link_pair, reader_of, writer_of
from actors.links.polling import Poll

__all__ = ["LinkClosed", "LinkReader", "LinkWriter", "Poll", "link_pair", "reader_of", "writer_of"]
