// Numbers of the CUDA kernels: storage types, and arithmetic in the type that sums are kept in.
//
// No header is included: NVRTC has none. The host puts a prologue in front that says EMULATED or
// not, and one behind that names the types and sizes of a variant (see cuda/text.py).
// f16 and bf16 are storage only: sums are kept in float.
#if !defined(EMULATED)
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define SHARED_BYTES(name) extern __shared__ __align__(16) unsigned char name[]
#endif

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
typedef float f32;
typedef double f64;
struct alignas(8) c64 { float x, y; };
struct alignas(16) c128 { double x, y; };
struct alignas(2) f16 { u16 bits; };
struct alignas(2) bf16 { u16 bits; };
// A code of BITS bits in a stream, the first one in the low bits of the first byte; pairs are two.
enum Kind { SMALL, INTEGER, TABLE };
template <int BITS, Kind KIND, int EXPONENT, bool PAIR> struct codes { u8 byte; };

// N numbers that are moved together, 16 bytes at most at a time.
template <class T, int N> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) pack { T e[N]; };

// ---- to and from the type of sums ----------------------------------------------------------

#if defined(EMULATED)
#include "emulated_numbers.h"
#else
template <class P> DEVICE const P& at(const void* p) { return *(const P*)p; }
template <class P> DEVICE P& at(void* p) { return *(P*)p; }
DEVICE float as_float(u32 bits) { return __uint_as_float(bits); }
DEVICE float up(f16 h) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(h.bits)); return r; }
DEVICE void down(f16& o, float v) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(o.bits) : "f"(v)); }
DEVICE void down(bf16& o, float v) {  // rounded to even; also where the device has no cvt of its own
  const u32 u = __float_as_uint(v);
  o.bits = (u & 0x7fffffff) > 0x7f800000 ? u16(0x7fff) : u16((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
#endif
DEVICE float up(bf16 h) { return as_float(u32(h.bits) << 16); }
DEVICE float up(float v) { return v; }
DEVICE double up(double v) { return v; }
DEVICE c64 up(c64 v) { return v; }
DEVICE c128 up(c128 v) { return v; }
DEVICE void down(float& o, float v) { o = v; }
DEVICE void down(double& o, double v) { o = v; }
DEVICE void down(c64& o, c64 v) { o = v; }
DEVICE void down(c128& o, c128 v) { o = v; }

// ---- sums ----------------------------------------------------------------------------------

DEVICE void clear(float& s) { s = 0.f; }
DEVICE void clear(double& s) { s = 0.; }
DEVICE void clear(c64& s) { s.x = s.y = 0.f; }
DEVICE void clear(c128& s) { s.x = s.y = 0.; }
DEVICE void add(float& s, float v) { s += v; }
DEVICE void add(double& s, double v) { s += v; }
DEVICE void add(c64& s, c64 v) { s.x += v.x; s.y += v.y; }
DEVICE void add(c128& s, c128 v) { s.x += v.x; s.y += v.y; }
// s += v x; real values take complex x
DEVICE void multiply_add(float& s, float v, float x) { s += v * x; }
DEVICE void multiply_add(double& s, double v, double x) { s += v * x; }
template <class C> DEVICE void multiply_add_complex(C& s, C v, C x) {
  s.x += v.x * x.x; s.x -= v.y * x.y;
  s.y += v.x * x.y; s.y += v.y * x.x;
}
DEVICE void multiply_add(c64& s, c64 v, c64 x) { multiply_add_complex(s, v, x); }
DEVICE void multiply_add(c128& s, c128 v, c128 x) { multiply_add_complex(s, v, x); }
DEVICE void multiply_add(c64& s, float v, c64 x) { s.x += v * x.x; s.y += v * x.y; }
DEVICE void multiply_add(c128& s, double v, c128 x) { s.x += v * x.x; s.y += v * x.y; }
// a value in the type of sums
DEVICE void widen(float& o, float v) { o = v; }
DEVICE void widen(double& o, double v) { o = v; }
DEVICE void widen(c64& o, c64 v) { o = v; }
DEVICE void widen(c128& o, c128 v) { o = v; }
DEVICE void widen(c64& o, float v) { o.x = v; o.y = 0.f; }
DEVICE void widen(c128& o, double v) { o.x = v; o.y = 0.; }
DEVICE float conj(float v) { return v; }
DEVICE double conj(double v) { return v; }
DEVICE c64 conj(c64 v) { v.y = -v.y; return v; }
DEVICE c128 conj(c128 v) { v.y = -v.y; return v; }

// ---- values --------------------------------------------------------------------------------

// The values of one factor, as a kernel is given them.
template <class V> struct Factor {
  const V* values;
  const float* table;  // what each code stands for, where codes are decoded by it
  float scale;         // of codes that are not
  int conjugated;
};

template <int BITS> DEVICE u32 code_of(const u8* p, i64 i) {
  if constexpr (BITS == 8) return p[i];
  if constexpr (BITS == 16) return ((const u16*)p)[i];
  if constexpr (BITS == 4) return p[i >> 1] >> (i & 1) * 4 & 15;
  const i64 bit = i * BITS;  // a code reaches into three bytes at most, and never past the last
  const u8* from = p + (bit >> 3);
  const int shift = int(bit & 7);
  u32 word = from[0];
  if (shift + BITS > 8) word |= u32(from[1]) << 8;
  if (shift + BITS > 16) word |= u32(from[2]) << 16;
  return word >> shift & ((1u << BITS) - 1);
}

// A code as a number but for the factor's scale. Exponent 0 is decoded by an integer: subnormal
// floats are flushed on devices.
template <int BITS, Kind KIND, int EXPONENT> DEVICE float decoded(u32 code, const float* table) {
  if constexpr (KIND == TABLE) return table[code];
  if constexpr (KIND == INTEGER) return float(int(code << (32 - BITS)) >> (32 - BITS));
  constexpr int MANTISSA = BITS - 1 - EXPONENT;
  const u32 sign = code >> (BITS - 1) << 31, rest = code & ((1u << (BITS - 1)) - 1);
  if constexpr (EXPONENT == 8) return as_float(sign | rest << (23 - MANTISSA));
  // the smallest normal number is drawn as 2^-63, so that both sides are normal floats
  constexpr u32 FIRST = u32(64) << 23;
  const float normal = as_float(sign | ((rest << (23 - MANTISSA)) + FIRST - (1u << 23)));
  const float small = float(int(rest)) * as_float(FIRST - (u32(MANTISSA) << 23));
  return rest >> MANTISSA ? normal : sign ? -small : small;
}

template <class V> DEVICE auto value(const Factor<V>& f, i64 i) { return up(f.values[i]); }
DEVICE c64 value(const Factor<c64>& f, i64 i) { return f.conjugated ? conj(f.values[i]) : f.values[i]; }
DEVICE c128 value(const Factor<c128>& f, i64 i) { return f.conjugated ? conj(f.values[i]) : f.values[i]; }
template <int BITS, Kind KIND, int EXPONENT>
DEVICE float value(const Factor<codes<BITS, KIND, EXPONENT, false>>& f, i64 i) {
  return f.scale * decoded<BITS, KIND, EXPONENT>(code_of<BITS>((const u8*)f.values, i), f.table);
}
template <int BITS, Kind KIND, int EXPONENT>
DEVICE c64 value(const Factor<codes<BITS, KIND, EXPONENT, true>>& f, i64 i) {
  const u8* p = (const u8*)f.values;
  c64 v;
  v.x = f.scale * decoded<BITS, KIND, EXPONENT>(code_of<BITS>(p, 2 * i), f.table);
  v.y = f.scale * decoded<BITS, KIND, EXPONENT>(code_of<BITS>(p, 2 * i + 1), f.table);
  return f.conjugated ? conj(v) : v;
}

// values[i, r, s, k] lies at i*by.i + r*by.r + s*by.s + k*by.k: canonical, packed, or transposed.
struct Strides { i64 i, r, s, k; };
