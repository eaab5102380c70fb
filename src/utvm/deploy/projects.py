"""An export as a project of a build system: CMake, make, Arduino and PlatformIO, Zephyr."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from utvm.deploy.manifest import Manifest

Files = Mapping[str, str]
_OPTIONS = ("-ffp-contract=off", "-fno-lto")
"""Results are the same to the bit, and assembler functions stay beside the C that calls them."""
_VERSION = "1.0.0"


def project(kind: str, manifest: Manifest, files: Files) -> dict[str, str]:
    """Return the files of an export with those of a build system, some moved to where it wants them.

    Args:
        kind: a key of `PROJECTS`.
        manifest: of the export.
        files: the export's files by name.
    """
    return PROJECTS[kind](manifest, files)


def _sources(files: Files) -> list[str]:
    return [name for name in files if name.endswith(".c")]


def _cmake(m: Manifest, files: Files) -> dict[str, str]:
    text = f"""\
# {m.name} for a CMake build: add_subdirectory(this directory) or, once installed, find_package({m.name}); then
# target_link_libraries(yours PRIVATE {m.name}::{m.name})
cmake_minimum_required(VERSION 3.16)
project({m.name} VERSION {_VERSION} LANGUAGES C)

add_library({m.name} STATIC {" ".join(_sources(files))})
add_library({m.name}::{m.name} ALIAS {m.name})
target_include_directories({m.name} PUBLIC
  $<BUILD_INTERFACE:${{CMAKE_CURRENT_SOURCE_DIR}}> $<INSTALL_INTERFACE:include>)
target_compile_features({m.name} PUBLIC c_std_11)
target_compile_options({m.name} PRIVATE {" ".join(_OPTIONS)})

# Without a build type and an option of yours, CMake would build without optimisation: several times as slow.
get_directory_property({m.name}_options COMPILE_OPTIONS)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES AND CMAKE_C_COMPILER_ID MATCHES "GNU|Clang"
   AND NOT " ${{CMAKE_C_FLAGS}} ${{{m.name}_options}}" MATCHES "[ ;]-O")
  target_compile_options({m.name} PRIVATE -O3)
endif()

if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)
  install(TARGETS {m.name} EXPORT {m.name}Config ARCHIVE DESTINATION lib)
  install(FILES {m.name}.h DESTINATION include)
  install(EXPORT {m.name}Config NAMESPACE {m.name}:: DESTINATION lib/cmake/{m.name})
endif()
"""
    return {**files, "CMakeLists.txt": text}


def _make(m: Manifest, files: Files) -> dict[str, str]:
    objects = " ".join(name.removesuffix(".c") + ".o" for name in _sources(files))
    text = f"""\
# lib{m.name}.a, for example: make CC=arm-none-eabi-gcc AR=arm-none-eabi-ar CFLAGS="-mcpu=cortex-m4 -mthumb -O3"
CFLAGS ?= -O3
objects := {objects}

lib{m.name}.a: $(objects)
	$(AR) rcs $@ $^

%.o: %.c {m.name}.h
	$(CC) -std=c11 {" ".join(_OPTIONS)} $(CFLAGS) -c $< -o $@

.PHONY: clean
clean:
	rm -f lib{m.name}.a $(objects)
"""
    return {**files, "Makefile": text}


def _arduino(m: Manifest, files: Files) -> dict[str, str]:
    moved = {f"src/{name}" if name.endswith((".c", ".h")) else name: text for name, text in files.items()}
    sentence = f"The neural network {m.name} as plain C, without heap or interpreter."
    properties = {
        "name": m.name,
        "version": _VERSION,
        "author": "made by utvm",
        "maintainer": "made by utvm",
        "sentence": sentence,
        "paragraph": f"Made by utvm {m.utvm} for {m.core}; other cores run portable kernels with the same results.",
        "category": "Data Processing",
        "url": "https://example.invalid/",
        "architectures": "*",
        "includes": f"{m.name}.h",
    }
    library = {
        "name": m.name,
        "version": _VERSION,
        "description": sentence,
        "keywords": "neural network, tinyml",
        "frameworks": "*",
        "platforms": "*",
        "headers": f"{m.name}.h",
        "build": {"flags": list(_OPTIONS)},
    }
    return {
        **moved,
        "library.properties": "".join(f"{key}={value}\n" for key, value in properties.items()),
        "library.json": json.dumps(library, indent=2) + "\n",
        "examples/Run/Run.ino": _sketch(m),
    }


def _sketch(m: Manifest) -> str:
    upper = m.name.upper()
    buffers = "\n".join(
        f"static {p.dtype.c_type} {p.parameter}[{upper}_{p.parameter.upper()}_ELEMENTS];"
        for p in (*m.inputs, *m.outputs)
    )
    arguments = ", ".join(p.parameter for p in (*m.inputs, *m.outputs))
    first = m.outputs[0].parameter
    reset = f"  {m.name}_reset(arena, sizeof arena);\n" if m.state_bytes else ""
    return f"""\
#include <{m.name}.h>

alignas({upper}_ARENA_ALIGNMENT) static uint8_t arena[{upper}_ARENA_BYTES];
{buffers}

void setup() {{
  Serial.begin(115200);
{reset}}}

void loop() {{
  if ({m.name}_run({arguments}, arena, sizeof arena) == {upper}_OK) {{
    for (size_t i = 0; i < {upper}_{first.upper()}_ELEMENTS; i++) {{
      Serial.println({first}[i]);
    }}
  }}
  delay(1000);
}}
"""


def _zephyr(m: Manifest, files: Files) -> dict[str, str]:
    symbol = f"UTVM_{m.name.upper()}"  # Kconfig has one name space for all of Zephyr: CONFIG_NET is its network stack.
    sources = "\n".join(f"    ../{name}" for name in _sources(files))
    cmake = f"""\
if(CONFIG_{symbol})
  zephyr_library_named({m.name})
  zephyr_library_sources(
{sources})
  zephyr_library_compile_options({" ".join(_OPTIONS)})
  zephyr_include_directories(..)
endif()
"""
    kconfig = [
        f"config {symbol}",
        f'\tbool "Neural network {m.name}"',
        "\thelp",
        f"\t  Plain C made by utvm. It needs an arena of {m.core_form.arena_bytes} bytes and, on {m.core},",
        f"\t  {m.stack_bytes} bytes of stack.",
        "",
    ]
    return {
        **files,
        "zephyr/module.yml": f"name: {m.name}\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\n",
        "zephyr/CMakeLists.txt": cmake,
        "zephyr/Kconfig": "\n".join(kconfig),
    }


PROJECTS: Mapping[str, Callable[[Manifest, Files], dict[str, str]]] = {
    "cmake": _cmake,
    "make": _make,
    "arduino": _arduino,
    "zephyr": _zephyr,
}
"""Build systems by name."""
