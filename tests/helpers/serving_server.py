"""A small server for tests that speaks as TensorFlow Serving does, REST and gRPC, and runs real exported models.

Paths, messages and statuses are those of TensorFlow Serving's http_rest_api_handler.cc, http_server.cc,
predict_util.cc and batching_session.cc, bodies those of serving_json; models are loaded as it loads them, by the
session loader.
"""

import concurrent.futures
import http.server
import json
import pathlib
import re
import threading

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from tests.helpers.serving_json import Status, c_escape, from_columns, from_rows, to_json, to_rows

_PREDICT = re.compile(r'(?i)/v1/models/([^/:]+)(?:/versions/(\d+))?:predict')
_STATUS = re.compile(r'(?i)/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata)?')
# ToHTTPStatusCode; codes that are not here: 500.
_HTTP = {
    'CANCELLED': 499, 'INVALID_ARGUMENT': 400, 'DEADLINE_EXCEEDED': 504, 'NOT_FOUND': 404, 'ALREADY_EXISTS': 409,
    'PERMISSION_DENIED': 403, 'RESOURCE_EXHAUSTED': 429, 'FAILED_PRECONDITION': 400, 'ABORTED': 409,
    'OUT_OF_RANGE': 400, 'UNIMPLEMENTED': 501, 'UNAVAILABLE': 503, 'UNAUTHENTICATED': 401,
}  # fmt: skip
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
_GRPC_MESSAGE_LIMIT = 1024


class Model:
    """One version of a model, run in a session as the server does."""

    def __init__(self, path):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(self.session, ['serve'], str(path))
        self.signatures = {
            name: signature
            for name, signature in meta_graph.signature_def.items()
            if name != '__saved_model_init_op'  # TensorFlow's own, which the server does not show either
        }

    def signature(self, name, code):
        """The signature, or the status `code`: REST and gRPC have different ones."""
        name = name or 'serving_default'
        if name not in self.signatures:
            message = {
                'INVALID_ARGUMENT': f'Serving signature name: "{name}" not found in signature def',
                'FAILED_PRECONDITION': f'Serving signature key "{name}" not found.',
            }[code]
            raise Status(code, message)
        return self.signatures[name]

    def run(self, signature, inputs):
        """Arrays by name in, arrays by name out."""
        if set(inputs) != set(signature.inputs):
            sent, wanted = sorted(inputs), sorted(signature.inputs)
            raise Status(
                'INVALID_ARGUMENT',
                f'input size does not match signature: {len(sent)}!={len(wanted)} len({{{",".join(sent)}}}) != '
                f'len({{{",".join(wanted)}}}). Sent extra: {{{",".join(set(sent) - set(wanted))}}}. Missing but '
                f'required: {{{",".join(set(wanted) - set(sent))}}}.',
            )
        feed = {signature.inputs[name].name: value for name, value in inputs.items()}
        fetch = {name: tensor.name for name, tensor in signature.outputs.items()}
        try:
            return self.session.run(fetch, feed)
        except tf.errors.OpError as error:
            # Python adds its own lines to what the runtime, and so the server, says; behind it is the original.
            original = error.__context__ if isinstance(error.__context__, tf.errors.OpError) else error
            raise Status(_CODES[error.error_code], original.message) from error


class Batcher:
    """Puts requests that come within some time into one batch, of which all fail if one does, as the server does."""

    def __init__(self, model, size, seconds):
        self.model, self.size, self.seconds = model, size, seconds
        self.changed, self.waiting = threading.Condition(), []
        self.sizes = []  # of the batches that were run, in requests

    def run(self, signature, inputs):
        """As Model.run."""
        mine = (signature, inputs, concurrent.futures.Future())
        with self.changed:
            self.waiting.append(mine)
            self.changed.notify_all()
            if len(self.waiting) == 1:  # the first one waits for others and runs them all
                self.changed.wait_for(lambda: len(self.waiting) >= self.size, self.seconds)
                batch, self.waiting = self.waiting, []
            else:
                batch = []
        if batch:
            self._run_batch(batch)
        return mine[2].result(timeout=60)

    def _run_batch(self, batch):
        self.sizes.append(len(batch))
        futures = [future for _, _, future in batch]
        try:
            merged = {name: np.concatenate([inputs[name] for _, inputs, _ in batch]) for name in batch[0][1]}
            outputs = self.model.run(batch[0][0], merged)
        except Exception as error:
            for future in futures:
                future.set_exception(error)
            return
        ends = np.cumsum([len(next(iter(inputs.values()))) for _, inputs, _ in batch])[:-1]
        parts = {name: np.split(value, ends) for name, value in outputs.items()}
        for i, future in enumerate(futures):
            future.set_result({name: part[i] for name, part in parts.items()})


class ServingServer:
    """Serves models until it is closed: with ServingServer({'NAME': FOLDER}) as server: ...

    Attributes:
        rest, grpc: 'localhost:PORT' of each.
        requests: how many predictions were asked for.
    """

    def __init__(self, models, rest_port=0, grpc_port=0, before=None, batch=None, tls=None):
        """
        Args:
            models: name -> its base path, which holds a folder for each version.
            rest_port, grpc_port: where to listen; 0: where it is free.
            before: is called before each prediction with its number from 0; may wait, or raise a Status.
            batch: (requests, seconds) to put together so many, waiting so long; None: each runs by itself.
            tls: (key, certificate) in PEM files, for encrypted connections.
        """
        self.versions = {
            name: {int(path.name): Model(path) for path in pathlib.Path(base).iterdir() if path.name.isdigit()}
            for name, base in models.items()
        }
        self.batchers, self.batch = {}, batch
        self.before, self.requests, self._lock = before, 0, threading.Lock()
        self._grpc_server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(16),
            options=[('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Servicer(self), self._grpc_server)
        handler = type('Handler', (_RestHandler,), {'serving': self})
        self._rest_server = _RestServer(('127.0.0.1', rest_port), handler)
        if tls:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls[1], tls[0])
            self._rest_server.socket = context.wrap_socket(self._rest_server.socket, server_side=True)
            pair = pathlib.Path(tls[0]).read_bytes(), pathlib.Path(tls[1]).read_bytes()
            credentials = grpc.ssl_server_credentials([pair])
            grpc_port = self._grpc_server.add_secure_port(f'127.0.0.1:{grpc_port}', credentials)
        else:
            grpc_port = self._grpc_server.add_insecure_port(f'127.0.0.1:{grpc_port}')
        self.rest, self.grpc = f'localhost:{self._rest_server.server_address[1]}', f'localhost:{grpc_port}'

    def __enter__(self):
        self._grpc_server.start()
        threading.Thread(target=self._rest_server.serve_forever, kwargs={'poll_interval': 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._rest_server.shutdown()
        self._rest_server.server_close()
        self._grpc_server.stop(None).wait()

    def find(self, name, version):
        """(version, model), or NOT_FOUND."""
        versions = self.versions.get(name, {})
        found = max(versions, default=None) if version is None else version
        if found not in versions:
            what = f'Latest({name})' if version is None else f'Specific({name}, {version})'
            raise Status('NOT_FOUND', f'Servable not found for request: {what}')
        return found, versions[found]

    def run(self, model, signature, inputs):
        """A prediction."""
        with self._lock:
            number, self.requests = self.requests, self.requests + 1
            runner = model
            if self.batch:
                runner = self.batchers.setdefault((id(model), id(signature)), Batcher(model, *self.batch))
        if self.before is not None:
            self.before(number)
        return runner.run(signature, inputs)


# ----------------------------------------------------------------------------------------------------------------- REST
class _RestServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class _RestHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'  # connections stay open
    disable_nagle_algorithm = True
    serving = None

    def do_GET(self):
        self._answer(self._status)

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length'] or 0))
        self._answer(lambda: self._predict(body))

    def _answer(self, make):
        try:
            code, text = 200, make()
        except Status as status:
            code = _HTTP.get(status.code, 500)
            text = f'{{ "error": "{c_escape(status.message)}" }}'
        data = text.encode()
        self.send_response(code)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _match(self, pattern):
        found = pattern.fullmatch(self.path)
        if found is None:
            raise Status('INVALID_ARGUMENT', f'Malformed request: {self.command} {self.path}')
        return found[1], None if found[2] is None else int(found[2]), found

    def _status(self):
        name, version, found = self._match(_STATUS)
        if found[3]:
            response = metadata(self.serving, name, version)
            signatures = get_model_metadata_pb2.SignatureDefMap()
            response.metadata['signature_def'].Unpack(signatures)
            spec, map_ = (
                json_format.MessageToDict(message, preserving_proto_field_name=True)
                for message in (response.model_spec, signatures)
            )
            return json.dumps({'model_spec': spec, 'metadata': {'signature_def': map_}}, indent=1)
        versions = self.serving.versions.get(name, {})
        chosen = sorted(versions, reverse=True) if version is None else [version] if version in versions else []
        if not chosen:
            which = '' if version is None else f' with version {version}'
            raise Status('NOT_FOUND', f'Could not find any versions of model {name}{which}')
        status = {'error_code': 'OK', 'error_message': ''}
        states = [{'version': str(one), 'state': 'AVAILABLE', 'status': status} for one in chosen]
        return json.dumps({'model_version_status': states}, indent=1)

    def _predict(self, body):
        name, version, _ = self._match(_PREDICT)
        try:
            request = json.loads(body)
        except ValueError as error:
            raise Status('INVALID_ARGUMENT', 'JSON Parse error: Invalid value. at offset: 0') from error
        if not isinstance(request, dict):
            raise Status('INVALID_ARGUMENT', 'JSON Value: Is not object')
        _, model = self.serving.find(name, version)
        signature = model.signature(request.get('signature_name'), 'INVALID_ARGUMENT')
        if 'instances' in request and 'inputs' in request:
            raise Status(
                'INVALID_ARGUMENT',
                "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist",
            )
        if 'instances' in request:
            outputs = self.serving.run(model, signature, from_rows(request['instances'], signature))
            return json.dumps({'predictions': to_rows(outputs)}, indent=1)
        if 'inputs' in request:
            outputs = self.serving.run(model, signature, from_columns(request['inputs'], signature))
            columns = {key: to_json(value, key) for key, value in outputs.items()}
            return json.dumps({'outputs': columns if len(columns) > 1 else next(iter(columns.values()))}, indent=1)
        raise Status('INVALID_ARGUMENT', "Missing 'inputs' or 'instances' key")

    def log_message(self, *arguments):
        """Nothing: what tests print is theirs."""


# ----------------------------------------------------------------------------------------------------------------- gRPC
class _Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, serving):
        self.serving = serving

    def Predict(self, request, context):
        def run():
            version, model = self.serving.find(*_spec(request.model_spec))
            name = request.model_spec.signature_name or 'serving_default'
            signature = model.signature(name, 'FAILED_PRECONDITION')
            inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
            outputs = self.serving.run(model, signature, inputs)
            response = predict_pb2.PredictResponse()
            response.model_spec.name, response.model_spec.signature_name = request.model_spec.name, name
            response.model_spec.version.value = version
            for key in request.output_filter or outputs:
                dtype = signature.outputs[key].dtype
                response.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key], dtype, outputs[key].shape))
            return response

        return _or_abort(run, context)

    def GetModelMetadata(self, request, context):
        return _or_abort(lambda: metadata(self.serving, *_spec(request.model_spec)), context)


def _spec(spec):
    return spec.name, spec.version.value if spec.HasField('version') else None


def _or_abort(make, context):
    try:
        return make()
    except Status as status:
        context.abort(getattr(grpc.StatusCode, status.code), status.message[:_GRPC_MESSAGE_LIMIT])


def metadata(serving, name, version):
    """GetModelMetadataResponse with the signatures."""
    version, model = serving.find(name, version)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for key, signature in model.signatures.items():
        signatures.signature_def[key].CopyFrom(signature)
    response.metadata['signature_def'].Pack(signatures)
    return response
