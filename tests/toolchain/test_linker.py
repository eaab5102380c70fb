"""Linker scripts."""

from hypothesis import given
from hypothesis import strategies as st

from utvm.toolchain import LinkLayout, Region, linker_script

REGIONS = [Region(name=f"r{i}", origin=i << 24, length=(i + 1) * 0x10000) for i in range(3)]


@given(
    st.sampled_from(REGIONS),
    st.sampled_from(REGIONS),
    st.sampled_from(REGIONS),
    st.integers(16, 256).map(lambda n: 16 * n),
)
def test_every_used_region_stands_once_and_the_script_is_stable(code, constants, data, stack):
    layout = LinkLayout(code=code, constants=constants, data=data, stack_bytes=stack)
    script = linker_script(layout)
    for region in REGIONS:
        line = f"  {region.name} (rwx) : ORIGIN = 0x{region.origin:08x}, LENGTH = {region.length}\n"
        assert script.count(line) == (region in (code, constants, data))
    assert f"}} > {code.name}\n" in script
    assert f". += {stack};" in script
    assert script == linker_script(LinkLayout(code=code, constants=constants, data=data, stack_bytes=stack))
