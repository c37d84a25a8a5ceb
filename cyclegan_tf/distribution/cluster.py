"""The cluster in which this process is a worker, as TF_CONFIG or Slurm describes it."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Optional

import tensorflow as tf
from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver as slurm

from cyclegan_tf.errors import UserError

JOBS = ('chief', 'worker')  # in the order in which TensorFlow numbers their tasks
_EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'
# Slurm assigns no ports. Jobs that share a machine get different ones, unless their numbers are equal modulo 1000.
_SLURM_FIRST_PORT, _SLURM_PORTS = 20000, 16
_CONNECT_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers, and which of them this process is.

    Attributes:
        addresses: job ('chief' or 'worker') -> 'HOST:PORT' of each of its tasks.
        job, task: those of this process.
    """

    addresses: Mapping[str, Sequence[str]]
    job: str
    task: int

    @property
    def tasks(self) -> list[tuple[str, int]]:
        """Job and task number of every worker, in TensorFlow's order; the first worker is the chief."""
        return [(job, task) for job in JOBS for task in range(len(self.addresses.get(job, ())))]

    @property
    def worker(self) -> int:
        """This process's index among all workers."""
        return self.tasks.index((self.job, self.task))

    @property
    def workers(self) -> int:
        """The number of workers."""
        return len(self.tasks)

    def describe(self, worker: int) -> str:
        """A worker in words, by its index: 'worker 1 (HOST:PORT)'."""
        job, task = self.tasks[worker]
        return f'{job} {task} ({self.addresses[job][task]})'

    def unreachable(self) -> list[int]:
        """The other workers at whose ports no process listens: their processes or machines are gone."""
        return [n for n in range(self.workers) if n != self.worker and not self._listens(n)]

    def _listens(self, worker: int) -> bool:
        job, task = self.tasks[worker]
        host, _, port = self.addresses[job][task].rpartition(':')
        try:
            socket.create_connection((host.strip('[]'), int(port)), _CONNECT_SECONDS).close()
        except OSError:
            return False
        return True


def read_cluster(strategy: str) -> Optional[Cluster]:
    """The cluster of this process; None if it trains alone.

    Args:
        strategy: 'auto' uses the cluster of TF_CONFIG, if there is one; 'multi_worker' uses that of TF_CONFIG, else
            that of Slurm; other values use none.

    Raises:
        UserError: TF_CONFIG or Slurm's environment cannot be read, or there is no cluster for multi_worker.
    """
    if strategy not in ('auto', 'multi_worker'):
        return None
    text = os.environ.get('TF_CONFIG', '')
    cluster = _from_tf_config(text) if text.strip() else None
    if cluster is None and strategy == 'multi_worker':
        if 'SLURM_STEP_NODELIST' not in os.environ:
            raise UserError(
                '`strategy` (multi_worker) finds no cluster in the environment; set TF_CONFIG on every machine, as in '
                f"TF_CONFIG='{_EXAMPLE}', or start training with srun or tools/launch_local.py."
            )
        cluster = _from_slurm()
    return cluster


def _from_tf_config(text: str) -> Optional[Cluster]:
    try:
        config = json.loads(text)
        addresses, task = config.get('cluster', {}), config.get('task', {})
        addresses = {job: [_with_port(address) for address in listed] for job, listed in addresses.items()}
        job, index = task.get('type', ''), int(task.get('index', -1))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"`TF_CONFIG` ('{text}') cannot be read ({error}); set it as in '{_EXAMPLE}'.") from error
    if not addresses:
        return None
    others = [name for name in addresses if name not in JOBS]
    if others:
        raise UserError(
            f"`TF_CONFIG` names tasks of type '{others[0]}', which are not supported; name only chief and worker."
        )
    if len(addresses.get('chief', ())) > 1:
        raise UserError('`TF_CONFIG` names more than one chief; name the others as worker.')
    if job not in addresses or not 0 <= index < len(addresses[job]):
        raise UserError(
            f'`TF_CONFIG` says that this process is {job or "task"} {index}, which is not in its cluster; correct it.'
        )
    return Cluster(addresses, job, index)


def _with_port(address: str) -> str:
    if not address.rpartition(':')[2].isdigit():
        raise ValueError(f"'{address}' has no port")
    return address


def _from_slurm() -> Cluster:
    """The tasks of this step of a Slurm job, each of which is a worker.

    Raises:
        UserError: Slurm's variables are incomplete, or describe tasks that are not distributed block by block.
    """
    try:
        first = _SLURM_FIRST_PORT + int(os.environ.get('SLURM_JOB_ID', 0)) % 1000 * _SLURM_PORTS
        # Slurm decides which GPUs a task sees (--gpus-per-task); the resolver would need nvidia-smi to divide them.
        # Here "GPUs" only set how many tasks the resolver places on a machine.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=first, gpus_per_node=_SLURM_PORTS, gpus_per_task=1, auto_set_gpu=False
        )
        addresses = resolver.cluster_spec().as_dict()['worker']
        machines = slurm.expand_hostlist(os.environ['SLURM_STEP_NODELIST'])
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"`strategy` (multi_worker) cannot read Slurm's environment ({error}); start training with srun."
        ) from error
    # The resolver sorts machines alphabetically, n10 before n9; Slurm numbers tasks in the order of its own list.
    addresses.sort(key=lambda address: machines.index(address.rpartition(':')[0]))
    own, machine = addresses[resolver.task_id].rpartition(':')[0], os.environ.get('SLURMD_NODENAME')
    if machine not in (None, own):
        raise UserError(
            f"Slurm's task {resolver.task_id} is on {machine}, not on {own}; start all with srun --distribution=block."
        )
    return Cluster({'worker': addresses}, 'worker', resolver.task_id)
