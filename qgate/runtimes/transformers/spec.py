"""What is known of transformers without importing it."""

from __future__ import annotations

from qgate.runtimes.spec import RuntimeSpec

SPEC = RuntimeSpec(
    name="transformers",
    title="transformers",
    adapter="qgate.runtimes.transformers.adapter:Transformers",
    formats=frozenset({"hf"}),
    preference=10,
    quantizes_at_load=True,
    import_name="transformers",
    imports=(
        "torch",
        "transformers.generation.utils",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.llama.modeling_llama",
        "transformers.quantizers.auto",
    ),
    distributions=("transformers",),
    builds=("torch",),
    is_meant_for_gpu=True,
    has_fixed_context=False,
    remedy='pip install "pytest-qgate[transformers]"',
)
