"""What the functions of a model take and give."""

from tfclic.format import model


def test_a_server_tells_of_each_file_what_a_codec_does():
    assert model.Infos._fields == (*model.Info._fields, "statuses")
