"""Loads an exported model as TensorFlow Serving does, without this package: python plain_tensorflow.py MODEL IN OUT

IN is a file with one request's images, a .npy of object-free bytes; OUT a folder for the answers and for what was found
in the graph.
"""

import json
import pathlib
import sys

# Whatever is installed beside TensorFlow stays out of this process.
for name in ('cyclegan_tf', 'tensorflow_addons', 'tf_keras', 'keras', 'keras_cv', 'tensorflow_io'):
    sys.modules[name] = None

import tensorflow as tf  # noqa: E402
from tensorflow.core.protobuf import saved_model_pb2  # noqa: E402
from tensorflow.python.framework import kernels, op_def_registry  # noqa: E402


def main(model, picture, output):
    output, data = pathlib.Path(output), pathlib.Path(picture).read_bytes()
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta_graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], model)
        signature = meta_graph.signature_def['serving_default']
        images = {signature.inputs['image_bytes'].name: [data, data]}
        answers = session.run(signature.outputs['image_bytes'].name, images)
    for number, answer in enumerate(answers):
        (output / f'{number}.png').write_bytes(answer)
    (output / 'graph.json').write_text(json.dumps(describe(pathlib.Path(model))))


def describe(model):
    """Operations, those that TensorFlow does not know or cannot compute on a CPU, what XLA would have to compile."""
    saved = saved_model_pb2.SavedModel.FromString((model / 'saved_model.pb').read_bytes())
    (meta_graph,) = saved.meta_graphs
    library = meta_graph.graph_def.library.function
    nodes = [*meta_graph.graph_def.node, *(node for function in library for node in function.node_def)]
    functions = {function.signature.name for function in library}
    ops = sorted({node.op for node in nodes} - functions)
    holders = [*nodes, *library]
    return {
        'tags': list(meta_graph.meta_info_def.tags),
        'ops': ops,
        'unknown': [op for op in ops if op_def_registry.get(op) is None],
        'without kernel': [op for op in ops if not on_cpu(op)],
        'compiled': sorted({key for one in holders for key, value in one.attr.items() if 'Xla' in key and value.b}),
        'signatures': {
            name: [
                {key: [info.dtype, [d.size for d in info.tensor_shape.dim]] for key, info in side.items()}
                for side in (signature.inputs, signature.outputs)
            ]
            for name, signature in meta_graph.signature_def.items()
            if not name.startswith('__')
        },
    }


def on_cpu(op):
    return any(kernel.device_type in ('CPU', 'DEFAULT') for kernel in kernels.get_registered_kernels_for_op(op).kernel)


if __name__ == '__main__':
    main(*sys.argv[1:])
