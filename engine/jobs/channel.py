"""The worker's end of the socket pair: whole messages in, whole messages out."""

import socket
import threading

from engine.jobs.messages import FRAME_LIMIT_BYTES, LENGTH, FromWorker, MessageToWorker, decode_to_worker, frame


class Channel:
    """Messages over a connected stream socket. One thread receives, any thread sends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: FromWorker) -> None:
        """Send one message; raises OSError when the other end is gone."""
        data = frame(message)
        with self._sending:
            self._connection.sendall(data)

    def receive(self) -> MessageToWorker | None:
        """Wait for the next message; None when the other end is gone."""
        head = self._receive_exactly(LENGTH.size)
        if head is None:
            return None
        (length,) = LENGTH.unpack(head)
        payload = self._receive_exactly(length) if length <= FRAME_LIMIT_BYTES else None
        return decode_to_worker(payload) if payload is not None else None

    def _receive_exactly(self, size: int) -> bytes | None:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            try:
                count = self._connection.recv_into(view)
            except OSError:
                count = 0
            if count == 0:
                return None
            view = view[count:]
        return bytes(data)
