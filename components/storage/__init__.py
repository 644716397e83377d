"""Where the data lives: a hot, a warm and a cold tier, each a claim that a pod mounts by the tier's name."""

from components.storage.tiered_storage import ColdTierArgs, HotTierArgs, TieredStorage, TieredStorageArgs, WarmTierArgs

__all__ = ["ColdTierArgs", "HotTierArgs", "TieredStorage", "TieredStorageArgs", "WarmTierArgs"]
