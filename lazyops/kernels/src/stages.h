// The factors of a run on one tile.
//
//   tile (rows, units, P, W): a unit is one column (vector form) or W columns (batch form)
//   values of a stage: for each group or block, its numbers in the order in which they are read
//
// A pure radix-2 part of a run works in place, two or three factors at a time in registers; any
// other factor goes from one buffer to another. The transpose reads the same values: its factors
// come in the other order, each with rows and columns of its blocks exchanged.
#pragma once
#include "codes.h"
#include "tile.h"

namespace {

enum class Op : I { radix = 0, factor = 1, diagonal = 2, scale = 3 };

struct Step {
  Op op;
  I alpha, b, c, delta;  // radix: 2^b rows a group. factor: alpha * delta blocks of b x c
  I values;              // bytes from the values of the tile; diagonal, scale: an address
  I transposed;
  I per_tile;            // diagonal: numbers of one tile
  const Coding* coding;  // of the values of a radix or factor step; or nullptr
  I outer, inner;        // numbers from one of alpha, of delta to the next: 0 where values repeat
  I scales, per;         // bytes from the values of the tile, and numbers of a block; per 0: none
};

// The values of a step, in a tile at p.
template <class T, int P, bool SPLAT>
INLINE Values<T, P, SPLAT> values_of(const char* p, const Step& t) {
  return {p + t.values, t.coding, t.per ? reinterpret_cast<const uint16_t*>(p + t.scales) : nullptr, t.per};
}

struct Shape {
  I units, row;  // units of a row, scalars of a row
  bool far;      // the values come from memory: ask for them ahead
};

// ---- radix 2, S factors at once on 2^S rows ------------------------------------------------

// Stage Q in order of application and those after it; recursion, so that x stays in registers.
template <class T, int P, int S, bool TR, int H, int Q, class Value>
INLINE void levels(Num<T, P> (*x)[H], const Value& val) {
  if constexpr (Q < S) {
    constexpr int R = 1 << S, s = TR ? S - 1 - Q : Q;
#pragma GCC unroll 8
    for (int i = 0; i < R / 2; ++i) {
      const int j = (i >> s << (s + 1)) | (i & ((1 << s) - 1)), m = j + (1 << s);
      const int e = (s * (R / 2) + i) * 4;
      const auto a = val(e), b = val(e + (TR ? 2 : 1));
      const auto c = val(e + (TR ? 1 : 2)), d = val(e + 3);
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h) {
        auto y = times(a, x[j][h]), z = times(c, x[j][h]);
        add_product(y, b, x[m][h]);
        add_product(z, d, x[m][h]);
        x[j][h] = y;
        x[m][h] = z;
      }
    }
    levels<T, P, S, TR, H, Q + 1>(x, val);
  }
}

template <class T, int P, bool SPLAT, int S, bool TR, int H, class Value>
INLINE void butterflies(T* w, I step, const Value& val) {
  constexpr int R = 1 << S, E = P * width<T>;
  Num<T, P> x[R][H];
#pragma GCC unroll 8
  for (int j = 0; j < R; ++j)
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) x[j][h] = get<T, P>(w + j * step + h * E);
  levels<T, P, S, TR, H, 0>(x, val);
#pragma GCC unroll 8
  for (int j = 0; j < R; ++j)
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) put(w + j * step + h * E, x[j][h]);
}

template <class D>
struct Tag {
  using type = D;
};

// All groups of a step; at(e) is what gives the values of the group whose first has number e.
template <class T, int P, bool SPLAT, int S, bool TR, class At>
INLINE void groups(const Step& t, T* w, const Shape& z, const At& at) {
  constexpr int K = S << (S + 1), E = P * width<T>;  // K values of a group
  const I step = t.delta * z.row;
  for (I i = 0; i < t.alpha; ++i)
    for (I l = 0; l < t.delta; ++l) {
      const I e = i * t.outer + l * t.inner;
      T* p = w + (i * t.delta * (1 << S) + l) * z.row;
      const auto val = at(e);
      if constexpr (SPLAT) {
        I u = 0;
        constexpr int H = P == 1 ? 2 : 1;
        for (; u + H <= z.units; u += H) butterflies<T, P, true, S, TR, H>(p + u * E, step, val);
        if constexpr (H > 1)
          for (; u < z.units; ++u) butterflies<T, P, true, S, TR, 1>(p + u * E, step, val);
      } else if (z.units == 1) {
        butterflies<T, P, false, S, TR, 1>(p, step, val);
      } else {
        Num<T, P> held[K];
#pragma GCC unroll 64
        for (int e = 0; e < K; ++e) held[e] = val(e);
        const auto again = [&held](int e) { return held[e]; };
        for (I u = 0; u < z.units; ++u)
          butterflies<T, P, false, S, TR, 1>(p + u * E, step, again);
      }
    }
}

template <class T, int P, int S, bool TR, class Decoder>
void radix_decoded(const Step& t, const Values<T, P, false>& values, T* w, const Shape& z) {
  const Decoder decoder(*t.coding);
  constexpr I CODES = P * Decoder::BITS * width<T>, GROUP = (S << (S + 1)) * CODES / 8;
  const bool scaled = values.scales != nullptr;
  groups<T, P, false, S, TR>(t, w, z, [&](I e) {
    const char* p = values.p + e * CODES / 8;
    const uint16_t* scales = scaled ? values.scales + e / 4 * width<T> : nullptr;
    if (z.far) {  // what is to come
#pragma GCC unroll 64
      for (I k = 0; k < GROUP; k += 64) __builtin_prefetch(p + 8192 + k, 0, 0);
      if (scaled)
#pragma GCC unroll 64
        for (I k = 0; k < (S << (S - 1)) * 2 * width<T>; k += 64)
          __builtin_prefetch(reinterpret_cast<const char*>(scales) + 4096 + k, 0, 0);
    }
    return [&decoder, p, scales](int e) { return decoder.value(p, scales, e); };
  });
}

// Whether codes were decoded in registers.
template <class T, int P, int S, bool TR>
bool in_registers(const Step& t, const Values<T, P, false>& values, T* w, const Shape& z) {
  constexpr int K = S << (S + 1);
  const Coding& c = *t.coding;
  const auto by = [&](auto decoder) {
    radix_decoded<T, P, S, TR, typename decltype(decoder)::type>(t, values, w, z);
    return true;
  };
  const bool full = c.code == Code::integer && c.shift == 32 - c.bits && c.keep[P - 1] && !c.flip[P - 1];
  if (c.code == Code::integer && c.bits == 8) return full ? by(Tag<Whole<P, 8, true>>()) : by(Tag<Whole<P, 8, false>>());
  if constexpr (K * P % 8 == 0)
    if (c.code == Code::integer && c.bits == 4) return full ? by(Tag<Whole<P, 4, true>>()) : by(Tag<Whole<P, 4, false>>());
  if (values.scales) return false;
  if (c.code == Code::half) return by(Tag<Half<P>>());
  if constexpr (UPPER)
    if (c.halves) {
      if (c.bits == 16) return by(Tag<Upper<P, 16>>());
      if (c.bits == 8) return by(Tag<Upper<P, 8>>());
      if constexpr (K * P % 8 == 0) return by(Tag<Upper<P, 4>>());
    }
  return false;
}

template <class T, int P, bool SPLAT, int S, bool TR>
void radix(const Step& t, const Values<T, P, SPLAT>& values, T* w, const Shape& z) {
  constexpr int K = S << (S + 1);
  if constexpr (!SPLAT && sizeof(T) == 4)
    if (t.coding && in_registers<T, P, S, TR>(t, values, w, z)) return;
  alignas(BYTES) T buffer[K * P * Values<T, P, SPLAT>::L];
  groups<T, P, SPLAT, S, TR>(t, w, z, [&](I e) {
    if constexpr (!SPLAT)
      if (z.far) values.template ask<K>(e);
    const T* v = values.at(e, K, buffer);
    return [v](int e) { return value<T, P, SPLAT>(v, e); };
  });
}

// ---- any factor ---------------------------------------------------------------------------

// R rows of H units: out(r, h, sum_k v[r * vr + k * vk] x[k]); N terms where N is not 0.
template <class T, int P, bool SPLAT, int R, int H, int N, class Out>
INLINE void rows(const T* v, I vr, I vk, I terms, const T* x, I xs, const Out& out) {
  constexpr int E = P * width<T>;
  Num<T, P> s[R][H] = {};
  const I count = N ? N : terms;
  for (I k = 0; k < count; ++k) {
    Num<T, P> in[H];
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) in[h] = get<T, P>(x + k * xs + h * E);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const auto a = value<T, P, SPLAT>(v, r * vr + k * vk);
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h) add_product(s[r][h], a, in[h]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) out(r, h, s[r][h]);
}

// out(r, u, number) for R rows and all units.
template <class T, int P, bool SPLAT, int R, int N, class Out>
INLINE void units(const T* v, I vr, I vk, I terms, const T* x, I xs, I count, const Out& out) {
  constexpr int E = P * width<T>, H = P == 1 ? 2 : 1;
  I u = 0;
  for (; u + H <= count; u += H)
    rows<T, P, SPLAT, R, H, N>(v, vr, vk, terms, x + u * E, xs,
                               [&](int r, int h, const Num<T, P>& n) { out(r, u + h, n); });
  if constexpr (H > 1)
    if (u < count)
      rows<T, P, SPLAT, R, 1, N>(v, vr, vk, terms, x + u * E, xs,
                                 [&](int r, int, const Num<T, P>& n) { out(r, u, n); });
}

// The rows of a block that are computed together, at most.
constexpr int ROWS_AT_ONCE = 8;

// Numbers of R rows of a block, whose first value is `first`, from row `from` on, and how far apart
// they lie. Codes are decoded into `spare`, which has room for R * ins numbers.
template <class T, int P, bool SPLAT>
INLINE const T* rows_of(const Step& t, const Values<T, P, SPLAT>& values, I first, I from, I r, I ins,
                        T* spare, I& vr, I& vk) {
  constexpr int VE = P * Values<T, P, SPLAT>::L;
  vr = t.transposed ? 1 : t.c;
  vk = t.transposed ? t.c : 1;
  if (!t.coding || !t.transposed) return values.at(first + from * vr, r * ins, spare);
  for (I k = 0; k < ins; ++k) values.at(first + from + k * t.c, r, spare + k * r * VE);
  vk = r;
  return spare;
}

// out(row, unit, number) for all rows of a factor applied to x; between(row) before rows of a block.
template <class T, int P, bool SPLAT, class Out, class Between>
INLINE void factor_to(const Step& t, const Values<T, P, SPLAT>& values, const T* x, const Shape& z,
                      T* spare, const Out& out, const Between& between) {
  const I outs = t.transposed ? t.c : t.b, ins = t.transposed ? t.b : t.c;
  const I xs = t.delta * z.row;
  for (I i = 0; i < t.alpha; ++i)
    for (I l = 0; l < t.delta; ++l) {
      const I block = i * t.outer + l * t.inner;
      const T* in = x + (i * ins * t.delta + l) * z.row;
      const auto go = [&](auto r, auto n, I from) {
        const I first = (i * outs + from) * t.delta + l;
        between(first, I(decltype(r)::value));
        I vr, vk;
        const T* v = rows_of(t, values, block, from, decltype(r)::value, ins, spare, vr, vk);
        units<T, P, SPLAT, decltype(r)::value, decltype(n)::value>(
            v, vr, vk, ins, in, xs, z.units,
            [&](int k, I u, const Num<T, P>& n) { out(first + k * t.delta, u, n); });
      };
      using std::integral_constant;
      constexpr integral_constant<int, 0> any;
      if (outs == ins && outs <= 5 && outs >= 2) {
        if (outs == 2) go(integral_constant<int, 2>(), integral_constant<int, 2>(), 0);
        else if (outs == 3) go(integral_constant<int, 3>(), integral_constant<int, 3>(), 0);
        else if (outs == 4) go(integral_constant<int, 4>(), integral_constant<int, 4>(), 0);
        else go(integral_constant<int, 5>(), integral_constant<int, 5>(), 0);
        continue;
      }
      I r = 0;
      for (; r + 8 <= outs; r += 8) go(integral_constant<int, 8>(), any, r);
      if (r + 4 <= outs) { go(integral_constant<int, 4>(), any, r); r += 4; }
      if (r + 2 <= outs) { go(integral_constant<int, 2>(), any, r); r += 2; }
      if (r < outs) go(integral_constant<int, 1>(), any, r);
    }
}

template <class T, int P, bool SPLAT>
void factor(const Step& t, const Values<T, P, SPLAT>& v, const T* x, T* y, const Shape& z, T* spare) {
  factor_to<T, P, SPLAT>(
      t, v, x, z, spare,
      [&](I r, I u, const Num<T, P>& n) { put(y + r * z.row + u * (P * width<T>), n); },
      [](I, I) {});
}

// w[r] *= v[r], or a number for all rows
template <class T, int P, bool SPLAT>
void diagonal(const T* v, T* w, I count, const Shape& z, bool one, bool conj) {
  constexpr int E = P * width<T>;
  for (I r = 0; r < count; ++r) {
    auto a = one ? value<T, P, true>(v, 0) : value<T, P, SPLAT>(v, r);
    if constexpr (P == 2)
      if (conj) a.p[1] = -a.p[1];
    for (I u = 0; u < z.units; ++u) {
      T* p = w + r * z.row + u * E;
      put(p, times(a, get<T, P>(p)));
    }
  }
}

// All steps on the tile in `w`; `other` is a second buffer of the same size, `spare` one for decoded
// values. Returns the buffer that holds the result.
template <class T, int P, bool SPLAT>
T* apply(const Step* steps, I count, const char* v, I tile, T* w, T* other, T* spare, const Shape& z) {
  for (I s = 0; s < count; ++s) {
    const Step& t = steps[s];
    const bool tr = t.transposed;
    const auto at = values_of<T, P, SPLAT>(v, t);
    switch (t.op) {
      case Op::radix:
        if (t.b == 1) tr ? radix<T, P, SPLAT, 1, true>(t, at, w, z) : radix<T, P, SPLAT, 1, false>(t, at, w, z);
        else if (t.b == 2) tr ? radix<T, P, SPLAT, 2, true>(t, at, w, z) : radix<T, P, SPLAT, 2, false>(t, at, w, z);
        else if constexpr (SPLAT) tr ? radix<T, P, SPLAT, 3, true>(t, at, w, z) : radix<T, P, SPLAT, 3, false>(t, at, w, z);
        break;
      case Op::factor: {
        factor<T, P, SPLAT>(t, at, w, other, z, spare);
        T* swap = w;
        w = other;
        other = swap;
        break;
      }
      case Op::diagonal:
      case Op::scale: {
        const T* d;
        std::memcpy(&d, &t.values, sizeof d);
        const bool one = t.op == Op::scale;
        // alpha rows; the conjugation of the run is undone here: diagonals are packed as they act
        diagonal<T, P, SPLAT>(d + (one ? 0 : tile * t.per_tile), w, t.alpha, z, one, t.transposed);
        break;
      }
    }
  }
  return w;
}

}  // namespace
