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
#pragma unroll
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
// DEPTH terms of the sum at a time, each thread OWN_B x OWN_N of them. KS > 1 is for rows side by
// side with d > 1, where loads run along k.
constexpr int PER_K = (TILE_B / OWN_B) * (TILE_N / OWN_N), THREADS = KS * PER_K;
extern "C" __global__ void __launch_bounds__(THREADS)
factor_tile(const X* __restrict__ x, Y* __restrict__ y, const Factor<V> f, const Shape is,
            const Strides by, const int* __restrict__ perm) {
  __shared__ A xs[KS][DEPTH][TILE_N + 4];  // padded: neighbours in s lie in different banks
  __shared__ A vs[KS][DEPTH][TILE_B + 4];
  u64 block = blockIdx.x;
  const u32 of_b = (is.b + TILE_B - 1) / TILE_B, of_n = (is.columns + TILE_N - 1) / TILE_N,
            of_k = (is.d + KS - 1) / KS;
  const u32 r0 = u32(block % of_b) * TILE_B; block /= of_b;
  const u32 n0 = u32(block % of_n) * TILE_N; block /= of_n;
  const u32 k0 = u32(block % of_k) * KS; block /= of_k;
  const u32 i = u32(block);
  const int me = threadIdx.x, own_k = me / PER_K, own_r = me % PER_K / (TILE_N / OWN_N) * OWN_B,
            own_n = me % (TILE_N / OWN_N) * OWN_N;
  A sum[OWN_B][OWN_N];
#pragma unroll
  for (int p = 0; p < OWN_B; ++p)
#pragma unroll
    for (int q = 0; q < OWN_N; ++q) clear(sum[p][q]);
  for (u32 s0 = 0; s0 < is.c; s0 += DEPTH) {
    for (int e = me; e < KS * DEPTH * TILE_N; e += THREADS) {
      const int n = ALONG_COLUMNS ? e % TILE_N : e / (KS * DEPTH),
                s = ALONG_COLUMNS ? e / TILE_N % DEPTH : e / KS % DEPTH,
                k = ALONG_COLUMNS ? e / (TILE_N * DEPTH) : e % KS;
      A q; clear(q);
      if (s0 + s < is.c && n0 + n < is.columns && k0 + k < is.d) {
        i64 row = (i64(i) * is.c + s0 + s) * is.d + k0 + k;
        if (PERMUTED) row = perm[row];
        q = up(x[row * is.x_row + i64(n0 + n) * is.x_column]);
      }
      xs[k][s][n] = q;
    }
    for (int e = me; e < KS * DEPTH * TILE_B; e += THREADS) {
      const int k = e % KS, s = e / KS % DEPTH, r = e / (KS * DEPTH);
      A q; clear(q);
      if (s0 + s < is.c && r0 + r < is.b && k0 + k < is.d)
        widen(q, value(f, i * by.i + (r0 + r) * by.r + (s0 + s) * by.s + (k0 + k) * by.k));
      vs[k][s][r] = q;
    }
    __syncthreads();
#pragma unroll 8
    for (int s = 0; s < DEPTH; ++s) {
      A v[OWN_B], u[OWN_N];
#pragma unroll
      for (int p = 0; p < OWN_B; ++p) v[p] = vs[own_k][s][own_r + p];
#pragma unroll
      for (int q = 0; q < OWN_N; ++q) u[q] = xs[own_k][s][own_n + q];
#pragma unroll
      for (int p = 0; p < OWN_B; ++p)
#pragma unroll
        for (int q = 0; q < OWN_N; ++q) multiply_add(sum[p][q], v[p], u[q]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int p = 0; p < OWN_B; ++p) {
#pragma unroll
    for (int q = 0; q < OWN_N; ++q) {
      const u32 r = r0 + own_r + p, n = n0 + own_n + q, k = k0 + own_k;
      if (r < is.b && n < is.columns && k < is.d)
        down(y[((i64(i) * is.b + r) * is.d + k) * is.y_row + i64(n) * is.y_column], sum[p][q]);
    }
  }
}
#endif

#if defined(KERNEL_FEW)
// Few columns, large b and c: lanes run over the rows (r, k) of a block of y, a value is read once
// for all N columns, and SPLIT threads share the sum over s.
extern "C" __global__ void __launch_bounds__(THREADS)
factor_few(const X* __restrict__ x, Y* __restrict__ y, const Factor<V> f, const Shape is,
           const Strides by, const int* __restrict__ perm) {
  constexpr int LANES = THREADS / SPLIT;
  __shared__ A part[SPLIT][LANES];
  const int lane = threadIdx.x % LANES, split = threadIdx.x / LANES;
  const u64 rows = u64(is.b) * is.d, of_rows = (rows + LANES - 1) / LANES;
  const u32 i = u32(blockIdx.x / of_rows);
  const u64 row = blockIdx.x % of_rows * LANES + lane;
  const u32 k = u32(row % is.d), r = u32(row / is.d);
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
#pragma unroll
      for (int n = 0; n < N; ++n)
        if (n < is.columns) multiply_add(sum[n], v, up(x[from * is.x_row + n * is.x_column]));
    }
  }
#pragma unroll
  for (int n = 0; n < N; ++n) {
    if (n >= is.columns) break;  // the same for all threads
    part[split][lane] = sum[n];
    __syncthreads();
    if (split == 0 && row < rows) {
      A all = part[0][lane];
      for (int q = 1; q < SPLIT; ++q) add(all, part[q][lane]);
      down(y[(i64(i) * rows + row) * is.y_row + n * is.y_column], all);
    }
    __syncthreads();
  }
}
#endif
