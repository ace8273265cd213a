// A run of factors in one kernel, on a tile in shared memory.
//
// With D = gcd of their d and O = gcd of their a every factor of the run is I_O (x) inner (x) I_D: for
// one (i, k) and one column the run takes P inputs, D apart, to Q outputs. The inner patterns are
// known here (STAGES); O, D and the number of columns are not. A tile is TILE_N columns of TILE_K
// neighbouring k.
//   LAYOUT 0  columns side by side: place (p, k, n), n fastest; a thread has N columns in a row
//   LAYOUT 1  rows side by side, D > 1: place (n, p, k), k fastest, so that loads run along k
//   LAYOUT 2  rows side by side, D = 1: place (n, p), p fastest; lanes run over blocks
// PERMUTED: row p of the tile is read from row perm[p] of x.  SCATTERED: row p is written to row
// scatter[p] of y.
// Values: canonical (a, b, c, d), by strides; or PACKED (a, d, b, c), a row of which is loaded whole.
constexpr int TILE_COLUMNS = TILE_N * TILE_K;
// The place of a row, so that stages of every radix and power-of-two stride read without a
// conflict: linear over GF(2), see cuda/tiles.py.
DEVICE int swizzled(int p) {
  return p ^ ((p >> SWIZZLE & 1) * MASK0) ^ ((p >> (SWIZZLE + 1) & 1) * MASK1) ^
         ((p >> (SWIZZLE + 2) & 1) * MASK2) ^ ((p >> (SWIZZLE + 3) & 1) * MASK3);
}
constexpr int ROWS = (MOST_ROWS + (1 << SWIZZLE) - 1) >> SWIZZLE << SWIZZLE;
constexpr int BUFFER = ROWS * TILE_COLUMNS;
DEVICE int place(int p, int k, int n) {
  if (LAYOUT == 0) return swizzled(p) * TILE_COLUMNS + k * TILE_N + n;
  if (LAYOUT == 1) return (n * ROWS + swizzled(p)) * TILE_K + k;
  return n * ROWS + swizzled(p);
}

struct Run {
  Factor<V> factor[STAGE_COUNT];
};
struct Extent {
  u32 outer, inner;  // O and D
  u32 columns;
  i64 x_row, x_column, y_row, y_column;
};

// From a thread's number to the item of a stage that it works on.
struct Item { int block, k, n; };
template <int BLOCKS> DEVICE Item item(int t) {
  constexpr int GROUPS = TILE_N / N;
  if (LAYOUT == 0) return {t / (GROUPS * TILE_K), t / GROUPS % TILE_K, t % GROUPS * N};
  if (LAYOUT == 1) return {t / TILE_K % BLOCKS, t % TILE_K, t / (TILE_K * BLOCKS)};
  return {t % BLOCKS, 0, t / BLOCKS};
}
constexpr int APART = LAYOUT == 0 ? 1 : TILE_N / N;  // from one column of a thread to its next

// A row of a block, number by number, or loaded whole where it lies in one piece.
template <int C, class T> struct Strided {
  const Factor<T>& f;
  i64 start, step;
  DEVICE_MEMBER auto operator()(int s) const { return value(f, start + s * step); }
};
template <int C, class T> struct Whole {
  pack<T, C> numbers;
  bool conjugated;
  DEVICE_MEMBER auto operator()(int s) const {
    const Factor<T> f = {numbers.e, nullptr, 1.f, conjugated};
    return value(f, s);
  }
};
template <int C, bool TRANSPOSED, class T> DEVICE auto row_of(const Factor<T>& f, i64 start, i64 step) {
  if constexpr (PACKED && !TRANSPOSED && (C & (C - 1)) == 0)
    return Whole<C, T>{at<pack<T, C>>((const void*)(f.values + start)), f.conjugated != 0};
  else
    return Strided<C, T>{f, start, step};
}

// One stage with the inner pattern (AI, B, C, DI). TRANSPOSED: the array is that of its transpose.
template <int AI, int B, int C, int DI, bool TRANSPOSED>
DEVICE void stage(const S* in, S* out, const Factor<V>& f, u32 i, u32 k0, const Extent& is) {
  constexpr int BLOCKS = AI * DI, ITEMS = BLOCKS * TILE_K * (TILE_N / N);
  for (int t = threadIdx.x; t < ITEMS; t += THREADS) {
    const Item me = item<BLOCKS>(t);
    if (k0 + me.k >= is.inner) continue;
    const int ai = me.block / DI, di = me.block % DI, from = ai * C * DI + di, to = ai * B * DI + di;
    A u[C][N];
#pragma unroll
    for (int s = 0; s < C; ++s) {
      if (LAYOUT == 0) {
        const pack<S, N> p = at<pack<S, N>>((const void*)(in + place(from + s * DI, me.k, me.n)));
#pragma unroll
        for (int n = 0; n < N; ++n) u[s][n] = up(p.e[n]);
      } else {
#pragma unroll
        for (int n = 0; n < N; ++n) u[s][n] = up(in[place(from + s * DI, me.k, me.n + n * APART)]);
      }
    }
    const i64 d = i64(DI) * is.inner, l = i64(di) * is.inner + k0 + me.k, g = i64(i) * AI + ai;
    const i64 start = PACKED ? (g * d + l) * (B * C) : g * (B * C) * d + l, step = PACKED ? 1 : d;
    const i64 by_r = TRANSPOSED ? step : C * step, by_s = TRANSPOSED ? B * step : step;
#pragma unroll
    for (int r = 0; r < B; ++r) {
      A sum[N];
#pragma unroll
      for (int n = 0; n < N; ++n) clear(sum[n]);
      const auto row = row_of<C, TRANSPOSED>(f, start + r * by_r, by_s);
#pragma unroll
      for (int s = 0; s < C; ++s) {
        const auto v = row(s);
#pragma unroll
        for (int n = 0; n < N; ++n) multiply_add(sum[n], v, u[s][n]);
      }
      if (LAYOUT == 0) {
        pack<S, N> p;
#pragma unroll
        for (int n = 0; n < N; ++n) down(p.e[n], sum[n]);
        at<pack<S, N>>((void*)(out + place(to + r * DI, me.k, me.n))) = p;
      } else {
#pragma unroll
        for (int n = 0; n < N; ++n) down(out[place(to + r * DI, me.k, me.n + n * APART)], sum[n]);
      }
    }
  }
}

// Which row, k and column element number e of a tile of COUNT rows is, W of them at a time.
template <int COUNT> DEVICE void element(int e, int& p, int& k, int& n) {
  if (LAYOUT == 0) {
    n = e % (TILE_N / W) * W; k = e / (TILE_N / W) % TILE_K; p = e / (TILE_N / W * TILE_K);
  } else if (LAYOUT == 1) {
    k = e % TILE_K; p = e / TILE_K % COUNT; n = e / (TILE_K * COUNT);
  } else {
    k = 0; p = e % (COUNT / W) * W; n = e / (COUNT / W);
  }
}

// Numbers of a tile that a thread moves at once, side by side in layout 0: 16 bytes at most.
constexpr int PIECE = LAYOUT == 0 ? (W * int(sizeof(S)) <= 16 ? W : 16 / int(sizeof(S))) : 1;
DEVICE int piece(int p, int k, int n, int j) { return LAYOUT == 0 ? place(p, k, n + j) : place(p + j, k, n); }
// Where a thread has two pieces, four lanes of eight begin with the second: 128 bytes at once.
DEVICE bool begins_behind(int e) { return LAYOUT == 0 && W == 2 * PIECE && (e & 4); }

template <int COUNT, class G>
DEVICE void load(S* tile, const G* __restrict__ x, u32 i, u32 k0, u32 n0, const Extent& is, i64 by_row,
                 i64 by_column, const int* perm) {
  for (int e = threadIdx.x; e < COUNT * TILE_COLUMNS / W; e += THREADS) {
    int p, k, n;
    element<COUNT>(e, p, k, n);
    const bool there = n0 + n < is.columns && k0 + k < is.inner, behind = begins_behind(e);
    pack<G, W> q;
    if (there) {
      i64 row = (i64(i) * COUNT + p) * is.inner + k0 + k;
      if (perm) row = perm[row];
      q = at<pack<G, W>>((const void*)(x + row * by_row + i64(n0 + n) * by_column));
    }
#pragma unroll
    for (int j = 0; j < W; j += PIECE) {
      pack<S, PIECE> v;
#pragma unroll
      for (int h = 0; h < PIECE; ++h)
        if (there) down(v.e[h], up(behind ? q.e[W - PIECE - j + h] : q.e[j + h])); else clear(v.e[h]);
      at<pack<S, PIECE>>((void*)(tile + piece(p, k, n, behind ? W - PIECE - j : j))) = v;
    }
  }
}

template <int COUNT, class G>
DEVICE void store(const S* tile, G* __restrict__ y, u32 i, u32 k0, u32 n0, const Extent& is, i64 by_row,
                  i64 by_column, const int* scatter) {
  for (int e = threadIdx.x; e < COUNT * TILE_COLUMNS / W; e += THREADS) {
    int p, k, n;
    element<COUNT>(e, p, k, n);
    if (n0 + n >= is.columns || k0 + k >= is.inner) continue;
    i64 row = (i64(i) * COUNT + p) * is.inner + k0 + k;
    if (scatter) row = scatter[row];
    const bool behind = begins_behind(e);
    pack<G, W> q;
#pragma unroll
    for (int j = 0; j < W; j += PIECE) {
      const int from = behind ? W - PIECE - j : j;
      const pack<S, PIECE> v = at<pack<S, PIECE>>((const void*)(tile + piece(p, k, n, from)));
#pragma unroll
      for (int h = 0; h < PIECE; ++h)
        if (behind) down(q.e[W - PIECE - j + h], up(v.e[h])); else down(q.e[j + h], up(v.e[h]));
    }
    at<pack<G, W>>((void*)(y + row * by_row + i64(n0 + n) * by_column)) = q;
  }
}

// Which tile a block has: columns fastest, since neighbours then share values in L2.
DEVICE void tile_of(u64 block, const Extent& is, u32& n0, u32& k0, u32& i) {
  const u32 of_n = (is.columns + TILE_N - 1) / TILE_N, of_k = (is.inner + TILE_K - 1) / TILE_K;
  n0 = u32(block % of_n) * TILE_N; block /= of_n;
  k0 = u32(block % of_k) * TILE_K;
  i = u32(block / of_k);
}

#if defined(KERNEL_CHAIN)
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM)
chain(const X* __restrict__ x, Y* __restrict__ y, const Run run, const Extent is, const int* __restrict__ perm,
      const int* __restrict__ scatter) {
  SHARED_BYTES(bytes);
  S *in = (S*)bytes, *out = IN_PLACE ? in : in + BUFFER;
  u32 n0, k0, i;
  tile_of(blockIdx.x, is, n0, k0, i);
  load<FIRST_ROWS>(in, x, i, k0, n0, is, is.x_row, is.x_column, PERMUTED ? perm : nullptr);
#define STAGE(number, AI, B, C, DI, T)                              \
  __syncthreads();                                                  \
  stage<AI, B, C, DI, T>(in, out, run.factor[number], i, k0, is);   \
  { S* other = in; in = out; out = other; }
  STAGES
#undef STAGE
  __syncthreads();
  store<LAST_ROWS>(in, y, i, k0, n0, is, is.y_row, is.y_column, SCATTERED ? scatter : nullptr);
}
#endif
