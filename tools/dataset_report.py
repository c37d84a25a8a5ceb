"""Reports what is in a data set, as training sees it: its parts, and which images cannot be used."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tensorflow as tf

from cyclegan_tf.data import inspection, sources, training_data
from cyclegan_tf.data.channels import can_become
from cyclegan_tf.errors import UserError
from cyclegan_tf.settings.training import Config


def report(config: Config) -> None:
    """Prints the report.

    Raises:
        UserError: training images are missing; or images cannot be used, and the message lists all of them.
    """
    print(f'{config.dataroot}, {config.dataset_mode}:', flush=True)
    cache_dir = inspection.choose_cache_dir(config.cache_dir, lambda line: print(f'  {line}'))
    lines, total = [], 0
    for phase in ('train', 'test'):
        parts = open_phase(config, phase)
        findings = {}
        for part, (source, _) in parts.items():
            findings[part] = inspection.inspect(source, config.num_threads, cache_dir)
        if len(parts) == 2 and next(iter(parts.values()))[0].pairing:
            geometry = training_data.make_geometry(config)
            checked = training_data.check_sizes_of_pairs(config, geometry, list(findings.values()))
            findings = dict(zip(findings, checked))
        for part, (source, channels) in parts.items():
            print(f'  {part:7} {inspection.describe(findings[part])}{halves(source)}', flush=True)
            flag = training_data.RANGE_FLAGS.get('AB'[config.domains.index(part[-1])] if part[-1] in 'AB' else 'A')
            for note in (*inspection.notes(source, findings[part], flag), *notes_on_sizes(config, findings[part])):
                print(f'  {"":7} {note}')
            lines += inspection.bad_images(source, findings[part])
            lines += misfits(source, findings[part], channels)
            total += len(source)
        if phase == 'train' and len(parts) == 2:
            (a, _), (b, _) = parts.values()
            print_duplicates(inspection.duplicates(a, findings['trainA'], b, findings['trainB']))
    if config.on_bad_image == 'skip':
        for line in lines:
            print(f'  Skipped: {line}')
        print(f'{total - len(lines)} of {total} images can be used.')
        return
    inspection.refuse(lines, total)
    print('All images can be used.' if total > 1 else 'The image can be used.')


def open_phase(config: Config, phase: str) -> dict[str, tuple[sources.Source, Sequence[int]]]:
    """The existing parts of a phase: 'trainA', ... (aligned: 'train') -> the images, and their channels in training.

    Raises:
        UserError: training images are missing.
    """
    channels = {domain: [count] for domain, count in zip(config.domains, config.channels.values())}
    try:
        opened = training_data.open_sources(config, phase, config.max_dataset_size)
    except UserError as error:
        if phase == 'train':
            raise
        print(f'  Some test images are missing: {error}')
        return open_domains_alone(config, phase, channels)
    if opened[0].half is not None:
        # Both halves are in the same files: checking them once is enough.
        return {phase: (opened[0], list(config.channels.values()))}
    by_domain = dict(zip(config.domains, opened))
    return {f'{phase}{domain}': (by_domain[domain], channels[domain]) for domain in 'AB'}


def open_domains_alone(config, phase, channels) -> dict[str, tuple[sources.Source, Sequence[int]]]:
    """The existing folders of a phase of which others are missing."""
    parts = {}
    for domain in 'AB' if config.dataset_mode != 'aligned' else '':
        folder = os.path.join(os.path.expanduser(config.dataroot), f'{phase}{domain}')
        if tf.io.gfile.isdir(folder):
            try:
                options = [training_data.read_options(config)[domain]]
                (source,) = sources.open_domains(folder, phase, 'single', config.max_dataset_size, options=options)
            except UserError:
                continue  # it holds no images, which open_phase's message says of the first such folder
            parts[f'{phase}{domain}'] = source, channels[domain]
    return parts


def halves(source: sources.Source) -> str:
    """What to add to the line of a part whose images hold both domains."""
    return '' if source.half is None else ' (each half: A is the left one, B the right)'


def notes_on_sizes(config: Config, findings: Sequence[inspection.Finding]) -> list[str]:
    """How many images are smaller than the crop, or than what the networks take."""
    geometry = training_data.make_geometry(config)
    headers = [finding.header for finding in findings if finding.problem is None]
    small = sum(geometry.enlarges(header.width, header.height) for header in headers)
    if not small:
        return []
    what = f'the crop ({geometry.crop_size})' if geometry.crops else f'what the networks take ({geometry.least})'
    return [f'{small} of them smaller than {what}, so they are enlarged']


def misfits(source: sources.Source, findings: Sequence[inspection.Finding], channels: Sequence[int]) -> list[str]:
    """One line for each image whose channels cannot be converted to what the networks take."""
    return [
        f'{source.label(i)}: it has {finding.header.channels} channels, which cannot be converted to {wanted}'
        for i, finding in enumerate(findings)
        if finding.problem is None
        for wanted in sorted(set(channels))
        if not can_become(finding.header.channels, wanted)
    ]


def print_duplicates(lines: Sequence[str]) -> None:
    """Prints which images are in both domains."""
    if lines:
        what = 'image is' if len(lines) == 1 else 'images are'
        print(f'  Warning: {len(lines)} {what} in trainA and in trainB, which teaches the networks to change nothing:')
        print('\n'.join(f'    {line}' for line in lines))
