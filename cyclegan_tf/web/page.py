"""The page in the browser, made of Gradio's components: a picture is dropped, and shown beside its translation."""

from __future__ import annotations

import collections
import contextlib
import os
import pathlib
import shutil
import tempfile
import time
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, Optional, Union

# No figures about the use of the page are sent to anybody; Gradio reads this when it is imported.
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'

import gradio as gr  # noqa: E402
from PIL import Image  # noqa: E402

from cyclegan_tf.errors import UserError  # noqa: E402
from cyclegan_tf.runtime import console  # noqa: E402
from cyclegan_tf.settings.app import AppConfig  # noqa: E402
from cyclegan_tf.settings.training import Config  # noqa: E402
from cyclegan_tf.web import pictures, videos  # noqa: E402
from cyclegan_tf.web.models import Exported, Loaded, Runs  # noqa: E402
from cyclegan_tf.web.progress import Progress  # noqa: E402

_CSS = pathlib.Path(__file__).with_name('page.css')
_FONTS = {'font': ['system-ui', 'sans-serif'], 'font_mono': ['ui-monospace', 'monospace']}  # none from another host
_HEIGHT = 420  # of pictures, in pixels
_OF_BROWSERS = ('.png', '.jpg', '.jpeg', '.webp', '.gif', '.bmp')
_PROGRESS = gr.Progress()
_EXAMPLES = 'Or choose one from the test set:'
_KEPT = 3600  # seconds for which uploads and results are kept at least


class Page:
    """The page and what happens on it.

    Args:
        models: the models that it offers.
        settings: of the program.
        folder: for results and examples; in it, Gradio gets a folder of its own, where it keeps what browsers upload
            and download.
    """

    def __init__(self, models: Union[Runs, Exported], settings: AppConfig, folder: pathlib.Path):
        self._models, self._settings, self._folder = models, settings, folder
        os.environ['GRADIO_TEMP_DIR'] = str(folder / 'gradio')
        self._examples: dict[str, pictures.Examples] = {}
        self._originals: dict[str, str] = {}  # of pictures that stand in for others, by their names

    def build(self) -> gr.Blocks:
        """The page's components and events."""
        first = self._settings.name or self._models.names[0]
        with gr.Blocks(title='cyclegan_tf', analytics_enabled=False, delete_cache=(_KEPT, _KEPT)) as page:
            with gr.Row():
                name = gr.Dropdown(self._models.names, value=first, label='Model', filterable=False, elem_id='model')
                # As choose(first) has them: the page can be used before it has asked.
                of_direction, of_epoch, of_weights = self._choices(first)
                direction = gr.Radio(label='Direction', elem_id='direction', **of_direction)
                epoch = gr.Dropdown(label='Checkpoint', filterable=False, elem_id='checkpoint', **of_epoch)
                weights = gr.Radio(label='Weights', elem_id='weights', **of_weights)
            with gr.Tab('One picture'):
                with gr.Row(equal_height=True):
                    image = gr.Image(
                        label='Drop, paste or photograph a picture',
                        type='filepath',
                        sources=['upload', 'clipboard', 'webcam'],
                        height=_HEIGHT,
                        min_width=300,
                        elem_id='picture',
                    )
                    # The file goes to our own code as it was uploaded: Gradio would open it first, take its depth away,
                    # and show no reason for one that it cannot open.
                    image.preprocess = lambda payload: payload and self._uploaded(payload.path)
                    _take_no_urls(image)
                    slider = gr.ImageSlider(
                        show_label=False,
                        interactive=False,
                        height=_HEIGHT,
                        max_height=_HEIGHT,
                        min_width=300,
                        buttons=['fullscreen'],
                        elem_id='slider',
                    )
                download = gr.DownloadButton('Download in full size and depth', interactive=False, elem_id='download')
                heading = gr.Markdown(_EXAMPLES, elem_id='heading')
                examples = gr.Gallery(
                    show_label=False,
                    interactive=False,
                    allow_preview=False,
                    columns=6,
                    object_fit='contain',
                    buttons=[],
                    elem_id='examples',
                )
            with gr.Tab('Several pictures'):
                several = gr.File(
                    label='Drop pictures', file_count='multiple', type='filepath', height=160, elem_id='several'
                )
                _take_no_urls(several)
                start = gr.Button('Translate', variant='primary', elem_id='start')
                problems = gr.Markdown(elem_id='problems')
                gallery = gr.Gallery(
                    label='Translations',
                    interactive=False,
                    columns=4,
                    object_fit='contain',
                    buttons=['fullscreen'],
                    elem_id='translations',
                )
                archive = gr.DownloadButton('Download all in full size and depth', interactive=False, elem_id='archive')
            with gr.Tab('A video'):
                with gr.Row(equal_height=True):
                    video = gr.Video(
                        label='Drop a video', sources=['upload'], height=_HEIGHT, min_width=300, elem_id='video'
                    )
                    video.preprocess = image.preprocess
                    _take_no_urls(video)
                    moved = gr.Video(
                        label='Translation',
                        interactive=False,
                        height=_HEIGHT,
                        min_width=300,
                        buttons=[],
                        elem_id='translated_video',
                    )
                start_video = gr.Button('Translate', variant='primary', elem_id='start_video')
                film = gr.DownloadButton('Download', interactive=False, elem_id='download_video')
                gaps = gr.Markdown(elem_id='video_problems')
            measures = gr.Markdown(elem_id='measures')
            with gr.Accordion('Settings of the model', open=False):
                about = gr.Markdown(elem_id='about')

            chosen = [name, direction, epoch, weights]
            one_at_a_time = {'concurrency_limit': 1, 'concurrency_id': 'translate'}
            choose = {'fn': self.choose, 'inputs': name, 'outputs': chosen[1:]}
            look = {'fn': self.look, 'inputs': chosen, 'outputs': [heading, examples, measures, about]}
            translate = {
                'fn': self.translate,
                'inputs': [image, *chosen],
                'outputs': [image, slider, download],
                'show_progress_on': slider,
                **one_at_a_time,
            }
            # What was there before is taken away first: it may not be what is chosen if something goes wrong.
            clear = {'fn': self.clear, 'outputs': [slider, download]}
            clear_all = {'fn': lambda: (*self.clear(), '', ''), 'outputs': [slider, download, measures, about]}
            page.load(lambda: gr.Dropdown(self._models.names), None, name).then(**choose).success(**look)
            name.input(**clear_all).then(**choose).success(**look).success(**translate)
            direction.input(**clear_all).then(**look).success(**translate)
            epoch.input(**clear_all).then(**look).success(**translate)
            weights.input(**clear).then(**translate)
            image.input(**clear).then(**translate)  # also where it is taken away
            examples.select(self.take_example, [name, direction], image).success(**clear).then(**translate)
            clear_video = {'fn': lambda: (*self.clear(), ''), 'outputs': [moved, film, gaps]}
            gr.on([video.input, *(one.input for one in chosen)], **clear_video)
            start_video.click(**clear_video).then(
                self.translate_video,
                [video, *chosen],
                [moved, film, gaps],
                show_progress_on=moved,
                **one_at_a_time,
            )
            start.click(
                self.translate_all,
                [several, *chosen],
                [gallery, archive, problems],
                show_progress_on=gallery,
                **one_at_a_time,
            )
        return page

    # --------------------------------------------------------------------------------------------------------- choices
    def choose(self, name: str) -> tuple[Any, ...]:
        """What can be chosen for a model: directions, checkpoints, weights; what there is no choice of is not shown."""
        with sentences():
            directions, epochs, weights = self._choices(name)
        return gr.Radio(**directions), gr.Dropdown(**epochs), gr.Radio(**weights)

    def _choices(self, name: str) -> list[dict[str, Any]]:
        directions, weights = self._models.directions(name), self._models.weights(name)
        in_words = [
            [(_direction_in_words(one), one) for one in directions],
            self._models.checkpoints(name),
            [({'average': 'running mean', 'last': 'last step'}[one], one) for one in weights],
        ]
        first = [words[0][1] if isinstance(words[0], tuple) else words[0] for words in in_words]
        return [{'choices': words, 'value': value, 'visible': len(words) > 1} for words, value in zip(in_words, first)]

    def look(self, name: str, direction: str, epoch: str, weights: str) -> tuple[Any, ...]:
        """The examples of a model with the line above them, its measures, and its settings."""
        with sentences():
            config = self._models.config(name)
            examples = None if config is None else self._examples_of(name, config)
            thumbnails = [] if examples is None else examples.thumbnails(direction[0])
            problem = None if examples is None else examples.problem(direction[0])
            found, settings = self._models.about(name, epoch, direction)
        measures = ' · '.join(f'{what} **{value}**' for what, value in found)
        if config is not None and not found:
            measures = f'`python -m cyclegan_tf.evaluate --name={name}` measures how good its translations are.'
        shown = bool(thumbnails)
        heading = f'There are no examples: {problem}' if problem else _EXAMPLES
        return (
            gr.Markdown(heading, visible=bool(shown or problem)),
            gr.Gallery(thumbnails, visible=shown),
            measures,
            _table('Setting', settings),
        )

    def take_example(self, name: str, direction: str, event: gr.SelectData) -> str:
        """The file of an example that was chosen."""
        with sentences():
            examples = self._examples_of(name, self._models.config(name))
            return str(examples.file(direction[0], event.index, self._new_folder()))

    def _examples_of(self, name: str, config: Config) -> pictures.Examples:
        # A run may have been made anew under its name.
        if name not in self._examples or self._examples[name].config != config:
            self._examples[name] = pictures.Examples(config, self._settings.num_examples)
        return self._examples[name]

    # ----------------------------------------------------------------------------------------------------- translation
    def translate(
        self, path: Optional[str], name: str, direction: str, epoch: str, weights: str, progress=_PROGRESS
    ) -> tuple[Any, ...]:
        """The picture in a form that browsers show, before and after for the slider, and the file to download."""
        if path is None:
            return gr.skip(), *self.clear()
        path = self._originals.get(pathlib.Path(path).name, path)
        with sentences(), console.listening(Progress(progress).tell):
            loaded = self._load(name, epoch, weights, progress)
            before = pictures.preview(path, loaded.options(direction))
            result = pictures.translate(loaded, path, direction, self._new_folder())
            after = pictures.preview(result, loaded.result_options(direction))
        folder = self._new_folder()
        files = [str(pictures.save(*one)) for one in ((before, folder / 'before'), (after, folder / 'after'))]
        shown = gr.skip() if path.lower().endswith(_OF_BROWSERS) else self._stand_in(path, before)
        return shown, tuple(files), gr.DownloadButton(value=str(result), interactive=True)

    @staticmethod
    def clear() -> tuple[None, Any]:
        """Takes away what was translated before."""
        return None, gr.DownloadButton(value=None, interactive=False)

    def _uploaded(self, path: str) -> str:
        """A path that a browser named, if a file was uploaded there: it could name any file of this machine."""
        found, uploads = os.path.realpath(path), os.path.realpath(os.environ['GRADIO_TEMP_DIR'])
        if not (found.startswith(uploads + os.sep) and os.path.isfile(found)):
            raise gr.Error(pictures.GONE, duration=None, print_exception=False)
        return path

    def _stand_in(self, path: str, picture: Image.Image) -> str:
        """A file that is shown instead of another one, which browsers cannot show."""
        file = pictures.save(picture, self._new_folder() / str(uuid.uuid4()))
        self._originals[file.name] = path
        return str(file)

    def translate_all(
        self,
        paths: Optional[Sequence[str]],
        name: str,
        direction: str,
        epoch: str,
        weights: str,
        progress=_PROGRESS,
    ) -> tuple[Any, Any, str]:
        """Translations of several pictures, an archive of them, and a line for each that could not be translated."""
        if not paths:
            raise gr.Error('Drop pictures first.', print_exception=False)
        shown, results, problems = [], [], []
        with sentences():
            loaded = self._load(name, epoch, weights, progress)
        folder, told = self._new_folder(), Progress(progress)
        for number, path in enumerate(paths):
            told.tell('pictures', number, len(paths))
            try:
                # In a folder of its own, since files of several folders may have the same name.
                with console.listening(told.tell):
                    result = pictures.translate(loaded, path, direction, folder / str(number))
                picture = pictures.preview(result, loaded.result_options(direction))
            except UserError as error:
                problems.append(f'- {error}')
                continue
            # Files, of which any number has room, and not pictures in memory.
            shown.append((str(pictures.save(picture, folder / str(number) / 'preview')), result.name))
            results.append(result)
        archive = folder / 'translations.zip'
        with zipfile.ZipFile(archive, 'w', zipfile.ZIP_STORED) as target:  # the pictures are compressed already
            for result, inner in zip(results, _unlike([result.name for result in results])):
                target.write(result, inner)
        return shown, gr.DownloadButton(value=str(archive), interactive=bool(results)), '\n'.join(problems)

    def translate_video(
        self, path: Optional[str], name: str, direction: str, epoch: str, weights: str, progress=_PROGRESS
    ) -> tuple[Any, Any, str]:
        """A video's translation, to be shown and to download, and a line for each problem."""
        if path is None:
            raise gr.Error('Drop a video first.', print_exception=False)
        with sentences(), console.listening(Progress(progress).tell):
            loaded = self._load(name, epoch, weights, progress)
            result, problems = videos.translate(loaded, path, direction, self._new_folder(), self._settings)
        return (
            str(result),
            gr.DownloadButton(value=str(result), interactive=True),
            '\n'.join(f'- {line}' for line in problems),
        )

    def _load(self, name: str, epoch: str, weights: str, progress: gr.Progress) -> Loaded:
        progress(0, desc='Loading the model')
        return self._models.load(name, epoch, weights)

    def _new_folder(self) -> pathlib.Path:
        """A folder for results; those of an hour ago are deleted, as Gradio deletes its copies."""
        for old in self._folder.glob('results_*'):
            with contextlib.suppress(FileNotFoundError):  # another thread may have deleted it
                if time.time() - old.stat().st_mtime > _KEPT:
                    shutil.rmtree(old, ignore_errors=True)
        for name in [name for name, path in self._originals.items() if not os.path.exists(path)]:
            self._originals.pop(name, None)
        return pathlib.Path(tempfile.mkdtemp(prefix='results_', dir=self._folder))


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """A context in which an error that the user can correct becomes a sentence on the page."""
    try:
        yield
    except UserError as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from error


def launch(page: gr.Blocks, settings: AppConfig) -> tuple[str, gr.Blocks]:
    """Serves the page until it is closed; returns its address.

    Raises:
        UserError: the port is taken, or there is no such address.
    """
    page.queue(default_concurrency_limit=4)
    # Gradio asks its own page whether it is there, which is not for a proxy.
    for variable in ('NO_PROXY', 'no_proxy'):
        others = os.environ.get(variable)
        os.environ[variable] = ','.join(filter(None, [others, '127.0.0.1', 'localhost', settings.address]))
    try:
        _, address, _ = page.launch(
            server_name=settings.address,
            server_port=settings.port or _free_port(settings.address),
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            show_error=True,
            max_file_size=f'{settings.max_upload_mb}mb',
            footer_links=[],
            ssr_mode=False,
            enable_monitoring=False,
            theme=gr.themes.Default(**_FONTS),
            css_paths=_CSS,
        )
    except OSError as error:
        raise UserError(
            f"`port` ({settings.port}) at `address` ('{settings.address}') cannot be used ({error}); set --port=0 for "
            f'any that is free.'
        ) from error
    return address, page


def _free_port(address: str) -> int:
    import socket

    with socket.create_server((address, 0)) as server:
        return server.getsockname()[1]


def _direction_in_words(direction: str) -> str:
    return direction.replace('to', ' to ') if direction in ('AtoB', 'BtoA') else direction


def _table(heading: str, rows: Sequence[tuple[str, str]]) -> str:
    lines = [f'| {what} | `{value}` |' for what, value in rows]
    return '\n'.join([f'| {heading} | |', '|---|---|', *lines]) if lines else ''


def _take_no_urls(component: gr.components.Component) -> None:
    """Refuses addresses in place of files: Gradio would fetch them from other hosts."""
    move = component.async_move_resource_to_block_cache

    async def move_files(path):
        if path is not None and '://' in str(path):
            raise gr.Error('Upload the file itself.', print_exception=False)
        return await move(path)

    component.async_move_resource_to_block_cache = move_files


def _unlike(names: Sequence[str]) -> list[str]:
    """The names, numbered where they are equal, or would be on systems that do not tell upper from lower case."""
    found, taken, numbers = [], set(), collections.Counter()
    for name in names:
        stem, ending = os.path.splitext(name)
        while name.lower() in taken:
            numbers[stem] += 1
            name = f'{stem}_{numbers[stem] + 1}{ending}'
        taken.add(name.lower())
        found.append(name)
    return found
