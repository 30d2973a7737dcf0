"""Imported first by processes of Dask that the program itself starts, so that they keep quiet.

What goes wrong goes to that program, which says it once, in one sentence.
"""

import logging
import signal
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
# Who interrupts the program interrupts its workers too; they end when it ends.
signal.signal(signal.SIGINT, signal.SIG_IGN)
