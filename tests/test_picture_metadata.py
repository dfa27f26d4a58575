"A thumbnail is planted in every place of a picture file that can hold one; none comes out, whatever is to be kept."
import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, PngImagePlugin

from faceanon.models.baselines import mask
from faceanon.video import image_metadata
from faceanon.video.image_files import read_image_file
from faceanon.video.image_frames import to_rgb
from faceanon.video.images import anonymize_image
from faceanon.video.mask_shapes import MaskShape

MARK = b'PLANTEDPICTURE'


def thumbnail():
    out = io.BytesIO()
    Image.new('RGB', (8, 8), (200, 10, 10)).save(out, 'JPEG', comment=MARK)
    return out.getvalue()


def scene():
    pixels = np.random.default_rng(0).integers(20, 200, (40, 60, 3)).astype(np.uint8)
    pixels[10:22, 30:42] = 250
    return Image.fromarray(pixels)


def find_bright(frames):
    y, x = (frames[0].amin(0) > .9).nonzero(as_tuple=True)
    return torch.tensor([[0, x.min(), y.min(), x.max() + 1, y.max() + 1]] if len(y) else []).reshape(-1, 5).long()


def exif():
    made = Image.Exif()
    made[ExifTags.Base.ImageDescription] = made[ExifTags.Base.Software] = MARK.decode()
    made[ExifTags.Base.Copyright], made[ExifTags.Base.Make] = 'WHOSE IT IS', 'CAMERA'
    made[ExifTags.Base.XPComment] = MARK*3
    camera = made.get_ifd(ExifTags.IFD.Exif)
    camera[ExifTags.Base.MakerNote] = camera[ExifTags.Base.UserComment] = MARK + thumbnail()
    camera[ExifTags.Base.DateTimeOriginal], camera[ExifTags.Base.ISOSpeedRatings] = '2024:05:01 10:30:00', 800
    camera[ExifTags.Base.LensModel] = MARK.decode()*40  # too long for a name
    made.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = 'N'
    return made.tobytes()


def segment(marker, body): return bytes([0xff, marker]) + struct.pack('>H', len(body) + 2) + body


def jpeg(path):
    out = io.BytesIO()
    scene().save(out, 'JPEG', quality=95, exif=exif())
    data, extra = out.getvalue(), b''
    heads = {2: b'MPF\0', 13: b'Photoshop 3.0\x008BIM\x04\x0c\0\0' + struct.pack('>I', 20)}
    for n in range(2, 16): extra += segment(0xe0 + n, heads.get(n, b'Any\0') + MARK + thumbnail())
    extra += segment(0xe1, b'http://ns.adobe.com/xap/1.0/\0<x>' + MARK + b'</x>')
    extra += segment(0xe0, b'JFXX\0\x10' + MARK + thumbnail()) + segment(0xfe, MARK + thumbnail())
    path.write_bytes(data[:2] + extra + data[2:] + MARK + thumbnail())


def png(path):
    info = PngImagePlugin.PngInfo()
    for key in ('Comment', 'Raw profile type exif', 'Raw profile type APP1', 'Description', 'Author2'):
        info.add_text(key, MARK.decode())
    info.add_text('Raw profile type 8bim', MARK.decode(), zip=False)
    info.add_itxt('XML:com.adobe.xmp', MARK.decode())
    info.add_text('Author', MARK.decode()*40)
    info.add_text('Copyright', 'WHOSE IT IS')
    out = io.BytesIO()
    scene().save(out, 'PNG', pnginfo=info, exif=exif())
    data = out.getvalue()
    body = b'prVt' + MARK + thumbnail()
    chunk = struct.pack('>I', len(body) - 4) + body + struct.pack('>I', zlib.crc32(body))
    path.write_bytes(data[:33] + chunk + data[33:] + MARK)


def webp(path): scene().save(path, lossless=True, exact=True, exif=exif(), xmp=MARK)


def tiff(path):
    from PIL.TiffImagePlugin import ImageFileDirectory_v2
    tags = ImageFileDirectory_v2()
    for tag in (700, 33723, 34377, 37724, 50341, 65000): tags.tagtype[tag], tags[tag] = 7, MARK + thumbnail()
    tags[270], tags[33432] = MARK.decode(), 'WHOSE IT IS'
    scene().save(path, tiffinfo=tags)


def gif(path): scene().save(path, comment=MARK + thumbnail())


def heic(path):
    import pillow_heif
    pillow_heif.register_heif_opener()
    scene().resize((120, 80)).save(path, quality=95, exif=exif(), xmp=MARK)


def avif(path): scene().resize((120, 80)).save(path, quality=95, exif=exif(), xmp=MARK)


def jxl(path):
    import pillow_jxl  # noqa: F401  registers itself
    scene().save(path, lossless=True, exif=exif(), xmp=MARK)


MAKERS = {'a.jpg': jpeg, 'a.png': png, 'a.webp': webp, 'a.tif': tiff, 'a.gif': gif, 'a.heic': heic, 'a.avif': avif,
          'a.jxl': jxl}


@pytest.mark.parametrize('keep', [False, True])
@pytest.mark.parametrize('name', MAKERS)
def test_no_planted_thumbnail_comes_out(tmp_path, name, keep):
    path, out = tmp_path/name, tmp_path/f'out-{name}'
    MAKERS[name](path)
    assert MARK in path.read_bytes()
    report = anonymize_image(path, out, mask, find_bright, MaskShape(1.3), keep_metadata=keep)
    data = out.read_bytes()
    assert MARK not in data and report['faces'] == 1 and report['removed']
    assert data.count(b'\xff\xd8\xff') == (name == 'a.jpg')
    assert (to_rgb(read_image_file(out).frames[0]).min(2) > .9).sum() == 0
    if name not in ('a.gif',): assert (b'WHOSE IT IS' in data) == keep
    with Image.open(out) as image:
        camera = image.getexif().get_ifd(ExifTags.IFD.Exif)
        if keep and name in ('a.jpg', 'a.png', 'a.webp', 'a.heic', 'a.avif', 'a.jxl'):
            taken = ExifTags.Base.DateTimeOriginal
            assert dict(camera) == {taken: '2024:05:01 10:30:00', ExifTags.Base.ISOSpeedRatings: 800}
        else: assert dict(camera) == {}


def test_a_profile_with_a_picture_in_it_is_rebuilt_or_turned_into_pixels(tmp_path):
    p3 = image_metadata._standard_profile('Display P3')
    words = 'public domain'.encode('utf-16-be')
    scene().save(tmp_path/'a.png', icc_profile=p3.replace(words, (MARK*2)[:len(words)]))
    anonymize_image(tmp_path/'a.png', tmp_path/'b.png', mask, find_bright, MaskShape(1))
    with Image.open(tmp_path/'b.png') as image: assert image.info['icc_profile'] == p3
    odd = image_metadata._standard_profile('Adobe RGB').replace(image_metadata._fixed((2.19921875,)),
                                                               image_metadata._fixed((1.3,)))
    flat = Image.new('RGB', (40, 40), (180, 60, 60))
    for name in ('c.png', 'c.jpg', 'c.webp', 'c.tif'):
        flat.save(tmp_path/name, icc_profile=odd.replace(words, (MARK*2)[:len(words)]), quality=95)
        report = anonymize_image(tmp_path/name, tmp_path/f'out-{name}', mask, find_bright)
        with Image.open(tmp_path/f'out-{name}') as image:
            assert 'icc_profile' not in image.info and 'colour profile' in report['removed']
            wanted = np.asarray(image_metadata.convert_to_srgb(flat, odd))[20, 20].astype(int)
            assert np.abs(np.asarray(image)[20, 20] - wanted).max() <= 4 and np.abs(wanted - [180, 60, 60]).max() > 20
        assert MARK[:8] not in (tmp_path/f'out-{name}').read_bytes()
