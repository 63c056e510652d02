"""Every cache policy against a slow one that is written again, and what they promise of sizes, bytes and going back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow import Slow, build, rounded

from kvtui.core import KvtuiError, Model
from kvtui.core.cache import KINDS, Entries, Eviction, SnapKV, parse_policy
from kvtui.core.cache.quantised import pack, quantise, unpack

MODELS = {
    (position, kv_heads): build(position, kv_heads) for position in ("rotary", "learned") for kv_heads in (1, 2, 4)
}
IDS = np.random.default_rng(0).integers(13, size=200)


def stepped(model: Model, policy: str, ids, prompt: int) -> np.ndarray:
    """Logits of a prompt and of single steps after it."""
    cache = model.new_cache(policy)
    logits = [model.forward(ids[:prompt], cache)]
    logits += [model.decode(int(token), cache)[None].copy() for token in ids[prompt:]]
    return np.concatenate(logits)


def slow(model: Model, rule: tuple[str, int, int], bits: int | None, ids, prompt: int) -> np.ndarray:
    decoder = Slow(model, rule, bits)
    return np.concatenate([decoder.run(ids[:prompt]), *(decoder.run([token]) for token in ids[prompt:])])


RULES = st.one_of(
    st.builds(lambda n: (f"window:{n}", ("rolling", 0, n)), st.integers(1, 47)),
    st.builds(lambda s, n: (f"sink:{s}+{n}", ("rolling", s, n)), st.integers(1, 8), st.integers(1, 40)),
    st.builds(lambda h, n: (f"heavy:{h}+{n}", ("heavy", h, n)), st.integers(1, 20), st.integers(1, 20)),
    st.builds(lambda c, w: (f"snap:{c}+{w}", ("snap", c, w)), st.integers(1, 20), st.integers(1, 20)),
)


POSITIONS = st.sampled_from(["rotary", "learned"])


@settings(max_examples=40)
@given(
    RULES, st.integers(1, 47), st.integers(0, 30), st.sampled_from([1, 2, 4]), st.sampled_from(["rotary", "learned"])
)
def test_dropping_policies_equal_the_slow_ones(rule, prompt, more, kv_heads, position):
    spec, slow_rule = rule
    rolling = slow_rule[0] == "rolling"
    model = MODELS["rotary" if rolling else position, kv_heads]
    ids = IDS[: prompt + more if rolling else min(prompt + more, 48)]
    found = stepped(model, spec, ids, prompt)
    np.testing.assert_allclose(found, slow(model, slow_rule, None, ids, prompt), rtol=0, atol=1e-8)


WIDE = {kv_heads: build(kv_heads=kv_heads, context=160, layers=2) for kv_heads in (2, 4)}
WIDE_LEARNED = build("learned", 2, context=160)


@settings(max_examples=8)
@given(st.sampled_from([4, 8]), st.integers(0, 5), st.integers(33, 70), st.integers(1, 110), st.integers(0, 40))
def test_quantised_windows_equal_the_slow_ones(bits, sinks, recent, prompt, more):
    spec = f"int{bits}," + (f"sink:{sinks}+{recent}" if sinks else f"window:{recent}")
    model = WIDE[2 + 2 * (prompt % 2)]
    ids = IDS[: prompt + more]
    found = stepped(model, spec, ids, prompt)
    np.testing.assert_allclose(found, slow(model, ("rolling", sinks, recent), bits, ids, prompt), rtol=0, atol=1e-8)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("model", [WIDE[2], WIDE_LEARNED], ids=["rotary", "learned"])
@pytest.mark.parametrize("prompt", [1, 32, 70])
def test_quantised_alone(bits, model, prompt):
    ids = IDS[: prompt + 34]
    found = stepped(model, f"int{bits}", ids, prompt)
    np.testing.assert_allclose(found, slow(model, ("rolling", 0, 160), bits, ids, prompt), rtol=0, atol=1e-8)


@pytest.mark.parametrize("cuts", [(1, 2), (10, 11), (30, 40), (47, 48)])
@pytest.mark.parametrize("policy", ["window:8", "sink:2+6", "heavy:4+4", "snap:6+2"])
def test_a_pass_of_one_is_a_step_and_passes_may_be_cut_anywhere(policy, cuts):
    model = MODELS["rotary", 2]
    whole, parts = model.new_cache(policy), model.new_cache(policy)
    for token in IDS[:48]:
        stepped_logits = model.decode(int(token), whole)
        np.testing.assert_allclose(model.forward([token], parts)[0], stepped_logits, rtol=0, atol=1e-10)
    if policy.startswith(("window", "sink")):  # a mask says what each position sees, wherever a pass ends
        cut = model.new_cache(policy)
        logits = [model.forward(ids, cut) for ids in np.split(IDS[:48], cuts) if len(ids)]
        np.testing.assert_allclose(np.concatenate(logits), model.forward(IDS[:48], model.new_cache(policy)), atol=1e-10)
        np.testing.assert_allclose(np.concatenate(logits)[-1], stepped_logits, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("policy", "passes"),
    [
        ("window:8", [8, 112]),
        ("window:100", [100, 20]),
        ("window:1", [1, 119]),
        ("sink:2+6", [8, 112]),
        ("sink:9+1", [10, 110]),
        ("int8,window:40", [40, 24, 32, 24]),  # a group is packed when the position after it comes
        ("int4,sink:3+35", [38, 29, 32, 21]),
    ],
)
def test_what_is_longer_than_the_cache_is_run_in_few_passes(policy, passes):
    """Each position sees what it would if it came alone, and the cache then holds the same."""
    model = WIDE[2]
    cache, one_by_one = model.new_cache(policy), model.new_cache(policy)
    begun = []
    begin, cache.begin = cache.begin, lambda count: begun.append(count) or begin(count)
    logits = model.forward(IDS[:120], cache)
    assert begun == passes
    expected = [model.forward(IDS[: passes[0]], one_by_one)]
    expected += [model.forward([token], one_by_one) for token in IDS[passes[0] : 120]]
    np.testing.assert_allclose(logits, np.concatenate(expected), rtol=0, atol=1e-10)
    for layer in range(2):
        for found, right in zip(cache.read(layer), one_by_one.read(layer), strict=True):
            np.testing.assert_allclose(found, right, rtol=0, atol=1e-10)
    for gone, expected_gone in zip(cache.take_evicted(), one_by_one.take_evicted(), strict=True):
        np.testing.assert_array_equal(gone, expected_gone)
    np.testing.assert_allclose(model.decode(1, cache).copy(), model.decode(1, one_by_one), rtol=0, atol=1e-10)


def test_a_pass_has_no_more_positions_than_the_context():
    """Scores take memory and time by the square of them."""
    model, begun = MODELS["rotary", 2], []
    cache = model.new_cache("sink:2+8")
    begin, cache.begin = cache.begin, lambda count: begun.append(count) or begin(count)
    model.forward(IDS[:150], cache)
    assert begun == [10, 48, 48, 44]


@pytest.mark.parametrize("policy", ["window:48", "window:900", "sink:4+44", "sink:1+500", "heavy:40+8", "snap:40+8"])
@pytest.mark.parametrize("prompt", [1, 20, 48])
def test_what_holds_the_whole_context_is_full(policy, prompt):
    """It drops nothing, and its logits are full's but for the order in which numbers are added up."""
    for (position, _), model in MODELS.items():
        if position == "learned" and policy.startswith(("window", "sink")):
            continue
        found, full = (stepped(model, name, IDS[:48], prompt) for name in (policy, "full"))
        np.testing.assert_allclose(found, full, rtol=0, atol=1e-12)
        cache = model.new_cache(policy)
        model.forward(IDS[:48], cache)
        assert not cache.take_evicted()[1].size
        for layer in range(2):
            heads = model.config.num_kv_heads
            np.testing.assert_array_equal(cache.positions(layer), np.broadcast_to(np.arange(48), (heads, 48)))


def test_float32_is_within_1e_5_of_the_slow_one():
    model, exact = (build(dtype=dtype) for dtype in (np.float32, np.float64))
    for spec, rule in (("sink:3+12", ("rolling", 3, 12)), ("heavy:6+6", ("heavy", 6, 6)), ("snap:8+4", ("snap", 8, 4))):
        found = stepped(model, spec, IDS[:48], 20)
        assert found.dtype == np.float32
        assert np.abs(found - slow(exact, rule, None, IDS[:48], 20)).max() <= 1e-5


def test_endless_positions_lose_no_precision():
    """4,000 positions on, a float32 cache reads what a fresh one does of the same keys and values."""
    model = build(dtype=np.float32, layers=1)  # with one layer nothing is stale
    cache, fresh = model.new_cache("sink:4+20"), model.new_cache()
    ids = np.random.default_rng(1).integers(13, size=4_000)
    for token in ids:
        late = model.decode(int(token), cache)
    kept = np.concatenate([ids[:4], ids[-20:]])
    np.testing.assert_allclose(late, model.forward(kept, fresh)[-1], rtol=0, atol=1e-4)
    assert cache.length == 4_000
    np.testing.assert_array_equal(cache.positions(0)[0], [0, 1, 2, 3, *range(3_980, 4_000)])


POLICIES = ["full", "window:8", "sink:2+6", "heavy:4+4", "snap:6+2", "int8", "int4", "int8,window:40", "int4,sink:3+40"]


@pytest.mark.parametrize("policy", POLICIES)
def test_kept_and_evicted_are_all_there_were(policy):
    model = WIDE[2]
    cache = model.new_cache(policy)
    model.forward(IDS[:20], cache)
    dropped, _ = cache.take_evicted()
    parts = [dropped]
    for token in IDS[20:100]:
        model.decode(int(token), cache)
        parts.append(cache.take_evicted()[0])
    evicted = np.concatenate(parts, axis=2)
    for layer in range(2):
        kept = cache.positions(layer)
        assert kept.shape == (2, cache.num_held)
        for head in range(2):
            together = np.concatenate([kept[head], evicted[layer, head]])
            np.testing.assert_array_equal(np.sort(together), np.arange(100))
            assert (np.diff(kept[head]) > 0).all()
        keys, values = cache.read(layer)
        assert keys.shape == values.shape == (2, cache.num_held, 6)


def test_heads_keep_different_positions():
    cache = WIDE[4].new_cache("heavy:6+2")
    WIDE[4].forward(IDS[:60], cache)
    kept = cache.positions(1)
    assert len({tuple(head) for head in kept}) > 1
    np.testing.assert_array_equal(kept[:, -2:], [[58, 59]] * 4)


def test_snap_pools_only_what_stands_before_its_window():
    """What the window's queries give to each other does not lift the positions just before them."""
    attention = np.array([[0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 5.0, 7.0]])
    nothing = np.zeros((1, 12, 6))
    worth = SnapKV(3, 2).importance(Entries(np.arange(12)[None], attention, nothing, nothing, 11))
    np.testing.assert_array_equal(worth, [[0.9] * 5 + [0.1] * 5 + [np.inf] * 2])


@pytest.mark.parametrize("policy", POLICIES)
def test_bytes_are_those_of_the_arrays(policy):
    cache: Any = WIDE[2].new_cache(policy)

    def arrays(thing):
        for name, value in vars(thing).items():
            if isinstance(value, np.ndarray) and value.base is None and name not in ("_codes", "_layers", "_heads"):
                yield value
            elif name.startswith("packed_"):
                yield from arrays(value)

    assert cache.bytes_used == 0
    assert cache.bytes_allocated == sum(array.nbytes for array in arrays(cache))
    WIDE[2].forward(IDS[:150], cache)
    assert 0 < cache.bytes_used <= cache.bytes_allocated


def test_compression():
    sizes = {}
    for policy in ("full", "int8", "int4"):
        cache: Any = WIDE[2].new_cache(policy)
        WIDE[2].forward(IDS[:129], cache)
        sizes[policy] = cache.packed_keys.codes.nbytes if policy != "full" else cache.keys.nbytes
    assert sizes["full"] == 8 * sizes["int8"] == 16 * sizes["int4"]  # float64 here


@pytest.mark.parametrize("policy", POLICIES)
def test_reset_starts_afresh(policy):
    model = WIDE[2]
    cache = model.new_cache(policy)
    stepped_logits = [model.decode(int(token), cache).copy() for token in IDS[:90]]
    cache.reset()
    assert (cache.length, cache.num_held, cache.take_evicted()[0].size) == (0, 0, 0)
    again = [model.decode(int(token), cache).copy() for token in IDS[:90]]
    np.testing.assert_array_equal(again, stepped_logits)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("length", "back"), [(7, 5), (7, 7), (12, 10), (60, 3), (60, 59), (60, 0), (97, 96), (99, 97)])
def test_truncate_is_exact_or_refused(policy, length, back):
    """What goes on after it is what goes on in a cache that was never longer."""
    model = WIDE[2]
    cache, expected = model.new_cache(policy), model.new_cache(policy)
    for token in IDS[:length]:
        model.decode(int(token), cache)
    try:
        cache.truncate(back)
    except KvtuiError:
        assert policy != "full"
        assert 0 < back < length
        assert cache.length == length
        return
    for wrong in (-1, back + 1):
        with pytest.raises(KvtuiError, match=f"cannot truncate to {wrong} positions: {back} are in use"):
            cache.truncate(wrong)
    for token in IDS[:back]:
        model.decode(int(token), expected)
    assert (cache.length, cache.num_held) == (back, expected.num_held)
    for token in IDS[100:140]:
        found, right = model.decode(int(token), cache).copy(), model.decode(int(token), expected)
        np.testing.assert_allclose(found, right, rtol=0, atol=1e-12)


def test_truncate_goes_where_it_can():
    allowed = {}
    for policy in POLICIES:
        cache = WIDE[2].new_cache(policy)
        WIDE[2].forward(IDS[:5], cache)
        for token in IDS[5:70]:
            WIDE[2].decode(int(token), cache)
        allowed[policy] = set()
        for back in (69, 66, 40, 6):
            try:
                cache.truncate(back)
                allowed[policy].add(back)
            except KvtuiError:
                pass
    assert allowed["full"] == allowed["snap:6+2"] == {69, 66, 40, 6}
    assert allowed["int8"] == allowed["int4"] == {69, 66}
    with pytest.raises(KvtuiError, match="run the text again from its beginning"):
        cache.truncate(30)
    assert not allowed["heavy:4+4"]
    assert not allowed["window:8"]


@pytest.mark.parametrize("policy", ["full", "heavy:4+4", "snap:6+2", "int8"])
def test_policies_with_an_end_refuse_more_than_the_context(policy):
    model = WIDE[2]
    cache = model.new_cache(policy)
    model.forward(IDS[:160], cache)
    with pytest.raises(KvtuiError, match="truncate or reset"):
        model.decode(1, cache)
    with pytest.raises(KvtuiError, match="context is 160"):
        model.forward([1, 2], cache)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("axis", [-1, -2])
def test_quantisation_error_is_at_most_half_a_step(bits, axis):
    rng = np.random.default_rng(bits)
    x = rng.normal(0, rng.uniform(0.01, 30, (3, 1, 8)), (3, 32, 8))
    x[0, :, 0] = 2.5  # a channel without any spread
    codes, scale, zero = quantise(x, bits, axis)
    assert codes.itemsize == 1
    assert (np.abs(rounded(x, bits, axis) - x) <= scale / 2 + 1e-12).all()
    if bits == 4:
        assert (codes.min(), codes.max()) == (0, 15)
        np.testing.assert_allclose(scale, np.ptp(x, axis=axis, keepdims=True) / 15)
    else:
        assert zero is None
        assert np.abs(codes).max() == 127
        np.testing.assert_allclose(scale, np.abs(x).max(axis=axis, keepdims=True) / 127)
    out = np.empty(x.shape)
    packed = pack(codes, bits)
    assert packed.nbytes == x.size * bits // 8
    np.testing.assert_array_equal(unpack(packed, bits, out), codes)


# How they are written


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("full", "full"),
        (" Sink:4 + 124 ", "sink:4+124"),
        ("window:0128,int4", "int4,window:128"),
        ("int8,full", "int8"),
        ("INT4", "int4"),
        ("snap:96+32", "snap:96+32"),
    ],
)
def test_spelling(text, spec):
    policy = parse_policy(text)
    assert policy.spec == spec
    assert parse_policy(spec) == policy
    assert parse_policy(policy) is policy


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no cache policy ''"),
        ("windoe:3", "did you mean window"),
        ("streaming", "known are full, window:N, sink:S.N"),
        ("window", "write window:N, such as window:128"),
        ("window:", "write window:N"),
        ("window:-3", "write window:N"),
        ("window:1e3", "write window:N"),
        ("window:3+4", "write window:N"),
        ("sink:4", "write sink:S.N"),
        ("full:3", "write full"),
        ("window:0", "N must be 1 or more"),
        ("sink:0+5", "S must be 1 or more"),
        ("heavy:4+0", "N must be 1 or more"),
        ("window:99999999999", "write window:N"),
        ("int8,int4", "at most one of each"),
        ("window:4,sink:1+2", "at most one of each"),
        ("int8,window:4,int8", "at most one of each"),
        ("int8,heavy:3+3", "int8 packs 32 neighbouring positions"),
        ("snap:30+30,int4", "snap drops single positions"),
    ],
)
def test_what_cannot_be_is_refused(text, words):
    with pytest.raises(KvtuiError, match=words) as caught:
        parse_policy(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "model", "words"),
    [
        ("window:8", MODELS["learned", 2], "this model has learned positions"),
        ("sink:2+8", MODELS["learned", 2], "learned positions"),
        ("int8,window:40", MODELS["learned", 2], "learned positions"),
        ("sink:48+4", MODELS["rotary", 2], "48 sinks fill the model's context of 48"),
        ("int4,window:32", MODELS["rotary", 2], "keep more than 32, or leave out int4"),
    ],
)
def test_what_a_model_cannot_have_is_refused(policy, model, words):
    with pytest.raises(KvtuiError, match=words):
        model.new_cache(policy)


def test_a_model_with_a_window_of_its_own():
    """Mistral looks back a number of positions: a cache that holds only these gives the same."""
    model = build(context=48, sliding_window=12)
    np.testing.assert_allclose(
        stepped(model, "window:12", IDS[:48], 20), stepped(model, "full", IDS[:48], 20), atol=1e-10
    )
    for policy in ("window:8", "sink:2+10", "heavy:4+4", "int8"):
        with pytest.raises(KvtuiError, match="looks back only 12 positions: use full or window:12"):
            model.new_cache(policy)


def test_every_kind_has_an_example_of_its_form():
    for kind in KINDS:
        assert parse_policy(kind.example).spec == kind.example
        assert kind.form.partition(":")[0] == kind.name


# A policy of one's own


class KeyNorm(Eviction):
    """Keeps the keys of least norm (Devoto et al. 2024), and notes what it was asked about."""

    def __init__(self):
        self.asked = []

    def keeps(self, held, new):
        return min(held + new, 10)

    def importance(self, entries):
        norms = np.linalg.norm(entries.keys, axis=-1)
        self.asked.append((entries.positions.copy(), norms))
        return np.where(entries.positions == entries.newest, np.inf, -norms)


def test_a_policy_of_ones_own():
    """Norms are compared with those that the policy saw: the same tokens have nearly the same ones, in any order."""
    model, policy = WIDE[2], KeyNorm()
    cache = model.new_cache(policy)
    everything: Any = model.new_cache()
    model.forward(IDS[:40], cache)
    model.forward(IDS[:40], everything)
    assert len(policy.asked) == 2  # once a layer
    for layer, (positions, norms) in enumerate(policy.asked):
        np.testing.assert_array_equal(positions, np.broadcast_to(np.arange(40), (2, 40)))
        np.testing.assert_allclose(norms, np.linalg.norm(everything.keys[layer, :, :40], axis=-1), rtol=0, atol=1e-12)
        kept = cache.positions(layer)
        assert (kept[:, -1] == 39).all()
        least = np.sort(norms[:, :39], axis=-1)[:, :9]
        np.testing.assert_array_equal(np.sort(np.take_along_axis(norms, kept[:, :-1], axis=1), axis=-1), least)
    for token in IDS[40:60]:
        model.decode(int(token), cache)
        positions, norms = policy.asked[-1]  # (layers, G, 10), of all layers at once
        dropped, _ = cache.take_evicted()
        largest = positions == dropped[..., -1:]
        np.testing.assert_array_equal(norms[largest].reshape(2, 2), norms.max(axis=-1))
    assert cache.num_held == 10
