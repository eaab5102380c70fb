"""Exports as projects of build systems, built by their own tools where those can be had."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.exports import exported, model_path
from utvm.cli import main
from utvm.deploy import project

NAME = "cifar10_cnn"
CALLER = f"""\
#include <string.h>

#include "{NAME}.h"

_Alignas(16) static uint8_t arena[{NAME.upper()}_ARENA_BYTES];
static int8_t x[{NAME.upper()}_INPUT_ELEMENTS], y[{NAME.upper()}_OUTPUT_ELEMENTS];
int main(void) {{
  return {NAME}_run(x, y, arena, sizeof arena) == {NAME.upper()}_OK ? 0 : 1;
}}
"""


def written(kind: str, folder: Path) -> Path:
    assert (
        main(["export", str(model_path(NAME)), "--board", "qemu-cortex-m4", "--format", kind, "-o", str(folder / NAME)])
        == 0
    )
    return folder / NAME


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_package_is_installed_and_found(tmp_path: Path) -> None:
    library = written("cmake", tmp_path)
    run("cmake", "-B", "build", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror -pedantic", folder=library)
    run("cmake", "--build", "build", folder=library)
    run("cmake", "--install", "build", "--prefix", str(tmp_path / "installed"), folder=library)
    user = tmp_path / "user"
    user.mkdir()
    (user / "main.c").write_text(CALLER)
    (user / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.16)\nproject(user C)\nfind_package({NAME} REQUIRED)\n"
        f"add_executable(user main.c)\ntarget_link_libraries(user PRIVATE {NAME}::{NAME})\n"
    )
    run("cmake", "-B", "build", f"-DCMAKE_PREFIX_PATH={tmp_path / 'installed'}", folder=user)
    run("cmake", "--build", "build", folder=user)
    run("build/user", folder=user)


def test_makefile_builds_for_here_and_for_the_core(tmp_path: Path) -> None:
    library = written("make", tmp_path)
    (library / "main.txt").write_text(CALLER)
    run("make", "-s", "CFLAGS=-O1 -Wall -Wextra -Werror -pedantic", folder=library)
    run("gcc", "-x", "c", "main.txt", "-x", "none", f"lib{NAME}.a", "-o", "user", folder=library)
    run("./user", folder=library)
    run("make", "-s", "clean", folder=library)
    arm = ("CC=arm-none-eabi-gcc", "AR=arm-none-eabi-ar", "CFLAGS=-mcpu=cortex-m4 -mthumb -O1 -Wall -Werror")
    run("make", "-s", *arm, folder=library)
    assert f"{NAME}_run" in run("arm-none-eabi-nm", f"lib{NAME}.a", folder=library)


def test_arduino_and_platformio_metadata_follow_their_rules() -> None:
    files = project("arduino", exported(NAME).manifest, exported(NAME).files)
    # Arduino library specification 1.5: required fields, and what each may hold.
    properties = dict(line.split("=", 1) for line in files["library.properties"].splitlines())
    assert {
        "name",
        "version",
        "author",
        "maintainer",
        "sentence",
        "paragraph",
        "category",
        "url",
        "architectures",
    } <= set(properties)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", properties["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    assert properties["category"] == "Data Processing"
    # PlatformIO's library.json: required name and version, headers that exist.
    library = json.loads(files["library.json"])
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,50}", library["name"])
    assert f"src/{library['headers']}" in files
    assert library["version"] == properties["version"]
    assert all(name.startswith("src/") for name in files if name.endswith((".c", ".h")))


def test_platformio_itself_takes_the_metadata(tmp_path: Path) -> None:
    parser = pytest.importorskip("platformio.package.manifest.parser", reason="platformio is not installed")
    schema = pytest.importorskip("platformio.package.manifest.schema")
    library = written("arduino", tmp_path)
    for file in ("library.json", "library.properties"):
        manifest = parser.ManifestParserFactory.new_from_file(str(library / file)).as_dict()
        taken = schema.ManifestSchema().load_manifest(manifest)
        assert (taken["name"], taken["version"], taken["headers"]) == (NAME, "1.0.0", [f"{NAME}.h"])


def test_kconfiglib_takes_the_zephyr_module(tmp_path: Path) -> None:
    kconfiglib = pytest.importorskip("kconfiglib", reason="kconfiglib is not installed")
    written("zephyr", tmp_path)
    (tmp_path / "Kconfig").write_text(f'mainmenu "test"\nrsource "{NAME}/zephyr/Kconfig"\n')
    configuration = kconfiglib.Kconfig(str(tmp_path / "Kconfig"), warn_to_stderr=False)
    assert configuration.warnings == []
    symbol = configuration.syms[f"UTVM_{NAME.upper()}"]
    symbol.set_value("y")
    assert symbol.str_value == "y"


def test_arduino_sketch_is_cpp_that_compiles(tmp_path: Path) -> None:
    library = written("arduino", tmp_path)
    (tmp_path / "Arduino.h").write_text(
        "#include <stddef.h>\n#include <stdint.h>\nstruct SerialPort { void begin(long); void println(int); };\n"
        "extern SerialPort Serial;\nvoid delay(unsigned long);\n"
    )
    sketch = str(library / "examples" / "Run" / "Run.ino")
    options = ("-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-include", "Arduino.h")
    run("g++", *options, "-I", str(library / "src"), "-I", ".", "-c", sketch, "-o", "run.o", folder=tmp_path)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_zephyr_module_builds_with_stand_ins_for_zephyrs_functions(tmp_path: Path) -> None:
    module = written("zephyr", tmp_path)
    assert (module / "zephyr" / "module.yml").read_text() == (
        f"name: {NAME}\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\n"
    )
    # What these keys name has to be there, as Zephyr's own script demands.
    assert (module / "zephyr" / "CMakeLists.txt").is_file()
    assert f"config UTVM_{NAME.upper()}\n\tbool " in (module / "zephyr" / "Kconfig").read_text()
    (tmp_path / "main.c").write_text(CALLER)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(app C)\n"
        "macro(zephyr_library_named n)\n  set(lib ${n})\n  add_library(${n} STATIC)\nendmacro()\n"
        "macro(zephyr_library_sources)\n  target_sources(${lib} PRIVATE ${ARGN})\nendmacro()\n"
        "macro(zephyr_library_compile_options)\n  target_compile_options(${lib} PRIVATE ${ARGN})\nendmacro()\n"
        "macro(zephyr_include_directories)\n  target_include_directories(${lib} PUBLIC ${ARGN})\nendmacro()\n"
        f"set(CONFIG_UTVM_{NAME.upper()} y)\nadd_subdirectory({NAME}/zephyr)\n"
        f"add_executable(app main.c)\ntarget_link_libraries(app PRIVATE {NAME})\n"
    )
    run("cmake", "-B", "build", folder=tmp_path)
    run("cmake", "--build", "build", folder=tmp_path)
    run("build/app", folder=tmp_path)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
@pytest.mark.parametrize(
    ("options", "level"),
    [
        ((), "-O3"),
        (("-DCMAKE_C_FLAGS=-Os",), "-Os"),
        (("-DCMAKE_BUILD_TYPE=Release",), "-O3"),
        (("-DCMAKE_BUILD_TYPE=MinSizeRel",), "-Os"),
        (("-DCMAKE_BUILD_TYPE=Debug",), None),
    ],
)
def test_cmake_optimises_unless_it_is_told_how(options: tuple[str, ...], level: str | None, tmp_path: Path) -> None:
    library = written("cmake", tmp_path)
    run("cmake", "-B", "build", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", *options, str(library), folder=tmp_path)
    commands = json.loads((tmp_path / "build" / "compile_commands.json").read_text())
    levels = {tuple(re.findall(r" (-O\w*)", entry["command"])) for entry in commands}
    assert levels == {() if level is None else (level,)}
