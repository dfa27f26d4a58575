"Raw files are not taken for the preview in them, and bits that get lost are named."
import struct

import cv2
import numpy as np
import pillow_heif
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from faceanon.cli import app
from faceanon.video.images import ImageError, anonymize_image
from faceanon.video.media_kinds import media_kind


def bright(frames):
    rows = [[i, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] for i, frame in enumerate(frames)
            for ys, xs in [(frame.amin(0) > .9).nonzero().T] if len(ys)]
    return torch.tensor(rows).reshape(-1, 5).long()


def scene(white=255, kind=np.uint8):
    pixels = np.full((96, 128, 3), white//3, kind)
    pixels[:, :, 0] += np.arange(128, dtype=kind)
    pixels[30:60, 40:70] = white
    return pixels


def folder_of_tiff(order, tags, at):
    short, long = f'{order}H2x', f'{order}I'
    entries = b''.join(struct.pack(f'{order}HHI', tag, kind, 1) + struct.pack(short if kind == 3 else long,
                                                                             value) for tag, kind, value in tags)
    return struct.pack(f'{order}H', len(tags)) + entries + struct.pack(f'{order}I', at)


def raw_file(path, order='<', mark=b'', first=(), inner=32803):
    "A preview with a face in the first folder, and a mosaic in a folder below it."
    pixels, start, n = scene(), 16, 10 + len(first)
    below = start + 2 + 12*n + 4
    below_size = 2 + 12*3 + 4
    data = below + below_size
    tags = sorted([(256, 3, 128), (257, 3, 96), (258, 4, data), (259, 3, 1), (262, 3, 2), (273, 4, data + 6),
                   (277, 3, 3),
                   (278, 3, 96), (279, 4, pixels.size), (330, 4, below), *first])
    head = struct.pack(f'{order}2sHI', b'II' if order == '<' else b'MM', 42, start) + mark.ljust(8, b'\0')
    whole = folder_of_tiff(order, tags, 0)
    bits = struct.pack(f'{order}3H', 8, 8, 8)
    whole = whole.replace(struct.pack(f'{order}HHII', 258, 4, 1, data), struct.pack(f'{order}HHII', 258, 3, 3, data))
    mosaic = folder_of_tiff(order, [(256, 3, 4000), (257, 3, 3000), (262, 3, inner)], 0)
    path.write_bytes(head + whole + mosaic + bits + pixels.tobytes())
    return path


RAW = dict(dng=dict(first=[(50706, 4, 0x401)], inner=2), canon=dict(mark=b'CR\2\0', inner=2), mosaic=dict(),
           linear=dict(inner=34892), motorola=dict(order='>'), preview=dict(first=[(254, 4, 1)], inner=2))


@pytest.mark.parametrize('kind', RAW)
@pytest.mark.parametrize('name', ['a.tif', 'a'])
def test_a_raw_file_is_refused_whatever_its_name(tmp_path, kind, name):
    path = raw_file(tmp_path/name, **RAW[kind])
    with Image.open(path) as image: assert np.asarray(image)[45, 55].tolist() == [255]*3, "a reader finds the preview"
    with pytest.raises(ImageError, match="raw file, or begins with a preview"):
        anonymize_image(path, tmp_path/'out.tif', find_faces=bright)
    done = CliRunner().invoke(app, ['anonymize', str(tmp_path), '-o', str(tmp_path/'out')])
    assert done.exit_code == 1 and "raw file" in done.output and not [*(tmp_path/'out').glob('*')]


def test_a_developed_picture_with_a_folder_below_is_none(tmp_path):
    path = raw_file(tmp_path/'a.tif', inner=2)
    done = anonymize_image(path, tmp_path/'b.tif', find_faces=bright)
    assert done['faces'] == 1 and np.asarray(Image.open(tmp_path/'b.tif')).max() < 250


@pytest.mark.parametrize('start', [b'FUJIFILMCCD-RAW ', b'IIRO\x08\0\0\0', b'IIU\0\x18\0\0\0',
                                   b'\0\0\0\x18ftypcrx \0\0\0\1'])
def test_raw_files_of_other_kinds_are_neither_picture_nor_film(tmp_path, start):
    (tmp_path/'a').write_bytes(start + bytes(400))
    (tmp_path/'b.cr3').write_bytes(start + bytes(400))
    assert [media_kind(tmp_path/name) for name in ('a', 'b.cr3')] == ['', '']
    done = CliRunner().invoke(app, ['anonymize', str(tmp_path), '-o', str(tmp_path/'out')])
    assert 'no picture and no video' in done.output or 'NOT DONE 2' in done.output


@pytest.mark.parametrize('suffix', ['.ppm', '.pgm', '.png', '.tif', '.jp2'])
def test_sixteen_bits_stay_sixteen(tmp_path, suffix):
    pixels = scene(65535, np.uint16)
    if suffix == '.pgm': pixels = pixels[..., 0]
    (tmp_path/f'a{suffix}').write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())
    done = anonymize_image(tmp_path/f'a{suffix}', tmp_path/f'b{suffix}', find_faces=bright)
    after = cv2.imdecode(np.frombuffer((tmp_path/f'b{suffix}').read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert after.dtype == np.uint16 and done['faces'] == 1 and not any('bits' in part for part in done['removed'])
    assert (after[:, 110:] == pixels[:, 110:]).all() and after[35:55, 45:65].max() < 60000


@pytest.mark.parametrize('name, says', [('a.heic', '2 of 10 bits'), ('a.ppm', '2 of 10 bits'),
                                        ('plain.heic', ''), ('plain.jp2', ''), ('plain.ppm', '')])
def test_bits_that_are_lost_are_named(tmp_path, name, says):
    deep, path = scene(65535, np.uint16), tmp_path/name
    if name == 'a.heic': pillow_heif.from_bytes('RGB;16', (128, 96), deep.tobytes()).save(path, quality=90)
    elif name == 'a.ppm': path.write_bytes(b'P6\n128 96\n1023\n' + scene(1023, np.uint16).astype('>u2').tobytes())
    else:
        pillow_heif.register_heif_opener()
        Image.fromarray(scene()).save(path)
    done = anonymize_image(path, tmp_path/f'b{path.suffix}', find_faces=bright)
    assert [part for part in done['removed'] if 'bits' in part] == ([f'{says} of the colours'] if says else [])
    assert done['faces'] == 1
    again = anonymize_image(tmp_path/f'b{path.suffix}', tmp_path/f'c{path.suffix}', find_faces=bright)
    assert again['faces'] == 0, "no face is left to be found"


def test_a_depth_that_would_turn_white_to_black_is_refused(tmp_path):
    data = bytearray(cv2.imencode('.jp2', scene(65535, np.uint16))[1].tobytes())
    at = data.find(b'\xff\x4f\xff\x51') + 42
    data[at:at + 9:3] = b'\x0b'*3  # 12 bits
    (tmp_path/'a.jp2').write_bytes(data)
    with pytest.raises(ImageError, match='12 bits'):
        anonymize_image(tmp_path/'a.jp2', tmp_path/'b.jp2', find_faces=bright)
    assert not (tmp_path/'b.jp2').exists()
