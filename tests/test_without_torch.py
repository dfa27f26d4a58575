"What only lists and reports films runs where torch is not installed."
import json
import subprocess
import sys

import pytest

av = pytest.importorskip('av')

BLOCKED = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'torchvision'): raise ImportError(f'{name} is not installed here')
sys.meta_path.insert(0, NoTorch())
from faceanon.cli import main
main()
"""


def faceanon(*words):
    return subprocess.run([sys.executable, '-c', BLOCKED, *map(str, words)], capture_output=True, text=True)


def draw_film(path, frames=8):
    with av.open(str(path), 'w') as out:
        stream = out.add_stream('libx264', rate=4)
        stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuv420p'
        for _ in range(frames): out.mux(stream.encode(av.VideoFrame(96, 64, 'yuv420p')))
        out.mux(stream.encode())


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp('films')
    draw_film(folder/'a.mp4')
    (folder/'b.mp4').write_bytes(b'no film')
    return folder


def test_a_manifest_is_made_and_a_report_printed(films, tmp_path):
    listed = tmp_path/'films.jsonl'
    made = faceanon('manifest', films, '-o', listed)
    assert made.returncode == 1 and 'b.mp4' in made.stderr, made.stderr
    _, *rows = map(json.loads, listed.read_text().splitlines())
    found = [(row['path'], row['seconds'], bool(row['error'])) for row in rows]
    assert found == [('a.mp4', 2, False), ('b.mp4', 0, True)]
    told = faceanon('report', listed, tmp_path, '--json')
    assert told.returncode == 1, told.stderr
    assert [(row['path'], row['state']) for row in json.loads(told.stdout)] == [('a.mp4', 'new'), ('b.mp4', 'new')]


def test_what_needs_torch_says_so(films, tmp_path):
    done = faceanon('anonymize', films/'a.mp4', '-o', tmp_path/'out.mp4')
    assert done.returncode == 3 and 'torch is not installed here' in done.stderr
    assert [*tmp_path.iterdir()] == []
