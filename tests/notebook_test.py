"""docs/notebook.ipynb, run from its beginning to its end on a CPU."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent

pytestmark = pytest.mark.extras


def test_the_notebook_trains_resumes_translates_and_opens_the_page(tmp_path, image_folders):
    import nbclient
    import nbformat

    # In a copy, where results may be written.
    place = tmp_path / 'copy'
    (place / 'docs').mkdir(parents=True)
    for name in ('cyclegan_tf', 'flags', 'setup.py', 'tools'):
        (place / name).symlink_to(ROOT / name)
    notebook = nbformat.read(ROOT / 'docs' / 'notebook.ipynb', 4)
    nbformat.validate(notebook)
    cells = {cell.id: cell for cell in notebook.cells}
    assert not any(cell.get('outputs') for cell in notebook.cells)

    def after(id, code):
        notebook.cells.insert(notebook.cells.index(cells[id]) + 1, nbformat.v4.new_code_cell(code))

    small = '--netG=resnet_6blocks --ngf=4 --ndf=4 --load_size=36 --crop_size=32 --lambda_identity=0 --max_steps=2'
    after('settings', f'DATA, FLAGS, RESUMED_FLAGS, PORT = {str(image_folders)!r}, {small!r}, "--max_steps=3", 0')
    cells['page'].source = cells['page'].source.replace('page.stdout.readline()', '(line := page.stdout.readline())')
    after('page', 'import urllib.request\nassert urllib.request.urlopen(line.split()[1]).status == 200')
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name='python3', resources={'metadata': {'path': str(place / 'docs')}}
    ).execute()

    def said(id):
        return ''.join(output.get('text', '') for output in cells[id].outputs)

    for id, words in (
        ('demo-train', '0 done, up to step 2'),
        ('own-check', 'trainA'),
        ('own-train', '0 done, up to step 2'),
        ('resume', '2 done, up to step 3'),
    ):
        assert words in said(id), said(id)
    assert re.search(r'Open http://127.0.0.1:\d+/ in a browser', said('page'))
    assert (place / 'results' / 'mine' / 'test_latest' / 'index.html').exists()
    for id in ('demo-translate', 'own-translate'):
        assert sum('image/png' in output.get('data', {}) for output in cells[id].outputs) == 2
