"""The build cache: hits, damage, bounds, sharing."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utvm.cache import Cache, CacheError, default_cache_directory, digest

PARTS = st.lists(st.text(max_size=5), max_size=4)


def put(cache, key, content):
    with cache.scratch() as scratch:
        made = Path(scratch) / "made"
        made.write_bytes(content)
        return cache.store(key, ".o", made)


@given(PARTS, PARTS)
def test_keys_are_equal_only_for_equal_parts(one, other):
    assert (digest(one) == digest(other)) == (one == other)


def test_what_is_stored_is_found(tmp_path):
    cache = Cache(tmp_path / "new" / "cache")
    key = digest(["a"])
    assert cache.find(key, ".o") is None
    path = put(cache, key, b"object")
    assert cache.find(key, ".o") == path
    assert path.read_bytes() == b"object"
    assert cache.find(key, ".elf") is None
    assert cache.find(digest(["b"]), ".o") is None


def test_bytes_are_stored_as_files_are(tmp_path):
    """Other users of a shared cache may read either."""
    cache, key = Cache(tmp_path / "cache"), digest(["a"])
    path = cache.store_bytes(key, ".schedule", b"found")
    assert cache.find(key, ".schedule") == path
    assert path.read_bytes() == b"found"
    assert path.stat().st_mode == put(cache, key, b"object").stat().st_mode
    assert not list(cache.directory.glob("build-*"))


def test_of_several_contents_the_latest_is_found(tmp_path):
    cache, key = Cache(tmp_path), digest(["a"])
    for number, content in enumerate((b"some", b"more", b"most", b"all")):
        path = cache.store_bytes(key, ".kernels", content)
        os.utime(path, (number, number))
        assert cache.find(key, ".kernels").read_bytes() == content
        os.utime(path, (number, number))
    path.unlink()
    assert cache.find(key, ".kernels").read_bytes() == b"most"


@pytest.mark.parametrize("damaged", [b"", b"obj", b"objecT", b"object and more"])
def test_a_damaged_file_is_not_found_and_goes(tmp_path, damaged):
    cache = Cache(tmp_path)
    path = put(cache, digest(["a"]), b"object")
    path.write_bytes(damaged)
    assert cache.find(digest(["a"]), ".o") is None
    assert not path.exists()
    put(cache, digest(["a"]), b"object")
    assert cache.find(digest(["a"]), ".o").read_bytes() == b"object"


def test_the_least_recently_used_go_first(tmp_path):
    cache = Cache(tmp_path)
    for age, name in enumerate("dcba"):
        os.utime(put(cache, digest([name]), bytes(100)), (time.time() - 7200 + age,) * 2)
    assert cache.find(digest(["d"]), ".o") is not None
    cache.prune(limit=250)
    assert [name for name in "abcd" if cache.find(digest([name]), ".o")] == ["a", "d"]


def test_builds_prune_now_and_then(tmp_path, monkeypatch):
    cache, pruned = Cache(tmp_path), []
    monkeypatch.setattr(cache, "prune", lambda: pruned.append(1))
    cache.tidy()
    cache.tidy()
    assert len(pruned) == 1
    (stamp,) = tmp_path.iterdir()
    os.utime(stamp, (time.time() - 600,) * 2)
    cache.tidy()
    assert len(pruned) == 2


def test_what_was_used_just_now_stays_whatever_the_limit(tmp_path):
    cache = Cache(tmp_path)
    put(cache, digest(["new"]), bytes(100))
    os.utime(put(cache, digest(["old"]), bytes(100)), (time.time() - 7200,) * 2)
    cache.prune(limit=0)
    assert [name for name in ("new", "old") if cache.find(digest([name]), ".o")] == ["new"]


def test_what_was_taken_outlives_the_cache(tmp_path):
    cache = Cache(tmp_path / "cache")
    held = put(cache, digest(["a"]), b"object")
    assert cache.take(digest(["a"]), ".o", tmp_path / "mine")
    held.unlink()
    assert (tmp_path / "mine").read_bytes() == b"object"
    assert not cache.take(digest(["a"]), ".o", tmp_path / "other")


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_goes_between_finding_and_reading_is_not_there(tmp_path, monkeypatch, links):
    cache = Cache(tmp_path / "cache")
    held = put(cache, digest(["a"]), b"object")
    monkeypatch.setattr(cache, "find", lambda key, suffix: held)
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError()))
    assert cache.take(digest(["a"]), ".o", tmp_path / "mine")
    held.unlink()
    assert not cache.take(digest(["a"]), ".o", tmp_path / "mine")


def test_what_is_shared_stays_in_place(tmp_path):
    cache = Cache(tmp_path / "cache")
    made = tmp_path / "made"
    made.write_bytes(b"object")
    held = cache.share(digest(["a"]), ".o", made)
    assert (held.read_bytes(), made.read_bytes()) == (b"object", b"object")


def test_what_a_dead_build_left_goes(tmp_path):
    cache = Cache(tmp_path)
    old, new = tmp_path / "build-old", tmp_path / "build-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "main.c").write_text("")
    os.utime(old, (time.time() - 7200,) * 2)
    cache.prune()
    assert (old.exists(), new.exists()) == (False, True)


def test_many_may_store_the_same_key(tmp_path):
    key, content = digest(["a"]), bytes(range(256)) * 200

    def work(_):
        cache = Cache(tmp_path)
        put(cache, key, content)
        return cache.find(key, ".o").read_bytes() == content

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(64)))


def test_the_environment_chooses_the_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("UTVM_CACHE", str(tmp_path / "mine"))
    assert default_cache_directory() == tmp_path / "mine"
    monkeypatch.delenv("UTVM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_directory() == tmp_path / "utvm"


def test_a_directory_that_can_not_be_made_is_our_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="set UTVM_CACHE"):
        Cache(tmp_path / "file" / "cache")
