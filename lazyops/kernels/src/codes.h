// Values as codes of few bits: decoded in registers where they are used once, or group by group
// into a buffer in L1 just before they are used. Blocks may have a scale each: the upper half of a
// float, so that its product with a code is a float exactly (kernels/codes.py says when).
#pragma once
#include "coding.h"

namespace {

// Scale number k of each lane.
template <int L>
INLINE Row<float, L> scale_at(const uint16_t* scales, I k) {
  Row<uint16_t, L> h;
  std::memcpy(&h, scales + k * L, sizeof h);
  return (Row<float, L>)(wider<uint32_t, uint16_t, L>(h) << 16u);
}

// Numbers from .. from + count at `out` times the scales of their blocks, `per` numbers each.
template <class T, int P, int L>
__attribute__((noinline)) void scaled(const uint16_t* scales, I per, I from, I count, T* out) {
  const auto times = [&](auto lanes, I block, I vectors) {
    constexpr int N = decltype(lanes)::value;
    Row<float, L> one = scale_at<L>(scales, block);
    Row<float, N> all;
    for (int j = 0; j < N; ++j) all[j] = one[j % L];
    const auto s = __builtin_convertvector(all, Row<T, N>);
    for (I k = 0; k < vectors; ++k, out += N) {
      Row<T, N> v;
      std::memcpy(&v, out, sizeof v);
      v *= s;
      std::memcpy(out, &v, sizeof v);
    }
  };
#if defined(__AVX512BW__)
  if constexpr (L == 1 && sizeof(T) == 4)
    if (per == 4 && from % 4 == 0) {  // radix 2: the scales of a vector of numbers at once
      constexpr int N = 16 / P;
      Row<uint16_t, 32> at;
      for (int j = 0; j < 32; ++j) at[j] = uint16_t(j / (8 * P));
      for (; count >= N; from += N, count -= N, out += 16) {
        uint64_t few = 0;
        std::memcpy(&few, scales + from / 4, N / 2);
        const __m512i all = _mm512_set1_epi64(int64_t(few));
        const auto s = (Row<float, 16>)_mm512_maskz_permutexvar_epi16(0xaaaaaaaau, (__m512i)at, all);
        Lane<float>::store(reinterpret_cast<float*>(out), Lane<float>::load(reinterpret_cast<float*>(out)) * s);
      }
    }
#endif
  if (per == 4 && from % 4 == 0 && count % 4 == 0) {  // radix 2
    for (I n = from; n < from + count; n += 4) {
      if constexpr (L == 1) times(std::integral_constant<int, 4>(), n / 4, P);
      else times(std::integral_constant<int, L>(), n / 4, 4 * P);
    }
    return;
  }
  for (I n = from, next; n < from + count; n = next) {
    next = (n / per + 1) * per;
    if (next > from + count) next = from + count;
    times(std::integral_constant<int, L>(), n / per, (next - n) * P);
  }
}

// ---- in registers: one vector, float ---------------------------------------------------------
// value(p, s, e): number e of a group whose codes begin at p, whose scales begin at s.

// Integers of 4 and 8 bits, four numbers to a scale. A code goes to the high end of a mantissa,
// which makes 2^BITS + a number; what is too much is taken off after the scale: all of it is exact.
// FULL: as many bits as there is room, and no part is conjugated or not there.
template <int P, int BITS_, bool FULL>
struct Whole {
  static constexpr int BITS = BITS_;
  static constexpr int PER = 32 / BITS, L = width<float>;
  static constexpr uint32_t FIELD = (0x7fffffu >> (23 - BITS)) << (23 - BITS),
                            ONE = uint32_t(127 + BITS) << 23 | 1u << 22;
  float unit[P];

  explicit INLINE Whole(const Coding& c) {
    for (int i = 0; i < P; ++i) {
      const float one = 1.0f / float(1u << (BITS - 32 + c.shift));  // a narrower one lies higher
      unit[i] = c.keep[i] ? c.flip[i] ? -one : one : 0;
    }
  }

  INLINE Num<float, P> value(const char* p, const uint16_t* scales, int e) const {
    typedef Row<uint32_t, L> W;
    const Vec<float> scale = scales ? scale_at<L>(scales, e / 4) : Lane<float>::splat(1);
    Num<float, P> n;
#pragma GCC unroll 2
    for (int i = 0; i < P; ++i) {
      const int s = e * P + i, q = s % PER, left = 23 - BITS - q * BITS;
      W w;
      std::memcpy(&w, p + s / PER * sizeof w, sizeof w);
      w = left >= 0 ? w << uint32_t(left) : w >> uint32_t(-left);
      const Vec<float> unit_of = FULL ? scale : scale * unit[i], f = (Vec<float>)((w & FIELD) ^ ONE);
      n.p[i] = f * unit_of - 1.5f * float(1 << BITS) * unit_of;
    }
    return n;
  }
};

// Half precision, as it lies.
template <int P>
struct Half {
  static constexpr int BITS = 16, L = width<float>;
  Row<uint32_t, L> keep[P], flip[P];

  explicit INLINE Half(const Coding& c) {
    for (int i = 0; i < P; ++i) {
      keep[i] = Row<uint32_t, L>{} + uint32_t(c.keep[i]);
      flip[i] = Row<uint32_t, L>{} + uint32_t(c.flip[i]);
    }
  }

  INLINE Num<float, P> value(const char* p, const uint16_t*, int e) const {
    Num<float, P> n;
#pragma GCC unroll 2
    for (int i = 0; i < P; ++i) {
      Row<uint16_t, L> h;
      std::memcpy(&h, p + (e * P + i) * sizeof h, sizeof h);
      n.p[i] = signed_by<L>(from_half<L>(h), keep[i], flip[i]);
    }
    return n;
  }
};

#if defined(__AVX512BW__)
constexpr bool UPPER = true;

// Numbers that are the upper half of a float, two to a word, from codes by tables in registers: the
// fastest there is for one vector. 16 bits: the half itself. 8 bits: `halves` has that of each of
// 128 magnitudes, the sign is the high bit. 4 bits: it has that of all 16 codes, twice, as the bit
// above a code is not masked out.
template <int P, int BITS_>
struct Upper {
  static constexpr int BITS = BITS_, PER = 32 / BITS;
  __m512i table[4];

  explicit INLINE Upper(const Coding& c) {
    if (BITS == 8) for (int i = 0; i < 4; ++i) table[i] = _mm512_loadu_si512(c.halves + 32 * i);
    if (BITS == 4) table[0] = _mm512_loadu_si512(c.halves);
  }

  typedef Row<uint16_t, 32> H;
  typedef Row<uint32_t, 16> W;

  // In both halves of each word: code number k of them.
  INLINE H halves(H w, int k) const {
    if constexpr (BITS == 16) {
      return w;
    } else if constexpr (BITS == 4) {
      return (H)_mm512_maskz_permutexvar_epi16(~0u, (__m512i)(w >> uint16_t(4 * k)), table[0]);
    } else {
      const H at = w >> uint16_t(8 * k), sign = w << uint16_t(8 - 8 * k) & uint16_t(0x8000);
      const H low = (H)_mm512_permutex2var_epi16(table[0], (__m512i)at, table[1]),
              high = (H)_mm512_permutex2var_epi16(table[2], (__m512i)at, table[3]);
      return ((at & uint16_t(64)) != 0 ? high : low) | sign;
    }
  }

  INLINE Num<float, P> value(const char* p, const uint16_t*, int e) const {
    Num<float, P> n;
#pragma GCC unroll 2
    for (int i = 0; i < P; ++i) {
      const int s = e * P + i, q = s % PER;
      H w;
      std::memcpy(&w, p + s / PER * 64, sizeof w);
      const W h = (W)halves(w, q % (PER / 2));
      n.p[i] = (Vec<float>)(q < PER / 2 ? h << 16u : h & 0xffff0000u);
    }
    return n;
  }
};
#else
constexpr bool UPPER = false;
template <int P, int BITS_>
struct Upper {
  static constexpr int BITS = BITS_;
  explicit Upper(const Coding&) {}
  INLINE Num<float, P> value(const char*, const uint16_t*, int) const { return {}; }
};
#endif

// ---- the values of one step ------------------------------------------------------------------

template <class T, int P, bool SPLAT>
struct Values {
  static constexpr int L = SPLAT ? 1 : width<T>;
  const char* p;
  const Coding* coding;    // or nullptr: they are as they are
  const uint16_t* scales;  // of blocks of `per` numbers, or nullptr
  I per;

  // Numbers from .. from + count; `buffer` has room for them, decoded.
  INLINE const T* at(I from, I count, T* buffer) const {
    if (!coding) return reinterpret_cast<const T*>(p) + from * (P * L);
    decode<T, P, L>(*coding, p, from, count, buffer);
    if (scales) scaled<T, P, L>(scales, per, from, count, buffer);
    return buffer;
  }

  // Asks for numbers that are to come, as many lines as there are numbers.
  template <int COUNT>
  INLINE void ask(I from) const {
    if (coding) {
      const char* q = p + from * P * L * coding->bits / 8 + 8192;
      for (I k = 0; k < COUNT * P * L * coding->bits / 8; k += 64) __builtin_prefetch(q + k, 0, 0);
    } else {
      const T* q = reinterpret_cast<const T*>(p) + (from + 64) * (P * L);
#pragma GCC unroll 64
      for (int k = 0; k < COUNT * P; ++k) __builtin_prefetch(q + k * L, 0, 0);
    }
  }
};

}  // namespace
