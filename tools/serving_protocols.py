"""Sends one image to a model in TensorFlow Serving, over REST or gRPC, and classifies errors by what to do about them.

Both services can be used by several threads at the same time, over connections that stay open. They connect to the
server directly: proxies in the environment are meant for the internet, not for a model server.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
from typing import Any, Optional
from urllib.parse import quote

import urllib3

from cyclegan_tf.errors import UserError

# The name of the input and of the output of an exported model's signature 'serving_default'.
IMAGES = 'image_bytes'

_PNG = b'\x89PNG\r\n\x1a\n'
_ASSERTED = 'assertion failed: ['  # what TensorFlow writes before the message of an operation Assert

_CONNECT_SECONDS = 10.0  # a running server accepts immediately; one behind a silent firewall never does
# gRPC reconnects by itself to a server that did not answer, at first after 1 s and later only after 120 s. These values
# are shorter, so that our own pauses decide.
_RECONNECT_MS = (100, 1000)


class Refused(Exception):
    """The server refuses this image and would refuse it again; the message is the server's."""


class TimedOut(Exception):
    """The image takes longer than the client or the server waits; the message says which of them."""


class Unanswered(Exception):
    """There is no answer now, but perhaps later; the message is the reason.

    Attributes:
        for_all: whether the server itself does not answer, so that it would not answer for other images, either.
    """

    def __init__(self, reason: str, for_all: bool):
        super().__init__(reason)
        self.for_all = for_all


def tidy(sentence: str) -> str:
    """A server's message in one line, without the places in the graph that TensorFlow adds."""
    # If several operations fail, they are listed: '2 root error(s) found.\n  (0) INVALID_ARGUMENT: ...\n  (1) ...'.
    sentence = re.sub(r'^\s*\d+ root error\(s\) found\.\s*\(0\)\s*[A-Za-z_ ]*:\s*', '', sentence)
    sentence = re.split(r'\[\[\{\{(?:function_)?node ', sentence)[0]
    sentence = re.sub(r'\{\{(?:function_)?node [^}]*\}\}', '', sentence).strip()
    if sentence.startswith(_ASSERTED) and sentence.endswith(']'):
        sentence = _c_unescaped(sentence[len(_ASSERTED) : -1].replace('] [', ' '))
    return ' '.join(sentence.split())


class RestService:
    """A model behind TensorFlow Serving's REST API."""

    def __init__(self, address: str, model: str, version: Optional[int], tls: bool, ca: Optional[str], threads: int):
        """
        Args:
            address: HOST:PORT.
            model: its name on the server.
            version: its version; None: the one that the server chooses.
            tls: whether the connection is encrypted.
            ca: file with the certificates with which the server's is verified; None: those of the system.
            threads: number of threads that send requests at the same time.
        """
        self._what = f"`model` ('{model}')"
        self._where = f"`server` ('{address}')"
        versions = '' if version is None else f'/versions/{version}'
        self._url = f'{"https" if tls else "http"}://{address}/v1/models/{quote(model, safe="")}{versions}:predict'
        self._pool = urllib3.PoolManager(maxsize=threads, block=True, retries=False, ca_certs=ca)

    def translate(self, image: bytes, timeout: float) -> bytes:
        """Sends one encoded image and returns the translation, a PNG.

        Args:
            image: JPEG, PNG or BMP.
            timeout: maximum time to wait, in seconds.

        Raises:
            Refused: the image cannot be translated.
            TimedOut: it takes too long.
            Unanswered: it may be answered later.
            UserError: the server, the model or the certificate is not what the flags say.
        """
        body = b'{"instances":[{"b64":"%s"}]}' % base64.b64encode(image)
        try:
            answer = self._pool.request(
                'POST',
                self._url,
                body=body,
                headers={'Content-Type': 'application/json'},
                timeout=urllib3.Timeout(connect=min(_CONNECT_SECONDS, timeout), read=timeout),
                redirect=False,
            )
        except urllib3.exceptions.ReadTimeoutError as error:
            raise TimedOut(f'no answer within {timeout:.0f} s; raise --timeout') from error
        except urllib3.exceptions.SSLError as error:
            raise UserError(
                f'{self._where} cannot be trusted ({" ".join(str(error).split())}); set --ca to the certificate of its '
                f'authority, or leave out https://.'
            ) from error
        except urllib3.exceptions.HTTPError as error:  # connection refused or reset, unknown host, not HTTP
            causes = _causes(error)
            if any(type(cause) is http.client.BadStatusLine for cause in causes):
                raise UserError(
                    f'{self._where} does not speak HTTP; set --protocol=grpc if this is its port for gRPC, or --server '
                    f'to its port for REST.'
                ) from error
            # If an error of the operating system is behind this one, its message is shorter.
            reasons = [cause.strerror.lower() for cause in causes if isinstance(cause, OSError) and cause.strerror]
            raise Unanswered((reasons or [' '.join(str(error).split())])[0], for_all=True) from error
        if answer.status == 200:
            return self._picture(answer.data)
        sentence = _error_sentence(answer.data) or answer.reason or 'no reason is given'
        if answer.status in (400, 413, 500):
            raise Refused(sentence)
        if answer.status == 504:
            raise TimedOut(f'the server gave up ({sentence}); raise its --rest_api_timeout_in_ms')
        if answer.status in (429, 502, 503):
            raise Unanswered(sentence, for_all=answer.status != 429)
        raise UserError(
            f'{self._what} cannot be used at {self._where}, which answers {answer.status} ({sentence}); check --model, '
            f'--version and --server.'
        )

    def close(self) -> None:
        """Closes the connections."""
        self._pool.clear()

    def _picture(self, body: bytes) -> bytes:
        try:
            (prediction,) = json.loads(body)['predictions']
            picture = base64.b64decode(prediction['b64'], validate=True)
        except (ValueError, KeyError, TypeError) as error:
            raise _no_picture(self._what) from error
        if not picture.startswith(_PNG):
            raise _no_picture(self._what)
        return picture


class GrpcService:
    """A model behind TensorFlow Serving's PredictionService."""

    def __init__(self, address: str, model: str, version: Optional[int], tls: bool, ca: Optional[bytes]):
        """
        Args:
            address: HOST:PORT.
            model: its name on the server.
            version: its version; None: the one that the server chooses.
            tls: whether the connection is encrypted.
            ca: the certificates with which the server's is verified, PEM; None: those of gRPC.

        Raises:
            UserError: tensorflow-serving-api is not installed.
        """
        # This takes seconds, since it imports TensorFlow; users of REST should not wait for it.
        try:
            import grpc
            from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
        except ImportError as error:
            raise UserError(
                "`protocol` (grpc) needs tensorflow-serving-api; install cyclegan_tf's extra 'serving' "
                "(pip install '.[serving]'), or set --protocol=rest."
            ) from error
        self._grpc, self._predict_pb2 = grpc, predict_pb2
        self._what = f"`model` ('{model}')"
        self._where = f"`server` ('{address}')"
        self._model, self._version = model, version
        first, longest = _RECONNECT_MS
        channel_options = [
            ('grpc.max_send_message_length', -1),  # unlimited; the default is 4 MB, which photographs exceed
            ('grpc.max_receive_message_length', -1),
            ('grpc.enable_http_proxy', 0),
            ('grpc.initial_reconnect_backoff_ms', first),
            ('grpc.max_reconnect_backoff_ms', longest),
        ]
        if tls:
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca), channel_options)
        else:
            self._channel = grpc.insecure_channel(address, channel_options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def translate(self, image: bytes, timeout: float) -> bytes:
        """As RestService.translate."""
        request = self._predict_pb2.PredictRequest()
        request.model_spec.name = self._model
        if self._version is not None:
            request.model_spec.version.value = self._version
        tensor = request.inputs[IMAGES]
        tensor.dtype = 7  # DT_STRING
        tensor.tensor_shape.dim.add().size = 1
        tensor.string_val.append(image)
        try:
            answer = self._stub.Predict(request, timeout=timeout)
        except self._grpc.RpcError as error:
            raise self._explain(error) from error
        pictures = answer.outputs[IMAGES].string_val
        if len(pictures) != 1 or not pictures[0].startswith(_PNG):
            raise _no_picture(self._what)
        return pictures[0]

    def close(self) -> None:
        """Closes the connection, and ends the requests that are under way."""
        self._channel.close()

    def _explain(self, error: Any) -> Exception:
        code, sentence = error.code(), tidy(error.details() or '') or 'no reason is given'
        codes = self._grpc.StatusCode
        if code == codes.UNAVAILABLE:
            return Unanswered(sentence, for_all=True)
        if code == codes.RESOURCE_EXHAUSTED:
            return Unanswered(sentence, for_all=False)
        if code in (codes.NOT_FOUND, codes.UNAUTHENTICATED, codes.PERMISSION_DENIED, codes.UNIMPLEMENTED):
            return UserError(
                f'{self._what} cannot be used at {self._where}, which answers {code.name} ({sentence}); check --model, '
                f'--version and --server.'
            )
        if code == codes.DEADLINE_EXCEEDED:
            return TimedOut(f'no answer in time ({sentence}); raise --timeout')
        return Refused(sentence)


def _no_picture(what: str) -> UserError:
    return UserError(
        f'{what} answers with something other than a picture; set --model to one that cyclegan_tf exported.'
    )


def _causes(error: BaseException) -> list[BaseException]:
    """An error, the error that caused it, and so on."""
    causes = []
    cause: Optional[BaseException] = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def _error_sentence(body: bytes) -> str:
    """The message of TensorFlow Serving in {"error": ...}, or the beginning of another server's answer."""
    text = body.decode('utf-8', 'replace')
    try:
        return tidy(str(json.loads(text)['error']))
    except (ValueError, KeyError, TypeError):
        # TensorFlow Serving escapes the message as C does, for example \' and \303, which JSON does not allow.
        escaped = re.search(r'"error":\s*"((?:[^"\\]|\\.)*)"', text, re.DOTALL)
    if escaped is None:
        return ' '.join(text.split())[:200]
    return tidy(_c_unescaped(escaped[1]))


def _c_unescaped(text: str) -> str:
    """Text without the escapes of absl::CEscape, which the server uses for errors, and TensorFlow for assertions."""
    named = {b'n': b'\n', b'r': b'\r', b't': b'\t'}

    def plain(found):
        return bytes([int(found[1], 8) & 255]) if len(found[1]) == 3 else named.get(found[1], found[1])

    return re.sub(rb'\\([0-7]{3}|.)', plain, text.encode(), flags=re.DOTALL).decode('utf-8', 'replace')
