"""Directed links between two incarnations: one writer, one reader, bounded, never blocking."""

from actors.links.pipes import LinkClosed, LinkReader, LinkWriter, link_pair, reader_of, writer_of

__all__ = ["LinkClosed", "LinkReader", "LinkWriter", "link_pair", "reader_of", "writer_of"]
