// What codes of few bits stand for, decoded a vector at a time.
//
// A value is one slot (real) or two (real part, imaginary part). Codes lie in one of two ways:
//
//   words   slot s of lane j in 32-bit word s / per, lane j, with per = 32 / bits codes in a word,
//           the first in its low bits: a load of one vector of words is the codes of `per`
//           successive value vectors, and decoding is shifts and masks, never a shuffle
//   halves  slot s of lane j is 16-bit number s * lanes + j: what a conversion by hardware reads
//
// What is decoded is float. No subnormal float is an operand on the way, whatever the code: some
// processors take a hundred times as long over one.
#pragma once
#include "tile.h"

namespace {

// What becomes of a code, shifted to the high end of its word. A small float has the layout of a
// float but for its narrower exponent: the sign is drawn down over the missing exponent bits, which
// leaves a float of too small an exponent. `upper` is one whose exponent has all bits, `narrow` one
// whose fields fit those of half precision, which hardware converts.
enum class Code : I { small = 0, integer = 1, table = 2, half = 3, upper = 4, narrow = 5 };

struct Coding {
  Code code;
  I bits;         // 4, 8 or 16, of a code; a narrower one lies at the high end of so many
  I shift, mask;  // small, upper: of the sign, of what is kept; integer, table: to the low end
  I tiny;         // small: the smallest normal number, as the bits of a float
  I unit;         // narrow: what a number in half precision is multiplied by; so too
  I keep[2], flip[2];  // of real parts, of imaginary parts: masks, 0 for parts that are not there
  const float* table;
  const uint16_t* halves;  // or nullptr; see Upper
};

template <class N, int L>
using Row = typename VectorOf<N, L>::type;

// Integers to a greater width: GCC before 15 takes several instructions for what is one.
template <class To, class From, int L>
INLINE Row<To, L> wider(Row<From, L> v) {
  constexpr bool SIGNED = From(-1) < From(0);
#if defined(__AVX512F__)
  if constexpr (sizeof(To) * L == 64 && sizeof(To) == 4) {
    if constexpr (sizeof(From) == 1)
      return (Row<To, L>)(SIGNED ? _mm512_cvtepi8_epi32((__m128i)v) : _mm512_cvtepu8_epi32((__m128i)v));
    else return (Row<To, L>)(SIGNED ? _mm512_cvtepi16_epi32((__m256i)v) : _mm512_cvtepu16_epi32((__m256i)v));
  } else
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(To) * L == 32 && sizeof(From) * L == 16) {
    if constexpr (sizeof(From) == 1)
      return (Row<To, L>)(SIGNED ? _mm256_cvtepi8_epi16((__m128i)v) : _mm256_cvtepu8_epi16((__m128i)v));
    else return (Row<To, L>)(SIGNED ? _mm256_cvtepi16_epi32((__m128i)v) : _mm256_cvtepu16_epi32((__m128i)v));
  } else if constexpr (sizeof(To) * L == 32 && sizeof(From) * L == 8) {
    int64_t few;
    std::memcpy(&few, &v, sizeof few);
    const __m128i x = _mm_cvtsi64_si128(few);
    return (Row<To, L>)(SIGNED ? _mm256_cvtepi8_epi32(x) : _mm256_cvtepu8_epi32(x));
  } else
#endif
  if constexpr (sizeof(To) == 4 * sizeof(From)) {
    using Between = typename std::conditional<SIGNED, int16_t, uint16_t>::type;
    return __builtin_convertvector(__builtin_convertvector(v, Row<Between, L>), Row<To, L>);
  } else {
    return __builtin_convertvector(v, Row<To, L>);
  }
}

// Fields of a small float, at the low end of a float's exponent and the high end of its mantissa,
// as a float; `tiny` as in Coding, and the sign in the high bit. What is below it has no hidden bit.
template <int L>
INLINE Row<uint32_t, L> widened(Row<uint32_t, L> fields, uint32_t tiny) {
  constexpr uint32_t ONE = 1u << 23, SIGN = 1u << 31;
  typedef Row<uint32_t, L> W;
  const W sign = fields & SIGN, m = fields ^ sign;
  const Row<float, L> least = (Row<float, L>)(W{} + tiny);
  const W below = (W)((Row<float, L>)(m + tiny) - least);
  const Row<int32_t, L> normal = (Row<int32_t, L>)m >= int32_t(ONE);
  return ((W)normal & (m + (tiny - ONE))) | (~(W)normal & below) | sign;
}

// Half precision; infinities and NaN too.
template <int L>
INLINE Row<float, L> from_half(Row<uint16_t, L> h) {
#if defined(__AVX512F__)
  if constexpr (L == 16) return (Row<float, L>)_mm512_cvtph_ps((__m256i)h);
#endif
#if defined(__F16C__)
  if constexpr (L == 8) return (Row<float, L>)_mm256_cvtph_ps((__m128i)h);
#endif
  typedef Row<uint32_t, L> W;
  const W wide = wider<uint32_t, uint16_t, L>(h), sign = (wide & 0x8000u) << 16u, m = (wide & 0x7fffu) << 13u;
  const Row<int32_t, L> special = (Row<int32_t, L>)m >= int32_t(31u << 23);
  const W usual = widened<L>(m, 113u << 23), top = m + (224u << 23);
  return (Row<float, L>)(((W)special & top) | (~(W)special & usual) | sign);
}

// A small float at the high end of 16 bits.
template <int L>
INLINE Row<float, L> from_narrow(Row<uint16_t, L> h, const Coding& c) {
  const uint32_t bits = uint32_t(c.unit);
  float unit;
  std::memcpy(&unit, &bits, sizeof unit);
  const auto drawn = (Row<int16_t, L>)h >> int16_t(c.shift);
  return from_half<L>((Row<uint16_t, L>)drawn & uint16_t(c.mask)) * unit;
}

template <int L, Code CODE>
INLINE Row<float, L> decoded(Row<uint32_t, L> high, const Coding& c) {
  typedef Row<uint32_t, L> W;
#if defined(__AVX512F__)
  if constexpr (CODE == Code::table && L == 16)
    if (c.bits == 4)
      return (Row<float, L>)_mm512_permutexvar_ps((__m512i)(high >> uint32_t(c.shift)), _mm512_loadu_ps(c.table));
#endif
  if constexpr (CODE == Code::table) {
    const W at = high >> uint32_t(c.shift);
    Row<float, L> f;
    for (int j = 0; j < L; ++j) f[j] = c.table[at[j]];
    return f;
  } else {
    if constexpr (CODE == Code::narrow)
      return from_narrow<L>(__builtin_convertvector(high >> 16u, Row<uint16_t, L>), c);
    const Row<int32_t, L> drawn = (Row<int32_t, L>)high >> int32_t(c.shift);
    if constexpr (CODE == Code::integer) return __builtin_convertvector(drawn, Row<float, L>);
    const W fields = (W)drawn & uint32_t(c.mask);
    if constexpr (CODE == Code::upper) return (Row<float, L>)fields;
    else return (Row<float, L>)widened<L>(fields, uint32_t(c.tiny));
  }
}

// A number or its negative, or nothing, by the part.
template <int L>
INLINE Row<float, L> signed_by(Row<float, L> f, Row<uint32_t, L> keep, Row<uint32_t, L> flip) {
  return (Row<float, L>)(((Row<uint32_t, L>)f & keep) ^ flip);
}

// Codes number s .. s + L side by side, each at the high end of a word. A byte order is assumed.
template <int L, int BITS>
INLINE Row<uint32_t, L> side_by_side(const char* p, I s) {
  Row<uint32_t, L> w;
  if constexpr (BITS == 8) {
    Row<uint8_t, L> b;
    std::memcpy(&b, p + s, sizeof b);
    w = wider<uint32_t, uint8_t, L>(b) << 24u;
  } else if constexpr (BITS == 16) {
    Row<uint16_t, L> b;
    std::memcpy(&b, p + 2 * s, sizeof b);
    w = wider<uint32_t, uint16_t, L>(b) << 16u;
  } else if constexpr (L == 1) {
    const uint32_t two = uint8_t(p[s / 2]);
    w[0] = (s % 2 ? two >> 4 : two & 15) << 28;
  } else {  // s is even
    Row<uint8_t, L / 2> b;
    std::memcpy(&b, p + s / 2, sizeof b);
    const auto two = wider<uint16_t, uint8_t, L / 2>(b);
    const auto apart = (two & uint16_t(15)) << uint16_t(4) | (two & uint16_t(0xf0)) << uint16_t(8);
    Row<uint8_t, L> high;
    std::memcpy(&high, &apart, sizeof high);
    w = wider<uint32_t, uint8_t, L>(high) << 24u;
  }
  return w;
}

// Numbers of codes s .. s + L side by side.
template <int L, int BITS, Code CODE>
INLINE Row<float, L> numbers(const Coding& c, const char* p, I s) {
  if constexpr (CODE == Code::half) {
    Row<uint16_t, L> h;
    std::memcpy(&h, p + 2 * s, sizeof h);
    return from_half<L>(h);
  } else if constexpr (CODE == Code::narrow) {
    Row<uint16_t, L> h;
    if constexpr (BITS == 8) {
      Row<uint8_t, L> b;
      std::memcpy(&b, p + s, sizeof b);
      h = wider<uint16_t, uint8_t, L>(b) << uint16_t(8);
    } else {
      std::memcpy(&h, p + 2 * s, sizeof h);
    }
    return from_narrow<L>(h, c);
  } else if constexpr (CODE == Code::integer && BITS == 8) {
    Row<int8_t, L> b;
    std::memcpy(&b, p + s, sizeof b);
    return __builtin_convertvector(wider<int32_t, int8_t, L>(b) >> int32_t(c.shift - 24), Row<float, L>);
  } else if constexpr (CODE == Code::upper) {  // alone in its room
    return (Row<float, L>)side_by_side<L, BITS>(p, s);
  } else {
    return decoded<L, CODE>(side_by_side<L, BITS>(p, s), c);
  }
}

// Codes from .. to side by side, L at a time, what is left by half as many.
template <class T, int P, int L, int BITS, Code CODE>
INLINE void decode_row(const Coding& c, const char* p, I s, I to, T* out) {
  if constexpr (BITS == 4 && P == 1 && L > 1)
    if (s % 2 && s < to) {
      decode_row<T, P, 1, BITS, CODE>(c, p, s, s + 1, out);
      ++s, ++out;
    }
  Row<uint32_t, L> keep, flip;
  for (int j = 0; j < L; ++j) {
    keep[j] = uint32_t(c.keep[j % P]);
    flip[j] = uint32_t(c.flip[j % P]);
  }
  for (; s + L <= to; s += L, out += L) {
    auto f = numbers<L, BITS, CODE>(c, p, s);
    if constexpr (P == 2) f = signed_by<L>(f, keep, flip);
    const auto n = __builtin_convertvector(f, Row<T, L>);
    std::memcpy(out, &n, sizeof n);
  }
  if constexpr (L > P)
    if (s < to) decode_row<T, P, L / 2, BITS, CODE>(c, p, s, to, out);
}

// Slots from .. to of L lanes each.
template <class T, int P, int L, int BITS, Code CODE>
INLINE void decode_slots(const Coding& c, const char* p, I from, I to, T* out) {
  typedef Row<uint32_t, L> W;
  const auto leave = [&](Row<float, L> f, int part) {
    if constexpr (P == 2) f = signed_by<L>(f, W{} + uint32_t(c.keep[part]), W{} + uint32_t(c.flip[part]));
    const auto n = __builtin_convertvector(f, Row<T, L>);
    std::memcpy(out, &n, sizeof n);
    out += L;
  };
  if constexpr (CODE == Code::half) {
    for (I s = from; s < to; ++s) leave(numbers<L, 16, CODE>(c, p, s * L), s % P);
  } else {
    constexpr int PER = 32 / BITS;
    const auto one = [&](W w, int q) { leave(decoded<L, CODE>(w << uint32_t(32 - BITS * (q + 1)), c), q % P); };
    for (I s = from; s < to;) {
      W w;
      std::memcpy(&w, p + s / PER * sizeof w, sizeof w);
      if (s % PER == 0 && s + PER <= to) {
#pragma GCC unroll 8
        for (int q = 0; q < PER; ++q) one(w, q);
        s += PER;
      } else {
        for (int q = s % PER; q < PER && s < to; ++q, ++s) one(w, q);
      }
    }
  }
}

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
constexpr bool LITTLE = false;
#else
constexpr bool LITTLE = true;
#endif

// Numbers from .. from + count of L lanes each, planar, to `out`. Not inlined: one copy serves all.
template <class T, int P, int L>
__attribute__((noinline)) void decode(const Coding& coding, const char* p, I from, I count, T* out) {
  const Coding c = coding;  // which no write to `out` can change
  const auto go = [&](auto bits, auto code) {
    constexpr int B = decltype(bits)::value;
    constexpr Code C = decltype(code)::value;
    const I s = from * P, to = s + count * P;
    if constexpr (L == 1 && LITTLE) decode_row<T, P, width<float>, B, C>(c, p, s, to, out);
    else decode_slots<T, P, L, B, C>(c, p, s, to, out);
  };
  using std::integral_constant;
  const auto with = [&](auto bits) {
    if (c.code == Code::small) go(bits, integral_constant<Code, Code::small>());
    else if (c.code == Code::narrow) go(bits, integral_constant<Code, Code::narrow>());
    else if (c.code == Code::integer) go(bits, integral_constant<Code, Code::integer>());
    else go(bits, integral_constant<Code, Code::table>());
  };
  if (c.code == Code::half) go(integral_constant<int, 16>(), integral_constant<Code, Code::half>());
  else if (c.code == Code::upper) go(integral_constant<int, 16>(), integral_constant<Code, Code::upper>());
  else if (c.bits == 8) with(integral_constant<int, 8>());
  else if (c.bits == 16) with(integral_constant<int, 16>());
  else with(integral_constant<int, 4>());
}

}  // namespace
