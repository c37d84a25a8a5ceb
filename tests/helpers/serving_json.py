"""The bodies of TensorFlow Serving's REST API: JSON to arrays and back, as its json_tensor.cc does it."""

import base64
import json

import numpy as np
import tensorflow as tf


class Status(Exception):
    """An error as TensorFlow's Status: Status('NOT_FOUND', 'no such model')."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code, self.message = code, message


def c_escape(message):
    """absl::CEscape, by which the server makes its messages JSON, or nearly: \\' and \\303 are none."""
    special = {'\n': '\\n', '\r': '\\r', '\t': '\\t', '"': '\\"', "'": "\\'", '\\': '\\\\'}
    return ''.join(
        special.get(chr(byte)) or (chr(byte) if 32 <= byte < 127 else f'\\{byte:03o}') for byte in message.encode()
    )


def is_base64(value):
    """Whether it is {"b64": "..."}."""
    return isinstance(value, dict) and list(value) == ['b64'] and isinstance(value['b64'], str)


def from_rows(instances, signature):
    """'instances' -> arrays by name."""
    if not isinstance(instances, list):
        raise Status('INVALID_ARGUMENT', "JSON Value: Excepting 'instances' to be an list/array")
    if not instances:
        raise Status('INVALID_ARGUMENT', "JSON Value: No values in 'instances' array")
    if isinstance(instances[0], dict) and not is_base64(instances[0]):
        names = sorted(signature.inputs)
        for i, instance in enumerate(instances):
            if not isinstance(instance, dict) or sorted(instance) != names:
                raise Status(
                    'INVALID_ARGUMENT',
                    f"Failed to process element: {i} of 'instances' list. JSON object: {json.dumps(instance)} keys "
                    f'must be equal to: {",".join(names)}',
                )
        return {name: to_array([one[name] for one in instances], signature.inputs[name]) for name in names}
    if len(signature.inputs) > 1:
        raise Status(
            'INVALID_ARGUMENT',
            'instances is a plain list, but expecting list of objects as multiple input tensors required as per '
            'tensorinfo_map',
        )
    ((name, info),) = signature.inputs.items()
    return {name: to_array(instances, info)}


def from_columns(inputs, signature):
    """'inputs' -> arrays by name."""
    if isinstance(inputs, dict) and not is_base64(inputs):
        for name in signature.inputs:
            if name not in inputs:
                raise Status('INVALID_ARGUMENT', f"Missing named input: {name} in 'inputs' object.")
        return {name: to_array(inputs[name], info) for name, info in signature.inputs.items()}
    if len(signature.inputs) > 1:
        raise Status(
            'INVALID_ARGUMENT',
            'inputs is a plain value/list, but expecting an object as multiple input tensors required as per '
            'tensorinfo_map',
        )
    ((name, info),) = signature.inputs.items()
    return {name: to_array(inputs, info)}


def to_array(value, info):
    """Nested lists of JSON to an array of the input's type."""

    def leaf(one):
        if isinstance(one, list):
            return [leaf(item) for item in one]
        if info.dtype == tf.string.as_datatype_enum:
            if is_base64(one):
                try:
                    return base64.b64decode(one['b64'], validate=True)
                except ValueError as error:
                    raise Status('INVALID_ARGUMENT', 'Unable to base64 decode') from error
            if isinstance(one, str):
                return one.encode()
        elif isinstance(one, (int, float)) and not isinstance(one, bool):
            return one
        kind = tf.as_dtype(info.dtype).name
        raise Status(
            'INVALID_ARGUMENT', f'JSON Value: {json.dumps(one)} Type: {type(one)} is not of expected type: {kind}'
        )

    dtype = tf.as_dtype(info.dtype).as_numpy_dtype
    try:
        return np.array(leaf(value), object if info.dtype == tf.string.as_datatype_enum else dtype)
    except ValueError as error:
        raise Status('INVALID_ARGUMENT', 'Encountered list at unexpected size') from error


def to_rows(outputs):
    """Arrays by name -> 'predictions': one value for each row, without its name if there is one output only."""
    columns = {name: to_json(value, name) for name, value in outputs.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


def to_json(array, name):
    """An array as nested lists; strings of outputs whose name ends with _bytes in base64."""
    if isinstance(array, np.ndarray) and array.ndim:
        return [to_json(item, name) for item in array]
    if isinstance(array, bytes):
        return {'b64': base64.b64encode(array).decode()} if name.endswith('_bytes') else array.decode()
    return array.item()
