// Takes NumPy arrays through Python's buffer protocol, without Python.h: the functions arrive as
// addresses (lazyops_init), Py_buffer is part of the stable ABI since Python 3.11. This costs a
// tenth of fetching an array's address in Python, and read-only arrays need no special case.
// The checks here decide what memory is touched: no caller can get them wrong.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

extern "C" {
struct PyBuffer {
  void* buf;
  void* obj;
  intptr_t len, itemsize;
  int readonly, ndim;
  char* format;
  intptr_t *shape, *strides, *suboffsets;
  void* internal;
};
static int (*get_buffer)(void*, PyBuffer*, int);
static void (*release_buffer)(PyBuffer*);
static void* (*save_thread)(void);
static void (*restore_thread)(void*);

// Called once, before anything else.
void lazyops_init(void* get, void* release, void* save, void* restore) {
  std::memcpy(&get_buffer, &get, sizeof get);
  std::memcpy(&release_buffer, &release, sizeof release);
  std::memcpy(&save_thread, &save, sizeof save);
  std::memcpy(&restore_thread, &restore, sizeof restore);
}

const char* lazyops_compiler() {
#if defined(__clang__)
  return __VERSION__;  // says Clang by itself
#else
  return "GCC " __VERSION__;
#endif
}

#if defined(__x86_64__)
// F16C, for which older compilers have no name in __builtin_cpu_supports.
static bool half_floats() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

// Highest x86-64 level that this CPU and its system can run, of those that are built; 0 elsewhere.
// Exactly the features that the build file lets the compiler use are asked for.
int lazyops_cpu_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!(__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"))) return 1;
  if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && half_floats()))
    return 2;
  if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")))
    return 3;
  return 4;
#else
  return 0;
#endif
}
}

namespace {

enum class Type { f32, f64, c64, c128 };

struct Product {
  Type type;
  const void *values, *x;
  void* y;
  int64_t a, b, c, d, n;
  bool transpose, conj;
};

// What a call returns; cpu.py turns it into words. With failed a Python error is set.
enum Outcome : int { failed = -1, done = 0, bad_dtype = 1, bad_order = 2, bad_sizes = 3 };

constexpr int TRANSPOSE = 1, CONJ = 2;
constexpr int STRIDES = 0x18, FORMAT = 0x4, WRITABLE = 0x1;  // PyBUF_*
constexpr double LONG = 3e4;  // multiplications from which other threads may run meanwhile

struct Held {
  PyBuffer b;
  bool held;
  Held(void* array, int flags) : held(get_buffer(array, &b, STRIDES | FORMAT | flags) == 0) {}
  Held(const Held&) = delete;
  ~Held() { if (held) release_buffer(&b); }
};

inline bool c_order(const PyBuffer& b) {
  intptr_t step = b.itemsize;
  for (int i = b.ndim; i-- > 0; step *= b.shape[i]) {
    if (b.shape[i] == 0) return true;
    if (b.shape[i] != 1 && b.strides[i] != step) return false;
  }
  return true;
}

inline bool type_of(const PyBuffer& b, Type& type) {
  const char* f = b.format;
  if (!std::strcmp(f, "f")) type = Type::f32;
  else if (!std::strcmp(f, "d")) type = Type::f64;
  else if (!std::strcmp(f, "Zf")) type = Type::c64;
  else if (!std::strcmp(f, "Zd")) type = Type::c128;
  else return false;
  return true;
}

inline Outcome describe(const PyBuffer& v, const PyBuffer& x, const PyBuffer& y, int flags,
                        Product& p) {
  Type tx, ty;
  if (!type_of(v, p.type) || !type_of(x, tx) || !type_of(y, ty) || tx != p.type || ty != p.type)
    return bad_dtype;
  if (v.ndim != 4 || x.ndim != 2 || y.ndim != 2) return bad_sizes;
  p.values = v.buf;
  p.x = x.buf;
  p.y = y.buf;
  p.a = v.shape[0];
  p.b = v.shape[1];
  p.c = v.shape[2];
  p.d = v.shape[3];
  p.n = x.shape[1];
  p.transpose = flags & TRANSPOSE;
  p.conj = flags & CONJ;
  const int64_t rows = p.a * p.b * p.d, columns = p.a * p.c * p.d;
  if (x.shape[0] != (p.transpose ? rows : columns) || y.shape[0] != (p.transpose ? columns : rows) ||
      y.shape[1] != p.n)
    return bad_sizes;
  return c_order(v) && c_order(x) && c_order(y) ? done : bad_order;
}

template <class F>
inline int with_buffers(void* values, void* x, void* y, int flags, F run) {
  Held v(values, 0), in(x, 0), out(y, WRITABLE);
  if (!(v.held && in.held && out.held)) return failed;
  Product p;
  const Outcome outcome = describe(v.b, in.b, out.b, flags, p);
  if (outcome != done) return outcome;
  const bool release = double(p.a) * double(p.b * p.c) * double(p.d * p.n) > LONG;
  void* state = release ? save_thread() : nullptr;
  run(p);
  if (release) restore_thread(state);
  return done;
}

}  // namespace
