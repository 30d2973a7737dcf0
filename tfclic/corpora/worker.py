"""A worker process of the local runner: Beam's own, without its remarks.

python -m tfclic.corpora.worker
"""

import logging
import signal
import warnings

if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    # Who interrupts the program interrupts its workers too; they end when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main([])
