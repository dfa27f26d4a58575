"""onnxruntime-web for the page that plays: from the npm registry, pinned with its hash, by `make docs` only.

Without npm or without a network it says what is missing, and the site is built without live networks.
"""
import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE, VERSION = 'onnxruntime-web', '1.30.0'
# As the registry gives it for this version: SHA-512 of the archive.
INTEGRITY = 'q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=='
WANTED = ('ort.wasm.bundle.min.mjs', 'ort-wasm-simd-threaded.wasm')
RUNTIME = Path(__file__).resolve().parents[1]/'build'/f'{PACKAGE}-{VERSION}'


def complete(): return all((RUNTIME/name).is_file() for name in WANTED)


def unpack(archive, to):
    "The wanted files of an archive that is what was pinned, moved into place when all are there."
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY: raise ValueError(f"{archive.name} has SHA-512 {found}, pinned is {INTEGRITY}")
    aside = to.with_name(to.name + '.part')
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for name in WANTED: (aside/name).write_bytes(tar.extractfile(f'package/dist/{name}').read())
    shutil.rmtree(to, ignore_errors=True)
    aside.rename(to)


def fetch():
    "Why there is no runtime, or an empty text."
    if complete(): return ''
    npm = shutil.which('npm')
    if npm is None: return 'npm is not installed'
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, 'pack', f'{PACKAGE}@{VERSION}', '--silent', '--pack-destination', folder]
        done = subprocess.run(command, capture_output=True, text=True)
        archives = [*Path(folder).glob('*.tgz')]
        if done.returncode or not archives: return f'npm gave no {PACKAGE} {VERSION}: {done.stderr.strip()[-300:]}'
        unpack(archives[0], RUNTIME)
    return ''


if __name__ == '__main__':
    if why := fetch():
        print(f'== {why}: play/faceanon_play.html gets no live networks, all else is complete', file=sys.stderr)
