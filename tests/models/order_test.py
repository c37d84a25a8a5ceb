"""No step reads a variable at the same time as it writes it, in the graph that really runs."""

import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from cyclegan_tf.distribution.devices import set_graph_optimizer
from tests.helpers.small_models import images, make

READS = ('ReadVariableOp',)
CALLS = ('PartitionedCall', 'StatefulPartitionedCall')  # of functions that only read
COLLECTIVES = ('CollectiveReduceV2', 'CollectiveGatherV2')  # whose resources are no variables


def optimised_graph(run):
    """The largest of the graphs that a first run is optimised to; where orders can get lost."""
    context.enable_run_metadata()
    try:
        run()
        graphs = context.export_run_metadata().function_graphs
    finally:
        context.disable_run_metadata()
    return max((graph.post_optimization_graph for graph in graphs), key=lambda graph: len(graph.node)).node


def unordered(nodes):
    """(pairs of a write and another use of a variable of which neither waits for the other; how many writes)."""
    inputs = {node.name: [edge.split(':')[0].lstrip('^') for edge in node.input] for node in nodes}
    kinds = {node.name: node.op for node in nodes}
    users = {
        node.name: [] for node in nodes if node.op == '_Arg' and node.attr['T'].type == tf.resource.as_datatype_enum
    }
    variables = {name: name for name in users}  # and what hands one on to a branch
    for node in sorted(nodes, key=lambda node: node.op != 'Switch'):
        for variable in {variables[name] for name in variables.keys() & {edge.split(':')[0] for edge in node.input}}:
            if node.op == 'Switch':
                variables[node.name] = variable
            else:
                users[variable].append(node.name)

    def before(node):
        found, open_ends = set(), [node]
        while open_ends:
            new = set(inputs[open_ends.pop()]) - found
            found |= new
            open_ends += new
        return found

    pairs, count = [], 0
    for variable, names in users.items():
        names = [name for name in names if kinds[name] not in COLLECTIVES]
        sooner = {name: before(name) for name in names}
        for write in names:
            if kinds[write] in READS + CALLS:
                continue
            count += 1
            pairs += [
                (variable, write, other)
                for other in names
                if other != write and other not in sooner[write] and write not in sooner[other]
            ]
    return pairs, count


@pytest.mark.own_process
@pytest.mark.parametrize(
    'devices, settings',
    [
        (1, dict(norm='instance')),
        (1, dict(model='tiny_cut')),
        (2, dict(model='tiny_cut', batch_size=2)),
        pytest.param(1, dict(norm='batch', lambda_identity=0), marks=pytest.mark.nightly),
        pytest.param(2, dict(norm='instance', batch_size=2, pool_size=3), marks=pytest.mark.nightly),
    ],
)
def test_reads_and_writes_of_a_variable_have_an_order(photographs, devices, settings):
    model, step = make(tuple(f'/cpu:{i}' for i in range(devices)), netD='n_layers', n_layers_D=1, **settings)
    set_graph_optimizer('GPU')  # on CPUs there is none that could lose an order
    pairs, writes = unordered(optimised_graph(lambda: step(*images(photographs, batch=devices))))
    assert not pairs
    weights = sum(len(player.variables) for player in model.players.values())
    assert writes >= devices * weights * 3  # each weight and both its moments
