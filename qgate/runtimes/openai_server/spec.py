"""What is known of OpenAI-compatible servers without asking one."""

from __future__ import annotations

from qgate.runtimes.openai_server.options import KEY_FILE_VARIABLE, ServerOptions
from qgate.runtimes.spec import RuntimeSpec

SPEC = RuntimeSpec(
    name="openai_server",
    title="a server",
    adapter="qgate.runtimes.openai_server.adapter:OpenAIServer",
    quantizes_at_load=True,  # whatever it holds is its own business
    is_remote=True,
    needs_network=True,
    variables=(KEY_FILE_VARIABLE,),
    unmeasured=frozenset({"memory"}),
    options=ServerOptions,
)
