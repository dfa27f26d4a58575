"Everything comes from settings.ini, where nbdev keeps it."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(HERE/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
name = cfg['lib_name']
readme = HERE/'README.md'

setup(
    name=name,
    version=cfg['version'],
    description=cfg['description'],
    long_description=readme.read_text(encoding='utf-8') if readme.exists() else '',
    long_description_content_type='text/markdown',
    author=cfg['author'],
    author_email=cfg['author_email'],
    keywords=cfg['keywords'].split(),
    license='Apache-2.0',
    packages=find_packages(include=[name, f'{name}.*']),
    package_data={name: ['weights/*.safetensors', 'weights/*.onnx', 'weights/SHA256SUMS', 'weights/README.md',
                         'interactive/page/*']},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require={extra: cfg[f'{extra}_requirements'].split()
                    for extra in ('attack', 'train', 'ray', 'accelerate', 'dev')},
    entry_points={'console_scripts': cfg.get('console_scripts', '').split(), 'nbdev': [f'{name}={name}._modidx:d']},
    zip_safe=False,
)
