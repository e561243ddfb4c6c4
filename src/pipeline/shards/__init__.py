"""The data contract: schema, stores and the torch dataset."""

from pipeline.shards.store import open_store as open

__all__ = ["open"]
