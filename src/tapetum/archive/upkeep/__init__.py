"""Looking after an archive: throw away what nothing needs, hand images on, forget a patient."""

from tapetum.archive.upkeep.collect import Collected, gc
from tapetum.archive.upkeep.export import Exported, export
from tapetum.archive.upkeep.forget import Forgotten, forget

__all__ = ["Collected", "Exported", "Forgotten", "export", "forget", "gc"]
