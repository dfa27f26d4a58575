"Pixels that are not square: the finder sees faces in their shape, and places mean what the viewer sees."
from fractions import Fraction

import numpy as np
import pytest
import torch
from test_stream_changes import SEEN, SMALL, av, brightest, mask, picture
from test_stream_shapes import PART, draw_shapes, width_over_height
from test_viewer_frame import clear_frames

from faceanon.video.anonymize import anonymize_video
from faceanon.video.face_list import read_sidecar, sidecar_path
from faceanon.video.hiding import MethodConfig
from faceanon.video.reading import VideoError, probe_video, read_video_frames
from faceanon.video.rerender import preview_decisions, read_review_frame
from faceanon.video.review import collect_face_crops, read_video_summary

RATIOS = [(Fraction(2), ''), (Fraction(1, 2), 'clock'), (Fraction(4, 3), 'mirrored'), (Fraction(8), 'clock'),
          (Fraction(1, 8), '')]
TURNS = {'': None, 'clock': (0, 1, -1, 0), 'mirrored': (-1, 0, 0, 1)}


def face_of(ratio, seen=36):
    "A place of stored pixels that a player shows as a square."
    width, height = max(4, round(seen/ratio)) if ratio > 1 else seen, max(4, round(seen*ratio)) if ratio < 1 else seen
    return 60, 30, 60 + width, 30 + height


def draw_squeezed(path, ratio, turn='', count=6):
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=25, options=dict(crf='8'))
        (stream.width, stream.height), stream.pix_fmt = SMALL, 'yuv420p'
        stream.codec_context.sample_aspect_ratio = ratio
        if TURNS[turn]:
            a, b, c, d = (v << 16 for v in TURNS[turn])
            stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        for _ in range(count):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(SMALL, face_of(ratio)), format='rgb24')))
        out.mux(stream.encode())
    return path


def squares(frames):
    "Knows a face by its shape: as high as wide, give or take a fifth."
    rows = []
    for i, frame in enumerate(frames):
        ys, xs = (frame.mean(0) > SEEN/255).nonzero().T
        if not len(ys): continue
        x1, y1, x2, y2 = (int(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
        if .8 < (x2 - x1)/(y2 - y1) < 1.25: rows.append([i, x1, y1, x2, y2])
    return torch.tensor(rows).reshape(-1, 5).long()


@pytest.mark.parametrize('ratio, turn', RATIOS, ids=str)
def test_a_squeezed_face_is_found_in_its_shape_and_hidden(tmp_path, ratio, turn):
    path = draw_squeezed(tmp_path/'in.mov', ratio, turn)
    done = anonymize_video(path, tmp_path/'out.mov', mask, squares, every=1)
    assert done['faces'] == done['frames'] == 6 and brightest(tmp_path/'out.mov') < SEEN
    assert probe_video(tmp_path/'out.mov').view == probe_video(path).view
    box = next(read_sidecar(sidecar_path(tmp_path/'out.mov'))[1]).faces[0].box  # in stored pixels
    assert np.abs(np.subtract(box, face_of(ratio))).max() <= 6, "close to the face, nothing else is covered"
    with av.open(str(tmp_path/'out.mov')) as out:
        pixels = next(out.decode(video=0)).to_ndarray(format='gray')
    assert (pixels[:, :24] > 60).all() and (pixels[:, 132:] > 60).all()


def test_frames_that_are_shrunk_for_the_finder_keep_the_shape(tmp_path):
    path = draw_squeezed(tmp_path/'in.mp4', Fraction(2))
    done = anonymize_video(path, tmp_path/'out.mp4', mask, squares, every=1, longest=160)  # of 320 that a viewer sees
    assert done['faces'] == 6 and brightest(tmp_path/'out.mp4') < SEEN


@pytest.mark.parametrize('ratio, turn', [(Fraction(2), ''), (Fraction(1, 2), 'clock'), (Fraction(4, 3), 'mirrored')],
                         ids=str)
def test_places_are_the_viewers(tmp_path, ratio, turn):
    path = draw_squeezed(tmp_path/'in.mov', ratio, turn)
    shown = []
    def finder(frames):
        shown.append(squares(frames)[0, 1:].tolist())
        return squares(frames)
    anonymize_video(path, tmp_path/'all.mov', mask, finder, every=1)
    x1, y1, x2, y2 = shown[0]  # as a viewer measures it
    width, height = probe_video(path).viewed_size
    anonymize_video(path, tmp_path/'roi.mov', mask, squares, chosen=dict(roi=(x1, y1, x2, y2)))
    assert clear_frames(tmp_path/'roi.mov') == []
    anonymize_video(path, tmp_path/'beside.mov', mask, squares, chosen=dict(roi=(x2 + 9, 0, width, height)))
    assert clear_frames(tmp_path/'beside.mov') == list(range(6))
    nobody = lambda frames: torch.zeros(0, 5).long()
    region = ((x1 - 1, y1 - 1), (x2 + 1, y2 + 1))
    anonymize_video(path, tmp_path/'region.mov', mask, nobody, regions=[region])
    assert clear_frames(tmp_path/'region.mov') == []
    half = ((x1 - 1, y1 - 1), ((x1 + x2)//2, y2 + 1))
    anonymize_video(path, tmp_path/'half.mov', mask, nobody, regions=[half])
    assert clear_frames(tmp_path/'half.mov') == list(range(6)), "a region is no larger than it is said to be"


@pytest.mark.parametrize('ratio', [Fraction(2), Fraction(1, 2)], ids=str)
def test_review_shows_what_the_viewer_sees(tmp_path, ratio):
    path, out = draw_squeezed(tmp_path/'in.mp4', ratio), tmp_path/'out.mp4'
    anonymize_video(path, out, mask, squares, every=1)
    sidecar = sidecar_path(out)
    def square(pixels):
        ys, xs = (pixels.mean(2) > SEEN).nonzero()
        return .8 < (xs.max() + 1 - xs.min())/(ys.max() + 1 - ys.min()) < 1.25
    frame = read_review_frame(path, out, sidecar, 2, longest=640)
    height, width = frame.before.shape[:2]
    assert (width, height) == probe_video(path).viewed_size and square(frame.before) and frame.after.max() < SEEN
    x1, y1, x2, y2 = (frame.boxes[0]*np.tile((width, height), 2)).round().astype(int)
    assert (frame.before[y1 + 6:y2 - 6, x1 + 6:x2 - 6] > SEEN).all()
    crop = collect_face_crops(path, sidecar, read_video_summary(path, sidecar)[1].tracks)[0][0]
    assert square(crop.picture)
    assert preview_decisions(path, sidecar, 2, [], MethodConfig(mask)).max() < SEEN
    assert square(preview_decisions(path, sidecar, 2, [0], MethodConfig(mask)))


@pytest.mark.parametrize('suffix, ratio', [('.ts', Fraction(20)), ('.mkv', Fraction(1, 20))], ids=str)
def test_a_part_whose_pixels_are_slivers_is_black_and_told(tmp_path, suffix, ratio):
    path = draw_shapes(tmp_path/f'in{suffix}', 'libx264', [Fraction(1), ratio])
    done = anonymize_video(path, tmp_path/'out.mp4', mask, squares, every=1)
    assert done['frames'] == 2*PART and done['damaged'] == PART and brightest(tmp_path/'out.mp4') < SEEN
    with av.open(str(tmp_path/'out.mp4')) as out:
        grounds = [np.median(frame.to_ndarray(format='gray')) for frame in out.decode(video=0)]
    assert all(value > 60 for value in grounds[:PART]) and all(value < 30 for value in grounds[PART:])
    notes = [row.doubt for row in read_sidecar(sidecar_path(tmp_path/'out.mp4'))[1]]
    assert all(f'pixel aspect ratio is {ratio}' in note for note in notes[PART:]) and not any(notes[:PART])


def test_a_part_of_another_shape_is_seen_as_players_show_it(tmp_path):
    path = draw_shapes(tmp_path/'in.ts', 'libx264', [Fraction(2), Fraction(1)])
    shapes = [width_over_height(frame) for frame in read_video_frames(path)]  # stored, for pixels twice as wide as high
    assert all(.8 < shape < 1.25 for shape in shapes[:PART]) and all(.4 < shape < .63 for shape in shapes[PART:])


@pytest.mark.parametrize('ratio', [Fraction(60), Fraction(1, 9)], ids=str)
def test_a_film_of_slivers_is_refused(tmp_path, ratio):
    path = draw_shapes(tmp_path/'in.mkv', 'libx264', [ratio])
    with pytest.raises(VideoError, match=f'pixel aspect ratio is {ratio}, expected 1/8 to 8'):
        anonymize_video(path, tmp_path/'out.mp4', mask, squares)
    assert not (tmp_path/'out.mp4').exists() and not sidecar_path(tmp_path/'out.mp4').exists()
    with pytest.raises(VideoError, match='pixel aspect ratio'): next(read_video_frames(path))
