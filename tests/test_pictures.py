"Picture files, whole and broken. A bright square is the face, and its finder knows no other."
import io
import math
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, PngImagePlugin

from faceanon.data.synthetic import make_face
from faceanon.models.baselines import mask, no_change
from faceanon.video import image_files, images
from faceanon.video.image_files import read_image_file
from faceanon.video.image_frames import ImageError, to_rgb
from faceanon.video.images import anonymize_image
from faceanon.video.mask_shapes import HEAD_SHAPE, MaskShape, anonymize_pixels, blend_shapes

EXACT = MaskShape(enlarge=1)


def find_bright(frames):
    "Where every channel is above 0.9, as one box a frame."
    rows = []
    for i, frame in enumerate(frames):
        y, x = (frame.amin(0) > .9).nonzero(as_tuple=True)
        if len(y): rows.append([i, x.min(), y.min(), x.max() + 1, y.max() + 1])
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 5)


def scene(x=30, y=10, channels=3, dtype=np.uint8):
    "60 wide, 40 high; texture up to 200 of 255, a face of 12 by 12 with a little texture at (x, y)."
    rng = np.random.default_rng(0)
    pixels = rng.integers(20, 200, (40, 60, channels)).astype(np.uint8)
    pixels[y:y + 12, x:x + 12] = rng.integers(240, 256, (12, 12, channels))
    pixels = pixels.astype(dtype)*(257 if dtype == np.uint16 else 1)
    return pixels.squeeze()


def save(path, pixels, **options):
    Image.fromarray(pixels, **({'mode': 'CMYK'} if path.suffix == '.tif' and pixels.shape[-1] == 4 else {})
                    ).save(path, **options)
    return path


def run(path, name=None, method=mask, find=find_bright, look=EXACT, **options):
    out = path.parent/(name or f'out{path.suffix}')
    return out, anonymize_image(path, out, method, find, look, **options)


def bright(path): return [int((to_rgb(s).min(2) > .85).sum()) for s in read_image_file(path).frames]


def left(folder): return sorted(p.name for p in folder.iterdir())


def with_alpha(pixels): return np.dstack([pixels, np.arange(2400, dtype=np.uint8).reshape(40, 60)])


STILLS = {
    'rgb.png': lambda p: save(p, scene()),
    'grey.png': lambda p: save(p, scene(channels=1)),
    'grey16.png': lambda p: save(p, scene(channels=1, dtype=np.uint16)),
    'grey16.tif': lambda p: save(p, scene(channels=1, dtype=np.uint16)),
    'alpha.png': lambda p: save(p, with_alpha(scene())),
    'grey_alpha.png': lambda p: save(p, with_alpha(scene(channels=1))),
    'rgb16.png': lambda p: p.write_bytes(cv2.imencode('.png', scene(dtype=np.uint16))[1].tobytes()),
    'rgb16.tif': lambda p: p.write_bytes(cv2.imencode('.tif', scene(dtype=np.uint16))[1].tobytes()),
    'rgba16.png': lambda p: p.write_bytes(
        cv2.imencode('.png', np.dstack([scene(dtype=np.uint16), scene(channels=1, dtype=np.uint16)]))[1].tobytes()),
    'palette.png': lambda p: Image.fromarray(scene()).quantize(64).save(p),
    'one_bit.png': lambda p: Image.fromarray(scene(channels=1) > 230).save(p),
    'key_colour.png': lambda p: Image.fromarray(scene()).save(p, transparency=(1, 2, 3)),
    'lzw.tiff': lambda p: save(p, scene(), compression='tiff_lzw'),
    'cmyk.tif': lambda p: Image.fromarray(scene()).convert('CMYK').save(p),
    'lossless.webp': lambda p: Image.fromarray(with_alpha(scene())).save(p, lossless=True, exact=True),
    'rgb.bmp': lambda p: save(p, scene()),
}


@pytest.mark.parametrize('name', STILLS)
def test_lossless_formats_come_out_bit_for_bit_but_for_the_face(tmp_path, name):
    STILLS[name](tmp_path/name)
    out, report = run(tmp_path/name)
    before, after = (read_image_file(p).frames[0] for p in (tmp_path/name, out))
    assert before.colours.dtype == after.colours.dtype and before.colours.shape == after.colours.shape
    x1, y1, x2, y2 = report['boxes'][0][0]
    if name != 'one_bit.png': assert (x1, y1, x2, y2) == (30, 10, 42, 22)
    changed = (before.colours != after.colours).reshape(40, 60, -1).any(2)
    assert changed[y1:y2, x1:x2].all() and changed.sum() == (y2 - y1)*(x2 - x1)
    assert (before.alpha is None) == (after.alpha is None)
    if before.alpha is not None: assert (before.alpha == after.alpha).all()
    assert bright(out) == [0] and report['faces'] == 1 and report['doubt'] == ''


@pytest.mark.parametrize('name, options', [
    ('rgb.jpg', {}), ('grey.jpeg', {}), ('cmyk.jpg', {}), ('lossy.webp', {}),
    ('progressive.jpg', dict(progressive=True))])
def test_lossy_formats_stay_near_and_lose_the_face(tmp_path, name, options):
    image = Image.fromarray(scene(channels=1) if name.startswith('grey') else scene()).resize((240, 160))
    if name.startswith('cmyk'): image = image.convert('CMYK')
    image.save(tmp_path/name, quality=95, **options)
    out, report = run(tmp_path/name)
    before, after = (to_rgb(read_image_file(p).frames[0]) for p in (tmp_path/name, out))
    assert bright(tmp_path/name)[0] > 1000 and bright(out)[0] < 60 and report['faces'] == 1
    assert np.abs(before - after)[120:].mean() < .02
    with Image.open(out) as image: assert image.mode == Image.open(tmp_path/name).mode


def test_every_orientation_looks_the_same_upright(tmp_path):
    for orientation in range(1, 9):
        path = tmp_path/f'{orientation}.png'
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        Image.fromarray(scene()).save(path, exif=exif)
        with Image.open(path) as image:
            from PIL import ImageOps
            upright = np.asarray(ImageOps.exif_transpose(image))
        out, report = run(path, f'out{orientation}.png')
        with Image.open(out) as image:
            assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
            pixels = np.asarray(image)
        (x1, y1, x2, y2), = report['boxes'][0]
        assert pixels[y1:y2, x1:x2].max() == 0
        pixels = pixels.copy()
        pixels[y1:y2, x1:x2] = upright[y1:y2, x1:x2]
        assert (pixels == upright).all()


def noted_jpeg(path):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist], exif[ExifTags.Base.Orientation] = 'ARTIST', 1
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = 'N'
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.MakerNote] = b'MAKERNOTE' + thumbnail()
    raw = exif.tobytes()
    xmp = b'<x:xmpmeta>XMPPACKET</x:xmpmeta>'
    Image.fromarray(scene()).save(path, exif=raw, comment=b'COMMENT', xmp=xmp, quality=95)
    return path


def thumbnail():
    out = io.BytesIO()
    Image.fromarray(scene()[::2, ::2]).save(out, 'JPEG')
    return out.getvalue()


def jpeg_with_thumbnail(path):
    "EXIF by hand: one entry, then a second directory with a JPEG in it."
    inner = thumbnail()
    tiff = b'II*\0' + struct.pack('<I', 8)
    tiff += struct.pack('<HHHII', 1, 0x0131, 2, 4, int.from_bytes(b'abc\0', 'little')) + struct.pack('<I', 26)
    tiff += struct.pack('<HHHIIHHIII', 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(inner), 0) + inner
    Image.fromarray(scene()).save(path, exif=b'Exif\0\0' + tiff, quality=95)
    return path


def test_notes_go_and_are_listed(tmp_path):
    path = noted_jpeg(tmp_path/'a.jpg')
    out, report = run(path)
    assert report['removed'] == ['comment', 'exif', 'gps', "maker's note", 'xmp']
    data = out.read_bytes()
    assert [n for n in (b'ARTIST', b'COMMENT', b'XMPPACKET', b'MAKERNOTE', b'Exif') if n in data] == []
    assert all(n in path.read_bytes() for n in (b'ARTIST', b'COMMENT', b'XMPPACKET', b'MAKERNOTE'))


def test_kept_notes_hold_no_picture(tmp_path):
    out, report = run(noted_jpeg(tmp_path/'a.jpg'), keep_metadata=True)
    data = out.read_bytes()
    assert b'ARTIST' in data
    assert [n for n in (b'COMMENT', b'MAKERNOTE', b'XMPPACKET') if n in data] == []
    assert report['removed'] == ['comment', 'gps', "maker's note", 'xmp']


@pytest.mark.parametrize('keep', [False, True])
def test_a_thumbnail_never_stays(tmp_path, keep):
    path = jpeg_with_thumbnail(tmp_path/'a.jpg')
    assert path.read_bytes().count(b'\xff\xd8\xff') == 2
    out, report = run(path, keep_metadata=keep)
    assert 'thumbnail' in report['removed'] and out.read_bytes().count(b'\xff\xd8\xff') == 1


@pytest.mark.parametrize('keep', [False, True])
def test_texts_of_a_png(tmp_path, keep):
    info = PngImagePlugin.PngInfo()
    info.add_text('Author', 'WHO')
    info.add_itxt('XML:com.adobe.xmp', '<xmp>PACKET</xmp>')
    save(tmp_path/'a.png', scene(), pnginfo=info)
    out, report = run(tmp_path/'a.png', keep_metadata=keep)
    assert (b'WHO' in out.read_bytes()) == keep and b'PACKET' not in out.read_bytes()
    assert report['removed'] == ['xmp'] if keep else ["text 'Author'", 'xmp']


def test_what_follows_the_picture_is_not_copied(tmp_path):
    path = save(tmp_path/'a.jpg', scene())
    path.write_bytes(path.read_bytes() + b'MOTIONPHOTO'*10)
    assert b'MOTION' not in run(path)[0].read_bytes()
    Image.fromarray(scene()).save(tmp_path/'b.jpg', 'MPO', save_all=True, append_images=[Image.fromarray(scene())])
    out, report = run(tmp_path/'b.jpg', 'outb.jpg')
    assert 'pictures behind the first' in report['removed']
    assert Image.open(out).format == 'JPEG' and out.read_bytes().count(b'\xff\xd8\xff') == 1


def test_the_colour_profile_stays(tmp_path):
    from PIL import ImageCms
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    for name in ('a.png', 'a.jpg', 'a.tif', 'a.webp'):
        save(tmp_path/name, scene(), icc_profile=profile)
        out, _ = run(tmp_path/name, f'out-{name}')
        with Image.open(out) as image: assert image.info['icc_profile'] == profile
    deep = cv2.imencode('.png', scene(dtype=np.uint16))[1].tobytes()
    (tmp_path/'deep.png').write_bytes(image_files._with_profile(deep, profile))
    out, _ = run(tmp_path/'deep.png')
    with Image.open(out) as image: assert image.info['icc_profile'] == profile
    assert bright(out) == [0]


@pytest.mark.parametrize('suffix, options', [('.gif', {}), ('.webp', dict(lossless=True)), ('.png', {}), ('.tif', {})])
def test_every_frame_is_covered(tmp_path, suffix, options):
    frames = [Image.fromarray(scene(x=5 + 12*i, y=2 + i)) for i in range(4)]
    for i, frame in enumerate(frames): frame.putpixel((58, 38), (0, 60*i, 0))  # else all would be alike when covered
    timing = {} if suffix == '.tif' else dict(duration=[40, 80, 120, 160], loop=0)
    frames[0].save(tmp_path/f'a{suffix}', save_all=True, append_images=frames[1:], **timing, **options)
    out, report = run(tmp_path/f'a{suffix}')
    assert [len(b) for b in report['boxes']] == [1]*4 and report['frames'] == 4
    assert [boxes[0][0] for boxes in report['boxes']] == [5, 17, 29, 41]
    assert bright(out) == [0]*4
    if timing:
        kept = [s.metadata.get('duration') for s in read_image_file(out).frames]
        assert kept == [40, 80, 120, 160] and Image.open(out).info['loop'] == 0


def test_a_clear_gif_stays_clear(tmp_path):
    clear = np.dstack([scene(), np.where(np.arange(40)[:, None] + np.zeros(60) < 30, 255, 0).astype(np.uint8)])
    frames = [Image.fromarray(clear), Image.fromarray(np.roll(clear, 5, 1))]
    frames[0].save(tmp_path/'a.gif', save_all=True, append_images=frames[1:], duration=50, disposal=2)
    out, _ = run(tmp_path/'a.gif')
    for sheet in read_image_file(out).frames: assert (sheet.alpha[:30].min(), sheet.alpha[31:].max()) == (255, 0)


def test_a_dark_grey_picture_of_16_bits_is_shown_bright(tmp_path):
    dark = (scene(channels=1).astype(np.uint16))*16  # twelve bits
    save(tmp_path/'a.png', dark)
    out, report = run(tmp_path/'a.png')
    assert report['faces'] == 1 and read_image_file(out).frames[0].colours[10:22, 30:42].max() == 0


def test_hidden_colours_below_full_transparency_are_covered_too(tmp_path):
    pixels = np.dstack([scene(), np.zeros((40, 60), np.uint8)])
    save(tmp_path/'a.png', pixels)
    out, report = run(tmp_path/'a.png')
    assert report['faces'] == 1 and bright(out) == [0]


def whole(tmp_path, suffix='.png'): return save(tmp_path/f'whole{suffix}', scene())


def cut(path):
    path.write_bytes(path.read_bytes()[:-len(path.read_bytes())//3])
    return path


def bomb(path):
    "A PNG that says it is 60000 by 60000."
    def chunk(kind, body):
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 60000, 60000, 8, 2, 0, 0, 0))
                     + chunk(b'IDAT', zlib.compress(b'\0'*1000)) + chunk(b'IEND', b''))
    return path


def deep_png(): return cv2.imencode('.png', scene(dtype=np.uint16))[1].tobytes()


def put(path, data):
    path.write_bytes(data)
    return path


def folder(path):
    path.mkdir()
    return path


BAD = {
    'empty': (lambda d: put(d/'a.png', b''), 'empty'),
    'text': (lambda d: put(d/'a.jpg', b'no picture at all'), 'no JPEG'),
    'missing': (lambda d: d/'a.png', 'cannot be read'),
    'folder': (lambda d: folder(d/'a.png'), 'is a folder'),
    'unknown suffix': (lambda d: put(d/'a.xyz', b'1'), 'name that ends in'),
    'no suffix': (lambda d: put(d/'a', b'1'), 'name that ends in'),
    'video': (lambda d: put(d/'a.png', b'\0\0\0\x18ftypmp42' + b'\0'*50), 'no PNG'),
    'PNG named JPEG': (lambda d: put(d/'a.jpg', whole(d).read_bytes()), 'holds PNG'),
    'JPEG named PNG': (lambda d: put(d/'a.png', whole(d, '.jpg').read_bytes()), 'holds JPEG'),
    'cut PNG': (lambda d: cut(save(d/'a.png', scene())), 'damaged'),
    'cut JPEG': (lambda d: cut(save(d/'a.jpg', scene())), 'damaged'),
    'cut WebP': (lambda d: cut(save(d/'a.webp', scene())), ''),
    'cut TIFF': (lambda d: cut(save(d/'a.tif', scene())), ''),
    'cut GIF': (lambda d: cut(save(d/'a.gif', scene())), 'damaged'),
    'cut BMP': (lambda d: cut(save(d/'a.bmp', scene())), 'damaged'),
    'cut 16-bit PNG': (lambda d: cut(put(d/'a.png', deep_png())), 'damaged'),
    'only a header': (lambda d: put(d/'a.png', whole(d).read_bytes()[:33]), 'no PNG'),
    'bomb': (lambda d: bomb(d/'a.png'), 'pixels'),
    'float': (lambda d: save(d/'a.tif', scene(channels=1).astype(np.float32)), 'kind F'),
}


@pytest.mark.parametrize('what', BAD)
def test_what_is_no_sound_picture_is_refused_by_name_and_rule(tmp_path, what):
    make, rule = BAD[what]
    path = make(tmp_path)
    before = left(tmp_path)
    with pytest.raises(ImageError) as caught: run(path)
    assert str(path) in str(caught.value) and rule in str(caught.value)
    assert left(tmp_path) == before


def test_too_many_frames_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, 'MAX_IMAGE_PIXELS', 3*2400)
    frames = [Image.fromarray(scene(x=5 + 12*i)) for i in range(4)]
    frames[0].save(tmp_path/'a.gif', save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match='4 x 60 x 40'): run(tmp_path/'a.gif')


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.gif', '.webp', '.tif', '.bmp'])
def test_flipped_bits_never_leave_half_a_file_or_another_error(tmp_path, suffix):
    data = bytearray(save(tmp_path/f'a{suffix}', scene()).read_bytes())
    rng, refused = np.random.default_rng(1), 0
    for place in rng.integers(0, min(len(data), 3000), 40):
        broken = data.copy()
        broken[place] ^= 1 << int(rng.integers(8))
        path = put(tmp_path/f'b{suffix}', bytes(broken))
        try: run(path, overwrite=True)
        except ImageError as error:
            refused += 1
            assert str(path) in str(error) or 'out' in str(error)
        assert {p.name for p in tmp_path.iterdir()} <= {f'a{suffix}', f'b{suffix}', f'out{suffix}'}
    if suffix == '.png': assert refused == 40  # check sums


def failing(frames): raise RuntimeError("no network")


def test_a_failing_finder_or_method_shows_nothing(tmp_path):
    path = save(tmp_path/'a.png', with_alpha(scene()))
    outside = torch.tensor([[0, -5, 0, 10, 10]])
    wrong = {'find': [failing, lambda f: None, lambda f: outside, lambda f: torch.zeros(1, 4)],
             'method': [lambda f, b: failing(f), lambda f, b: f[..., 1:], lambda f, b: f*float('nan'),
                        lambda f, b: 2*f + 1]}
    for which, broken in ((k, v) for k, values in wrong.items() for v in values):
        with pytest.raises(ImageError, match='nothing is written'): run(path, on_doubt='stop', **{which: broken})
        assert left(tmp_path) == ['a.png']
        out, report = run(path, **{which: broken})
        with Image.open(out) as image: colours = np.unique(np.asarray(image).reshape(-1, 4), axis=0)
        assert colours.tolist() == [[128]*3 + [255]]
        assert 'frame 0 is all grey' in report['doubt'] and report['faces'] == 0
        out.unlink()


def test_one_bad_frame_greys_only_itself(tmp_path):
    frames = [Image.fromarray(scene(x=5 + 12*i)) for i in range(3)]
    frames[0].save(tmp_path/'a.webp', save_all=True, append_images=frames[1:], lossless=True, duration=50)
    calls = []
    def find(frames):
        calls.append(1)
        return failing(frames) if len(calls) == 2 else find_bright(frames)
    out, report = run(tmp_path/'a.webp', find=find)
    assert report['doubt'].count('all grey') == 1 and bright(out) == [0, 0, 0]
    sheets = read_image_file(out).frames
    assert [len(np.unique(s.colours)) == 1 for s in sheets] == [False, True, False]


def test_a_method_that_does_nothing_is_replaced_by_grey(tmp_path):
    out, report = run(save(tmp_path/'a.png', scene()), method=no_change)
    assert report['greyed'] == 1 and bright(out) == [0]


def test_on_doubt_is_one_of_two(tmp_path):
    with pytest.raises(ValueError, match="on_doubt must be one of mask, stop, got 'hope'"):
        run(save(tmp_path/'a.png', scene()), on_doubt='hope')


def test_originals_are_never_written_over(tmp_path):
    path = save(tmp_path/'a.png', scene())
    before = path.read_bytes()
    os.symlink(path, tmp_path/'link.png')
    os.link(path, tmp_path/'hard.png')
    for name in ('a.png', 'link.png', 'hard.png'):
        with pytest.raises(ImageError, match='original itself'): run(path, name, overwrite=True)
    out, _ = run(path)
    first = out.read_bytes()
    with pytest.raises(ImageError, match='there already'): run(path)
    assert (out.read_bytes(), path.read_bytes()) == (first, before)
    run(path, overwrite=True)


def test_where_nothing_can_be_written(tmp_path):
    path = save(tmp_path/'a.png', scene())
    with pytest.raises(ImageError, match='folder does not exist'): run(path, 'none/out.png')
    (tmp_path/'there.png').mkdir()
    with pytest.raises(ImageError, match='is a folder'): run(path, 'there.png', overwrite=True)
    with pytest.raises(ImageError, match='must be PNG'): run(path, 'out.jpg')


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = save(tmp_path/'a.png', scene())
    out, _ = run(path)
    before = out.read_bytes()
    def full(self, data):
        with open(self, 'wb') as file: file.write(data[:10])
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(images.Path, 'write_bytes', full)
    with pytest.raises(ImageError, match='No space left'): run(path, overwrite=True)
    assert out.read_bytes() == before and left(tmp_path) == ['a.png', 'out.png']


def test_a_face_larger_than_it_was_found(tmp_path):
    path = save(tmp_path/'a.png', scene())
    out, _ = run(path, look=MaskShape(enlarge=1.5))
    assert (read_image_file(out).frames[0].colours[7:25, 27:45] == 0).all()
    assert (read_image_file(out).frames[0].colours[6, 27:45] > 0).all()


@pytest.mark.parametrize('shape', ['box', 'ellipse'])
@pytest.mark.parametrize('feather', [0, 1, 7])
def test_a_feather_goes_outwards_only(shape, feather):
    frame, changed = np.random.default_rng(0).random((50, 60, 3), np.float32), np.zeros((50, 60, 3), np.float32)
    for box in ([20, 10, 40, 34], [0, 0, 9, 9]):
        (x1, y1, x2, y2), boxes = box, np.array([box])
        sharp, soft = blend_shapes(frame, changed, boxes, shape), blend_shapes(frame, changed, boxes, shape, feather)
        assert (soft[sharp == 0] == 0).all()
        assert (sharp[y1:y2, x1:x2] == 0).all(), "a corner of the box shows"
        beyond = np.ones((50, 60), bool)
        tall, wide = ((side*2**.5 if shape == 'ellipse' else side)/2 + feather for side in (y2 - y1, x2 - x1))
        x, y = (x1 + x2)/2, (y1 + y2)/2
        rows, columns = ((max(0, math.floor(at - far)), math.ceil(at + far)) for at, far in ((y, tall), (x, wide)))
        beyond[slice(*rows), slice(*columns)] = False
        assert beyond.any()
        assert (soft[beyond] == frame[beyond]).all()
        between = ((soft != frame) & (soft != 0)).any()
        assert bool(between) == (feather > 0)


def test_overlapping_faces_are_both_covered():
    frame, boxes = np.ones((40, 40, 3), np.float32), np.array([[5, 5, 20, 20], [18, 18, 30, 30]])
    out = blend_shapes(frame, np.zeros_like(frame), boxes, 'ellipse', 5)
    for box in boxes:
        alone = blend_shapes(frame, np.zeros_like(frame), box[None], 'ellipse', 5)
        assert (out <= alone).all()


def test_arrays_and_tensors_alike():
    array = scene()
    tensor = torch.tensor(array).permute(2, 0, 1)
    out = anonymize_pixels(array, mask, find_bright, EXACT)
    assert out.dtype == np.uint8 and out[10:22, 30:42].max() == 0 and (out[22:] == array[22:]).all()
    assert (anonymize_pixels(tensor, mask, find_bright, EXACT).permute(1, 2, 0).numpy() == out).all()
    assert (scene() == array).all()
    for wrong in (array[..., 0], array.astype(float), tensor.numpy(), tensor[None], np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ValueError, match='uint8 RGB'): anonymize_pixels(wrong, mask, find_bright)
    with pytest.raises(RuntimeError, match='no network'): anonymize_pixels(array, mask, failing)


def test_without_method_and_detector_the_whole_head_is_black(tmp_path):
    "CenterFace finds this drawn head; hair, ears and chin lie within the ellipse."
    Image.fromarray(make_face(0, 0, 200).permute(1, 2, 0).numpy()).save(tmp_path/'a.png')
    report = anonymize_image(tmp_path/'a.png', tmp_path/'b.png')
    assert report['faces'] == 1 and report['doubt'] == ''
    x1, y1, x2, y2 = report['boxes'][0][0]
    centre, half = ((x1 + x2)/2, (y1 + y2)/2), [HEAD_SHAPE.enlarge*side/2**.5 for side in (x2 - x1, y2 - y1)]
    x, y = np.arange(200)[None] + .5, np.arange(200)[:, None] + .5
    inside = np.hypot((x - centre[0])/half[0], (y - centre[1])/half[1]) < 1
    pixels = np.asarray(Image.open(tmp_path/'b.png'))
    assert pixels[inside].max() == 0 and inside.mean() > .4
    away = np.hypot(x - centre[0], y - centre[1]) > max(half) + HEAD_SHAPE.feather + 2
    assert (pixels == np.asarray(Image.open(tmp_path/'a.png')))[away].all()
