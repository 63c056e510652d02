from __future__ import annotations

import numpy as np
import pytest

from kvtui.core import KVCache, KvtuiError, ModelConfig

CONFIG = ModelConfig(
    vocab_size=5,
    context_length=8,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=3,
    embed_dim=6,
    mlp_dim=6,
    position="learned",
)


def fill(cache: KVCache, count: int, value: float) -> None:
    block = np.full((2, count, 3), value, np.float32)
    cache.begin(count)
    for layer in range(2):
        cache.write(layer, block, -block)
    cache.advance(count)


def test_bytes_follow_the_formula():
    cache = KVCache(CONFIG)
    fill(cache, 3, 1.0)
    assert cache.bytes_per_token == CONFIG.cache_bytes_per_token() == 2 * 2 * 2 * 3 * 4
    assert cache.bytes_used == 3 * 96
    assert cache.bytes_allocated == 8 * 96 == cache.keys.nbytes + cache.values.nbytes


def test_write_is_in_place_behind_all_that_was_seen():
    cache = KVCache(CONFIG)
    keys_before = cache.keys
    fill(cache, 2, 1.0)
    new = np.full((2, 1, 3), 5.0, np.float32)
    assert cache.begin(1) == 3
    cache.write(1, new, -new)
    cache.advance(1)
    assert cache.keys is keys_before
    keys, values = cache.read(1)
    assert np.shares_memory(keys, cache.keys)
    np.testing.assert_array_equal(keys[0, :, 0], [1, 1, 5])
    np.testing.assert_array_equal(values[1, :, 2], [-1, -1, -5])


def test_overflow_names_both_numbers_and_leaves_the_cache_as_it_was():
    cache = KVCache(CONFIG)
    fill(cache, 6, 1.0)
    with pytest.raises(KvtuiError, match=r"6 of 8 positions in use, so 3 more"):
        cache.check_room(3)
    with pytest.raises(KvtuiError):
        cache.advance(3)
    assert cache.length == 6


def test_truncate_and_reset():
    cache = KVCache(CONFIG)
    fill(cache, 6, 1.0)
    cache.truncate(4)
    assert (cache.length, cache.bytes_used) == (4, 4 * 96)
    for wrong in (-1, 5):
        with pytest.raises(KvtuiError, match="4 are in use"):
            cache.truncate(wrong)
    cache.reset()
    assert (cache.length, cache.bytes_used, cache.bytes_allocated) == (0, 0, 8 * 96)


@pytest.mark.parametrize("capacity", [0, 9])
def test_capacity_has_to_fit_the_context(capacity):
    with pytest.raises(KvtuiError, match="1 to 8"):
        KVCache(CONFIG, capacity)
