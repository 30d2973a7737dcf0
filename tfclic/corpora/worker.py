"""A worker process of the local runner: Beam's own, which keeps quiet.

    python -m tfclic.corpora.worker

What goes wrong goes to the program that started it, which says it once, in one sentence.
"""

import logging
import os
import signal
import sys
import warnings

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    # Who interrupts the program interrupts its workers too; they end when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from apache_beam.runners.worker import sdk_worker_main

    # Beam prints tracebacks there, beside its log.
    sys.stderr = open(os.devnull, "w")
    sdk_worker_main.main([])
