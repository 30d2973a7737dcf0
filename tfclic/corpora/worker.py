"""A worker process of the local runner: Beam's own, which keeps quiet.

python -m tfclic.corpora.worker
"""

import logging
import signal
import warnings

if __name__ == "__main__":
    # what goes wrong is told to the program, which says it once
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    # Who interrupts the program interrupts its workers too; they end when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main([])
