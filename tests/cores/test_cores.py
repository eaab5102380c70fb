"""The described cores: their flags agree with what they are said to be able to do."""

import subprocess

import pytest

from utvm.cores import CORES, CoreError, get_core


def macros(core):
    command = [f"{core.tool_prefix}gcc", *core.cflags, "-dM", "-E", "-x", "c", "/dev/null"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[1]: line.split(maxsplit=2)[2:] for line in text.splitlines()}


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_what_a_core_can_do_is_what_its_flags_compile_for(core):
    defined = macros(core)
    assert core.dsp == ("__ARM_FEATURE_DSP" in defined)
    assert core.mve == ("__ARM_FEATURE_MVE" in defined)
    assert core.fpu == ("__ARM_FP" in defined)
    assert core.unaligned == ("__ARM_FEATURE_UNALIGNED" in defined)
    assert ("__riscv" in defined) == (core.isa.name == "riscv")
    assert ("__ARM_ARCH_PROFILE" in defined) == (core.isa.name == "arm")
    assert core.isa.macro in defined


@pytest.mark.parametrize("core", CORES.values(), ids=CORES)
def test_only_arm_cores_but_armv6m_have_fault_registers(core):
    assert core.fault_status == (core.isa.name == "arm" and core.architecture != "armv6-m")


def test_an_unknown_core_is_refused_with_the_known_ones():
    with pytest.raises(CoreError, match=r"'cortex-m99'.*cortex-m7"):
        get_core("cortex-m99")


def test_names_are_keys():
    assert all(get_core(name) is core and core.name == name for name, core in CORES.items())
