"What a result's container holds, read back by PyAV: times, sound in step, HDR, and words on what had to change."
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_stream_changes import SEEN, SMALL, av, bright, brightest, face_at, mask, picture

from faceanon.cli import app
from faceanon.video.anonymize import anonymize_video
from faceanon.video.inputs import UsageProblem, plan_jobs
from faceanon.video.reading import VideoError

RATE, COUNT = 25, 50
BEEP = 24  # number of the frame that is lighter, and while which the sound is loud


def draw_beep(path, codec, sound, rate=44100):
    "Pictures and sound that tell together: frame 24 lies on a white ground, and sounds."
    with av.open(str(path), 'w') as out:
        stream, voice = out.add_stream(codec, rate=RATE), out.add_stream(sound, rate=rate, layout='mono')
        (stream.width, stream.height), stream.bit_rate, voice.bit_rate = SMALL, 1_000_000, 128_000
        stream.pix_fmt = 'yuvj420p' if codec == 'mjpeg' else 'yuv420p'
        if 'amr' in sound: voice.bit_rate = 12200
        for i in range(COUNT):
            pixels = picture(SMALL, face_at(SMALL, i//4))
            if i == BEEP: pixels[:40] = 150
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        out.mux(stream.encode())
        times = np.arange(COUNT*rate//RATE)
        loud = (times >= BEEP*rate//RATE) & (times < (BEEP + 1)*rate//RATE)
        samples = np.where(loud, 12000*np.sin(times*2*np.pi*440/rate), 0).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format='s16', layout='mono')
        frame.sample_rate, frame.pts = rate, 0
        out.mux(voice.encode(frame))
        out.mux(voice.encode())
    return path


def beeps(path):
    "Seconds at which it is light and at which it is loud, the times of frames, the length of the sound, its codec."
    with av.open(str(path)) as film:
        frames = [(frame.time, frame.to_ndarray(format='gray')[10:30].mean()) for frame in film.decode(video=0)]
    with av.open(str(path)) as film:
        sound = film.streams.audio[0]
        heard = [(frame.time, frame.samples/frame.sample_rate, np.abs(frame.to_ndarray().astype(float)).mean())
                 for frame in film.decode(sound)]
    light, loud = max(frames, key=lambda one: one[1])[0], max(heard, key=lambda one: one[2])
    length = sum(one[1] for one in heard)
    return light, loud[0] + loud[1]/2, [time for time, _ in frames], length, sound.codec_context.name


def check_in_step(path):
    light, loud, times, length, _ = beeps(path)
    assert len(times) == COUNT and abs(times[-1] - times[0] - (COUNT - 1)/RATE) < .01
    assert all(abs(b - a - 1/RATE) < .01 for a, b in zip(times, times[1:]))
    assert abs(light - times[0] - BEEP/RATE) < .01 and abs(loud - light - .02) < .09 and abs(length - COUNT/RATE) < .15


@pytest.mark.parametrize('suffix, codec, sound', [('.wmv', 'wmv2', 'wmav2'), ('.asf', 'msmpeg4v3', 'wmav2'),
                                                  ('.mpg', 'mpeg2video', 'mp2'), ('.vob', 'mpeg2video', 'ac3')])
def test_windows_media_and_program_streams_become_mp4_and_say_so(tmp_path, suffix, codec, sound, monkeypatch):
    path = draw_beep(tmp_path/f'in{suffix}', codec, sound)
    monkeypatch.setattr('faceanon.video.commands.detector_from_option', lambda *_: bright)
    done = CliRunner().invoke(app, ['anonymize', str(path)])
    out = tmp_path/'in_anonymized.mp4'
    assert done.exit_code == 0, done.output
    assert f'written as .mp4: {suffix} is read only' in done.output
    assert brightest(path) > 230 and brightest(out) < SEEN
    check_in_step(out)
    assert ('sound wmav2 becomes aac' in done.output) == (sound == 'wmav2') == (beeps(out)[4] == 'aac')


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv', '.ts', '.m2ts', '.flv', '.3gp', '.webm', '.avi'])
def test_every_container_keeps_speed_length_and_step(tmp_path, suffix):
    path = draw_beep(tmp_path/'in.mp4', 'libx264', 'aac')
    done = anonymize_video(path, tmp_path/f'out{suffix}', mask, bright)
    assert brightest(tmp_path/f'out{suffix}') < SEEN
    check_in_step(tmp_path/f'out{suffix}')
    assert done['notes'] == (['sound aac becomes opus'] if suffix == '.webm' else [])


@pytest.mark.parametrize('suffix', ['.wmv', '.mpg', '.vob', '.mxf'])
def test_a_container_without_times_is_refused_before_anything_happens(tmp_path, suffix):
    path = draw_beep(tmp_path/'in.mp4', 'libx264', 'aac')
    with pytest.raises(UsageProblem, match='is read only; choose .mp4'):
        plan_jobs((str(path),), str(tmp_path/f'out{suffix}'), None)
    with pytest.raises(VideoError, match='is not written: choose'):
        anonymize_video(path, tmp_path/f'out{suffix}', mask, bright)
    assert not (tmp_path/f'out{suffix}').exists()


def test_a_name_that_tells_no_container_stays_whole(tmp_path):
    for name in ('clip', '2024-05-01T10.30', 'a.dat', 'b.WMV'):
        draw_beep(tmp_path/'in.mp4', 'libx264', 'aac')
        (tmp_path/'in.mp4').rename(tmp_path/name)
    jobs, _ = plan_jobs((str(tmp_path),), str(tmp_path/'out'), None)
    assert sorted(Path(job.out).name for job in jobs) == ['2024-05-01T10.30.mp4', 'a.dat.mp4', 'b.mp4', 'clip.mp4']


@pytest.mark.parametrize('sound, rate, suffix, becomes', [
    ('adpcm_ms', 44100, '.mp4', 'aac'), ('pcm_s16le', 48000, '.mp4', 'aac'), ('wmav2', 44100, '.mov', 'aac'),
    ('libopencore_amrnb', 8000, '.mp4', 'aac'), ('wmav2', 44100, '.ts', 'aac'), ('real_144', 8000, '.mp4', 'aac'),
    ('adpcm_ms', 11127, '.webm', 'opus'), ('real_144', 8000, '.avi', 'pcm_s16le')])
def test_odd_sound_is_encoded_again_with_a_word(tmp_path, sound, rate, suffix, becomes):
    old_suffix, codec = {'wmav2': ('.wmv', 'wmv2'), 'adpcm_ms': ('.avi', 'mjpeg'),
                         'libopencore_amrnb': ('.3gp', 'libx264')}.get(sound, ('.mkv', 'libx264'))
    path = draw_beep(tmp_path/f'in{old_suffix}', codec, sound, rate)
    old = beeps(path)[4]
    done = anonymize_video(path, tmp_path/f'out{suffix}', mask, bright)
    assert done['notes'][0] == f'sound {old} becomes {becomes}' and beeps(tmp_path/f'out{suffix}')[4] == becomes
    check_in_step(tmp_path/f'out{suffix}')
    assert brightest(tmp_path/f'out{suffix}') < SEEN


DISPLAY = 'G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)'


def draw_hdr(path, codec='libx265', params=f'log-level=none:master-display={DISPLAY}:max-cll=1000,400'):
    with av.open(str(path), 'w') as out:
        stream = out.add_stream(codec, rate=RATE, options={f'{codec[3:]}-params': params})
        (stream.width, stream.height), stream.pix_fmt = SMALL, 'yuv420p10le'
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        for i in range(6):
            frame = av.VideoFrame.from_ndarray(picture(SMALL, face_at(SMALL, i)), format='rgb24')
            out.mux(stream.encode(frame.reformat(format='yuv420p10le', dst_colorspace=9)))
        out.mux(stream.encode())
    return path


def told_of_display(path):
    with av.open(str(path)) as film:
        side = {one.type.name: bytes(one) for one in next(film.decode(video=0)).side_data}
    display, light = side.get('MASTERING_DISPLAY_METADATA'), side.get('CONTENT_LIGHT_LEVEL')
    numbers = None if display is None else np.frombuffer(display, np.int32)[:20].reshape(10, 2)
    return numbers is not None and [Fraction(*map(int, pair)) for pair in numbers], light


@pytest.mark.parametrize('codec, suffix', [('libx264', '.mp4'), ('libx265', '.mp4'), ('libx265', '.mkv')])
def test_the_display_of_an_hdr_film_is_kept(tmp_path, codec, suffix):
    path = draw_hdr(tmp_path/'in.mp4')
    done = anonymize_video(path, tmp_path/f'out{suffix}', mask, bright, codec=codec)
    assert told_of_display(path)[0][8:] == [Fraction(1, 200), 1000]
    assert told_of_display(tmp_path/f'out{suffix}') == told_of_display(path) and done['notes'] == []
    with av.open(str(tmp_path/f'out{suffix}')) as film:
        frame = next(film.decode(video=0))
        assert (frame.format.name, int(frame.color_trc), int(frame.color_primaries)) == ('yuv420p10le', 16, 9)
    assert brightest(tmp_path/f'out{suffix}') < SEEN


def test_a_display_that_cannot_be_written_is_told(tmp_path):
    done = anonymize_video(draw_hdr(tmp_path/'in.mp4'), tmp_path/'out.mkv', mask, bright, codec='ffv1')
    assert done['notes'] == ['without what it said about HDR displays'] and brightest(tmp_path/'out.mkv') < SEEN
