// Values as codes of few bits, decoded group by group into a buffer in L1 just before they are used.
//
// A value is one slot (real) or two (real part, imaginary part); slot s of lane j lies in 32-bit
// word s / per, lane j, with per = 32 / bits codes in a word, the first in its low bits. A load of
// one vector of words is so the codes of `per` successive value vectors, and decoding is shifts and
// masks, never a shuffle. What is decoded is float, whatever T is.
#pragma once
#include "tile.h"

namespace {

// What becomes of a code, shifted to the high end of its word. A small float has the layout of a
// float but for its narrower exponent: the sign is drawn down over the missing exponent bits and
// masked out there, which gives the value (subnormal or not) but for an exact power of two.
enum class Code : I { small = 0, integer = 1, table = 2 };

struct Coding {
  Code code;
  I bits;          // 4, 8 or 16, of a code; a narrower one lies at the high end of so many
  I shift, mask;   // small: of the sign, of what is kept; integer, table: to the low end
  double scale[2];  // of real parts, of imaginary parts: a power of two, and the conjugation
  const float* table;
  const uint16_t* upper;  // or nullptr; see Upper
};

template <class N, int L>
using Row = typename VectorOf<N, L>::type;

template <int L, Code CODE>
INLINE Row<float, L> decoded(Row<uint32_t, L> high, const Coding& c) {
  const Row<int32_t, L> drawn = (Row<int32_t, L>)high >> int32_t(c.shift);
  Row<float, L> f;
  if constexpr (CODE == Code::small) {
    f = (Row<float, L>)((Row<uint32_t, L>)drawn & uint32_t(c.mask));
  } else if constexpr (CODE == Code::integer) {
    f = __builtin_convertvector(drawn, decltype(f));
  } else {
    const Row<uint32_t, L> at = high >> uint32_t(c.shift);
    for (int j = 0; j < L; ++j) f[j] = c.table[at[j]];
  }
  return f;
}

template <class T, int P, int L, int BITS, Code CODE>
INLINE void decode_slots(const Coding& c, const uint32_t* words, I from, I to, T* out) {
  constexpr int PER = 32 / BITS;
  const auto leave = [&](Row<uint32_t, L> w, int q) {
    const auto f = decoded<L, CODE>(w << uint32_t(32 - BITS * (q + 1)), c) * float(c.scale[q % P]);
    const auto n = __builtin_convertvector(f, Row<T, L>);
    std::memcpy(out, &n, sizeof n);
    out += L;
  };
  I s = from;
  if constexpr (L == 1) {  // the codes of a word side by side, as lanes
    Row<uint32_t, PER> shift;
    Row<float, PER> scale;
    for (int q = 0; q < PER; ++q) {
      shift[q] = 32 - BITS * (q + 1);
      scale[q] = float(c.scale[q % P]);
    }
    for (; s % PER == 0 && s + PER <= to; s += PER, out += PER) {
      const auto f = decoded<PER, CODE>(words[s / PER] << shift, c) * scale;
      const auto n = __builtin_convertvector(f, Row<T, PER>);
      std::memcpy(out, &n, sizeof n);
    }
  }
  while (s < to) {
    Row<uint32_t, L> w;
    std::memcpy(&w, words + s / PER * L, sizeof w);
    if (s % PER == 0 && s + PER <= to) {
#pragma GCC unroll 8
      for (int q = 0; q < PER; ++q) leave(w, q);
      s += PER;
    } else {
      for (int q = s % PER; q < PER && s < to; ++q, ++s) leave(w, q);
    }
  }
}

// Numbers from .. from + count of L lanes each, planar, to `out`. Not inlined: one copy serves all.
template <class T, int P, int L>
__attribute__((noinline)) void decode(const Coding& c, const char* p, I from, I count, T* out) {
  const uint32_t* words = reinterpret_cast<const uint32_t*>(p);
  const auto go = [&](auto bits, auto code) {
    decode_slots<T, P, L, decltype(bits)::value, decltype(code)::value>(c, words, from * P, (from + count) * P, out);
  };
  const auto with = [&](auto bits) {
    using std::integral_constant;
    if (c.code == Code::small) go(bits, integral_constant<Code, Code::small>());
    else if (c.code == Code::integer) go(bits, integral_constant<Code, Code::integer>());
    else go(bits, integral_constant<Code, Code::table>());
  };
  if (c.bits == 8) with(std::integral_constant<int, 8>());
  else if (c.bits == 16) with(std::integral_constant<int, 16>());
  else with(std::integral_constant<int, 4>());
}

#if defined(__AVX512BW__)
constexpr bool UPPER = true;

// Numbers that are the upper half of a float, two to a word, from codes by tables in registers: the
// fastest there is for one vector, and no subnormal float on the way, which costs a stall. 16 bits:
// the half itself. 8 bits: `upper` has that of each of 128 magnitudes, the sign is the high bit.
// 4 bits: `upper` has that of all 16 codes, twice, as the bit above a code is not masked out.
template <int P, int BITS>
struct Upper {
  static constexpr int PER = 32 / BITS;
  __m512i table[4];

  explicit INLINE Upper(const uint16_t* upper) {
    if (BITS == 8) for (int i = 0; i < 4; ++i) table[i] = _mm512_loadu_si512(upper + 32 * i);
    if (BITS == 4) table[0] = _mm512_loadu_si512(upper);
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

  INLINE Num<float, P> value(const char* p, int e) const {
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
template <int P, int BITS>
struct Upper {
  explicit Upper(const uint16_t*) {}
  INLINE Num<float, P> value(const char*, int) const { return {}; }
};
#endif

// The values of one step: as they are, or as codes.
template <class T, int P, bool SPLAT>
struct Values {
  static constexpr int L = SPLAT ? 1 : width<T>;
  const char* p;
  const Coding* coding;  // or nullptr

  // Numbers from .. from + count; `buffer` has room for them, decoded.
  INLINE const T* at(I from, I count, T* buffer) const {
    if (!coding) return reinterpret_cast<const T*>(p) + from * (P * L);
    decode<T, P, L>(*coding, p, from, count, buffer);
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
