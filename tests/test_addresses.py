"A film by address is a film, with times and sound; what has no end is live; a server that is silent is given up."
import socket
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner
from test_containers import check_in_step, draw_beep
from test_stream_changes import SEEN, av, bright, brightest

from faceanon.cli import app
from faceanon.video import camera, temporary_films
from faceanon.video.inputs import plan_jobs
from faceanon.video.temporary_films import downloaded_film


@pytest.fixture(autouse=True)
def finder(monkeypatch): monkeypatch.setattr('faceanon.video.commands.detector_from_option', lambda *_: bright)


@contextmanager
def served(answer):
    "A server that answers every request in one way, and what it was asked."
    asked = []
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, dict(self.headers)))
            answer(self)
        def log_message(self, *_): pass
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}', asked
        server.shutdown()


def sends(data, length=None, status=200, **headers):
    def answer(handler):
        handler.send_response(status)
        handler.send_header('Content-Length', str(len(data) if length is None else length))
        for name, value in headers.items(): handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)
    return answer


def run(*words): return CliRunner().invoke(app, ['anonymize', *map(str, words)])


@pytest.mark.parametrize('name', ['film.mp4', 'watch?id=7'])
def test_a_film_by_address_keeps_its_times_and_sound(tmp_path, monkeypatch, name):
    film = draw_beep(tmp_path/'in.mp4', 'libx264', 'aac')
    (tmp_path/'away').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path/'away'))  # other processes use the common one
    with served(sends(film.read_bytes())) as (place, asked):
        done = run(f'{place}/{name}', '-o', tmp_path/'out.mp4')
    assert done.exit_code == 0, done.output
    assert [path for path, _ in asked] == [f'/{name}'] and f'done {place}/{name}' in done.output
    assert brightest(film) > 230 and brightest(tmp_path/'out.mp4') < SEEN
    check_in_step(tmp_path/'out.mp4')
    with av.open(str(film)) as old, av.open(str(tmp_path/'out.mp4')) as new:
        assert [bytes(p) for p in old.demux(audio=0)] == [bytes(p) for p in new.demux(audio=0)]
    assert not any((tmp_path/'away').iterdir())


def test_a_name_and_a_password_are_sent_as_servers_expect(tmp_path):
    film = draw_beep(tmp_path/'in.mp4', 'libx264', 'aac')
    with served(sends(film.read_bytes())) as (place, asked):
        with downloaded_film(place.replace('//', '//me:a%40b@') + '/a.mp4') as path:
            assert path.read_bytes() == film.read_bytes()
        assert not path.exists()
    assert asked[0][1]['Authorization'] == 'Basic bWU6YUBi'


def moved_to(target): return sends(b'', status=302, Location=target)


@pytest.mark.parametrize('answer, words', [
    (sends(b'', status=404), '404'), (sends(b'', status=500), '500'), (moved_to('file:///etc/hostname'), 'file'),
    (moved_to('ftp://127.0.0.1/a.mp4'), 'ftp')])
def test_an_address_that_gives_no_film_is_an_error_in_one_line(tmp_path, answer, words):
    with served(answer) as (place, _): done = run(f'{place}/a.mp4', '-o', tmp_path/'out.mp4')
    assert done.exit_code == 1 and words in done.output and 'Traceback' not in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('length, most, words', [(1 << 50, 1 << 60, 'there is room for'),
                                                 (None, 100, 'there is room for'),
                                                 (1000, 1 << 60, 'ended after|more bytes expected')])
def test_a_film_that_does_not_fit_or_ends_early_is_refused(tmp_path, monkeypatch, length, most, words):
    data = draw_beep(tmp_path/'in.mp4', 'libx264', 'aac').read_bytes()
    monkeypatch.setattr(temporary_films, '_MOST_BYTES', most)
    data = data[:500] if length == 1000 else data
    with served(sends(data, length)) as (place, _), pytest.raises(ValueError, match=words):
        with downloaded_film(f'{place}/a.mp4'): pass


def test_what_is_no_film_of_known_length_is_live(monkeypatch, tmp_path):
    recorded = []
    def record(source, *_):
        recorded.append(source)
        return dict(frames=3, faces=3, doubts=0)
    monkeypatch.setattr('faceanon.video.commands.record_camera', record)
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b'\xff\xd8\xff')
    for answer in (sends(b'#EXTM3U\n'), endless):
        with served(answer) as (place, _): assert run(f'{place}/live', '-o', tmp_path/'out.mp4').exit_code == 0
        assert recorded.pop() == f'{place}/live'


@contextmanager
def silent():
    "A server that takes calls and never answers."
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        yield server.getsockname()[1], server


@pytest.mark.parametrize('scheme', ['http', 'rtsp', 'rtmp'])
def test_a_server_that_is_silent_is_given_up(tmp_path, monkeypatch, scheme):
    monkeypatch.setattr(temporary_films, '_ANSWER_SECONDS', .3)
    monkeypatch.setattr(camera, '_SILENT_MILLISECONDS', 300)
    with silent() as (port, server):
        done = run(f'{scheme}://127.0.0.1:{port}/a', '-o', tmp_path/'out.mp4')
        server.settimeout(20)
        server.accept()[0].close()  # it was called
    assert done.exit_code == 1 and ('timed out' in done.output or 'gives no picture' in done.output)
    assert list(tmp_path.iterdir()) == []


def test_other_schemes_are_no_addresses(tmp_path):
    for source in ('file:///etc/hostname', 'concat://a', 'data://x', 'subfile://a', 'pipe://0', 'gopher://a/b'):
        jobs, faults = plan_jobs((source,), str(tmp_path/'out.mp4'), None)
        assert jobs == [] and 'no such file' in faults[0]['error']
