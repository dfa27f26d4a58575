"Parts put one after another, and what players and QuickTime expect of a result."
import pytest
from test_stream_changes import CHANGES, SEEN, SMALL, av, bright, brightest, draw_parts, mask

from faceanon.video.anonymize import anonymize_video


@pytest.mark.parametrize('codec', ['mpeg2video', 'libx264'])
def test_parts_of_a_transport_stream_go_on_where_the_last_one_ended(tmp_path, codec):
    path = tmp_path/'in.ts'
    parts = [draw_parts(tmp_path/f'{k}.ts', [(size, 12, *rest)], codec)
             for k, (size, _, *rest) in enumerate(CHANGES['grows'])]
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    done = anonymize_video(path, tmp_path/'out.mp4', mask, bright)
    assert done['faces'] == done['frames'] >= 23 and len(done['changes']) == 1
    assert brightest(path) > 230 and brightest(tmp_path/'out.mp4') < SEEN
    with av.open(str(tmp_path/'out.mp4')) as container:
        times = [frame.time for frame in container.decode(video=0)]
    steps = [b - a for a, b in zip(times, times[1:])]
    assert all(.03 < step < .09 for step in steps)


def test_the_index_of_an_mp4_goes_first(tmp_path):
    path = draw_parts(tmp_path/'in.mkv', [(SMALL, 6, 'yuv420p', 5)], 'libx264')
    anonymize_video(path, tmp_path/'out.mp4', mask, bright)
    whole = (tmp_path/'out.mp4').read_bytes()
    assert 0 < whole.index(b'moov') < whole.index(b'mdat')


def test_hevc_in_mp4_is_what_quicktime_takes(tmp_path):
    path = draw_parts(tmp_path/'in.mkv', [(SMALL, 6, 'yuv420p', 5)], 'libx264')
    anonymize_video(path, tmp_path/'out.mp4', mask, bright, codec='libx265')
    with av.open(str(tmp_path/'out.mp4')) as container:
        assert container.streams.video[0].codec_context.codec_tag == 'hvc1'
    assert brightest(tmp_path/'out.mp4') < SEEN
