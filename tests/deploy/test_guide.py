"""docs/deploy.md, tried literally: its blocks are run and written in order, in a firmware that CMake builds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "deploy.md"
MODEL = ROOT / "examples" / "cifar10" / "cifar10_cnn.tflite"
TOOLCHAIN = """\
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR cortex-m4)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_C_FLAGS_INIT "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=auto -O2")
set(CMAKE_EXE_LINKER_FLAGS_INIT "--specs=nosys.specs -Wl,--no-warn-rwx-segments")
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
"""
EXISTING = """\
cmake_minimum_required(VERSION 3.16)
project(firmware C)
add_executable(firmware main.c classify.c)
target_compile_options(firmware PRIVATE -Wall -Wextra -Werror)
"""
MAIN = """\
#include <stdint.h>
int classify(const int8_t *picture);
static int8_t picture[32 * 32 * 3];
int main(void) { return classify(picture); }
"""


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_the_guide_works_as_it_stands(tmp_path: Path) -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", "cmake", "c", "sh", "sh"]
    shutil.copy(MODEL, tmp_path)
    (tmp_path / "cortex-m4.cmake").write_text(TOOLCHAIN)
    (tmp_path / "CMakeLists.txt").write_text(EXISTING)
    (tmp_path / "main.c").write_text(MAIN)
    path = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    said = ""
    for kind, text in blocks:
        if kind == "cmake":
            with (tmp_path / "CMakeLists.txt").open("a") as file:
                file.write(text)
        elif kind == "c":
            (tmp_path / "classify.c").write_text(text)
        else:
            done = subprocess.run(
                ["sh", "-e", "-c", text], cwd=tmp_path, env=path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said += done.stdout
    assert (tmp_path / "build" / "firmware").is_file()
    assert said.count("equal bit by bit") == 2
