"""What `bin/compress` and `bin/decompress` do with --server: the same files, made elsewhere."""

import concurrent.futures

from tfclic import errors, images, runtime
from tfclic.format import header
from tfclic.runtime import catalog

AHEAD = 4  # files on their way to the server or back


def add_argument(parser):
    """Adds --server to an argparse parser."""
    parser.add_argument(
        "--server", metavar="HOST:PORT",
        help="let this server do the work, by gRPC (bin/serve, TensorFlow Serving)",
    )  # fmt: skip


def refuse(**given):
    """Raises errors.UsageError if an option is given that a server cannot do.

    Args:
      **given: whether each option is, by its name.
    """
    for name, is_given in given.items():
        if is_given:
            raise errors.UsageError(f"--{name} works without --server only.")


class Coder:
    """A server's codec as the programs use it, for images as they have them.

    Args:
      address: str, HOST:PORT.
      model: str, its name there; None: for each file that which made it, or else the default.

    Raises:
      errors.UsageError: the packages for that are not installed.
    """

    def __init__(self, address, model=None):
        # it imports grpc, which takes longer than everything else here
        from tfclic.serving import client

        self._client, self._model = client.Client(address), model

    def compress(self, pixels, quality):
        """The file, bytes, of a uint8 array [H, W, 3] or [H, W]; raises as `client.Client`."""
        quality = runtime.DEFAULT_QUALITY if quality is None else quality
        return self._client.compress(self._model, images.encode(pixels, "image.png"), quality)

    def decompress(self, data):
        """The image, uint8 [H, W, 3] or [H, W], of a file; raises as `client.Client`."""
        png = self._client.decompress(self._model or _model_of(data), data)
        return images.decode(png, "The server's image").pixels


def _model_of(data):
    fingerprint = header.parse(data).fingerprint.hex()
    try:
        return catalog.find_fingerprint(fingerprint).name
    except errors.ModelError:
        return runtime.DEFAULT_MODEL


class Pipeline:
    """Begins work on the next few items while one is waited for.

    Args:
      work: function of an item.
      items: list of hashable items, in the order in which `result` will be asked for them.
    """

    def __init__(self, work, items):
        self._work, self._waiting, self._begun = work, list(items), {}
        self._pool = concurrent.futures.ThreadPoolExecutor(AHEAD)

    def result(self, item):
        """What `work` of this item returned; raises what it raised."""
        while self._waiting and len(self._begun) < AHEAD:
            following = self._waiting.pop(0)
            self._begun[following] = self._pool.submit(self._work, following)
        return self._begun.pop(item).result()
