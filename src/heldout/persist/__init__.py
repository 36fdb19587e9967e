"""Models in files without pickle: `save` and `load`, and `State`, by which a class checks what a file says.

The format is described in docs/model-file.md. A class joins by one line in `CLASSES`
(heldout/persist/classes.py; the panel's learners are in it already), a method `to_state` and a classmethod
`from_state`.
"""

from heldout.persist.classes import CLASSES, Persistable
from heldout.persist.state import State
from heldout.persist.store import dumps, load, loads, save

__all__ = ["CLASSES", "Persistable", "State", "dumps", "load", "loads", "save"]
