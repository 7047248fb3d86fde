"""The offline writer: a small OpenAI-compatible server that writes without a model.

It recombines persona and feed into readable posts of the length asked for. Only experiments marked
as demo may use it; whatever it writes is a stand-in and is labelled so.
"""

from .server import MODEL, OfflineWriterServer, running_offline_writer, serve

__all__ = ["MODEL", "OfflineWriterServer", "running_offline_writer", "serve"]
