// Runs of factors, one after the other: y = (run_n ... run_1) x. A run is a Kronecker-sparse
// factor whose blocks are small chains: a tile of W blocks (vector form) or of some blocks times
// some columns (batch form) is gathered, all factors of the run are applied in cache, and it is
// scattered. What runs is a program of integers made by kernels/program.py, which keeps alive
// every array that the program names; the arrays x and y are checked here.
//
// Every number is computed by the same operations in the same order whatever the number of
// threads: they share out tiles, never sums.
#include <cstdlib>

#include "buffers.h"
#include "move.h"
#include "stages.h"
#include "threads.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace {

struct Run {
  I lanes, rows, group;  // blocks; rows of the largest tile; blocks side by side (batch)
  I panel;               // columns at a time
  Side in, out;
  const void* values;
  I tile_values;  // real numbers of the values of one tile (vector: W blocks, batch: one)
  I steps_at, steps, conj, far, mid;  // far: values from memory; mid: elements written for the next
};

struct Header {
  I rows, columns, type, batch, runs, work, mid;  // work: multiplications for one column
};

struct Program {
  Header head;
  Run runs[1];  // head.runs of them, then the steps
};

// Memory that a thread keeps for its next product, unless it is large.
struct Scratch {
  static constexpr size_t KEEP = size_t(64) << 20;
  void* p = nullptr;
  size_t size = 0;
  ~Scratch() { std::free(p); }
  void* of(size_t bytes) {
    if (bytes > size) {
      std::free(p);
      bytes = (bytes + 4095) / 4096 * 4096;
      p = std::aligned_alloc(4096, bytes);
      size = p ? bytes : 0;
    }
    return p;
  }
  void rest() {
    if (size > KEEP) {
      std::free(p);
      p = nullptr;
      size = 0;
    }
  }
};
thread_local Scratch between, tiles;

int thread_count(const Header& h, I k) {
#if defined(_OPENMP)
  // Multiplications of about 200 us. On a quiet machine threads pay from a tenth of that on; where
  // another process or a pool of BLAS holds a core, a barrier waits for milliseconds.
  constexpr double ALONE = 1e6;
  if (double(h.work) * double(k) < ALONE || omp_in_parallel()) return 1;
  return threads();
#else
  (void)h;
  (void)k;
  return 1;
#endif
}

template <class T, int P>
void vector_tile(const Run& r, const Step* steps, I tile, Grid<const T> x, Grid<T> y, I k, T* w) {
  using M = Tile<T, P>;
  constexpr int W = width<T>;
  const T* v = static_cast<const T*>(r.values) + tile * r.tile_values;
  const I l0 = tile * W, n = r.lanes - l0 < W ? r.lanes - l0 : W;
  for (I u = 0; u < k; u += r.panel) {
    const I units = k - u < r.panel ? k - u : r.panel;
    const Shape z{units, units * M::E, r.far != 0};
    M::gather(r.in, x, l0, n, u, units, w, r.conj);
    const T* done = apply<T, P, false>(steps, r.steps, v, tile, w, w + r.rows * z.row, z);
    M::scatter(r.out, y, l0, n, u, units, done, r.conj);
  }
}

template <class T, int P>
void batch_tile(const Run& r, const Step* steps, I l0, I c0, Grid<const T> x, Grid<T> y, I k,
                bool stream, T* w) {
  using M = Tile<T, P>;
  constexpr int W = width<T>;
  const I n = r.lanes - l0 < r.group ? r.lanes - l0 : r.group;
  const I count = k - c0 < r.panel ? k - c0 : r.panel, units = (count + W - 1) / W;
  const Shape z{units, units * M::E, false};
  const I block = r.rows * z.row;
  M::gather_columns(r.in, x, l0, n, c0, count, units, w, block, r.conj);
  T *spare = w + r.group * block, *first = w;
  for (I b = 0; b < n; ++b) {
    const T* v = static_cast<const T*>(r.values) + (l0 + b) * r.tile_values;
    T* mine = w + b * block;
    T* done = apply<T, P, true>(steps, r.steps, v, l0 + b, mine, spare, z);
    if (n == 1) first = done;
    else if (done != mine) std::memcpy(mine, done, r.out.rows * z.row * sizeof(T));
  }
  M::scatter_columns(r.out, y, l0, n, c0, count, units, first, block, r.conj, stream);
}

template <class T, int P>
bool execute(const Program& g, Grid<const T> x, Grid<T> y, I k) {
  constexpr int W = width<T>, E = P * W;
  const Header& h = g.head;
  const Step* all = reinterpret_cast<const Step*>(g.runs + h.runs);
  const I padded = h.batch ? (k + W - 1) / W * W : k;
  const size_t half = size_t(h.mid) * padded * P;
  T* mid = nullptr;
  if (h.runs > 1 && !(mid = static_cast<T*>(between.of(2 * half * sizeof(T))))) return false;
  size_t most = 0;
  for (I q = 0; q < h.runs; ++q) {
    const Run& r = g.runs[q];
    const I units = h.batch ? (r.panel + W - 1) / W : r.panel;
    const size_t need = size_t(r.group + 1) * r.rows * units * E;
    if (need > most) most = need;
  }
  const bool past = h.batch && size_t(h.rows) * k * P * sizeof(T) > size_t(16) << 20 &&
                    reinterpret_cast<uintptr_t>(y.p) % BYTES == 0 && y.step * sizeof(T) % BYTES == 0;
  const int threads = thread_count(h, k);
  int bad = 0;
  const auto work = [&] {
    T* w = static_cast<T*>(tiles.of(most * sizeof(T)));
    for (I q = 0; q < h.runs; ++q) {
      const Run& r = g.runs[q];
      const bool last = q + 1 == h.runs;
      const I step = h.batch ? padded * P : P, column = h.batch ? P : I(h.mid) * P;
      const Grid<const T> in = q == 0 ? x : Grid<const T>{mid + ((q - 1) & 1) * half, step, column};
      const Grid<T> out = last ? y : Grid<T>{mid + (q & 1) * half, step, column};
      const I width_of = h.batch ? r.group : W, groups = (r.lanes + width_of - 1) / width_of;
      const I all_tiles = h.batch ? groups * ((k + r.panel - 1) / r.panel) : groups;
      const auto tile = [&](I t) {
        if (h.batch)
          batch_tile<T, P>(r, all + r.steps_at, t % groups * r.group, t / groups * r.panel, in, out,
                           k, last && past, w);
        else vector_tile<T, P>(r, all + r.steps_at, t, in, out, k, w);
      };
      if (threads == 1) {
        if (w) for (I t = 0; t < all_tiles; ++t) tile(t);
        continue;
      }
#if defined(_OPENMP)
#pragma omp for schedule(static)
#endif
      for (I t = 0; t < all_tiles; ++t)
        if (w) tile(t);
    }
    if (past) fence();
    if (!w) __atomic_store_n(&bad, 1, __ATOMIC_RELAXED);
    tiles.rest();
  };
  if (threads == 1) {
    work();
  } else {
#if defined(_OPENMP)
#pragma omp parallel num_threads(threads)
    work();
#endif
  }
  const bool good = !bad;
  between.rest();
  return good;
}

enum { no_memory = 4 };

template <class T, int P>
int product(const Program& g, const PyBuffer& x, const PyBuffer& y, I k, I parts) {
  constexpr I S = sizeof(T);
  // parts = 2: complex x in a real chain, k columns of pairs
  const Grid<const T> in{static_cast<const T*>(x.buf), x.strides[0] / S, parts == 2 ? 1 : x.strides[1] / S};
  const Grid<T> out{static_cast<T*>(y.buf), y.strides[0] / S, parts == 2 ? 1 : y.strides[1] / S};
  return execute<T, P>(g, in, out, k * parts) ? done : int(no_memory);
}

// Numbers side by side: a complex column may be taken as two real ones.
inline bool side_by_side(const PyBuffer& b) {
  return b.shape[1] == 1 || b.strides[1] == b.itemsize;
}

inline bool whole_strides(const PyBuffer& b, I part) {
  return b.strides[0] % part == 0 && b.strides[1] % part == 0;
}

int chain(const Program& g, const PyBuffer& x, const PyBuffer& y) {
  Type tx, ty;
  if (!type_of(x, tx) || !type_of(y, ty) || tx != ty) return bad_dtype;
  if (x.ndim != 2 || y.ndim != 2 || x.shape[0] != g.head.columns || y.shape[0] != g.head.rows ||
      x.shape[1] != y.shape[1])
    return bad_sizes;
  const Type type = Type(g.head.type);
  const bool twice = tx != type;
  if (twice && !((type == Type::f32 && tx == Type::c64) || (type == Type::f64 && tx == Type::c128)))
    return bad_dtype;
  if (twice && !(side_by_side(x) && side_by_side(y))) return bad_order;
  const I part = type == Type::f32 || type == Type::c64 ? 4 : 8;
  if (!whole_strides(x, part) || !whole_strides(y, part)) return bad_order;
  const I k = x.shape[1];
  if (k == 0) return done;
  const bool release = double(g.head.work) * double(k) > LONG;
  void* state = release ? save_thread() : nullptr;
  int outcome = failed;
  switch (type) {
    case Type::f32: outcome = product<float, 1>(g, x, y, k, 1 + twice); break;
    case Type::f64: outcome = product<double, 1>(g, x, y, k, 1 + twice); break;
    case Type::c64: outcome = product<float, 2>(g, x, y, k, 1); break;
    case Type::c128: outcome = product<double, 2>(g, x, y, k, 1); break;
  }
  if (release) restore_thread(state);
  return outcome;
}

}  // namespace

extern "C" {

int lazyops_chain(const void* program, void* x, void* y) {
  Held in(x, 0), out(y, WRITABLE);
  if (!(in.held && out.held)) return failed;
  return chain(*static_cast<const Program*>(program), in.b, out.b);
}

int lazyops_vector_bytes() { return BYTES; }
}
