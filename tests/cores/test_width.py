"""Sizes of instructions, against the assembler."""

import subprocess

from utvm.cores.thumb import parse

LINES = """
ldr r0, [r1, #4]
ldr r0, [r1, #124]|ldr r0, [r1, #128]|ldr r8, [r1]|ldr r0, [r1], #4|ldr r0, [r1, #4]!|ldr r0, [sp, #1020]
ldr r0, [r1, r2]|ldr r0, [r1, r2, lsl #2]|ldrb r0, [r1, #31]|ldrb r0, [r1, #32]|ldrh r0, [r1, #62]|ldrsb r0, [r1, #1]
ldrsb r0, [r1, r2]|strb r3, [r2]|strh r3, [r2, #1]|str r0, [sp]|strb r0, [sp]|str lr, [sp]|ldrd r0, r1, [r2]
add r0, r0, r1|add r0, r1, r2|adds r0, r1, r2|add r0, r1, #1|adds r0, r1, #7|adds r0, r1, #8|adds r0, r0, #255
adds r0, #1|add r0, #1|add r8, r8, r1|add sp, sp, #508|sub sp, sp, #512|add r2, sp, #8|sub r2, sp, #8|subs r1, r1, r2
sub r1, r1, r2|mov r0, r8|mov r0, #1|movs r0, #1|movs r0, #256|movw r0, #1|cmp r0, #255|cmp r8, #1|cmp r8, r1|cmn r0, r1
lsls r0, r1, #3|lsl r0, r1, #3|lsrs r0, r1|ands r0, r1|and r0, r1|ands r0, r0, r1|ands r0, r1, r2|orrs r0, r1, r0
bics r0, r1, r0|muls r0, r1, r0|mul r0, r1, r0|rsbs r0, r1, #0|rsbs r0, r1, #1|mvns r0, r1|tst r0, r1|tst r0, #1
sxtb r0, r1|sxtb r0, r8|sxtb16 r0, r1|uxth r0, r1, ror #8|rev r0, r1|clz r0, r1|smlad r0, r1, r2, r0|ssat r0, #8, r0
push {r4, lr}|push {r4-r11, lr}|pop {r0, pc}|pop {r0, lr}|ldmia r0!, {r1, r2}|ldmia r0, {r1, r2}|ldmia r0, {r0, r1}
stmia r0!, {r1, r2}|stmia r0, {r1, r2}|bx lr|nop|nop.w|ldr.w r0, [r1]|adds.w r0, r0, #1|movs r0, r1|ror r0, r1, #2
rors r0, r1|eors r0, r1|add r0, r1, r2, lsl #1|sub r0, r0, #1|subs r3, r3, #1|add r8, r9|mov r8, r9
"""


def test_sizes_are_the_assembler_s(tmp_path):
    lines = [line.strip() for line in LINES.replace("\n", "|").split("|") if line.strip()]
    source = [".syntax unified", ".thumb"]
    for index, line in enumerate(lines):
        source += [f"a{index}: {line}"]
    (tmp_path / "a.s").write_text("\n".join([*source, f"a{len(lines)}: nop", ""]))
    subprocess.run(["arm-none-eabi-as", "-mcpu=cortex-m7", "a.s", "-o", "a.o"], cwd=tmp_path, check=True)
    listed = subprocess.run(["arm-none-eabi-nm", "a.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
    places = {name: int(place, 16) for place, _, name in map(str.split, listed.stdout.splitlines())}
    sizes = {line: places[f"a{i + 1}"] - places[f"a{i}"] for i, line in enumerate(lines)}
    assert {line: parse(line).size for line in lines} == sizes
