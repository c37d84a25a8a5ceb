"""The devices of a run, of this machine alone or also of others, and one strategy over all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf
from tensorflow.python.distribute import collective_all_reduce_strategy as collective

from cyclegan_tf.distribution.cluster import Cluster
from cyclegan_tf.errors import UserError
from cyclegan_tf.runtime import allocator


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices that train together.

    Attributes:
        strategy: the strategy over all devices of all workers.
        kind: 'GPU' or 'CPU'.
        cluster: the cluster in which this process is a worker; None if it trains alone.
    """

    strategy: tf.distribute.Strategy
    kind: str
    cluster: Optional[Cluster] = None

    @property
    def replicas(self) -> int:
        """The number of devices of all workers."""
        return self.strategy.num_replicas_in_sync

    @property
    def local_replicas(self) -> int:
        """The number of devices of this worker, which is the same for every worker."""
        return self.replicas // self.workers

    @property
    def workers(self) -> int:
        """The number of processes that train together."""
        return self.cluster.workers if self.cluster else 1

    @property
    def worker(self) -> int:
        """This process's index among them."""
        return self.cluster.worker if self.cluster else 0

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.worker == 0

    def exchange(self, values: Sequence[int]) -> np.ndarray:
        """Sends the values of each worker to all workers; waits until all of them have called it.

        Args:
            values: integers, equally many on every worker.

        Returns:
            int64 [workers, values].
        """
        table = np.zeros([self.workers, len(values)], np.int64)
        table[self.worker] = values
        if self.workers == 1:
            return table
        return self._add(tf.constant(table)).numpy() // self.local_replicas  # each replica has added its worker's

    def part(self) -> None:
        """Waits until all workers have called it; after that, each may end on its own."""
        self.exchange([0])
        # A worker whose exchange is complete may end before its answer has reached the others, whose exchange then
        # fails. So there are two: in the second one, a worker that is gone has had all answers to the first.
        with contextlib.suppress(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError):
            self.exchange([0])

    @functools.cached_property
    def _add(self):
        # Cached: TensorFlow would trace a new function, and give its reduction a new number, on every call.
        @tf.function
        def add(values):
            return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(tf.identity, (values,)), None)

        return add

    def distribute(self, stream: tf.data.Dataset) -> Iterable:
        """Distributes this worker's share of each batch to its replicas.

        Args:
            stream: endless, of (real_a, real_b), [batch / workers, h, w, c].

        Returns:
            An iterable of what `strategy.run` takes.
        """
        count = self.local_replicas
        if count == 1 and self.kind == 'CPU':
            # The images are where they have to be. The strategy's own data set would copy ahead to the device, and it
            # tunes itself, which cannot be turned off (see pipeline.untuned).
            return stream

        def split(x):
            return tf.reshape(x, [count, x.shape[0] // count, *x.shape[1:]])

        if count > 1:
            stream = stream.map(lambda a, b: (split(a), split(b))).unbatch()
        # If the stream could end, the workers would ask each other before every step whether it has ended.
        stream = stream.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return self.strategy.distribute_datasets_from_function(lambda context: stream)

    def describe(self) -> str:
        """In words: '2 x CPU', '2 workers of 4 x GPU'."""
        local = f'{self.local_replicas} x {self.kind}'
        return local if self.workers == 1 else f'{self.workers} workers of {local}'


def open_devices(
    cluster: Optional[Cluster], strategy: str, batch_size: int, num_devices: int = 0, virtual_devices: int = 0
) -> Devices:
    """Opens the devices; in a cluster it waits for all workers. Call it before any other part of TensorFlow is used.

    Args:
        cluster: the cluster in which this process is a worker; None if it trains alone.
        strategy: 'one_device', or any other name for several devices.
        batch_size: images of all devices in a step, without accumulation.
        num_devices: number of devices of this machine; 0: all.
        virtual_devices: number of devices into which the CPU is split; 0: it is not split.

    Raises:
        UserError: there are fewer devices than num_devices, or they do not fit the strategy or the batch.
    """
    if virtual_devices:
        cpu = tf.config.list_physical_devices('CPU')[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * virtual_devices
        tf.config.set_logical_device_configuration(cpu, parts)
        tf.config.set_visible_devices([], 'GPU')  # virtual devices are meant for machines without several GPUs
    gpus = tf.config.get_visible_devices('GPU')
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    kind = 'GPU' if gpus else 'CPU'
    if kind == 'CPU':
        allocator.share_arenas()
    available = len(gpus) or virtual_devices or 1
    count = _count(strategy, num_devices, available, kind)
    _check_batch(batch_size, count, cluster.workers if cluster else 1)
    if cluster is None or cluster.workers == 1:
        # MirroredStrategy would read TF_CONFIG again, without use for it, and fail on an empty one.
        os.environ.pop('TF_CONFIG', None)
        names = [f'/{kind.lower()}:{i}' for i in range(count)]
        return Devices(tf.distribute.MirroredStrategy(names), kind)
    if gpus:
        tf.config.set_visible_devices(gpus[:count], 'GPU')
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({job: list(addresses) for job, addresses in cluster.addresses.items()}),
        task_type=cluster.job,
        task_id=cluster.task,
        num_accelerators={'GPU': len(gpus[:count])},
    )
    if gpus:
        return Devices(tf.distribute.MultiWorkerMirroredStrategy(resolver), kind, cluster)
    return Devices(_OverSeveralCpus(resolver, count), kind, cluster)


def set_graph_optimizer(kind: str) -> None:
    """Sets TensorFlow's graph optimizer as suits training on 'CPU' or 'GPU', for graphs that run from here on.

    On CPUs it is turned off: it takes a third of the start-up time, and makes the step neither faster nor smaller. GPUs
    need it for the layout of images, but without the remapper, which fails on this step's gradients with a message.
    """
    tf.config.optimizer.set_experimental_options({'disable_meta_optimizer': kind == 'CPU', 'remapping': False})


def _count(strategy: str, num_devices: int, available: int, kind: str) -> int:
    """The number of devices of this machine to use."""
    if strategy == 'one_device':
        if num_devices > 1:
            raise UserError(
                f'`num_devices` ({num_devices}) cannot be used with strategy one_device; leave it out, or set '
                f'--strategy=mirrored.'
            )
        return 1
    if num_devices > available:
        remedy = '' if kind == 'GPU' else ', or split the CPU by --virtual_devices'
        raise UserError(
            f'`num_devices` ({num_devices}) exceeds the devices of this machine ({available} x {kind}); lower '
            f'it{remedy}.'
        )
    return num_devices or available


def _check_batch(batch_size: int, count: int, workers: int) -> None:
    """Raises UserError if the batch cannot be divided among `count` devices on each of `workers` machines."""
    replicas = count * workers
    if batch_size % replicas:
        below = batch_size // replicas * replicas
        near = [n for n in (below, below + replicas) if n]
        # The largest number of devices, on each machine, among which this batch can be divided.
        fitting = next((n for n in range(count - 1, 0, -1) if batch_size % (n * workers) == 0), None)
        fewer = '' if fitting is None else f', or take fewer devices with --num_devices={fitting}'
        raise UserError(
            f'`batch_size` ({batch_size}) cannot be divided among {replicas} devices; '
            f'set --batch_size={" or ".join(map(str, near))}{fewer}.'
        )


class _OverSeveralCpus(tf.distribute.MultiWorkerMirroredStrategy):
    """MultiWorkerMirroredStrategy over `count` logical CPUs of each worker; TensorFlow's own uses only the first."""

    def __init__(self, resolver: tf.distribute.cluster_resolver.ClusterResolver, count: int):
        tf.distribute.Strategy.__init__(self, _ExtendedOverSeveralCpus(self, resolver, count))


class _ExtendedOverSeveralCpus(collective.CollectiveAllReduceExtended):
    def __init__(self, strategy, resolver, count):
        self._count = count
        super().__init__(strategy, resolver, tf.distribute.experimental.CommunicationOptions())

    def _initialize_local_devices(self, cluster_resolver, worker_device):
        return tuple(f'{worker_device}/device:CPU:{i}' for i in range(self._count)), 'CPU'
