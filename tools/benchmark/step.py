"""The training step in this process, run as by the training program, on images that are always the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from benchmark.common import images
from cyclegan_tf.data.pipeline import untuned
from cyclegan_tf.distribution.devices import Devices, open_devices, set_graph_optimizer
from cyclegan_tf.models import MODELS
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.settings.training import Config
from cyclegan_tf.training.inner_loop import compile_steps


def open_model(config: Config) -> tuple[Devices, BaseModel]:
    """Devices and model, after setting TensorFlow up as cyclegan_tf.train and its Trainer do; call it before others.

    With jit_compile=auto, nothing is compiled, not even on GPUs.
    """
    devices = open_devices(None, config.strategy, config.batch_size, config.num_devices, config.virtual_devices)
    if config.deterministic == 'true' or (config.deterministic == 'auto' and devices.kind == 'CPU'):
        tf.config.experimental.enable_op_determinism()
    set_graph_optimizer(devices.kind)
    with devices.strategy.scope():
        model = MODELS[config.model](config, jit_compile=config.jit_compile == 'true')
    return devices, model


def open_step(config: Config) -> Callable[[], Any]:
    """A function that does one step, in a process that has not used TensorFlow yet."""
    return make_step(*open_model(config), config)


def make_step(devices: Devices, model: BaseModel, config: Config) -> Callable[[], Any]:
    """A function that does one step, through the training program's loop."""
    stream = untuned(tf.data.Dataset.from_tensors(tuple(map(tf.constant, images(config)))).repeat())
    iterator, run_steps, once = iter(devices.distribute(stream)), compile_steps(model, devices.strategy), tf.constant(1)

    def step() -> None:
        metrics, _ = run_steps(iterator, once)
        metrics.numpy()  # waits for the step

    return step
