"""A server of files on loopback, which can be told to do what servers and networks do wrong."""

import contextlib
import hashlib
import http.server
import re
import threading


class FileServer(http.server.ThreadingHTTPServer):
    """Files by their paths, with ETags and Range requests.

    Attributes:
        files: path -> the bytes.
        asked: path, Range and If-Range of each request.
        breaks: of the next requests, after how many bytes of the body the connection is closed; None: not.
        ranges: whether parts are sent; 'unchecked': whatever the ETag.
        tags: whether there are ETags.
        status, kind: of every response to a file.
        pause: an event that responses wait for before their second half; None: they do not.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(('127.0.0.1', 0), _Handler)
        self.files, self.asked, self.breaks = {}, [], []
        self.ranges, self.tags, self.status, self.kind, self.pause = True, True, 200, 'application/octet-stream', None

    @property
    def address(self):
        return f'http://127.0.0.1:{self.server_port}'

    def handle_error(self, request, client_address):
        """A client that has gone away is none of the test's business."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        server, path = self.server, re.sub('^http://[^/]*', '', self.path).lstrip('/')  # a proxy gets all of it
        wanted, condition = self.headers['Range'], self.headers['If-Range']
        server.asked.append((path, wanted, condition))
        data = server.files.get(path)
        if data is None or server.status != 200:
            self.send_error(404 if data is None else server.status)
            return
        tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        start, end = 0, server.breaks.pop(0) if server.breaks else None
        if wanted and server.ranges and (server.ranges == 'unchecked' or condition == tag):
            start = int(re.fullmatch(r'bytes=(\d+)-', wanted).group(1))
        self.send_response(206 if start else 200)
        self.send_header('Content-Type', server.kind)
        self.send_header('Content-Length', str(len(data) - start))
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(data) - 1}/{len(data)}')
        if server.tags:
            self.send_header('ETag', tag)
        self.end_headers()
        body = data[start:] if end is None else data[start : start + end]
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        if server.pause is not None:
            server.pause.wait(60)
        self.wfile.write(body[len(body) // 2 :])
        self.close_connection = end is not None

    def log_message(self, *_):
        """The tests' output is not for that."""


@contextlib.contextmanager
def serving():
    """A context with a server."""
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
