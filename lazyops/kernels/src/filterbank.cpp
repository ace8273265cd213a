// One level of a two-channel filter bank away from the ends, and its transpose.
//
// Both are four correlations: y0 = f00 * a + f01 * b and y1 = f10 * a + f11 * b. To decompose, a and b
// are the even and the odd entries of x, y0 and y1 the low and the high band; to reconstruct, a and
// b are the bands, y0 and y1 the even and the odd entries of x. All arrays are (p, n, q) in C order
// and are filtered along n. Rows of many columns are read and written where they are; of few, the
// even and odd entries of a cacheful are first brought apart, so that taps are q numbers apart.
#include "buffers.h"
#include "lanes.h"
#include "threads.h"

namespace {

constexpr I MOST_TAPS = 64;  // of each of the four filters
constexpr I FEW = 16;        // columns
constexpr I CACHEFUL = 1024, TILE = 512, TASK = 1 << 14;  // numbers

template <class T>
struct Filters {
  T f[2][2][MOST_TAPS];  // output, input, tap
  I taps;
};

// y0[: count] and y1[: count]; taps are `apart` numbers apart.
template <class T, int W = BYTES / sizeof(T), int U = 4>  // U vectors of W numbers at once
inline void correlate(const T* a, const T* b, I apart, const Filters<T>& g, T* y0, T* y1, I count) {
  using L = Lanes<T, W>;
  I l = 0;
  for (; l + U * W <= count; l += U * W) {
    typename L::V s0[U] = {}, s1[U] = {};
    for (I j = 0; j < g.taps; ++j) {
      const auto f00 = L::splat(g.f[0][0][j]), f01 = L::splat(g.f[0][1][j]);
      const auto f10 = L::splat(g.f[1][0][j]), f11 = L::splat(g.f[1][1][j]);
      const T *p = a + l + j * apart, *r = b + l + j * apart;
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) {
        const auto v = L::load(p + u * W), w = L::load(r + u * W);
        s0[u] = s0[u] + f00 * v + f01 * w;
        s1[u] = s1[u] + f10 * v + f11 * w;
      }
    }
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) L::store(y0 + l + u * W, s0[u]), L::store(y1 + l + u * W, s1[u]);
  }
  if (l == count) return;
  if constexpr (U > 1) correlate<T, W, 1>(a + l, b + l, apart, g, y0 + l, y1 + l, count - l);
  else if constexpr (W > 1) correlate<T, W / 2, 1>(a + l, b + l, apart, g, y0 + l, y1 + l, count - l);
}

// Even and odd rows of q numbers, apart and together again; Q is q, or 0 where that is not known.
template <int Q, class T>
inline void apart(const T* x, I rows, I q, T* even, T* odd) {
  if (Q) q = Q;
  for (I i = 0; i < rows; ++i)
    for (I c = 0; c < q; ++c) even[i * q + c] = x[2 * i * q + c], odd[i * q + c] = x[(2 * i + 1) * q + c];
}

template <int Q, class T>
inline void together(const T* even, const T* odd, I rows, I q, T* x) {
  if (Q) q = Q;
  for (I i = 0; i < rows; ++i)
    for (I c = 0; c < q; ++c) x[2 * i * q + c] = even[i * q + c], x[(2 * i + 1) * q + c] = odd[i * q + c];
}

// Rows [from, to) of the bands from x, of which row 0 begins at x; or the other way round.
template <class T>
void decompose(const T* x, const Filters<T>& g, T* low, T* high, I q, I from, I to) {
  if (q >= FEW) {
    for (I c = 0; c < q; c += TILE)
      for (I i = from; i < to; ++i) {
        const T* p = x + 2 * i * q + c;
        correlate(p, p + q, 2 * q, g, low + i * q + c, high + i * q + c, q - c < TILE ? q - c : TILE);
      }
    return;
  }
  T even[CACHEFUL + FEW * MOST_TAPS], odd[CACHEFUL + FEW * MOST_TAPS];
  const I each = CACHEFUL / q;
  for (I i = from; i < to; i += each) {
    const I rows = to - i < each ? to - i : each;
    (q == 1 ? apart<1, T> : q == 2 ? apart<2, T> : apart<0, T>)(
        x + 2 * i * q, rows + g.taps - 1, q, even, odd);
    correlate(even, odd, q, g, low + i * q, high + i * q, rows * q);
  }
}

template <class T>
void reconstruct(const T* low, const T* high, const Filters<T>& g, T* x, I q, I from, I to) {
  if (q >= FEW) {
    for (I c = 0; c < q; c += TILE)
      for (I i = from; i < to; ++i) {
        T* p = x + 2 * i * q + c;
        correlate(low + i * q + c, high + i * q + c, q, g, p, p + q, q - c < TILE ? q - c : TILE);
      }
    return;
  }
  T even[CACHEFUL], odd[CACHEFUL];
  const I each = CACHEFUL / q;
  for (I i = from; i < to; i += each) {
    const I rows = to - i < each ? to - i : each;
    correlate(low + i * q, high + i * q, q, g, even, odd, rows * q);
    (q == 1 ? together<1, T> : q == 2 ? together<2, T> : together<0, T>)(
        even, odd, rows, q, x + 2 * i * q);
  }
}

// What the entry points share: x (p, n, q), both bands (p, k, q), filters (2, 2, taps) in double.
struct Level {
  Held x, low, high, filters;
  Level(void* x, void* low, void* high, void* filters, bool back)
      : x(x, back ? WRITABLE : 0), low(low, back ? 0 : WRITABLE), high(high, back ? 0 : WRITABLE),
        filters(filters, 0) {}

  bool held() const { return x.held && low.held && high.held && filters.held; }

  // `rows` rows of the bands from `band` on, of x from `signal` on, with windows that lie inside.
  Outcome check(I band, I signal, I rows, bool back, Type& type) const {
    Type t[3];
    if (!type_of(x.b, type) || !type_of(low.b, t[0]) || !type_of(high.b, t[1]) ||
        !type_of(filters.b, t[2]) || t[0] != type || t[1] != type || t[2] != Type::f64 ||
        (type != Type::f32 && type != Type::f64))
      return bad_dtype;
    const PyBuffer &s = x.b, &l = low.b, &h = high.b, &f = filters.b;
    if (s.ndim != 3 || l.ndim != 3 || h.ndim != 3 || f.ndim != 3) return bad_sizes;
    for (int i : {0, 1, 2})
      if (l.shape[i] != h.shape[i]) return bad_sizes;
    if (s.shape[0] != l.shape[0] || s.shape[2] != l.shape[2] || s.shape[2] < 1) return bad_sizes;
    const I taps = f.shape[2], more = taps - 1, n = s.shape[1], k = l.shape[1];
    if (f.shape[0] != 2 || f.shape[1] != 2 || taps < 1 || taps > MOST_TAPS) return bad_sizes;
    if (rows < 0 || band < 0 || signal < 0 || rows > n || rows > k) return bad_sizes;
    if (band > k - rows - (back ? more : 0)) return bad_sizes;
    if (signal > n - 2 * (rows + (back ? 0 : more))) return bad_sizes;
    return c_order(s) && c_order(l) && c_order(h) && c_order(f) ? done : bad_order;
  }

  template <class T>
  void run(I band, I signal, I rows, bool back) const {
    const I p = x.b.shape[0], n = x.b.shape[1], q = x.b.shape[2], k = low.b.shape[1];
    Filters<T> g;
    g.taps = filters.b.shape[2];
    const double* f = static_cast<const double*>(filters.b.buf);
    for (int o : {0, 1})
      for (int i : {0, 1})
        for (I j = 0; j < g.taps; ++j) g.f[o][i][j] = T(*f++);
    T *s = static_cast<T*>(x.b.buf) + signal * q, *l = static_cast<T*>(low.b.buf) + band * q,
      *h = static_cast<T*>(high.b.buf) + band * q;
    const I each = TASK / q > 0 ? TASK / q : 1, tasks = (rows + each - 1) / each;
    const double ns = double(p) * double(rows) * double(q) * (0.5 + 0.1 * double(g.taps));
    share(p * tasks, team_for(ns), [&](I from, I to) {
      for (I t = from; t < to; ++t) {
        const I i = t / tasks, first = t % tasks * each;
        const I last = first + each < rows ? first + each : rows;
        T *xi = s + i * n * q, *li = l + i * k * q, *hi = h + i * k * q;
        if (back) reconstruct<T>(li, hi, g, xi, q, first, last);
        else decompose<T>(xi, g, li, hi, q, first, last);
      }
    });
  }

  int start(I band, I signal, I rows, bool back) const {
    if (!held()) return failed;
    Type type;
    const Outcome outcome = check(band, signal, rows, back, type);
    if (outcome != done) return outcome;
    const bool release = double(rows) * double(x.b.shape[0] * x.b.shape[2]) > LONG / 8;
    void* state = release ? save_thread() : nullptr;
    if (type == Type::f32) run<float>(band, signal, rows, back);
    else run<double>(band, signal, rows, back);
    if (release) restore_thread(state);
    return done;
  }
};

}  // namespace

extern "C" {

// band[first + i] = sum_j filters[band, 0, j] x[start + 2 (i + j)] + filters[band, 1, j] x[... + 1]
int lazyops_decompose(void* x, void* filters, void* low, void* high, int64_t start, int64_t first,
                      int64_t rows) {
  return Level(x, low, high, filters, false).start(first, start, rows, false);
}

// x[first + 2 i + e] = sum_j filters[e, 0, j] low[start + i + j] + filters[e, 1, j] high[...]
int lazyops_reconstruct(void* low, void* high, void* filters, void* x, int64_t start, int64_t first,
                        int64_t rows) {
  return Level(x, low, high, filters, true).start(start, first, rows, true);
}
}
