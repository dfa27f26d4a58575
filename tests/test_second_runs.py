"A finished folder, an edited list, a result in work, a reader who went away: what a second look must find."
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import bright, no_traceback, picture, place, tree, typed, video  # noqa: F401 (a fixture)

from faceanon import atomic, cli
from faceanon.atomic import only_writer


def test_existing_results_are_skipped_counted_and_left_alone(place):  # noqa: F811
    for name in ('a.png', 'x/b.png'): picture(place/'in'/name)
    video(place/'in/c.mp4')
    assert typed('in', '-o', 'out').exit_code == 0
    (place/'out/x/b.png').unlink()
    before = {name: (place/'out'/name).stat() for name in ('a.png', 'c.mp4')}
    result = no_traceback(typed('in', '-o', 'out', '--skip-existing'))
    assert result.exit_code == 0 and 'skipped 2: their results exist' in result.output
    assert result.output.count('done ') == 1 and bright(place/'out/x/b.png') == [0]
    assert {name: (place/'out'/name).stat() for name in before} == before
    found = json.loads(typed('in', '-o', 'out', '--skip-existing', '--json', '--quiet').stdout)
    assert [found[key] for key in ('done', 'failed', 'skipped')] == [0, 0, 3]
    assert typed('in', '-o', 'out').exit_code == 1
    assert typed('in', '-o', 'out', '--skip-existing', '--overwrite').exit_code == 2


def test_an_edited_list_is_not_overwritten_unless_asked(place):  # noqa: F811
    video(place/'a.mp4')
    assert typed('a.mp4', '-o', 'o.mp4').exit_code == 0
    listed = place/'o.mp4.faces.jsonl'
    machine = listed.read_bytes()
    (place/'o.mp4').unlink()
    assert typed('a.mp4', '-o', 'o.mp4').exit_code == 0 and listed.read_bytes() == machine, "nobody has edited it"
    (place/'o.mp4').unlink()
    edited = machine.replace(b'"keep": false', b'"keep": true')
    assert edited != machine
    listed.write_bytes(edited)
    result = no_traceback(typed('a.mp4', '-o', 'o.mp4'))
    assert result.exit_code == 1 and 'may have been edited' in result.output
    assert listed.read_bytes() == edited and not (place/'o.mp4').exists()
    assert typed('a.mp4', '-o', 'o.mp4', '--overwrite').exit_code == 0
    assert bright(place/'o.mp4') == [0]*12 and listed.read_bytes() == machine


def test_a_choice_from_a_list_replaces_no_edited_list(place):  # noqa: F811
    video(place/'a.mp4')
    assert typed('a.mp4', '-o', 'first.mp4').exit_code == 0
    choose = ('a.mp4', '-o', 'o.mp4', '--faces', 'first.mp4.faces.jsonl', '--roi', '0,0,96,80')
    assert typed(*choose).exit_code == 0
    (place/'o.mp4').unlink()
    assert typed(*choose).exit_code == 0, "the list beside it is the machine's own"
    (place/'o.mp4').unlink()
    own = place/'o.mp4.faces.jsonl'
    own.write_bytes(edited := own.read_bytes().replace(b'"keep": false', b'"keep": true', 1))
    assert typed(*choose).exit_code == 1 and own.read_bytes() == edited and not (place/'o.mp4').exists()


@pytest.mark.parametrize('name', ['a.png', 'b.mp4'])
def test_a_second_run_on_a_result_in_work_is_refused(place, name):  # noqa: F811
    picture(place/'a.png') if name == 'a.png' else video(place/name)
    out = place/'out'/name
    out.parent.mkdir()
    with only_writer(out):
        for more in ((), ('--overwrite',), ('--skip-existing',)):
            result = no_traceback(typed(name, '-o', 'out', *more))
            assert result.exit_code == 1 and 'another run is writing it' in result.output
    assert list(out.parent.iterdir()) == []
    assert typed(name, '-o', 'out').exit_code == 0 and set(bright(out)) == {0}


class GoneReader(io.TextIOWrapper):
    "A pipe whose reader went away."
    def __init__(self): super().__init__(io.BytesIO())
    def write(self, text): raise BrokenPipeError(32, 'Broken pipe')
    def flush(self): raise BrokenPipeError(32, 'Broken pipe')


@pytest.mark.parametrize('stream', ['stdout', 'stderr'])
@pytest.mark.parametrize('how', [None, GoneReader])
def test_closed_streams_are_no_failure_of_a_film(place, monkeypatch, stream, how):  # noqa: F811
    video(place/'a.mp4'), picture(place/'b.png')
    monkeypatch.setattr(sys, stream, how and how())
    with pytest.raises(SystemExit) as end: cli.app(['anonymize', 'a.mp4', 'b.png', '-o', 'out', '--json'])
    assert end.value.code in (0, None)
    assert bright(place/'out/a.mp4') == [0]*12 and bright(place/'out/b.png') == [0]


@pytest.mark.parametrize('closed', ['2>&-', '>&- 2>&-', '<&- >&- 2>&-'])
def test_nothing_is_written_into_a_film_in_place_of_a_closed_stream(place, closed):  # noqa: F811
    "A process whose standard error is closed gives its number to the next file that it opens."
    code = ("import os; from faceanon import cli; cli._fill_standard_streams(); file = open('film', 'wb'); "
            "os.write(2, b'message'); open('number', 'w').write(str(file.fileno()))")
    env = os.environ | dict(PYTHONPATH=str(Path(atomic.__file__).parents[1]))
    subprocess.run(f'"{sys.executable}" -c "{code}" {closed}', shell=True, env=env)
    assert (place/'film').read_bytes() == b''
    assert int((place/'number').read_text()) > 2
