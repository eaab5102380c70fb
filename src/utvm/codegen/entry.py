"""The C that puts a model's arena into an image and gives the session one function to call."""

from __future__ import annotations

ARENA_SYMBOL = "utvm_arena"
RUN_SYMBOL = "utvm_run_model"
RESET_MODEL_SYMBOL = "utvm_reset_model"


def entry_source(name: str) -> str:
    """Return a C file that defines the arena of model `name` and calls without arguments."""
    return (
        f'#include "{name}.h"\n\n'
        f"_Alignas({name.upper()}_ARENA_ALIGNMENT) uint8_t {ARENA_SYMBOL}[{name.upper()}_ARENA_BYTES];\n\n"
        f"int32_t {RUN_SYMBOL}(void);\n\n"
        f"int32_t {RUN_SYMBOL}(void) {{\n  return {name}_run({ARENA_SYMBOL});\n}}\n"
        f"#ifdef {name.upper()}_STATE_BYTES\n\nvoid {RESET_MODEL_SYMBOL}(void);\n\n"
        f"void {RESET_MODEL_SYMBOL}(void) {{\n  {name}_reset({ARENA_SYMBOL});\n}}\n\n#endif\n"
    )
