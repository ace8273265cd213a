// One Kronecker-sparse factor (a, b, c, d): y[(i, r, k), n] = sum_s V[i, r, s, k] x[(i, s, k), n],
// rows (i*c + s)*d + k of x and (i*b + r)*d + k of y.  Column n of x is at n*x_column, row p at
// p*x_row; one of the two is 1.  ALONG says which: columns (C order) or rows (Fortran order).

struct Shape {
  u32 a, b, c, d;
  u32 columns;
  i64 x_row, x_column, y_row, y_column;
};

#if defined(KERNEL_SMALL)
// Small b and c, known here: a thread has one block (i, k) and N columns in registers.
// ALONG columns: N columns side by side, one access, where WIDE, and else as far apart as lets
// lanes have neighbours. ALONG rows: lanes are blocks, and N columns share the values of a thread.
extern "C" __global__ void __launch_bounds__(THREADS)
factor_small(const X* __restrict__ x, Y* __restrict__ y, const Factor<V> f, const Shape is,
             const Strides by, const int* __restrict__ perm) {
  u64 t = u64(blockIdx.x) * THREADS + threadIdx.x;
  const u32 groups = (is.columns + N - 1) / N;
  u32 i, k, first;
  if (ALONG_COLUMNS) {
    first = u32(t % groups) * (WIDE ? N : 1); t /= groups;
    k = u32(t % is.d); t /= is.d;
    if (t >= is.a) return;
    i = u32(t);
  } else {
    k = u32(t % is.d); t /= is.d;
    i = u32(t % is.a); t /= is.a;
    if (t >= groups) return;
    first = u32(t) * N;
  }
  const u32 apart = ALONG_COLUMNS && !WIDE ? groups : 1;
  A in[C][N];
#pragma unroll
  for (int s = 0; s < C; ++s) {
    i64 row = (i64(i) * C + s) * is.d + k;
    if (PERMUTED) row = perm[row];
    const X* from = x + row * is.x_row + first * is.x_column;
    if (WIDE) {
      const pack<X, N> p = at<pack<X, N>>(from);
#pragma unroll
      for (int n = 0; n < N; ++n) in[s][n] = up(p.e[n]);
    } else {
#pragma unroll
      for (int n = 0; n < N; ++n)
        if (first + n * apart < is.columns) in[s][n] = up(from[n * apart * is.x_column]); else clear(in[s][n]);
    }
  }
  const i64 block = i * by.i + k * by.k;
  // Not all rows at once where there are many: that takes seconds to compile.
#pragma unroll (B > 8 ? 4 : B)
  for (int r = 0; r < B; ++r) {
    A sum[N];
#pragma unroll
    for (int n = 0; n < N; ++n) clear(sum[n]);
#pragma unroll
    for (int s = 0; s < C; ++s) {
      const auto v = value(f, block + r * by.r + s * by.s);
#pragma unroll
      for (int n = 0; n < N; ++n) multiply_add(sum[n], v, in[s][n]);
    }
    Y* to = y + ((i64(i) * B + r) * is.d + k) * is.y_row + first * is.y_column;
    if (WIDE) {
      pack<Y, N> p;
#pragma unroll
      for (int n = 0; n < N; ++n) down(p.e[n], sum[n]);
      at<pack<Y, N>>((void*)to) = p;
    } else {
#pragma unroll
      for (int n = 0; n < N; ++n)
        if (first + n * apart < is.columns) down(to[n * apart * is.y_column], sum[n]);
    }
  }
}
#endif

#if defined(KERNEL_TILE)
// Any b and c: a block computes TILE_B rows by TILE_N columns of the result for KS neighbouring k,
// DEPTH terms of the sum at a time, each thread OWN x OWN of them, in pieces of 16 bytes. Lanes run
// along what lies side by side in y: columns, or rows, or, with KS > 1, neighbouring k of rows.
// WIDE: y takes whole pieces.
constexpr int LANES_B = TILE_B / OWN, LANES_N = TILE_N / OWN, THREADS = KS * LANES_B * LANES_N;
constexpr int PIECE = OWN < 16 / int(sizeof(A)) ? OWN : 16 / int(sizeof(A));
constexpr int TERMS = 32 / int(sizeof(X));  // of a sum, of a sector
// Padded: neighbours in s and in k lie in different banks.
constexpr int X_S = TILE_N + 4, V_S = TILE_B + 4;
constexpr int X_K = DEPTH * X_S + (KS > 1 ? PIECE : 0), V_K = DEPTH * V_S + (KS > 1 ? PIECE : 0);

// Which k, term and row or column the e-th number of a tile is, for lanes that run along k or terms.
template <int COUNT> DEVICE void element(int e, int& k, int& s, int& n) {
  k = e % KS, e /= KS;
  if (KS > 1) {
    n = e % COUNT, s = e / COUNT;
  } else {
    n = e / TERMS % COUNT, s = e % TERMS + e / (TERMS * COUNT) * TERMS;
  }
}
// Of 16 terms, or k, side by side the second 8 would lie in the banks of the first: their halves of a
// piece change places.
DEVICE int swapped(int k, int s) {
  return PIECE < 4 ? 0 : KS > 8 ? k / 8 % 2 * 2 : KS == 1 && TERMS > 8 ? s / 8 % 2 * 2 : 0;
}
// The q-th row or column of a lane.
DEVICE int own(int q, int lane, int lanes) { return (q / PIECE * lanes + lane) * PIECE + q % PIECE; }
// Those of a lane from a line of a tile.
DEVICE void take(A (&to)[OWN], const A* line, int lane, int lanes, int swap) {
#pragma unroll
  for (int q = 0; q < OWN; q += PIECE) {
    const pack<A, PIECE> p = at<pack<A, PIECE>>((const void*)(line + own(q, lane, lanes)));
#pragma unroll
    for (int h = 0; h < PIECE; ++h) to[q + h] = swap ? p.e[h ^ 2 % PIECE] : p.e[h];
  }
}

// Two blocks of 256 threads on a processor at least: as many registers as they leave, none spilled.
extern "C" __global__ void __launch_bounds__(THREADS, THREADS > 512 ? 1 : 512 / THREADS)
factor_tile(const X* __restrict__ x, Y* __restrict__ y, const Factor<V> f, const Shape is,
            const Strides by, const int* __restrict__ perm) {
  __shared__ __align__(16) A xs[KS * X_K];
  __shared__ __align__(16) A vs[KS * V_K];
  u32 block = blockIdx.x;
  const u32 of_b = (is.b + TILE_B - 1) / TILE_B, of_n = (is.columns + TILE_N - 1) / TILE_N,
            of_k = (is.d + KS - 1) / KS;
  const u32 r0 = block % of_b * TILE_B; block /= of_b;
  const u32 n0 = block % of_n * TILE_N; block /= of_n;
  const u32 k0 = block % of_k * KS, i = block / of_k;
  const int me = threadIdx.x / KS, own_k = threadIdx.x % KS,
            lane_r = ALONG_COLUMNS ? me / LANES_N : me % LANES_B,
            lane_n = ALONG_COLUMNS ? me % LANES_N : me / LANES_B;
  A sum[OWN][OWN];
#pragma unroll
  for (int p = 0; p < OWN; ++p)
#pragma unroll
    for (int q = 0; q < OWN; ++q) clear(sum[p][q]);
  for (u32 s0 = 0; s0 < is.c; s0 += DEPTH) {
#pragma unroll 2
    for (int e = threadIdx.x; e < KS * DEPTH * TILE_N; e += THREADS) {
      int k = 0, s = e / TILE_N, n = e % TILE_N;
      if (!ALONG_COLUMNS) element<TILE_N>(e, k, s, n);
      A q; clear(q);
      if (s0 + s < is.c && n0 + n < is.columns && k0 + k < is.d) {
        i64 row = (i64(i) * is.c + s0 + s) * is.d + k0 + k;
        if (PERMUTED) row = perm[row];
        q = up(x[row * is.x_row + i64(n0 + n) * is.x_column]);
      }
      xs[k * X_K + s * X_S + (n ^ swapped(k, s))] = q;
    }
#pragma unroll 2
    for (int e = threadIdx.x; e < KS * DEPTH * TILE_B; e += THREADS) {
      int k, s, r;
      element<TILE_B>(e, k, s, r);
      A q; clear(q);
      if (s0 + s < is.c && r0 + r < is.b && k0 + k < is.d)
        widen(q, value(f, i * by.i + (r0 + r) * by.r + (s0 + s) * by.s + (k0 + k) * by.k));
      vs[k * V_K + s * V_S + (r ^ swapped(k, s))] = q;
    }
    __syncthreads();
#pragma unroll(TERMS > 8 ? 16 : 8)
    for (int s = 0; s < DEPTH; ++s) {
      A v[OWN], u[OWN];
      take(v, vs + own_k * V_K + s * V_S, lane_r, LANES_B, swapped(own_k, s));
      take(u, xs + own_k * X_K + s * X_S, lane_n, LANES_N, swapped(own_k, s));
#pragma unroll
      for (int p = 0; p < OWN; ++p)
#pragma unroll
        for (int q = 0; q < OWN; ++q) multiply_add(sum[p][q], v[p], u[q]);
    }
    __syncthreads();
  }
  constexpr int WIDE_B = WIDE && !ALONG_COLUMNS ? PIECE : 1, WIDE_N = WIDE && ALONG_COLUMNS ? PIECE : 1;
#pragma unroll
  for (int p = 0; p < OWN; p += WIDE_B) {
#pragma unroll
    for (int q = 0; q < OWN; q += WIDE_N) {
      const u32 r = r0 + own(p, lane_r, LANES_B), n = n0 + own(q, lane_n, LANES_N), k = k0 + own_k;
      if (r >= is.b || n >= is.columns || k >= is.d) continue;
      pack<Y, WIDE_B * WIDE_N> w;
#pragma unroll
      for (int h = 0; h < WIDE_B * WIDE_N; ++h) down(w.e[h], WIDE_B > 1 ? sum[p + h][q] : sum[p][q + h]);
      const i64 to = ((i64(i) * is.b + r) * is.d + k) * is.y_row + i64(n) * is.y_column;
      at<pack<Y, WIDE_B * WIDE_N>>((void*)(y + to)) = w;
    }
  }
}
#endif

#if defined(KERNEL_FEW)
// Few columns, large b and c: a value is read once for all N columns, and SPLIT threads share the
// sum over s. Neighbouring lanes read neighbouring values: those of rows (r, k) of a block of y, or,
// where SUMS_ARE_SIDE_BY_SIDE, of terms s of a row. WIDE: N columns of x in one access.
constexpr int LANES = THREADS / SPLIT;
// What a thread leaves of its sums, and who adds them up: in pieces that lie in different banks.
constexpr int PIECE = ALONG_COLUMNS ? N : 1, AT_ONCE = 128 / (PIECE * int(sizeof(A)) > 4 ? PIECE * int(sizeof(A)) : 4);
constexpr int PITCH = N * LANES + (SUMS_ARE_SIDE_BY_SIDE ? PIECE * (AT_ONCE > SPLIT ? AT_ONCE / SPLIT : 1) : 0);
DEVICE int place(int split, int lane, int n) {
  return split * PITCH + (ALONG_COLUMNS ? lane * N + n : n * LANES + lane);
}
extern "C" __global__ void __launch_bounds__(THREADS, 4)  // 64 registers a thread, none spilled
factor_few(const X* __restrict__ x, Y* __restrict__ y, const Factor<V> f, const Shape is,
           const Strides by, const int* __restrict__ perm) {
  __shared__ __align__(16) A part[SPLIT * PITCH];
  const int me = threadIdx.x, lane = SUMS_ARE_SIDE_BY_SIDE ? me / SPLIT : me % LANES,
            split = SUMS_ARE_SIDE_BY_SIDE ? me % SPLIT : me / LANES;
  const u64 rows = u64(is.b) * is.d;
  const u32 of_rows = u32((rows + LANES - 1) / LANES), i = blockIdx.x / of_rows;  // as many as blocks
  const u64 first = u64(blockIdx.x % of_rows) * LANES, row = first + lane;
  const u32 r = u32(row / is.d), k = u32(row - u64(r) * is.d);
  A sum[N];
#pragma unroll
  for (int n = 0; n < N; ++n) clear(sum[n]);
  if (row < rows) {
    const i64 block = i * by.i + r * by.r + k * by.k;
#pragma unroll 4
    for (u32 s = split; s < is.c; s += SPLIT) {
      const auto v = value(f, block + s * by.s);
      i64 from = (i64(i) * is.c + s) * is.d + k;
      if (PERMUTED) from = perm[from];
      if (WIDE) {
        const pack<X, N> p = at<pack<X, N>>((const void*)(x + from * is.x_row));
#pragma unroll
        for (int n = 0; n < N; ++n) multiply_add(sum[n], v, up(p.e[n]));
      } else {
#pragma unroll
        for (int n = 0; n < N; ++n)
          if (n < is.columns) multiply_add(sum[n], v, up(x[from * is.x_row + n * is.x_column]));
      }
    }
  }
#pragma unroll
  for (int n = 0; n < N; n += PIECE) {
    pack<A, PIECE> p;
#pragma unroll
    for (int q = 0; q < PIECE; ++q) p.e[q] = sum[n + q];
    at<pack<A, PIECE>>((void*)(part + place(split, lane, n))) = p;
  }
  __syncthreads();
  for (int t = me; t < LANES * N; t += THREADS) {
    const int to = ALONG_COLUMNS ? t / N : t % LANES, n = ALONG_COLUMNS ? t % N : t / LANES;
    if (n >= is.columns || first + to >= rows) continue;
    A all = part[place(0, to, n)];
    for (int q = 1; q < SPLIT; ++q) add(all, part[place(q, to, n)]);
    down(y[(i64(i) * rows + first + to) * is.y_row + n * is.y_column], all);
  }
}
#endif
