"What a container marks as damaged is damaged, even where the decoder has no complaint."
import av
import numpy as np
import pytest
from test_finder_checks import SEEN, right

from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import read_sidecar, sidecar_path
from faceanon.video.frame_times import DAMAGED_FRAME
from faceanon.video.reading import read_video_frames

COUNT, HURT = 12, 5


def transport_stream(path, codec):
    "A transport stream whose sender marked a part of one picture; its bytes are all there."
    with av.open(str(path), 'w') as out:
        stream = out.add_stream(codec, rate=25, options=dict(bf='0', g='4') | (
            dict(tune='zerolatency') if codec == 'libx264' else {}))
        stream.width, stream.height, stream.pix_fmt = 160, 120, 'yuv420p'
        for i in range(COUNT):
            pixels = np.full((120, 160, 3), 90, np.uint8)
            pixels[40:70, 40 + 2*i:70 + 2*i] = 250
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        out.mux(stream.encode())
    with av.open(str(path)) as file: pid, = [s.id for s in file.streams.video]
    data, pictures = bytearray(path.read_bytes()), -1
    for at in range(0, len(data), 188):
        if (data[at + 1] & 0x1f) << 8 | data[at + 2] != pid: continue
        pictures += bool(data[at + 1] & 0x40)  # a picture begins here
        if pictures == HURT: data[at + 1] |= 0x80  # transport error
    path.write_bytes(data)
    return path


@pytest.mark.parametrize('codec', ['libx264', 'mpeg2video'])
def test_a_packet_that_is_marked_is_covered_though_it_decodes(tmp_path, codec):
    path, out = transport_stream(tmp_path/'a.ts', codec), tmp_path/'b.mkv'
    with av.open(str(path)) as file:
        marked = [bool(p.is_corrupt) for p in file.demux(video=0) if p.size]
    assert len(marked) == COUNT and 0 < sum(marked) < 3
    done = anonymize_video(path, out, find_faces=right, every=1)
    shown = [frame.to_ndarray(format='gray') for frame in read_video_frames(out)]
    assert done['damaged'] == sum(marked) and len(shown) == COUNT and max(one.max() for one in shown) < SEEN
    assert [one.max() < 40 for one in shown] == marked, "that frame is black, and no other"
    assert [row.doubt.startswith(DAMAGED_FRAME) for row in read_sidecar(sidecar_path(out))[1]] == marked
