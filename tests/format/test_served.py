"""What the functions for servers give."""

from tfclic.format import interface, served


def test_a_server_tells_of_each_file_what_a_codec_does():
    assert served.Infos._fields == (*interface.Info._fields, "statuses")
