"Readers of data sets take a clip's name as a name, and give up playlists, as the tool does."
import os
import socket

import av
import numpy as np
import pytest

from faceanon.data.daly import read_frame_at
from faceanon.data.files import DataError
from faceanon.data.jhmdb import read_video
from faceanon.media_files import open_media_for_writing

READERS = dict(jhmdb=lambda path: read_video(path)[0], daly=lambda path: read_frame_at(path, .2))


def film(path, level):
    with open_media_for_writing(path) as out:
        stream = out.add_stream('mpeg4', rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for _ in range(5): out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))))
        out.mux(stream.encode())
    return path


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('name', ['http:127.0.0.1:{port}.avi', 'concat:a.avi|b.avi', 'file:a.avi', '%03d.avi',
                                  '-i.avi'])
def test_a_clip_is_read_by_its_name(tmp_path, monkeypatch, reader, name):
    monkeypatch.chdir(tmp_path)
    for other in ('a.avi', 'b.avi'): film(other, 20)
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        server.setblocking(False)
        name = film(name.replace('{port}', str(server.getsockname()[1])), 200)
        assert abs(float(READERS[reader](name).float().mean()) - 200) < 6, "its own picture, not that of a.avi"
        with pytest.raises(BlockingIOError): server.accept()  # nobody called


@pytest.mark.parametrize('reader', READERS)
def test_a_playlist_among_the_clips_is_refused(tmp_path, reader):
    film(tmp_path/'real.avi', 20)
    path = tmp_path/'innocent.avi'
    path.write_text("ffconcat version 1.0\nfile 'real.avi'\n")
    with pytest.raises(DataError, match='innocent'): READERS[reader](path)
    assert sorted(os.listdir(tmp_path)) == ['innocent.avi', 'real.avi']
