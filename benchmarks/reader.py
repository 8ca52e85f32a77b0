"""A reader of the app without a browser: it speaks Streamlit's protocol over a websocket of its own."""

import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

RUN_ENDS = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_WITH_COMPILE_ERROR)


@dataclass(kw_only=True)
class Reader:
    """One session, at an address whose query is `query`.

    `fields` are the names of its number inputs in the protocol by their label; `heard` is what came in the last run.
    """

    socket: ClientConnection
    query: str
    fields: dict[str, str] = field(default_factory=dict)
    heard: bytes = b""

    @classmethod
    async def opened(cls, address: str, query: str) -> "Reader":
        """A session that has its page."""
        place = f"ws://{urlsplit(address).netloc}/_stcore/stream"
        socket = await connect(place, origin=address, max_size=None, compression=None, ping_interval=None)  # type: ignore[arg-type]
        reader = cls(socket=socket, query=query.lstrip("?"))
        await reader._run(BackMsg())
        return reader

    async def enter(self, label: str, number: float) -> float:
        """Seconds from a number entered until the last message of the run after it."""
        asked = BackMsg()
        asked.rerun_script.widget_states.widgets.add(id=self.fields[label], double_value=number)
        began = time.perf_counter()
        await self._run(asked)
        return time.perf_counter() - began

    async def _run(self, asked: BackMsg) -> None:
        """A run that is ended for a newer one is not the last."""
        asked.rerun_script.query_string = self.query
        await self.socket.send(asked.SerializeToString())
        heard = []
        while True:
            heard.append(await self.socket.recv(decode=False))
            message = ForwardMsg.FromString(heard[-1])
            kind = message.WhichOneof("type")
            if kind == "delta" and message.delta.new_element.HasField("number_input"):
                one = message.delta.new_element.number_input
                self.fields[one.label] = one.id
            elif kind == "page_info_changed":
                self.query = message.page_info_changed.query_string
            elif kind == "script_finished" and message.script_finished in RUN_ENDS:
                self.heard = b"".join(heard)
                return
