"""The ledger: which test sets were sealed, opened and scored, in a chain where every change shows.

docs/ledger.md says what it is evidence of and what it is not. Importing this module needs only the standard
library.
"""

from heldout.ledger.entries import GENESIS, KINDS, Entry, Verdict
from heldout.ledger.fingerprint import Fingerprint, fingerprint, overlap, same_rows
from heldout.ledger.store import Earlier, Ledger, Opening

__all__ = [
    "GENESIS",
    "KINDS",
    "Earlier",
    "Entry",
    "Fingerprint",
    "Ledger",
    "Opening",
    "Verdict",
    "fingerprint",
    "overlap",
    "same_rows",
]
