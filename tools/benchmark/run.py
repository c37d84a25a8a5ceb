"""A run for benchmarks, with initial weights, and photographs for it."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from cyclegan_tf.data import demo
from cyclegan_tf.models import MODELS
from cyclegan_tf.models.base import BaseModel
from cyclegan_tf.runs import checkpoint_store
from cyclegan_tf.settings.run_flags import save_config
from cyclegan_tf.settings.training import Config


def make_run(config: Config, checkpoints_dir: pathlib.Path) -> BaseModel:
    """Makes the run's directory, with a checkpoint of only the generators; returns the model.

    Initial weights are as fast as trained ones.
    """
    directory = checkpoints_dir / config.name
    directory.mkdir(parents=True)
    save_config(config, directory)
    model = MODELS[config.model](config, training=False)
    checkpoint_store.Checkpoints(directory, model, tf.Module(), keep=1).save_latest(0)
    return model


def picture(side: int) -> np.ndarray:
    """A photograph, uint8 [side, side, 3]."""
    return np.asarray(Image.fromarray(demo.regions('test', 'A')['chelsea']).resize((side, side)))
