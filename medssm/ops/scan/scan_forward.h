// The forward over a range of channel blocks, chunk by chunk; blocks of a chunk share its B and C.
#pragma once
#include "scan_tiles.h"

// States that one sweep over a chunk keeps in registers: vectors of 64 bytes come with 32 of them.
constexpr int SWEEP = VBYTES == 64 ? 16 : 8;
constexpr int LOCAL_SWEEP = 8;

template <class S, int N> struct Column {  // one channel block on its way along the length
  V<S> h[N], A2[N], total;                 // A2 = A log2(e); total: sum of s
  Fixed<S> fixed;
  void start(const ScanCall& g, const Walk<S>& w, const V<S>* state) {
    load_fixed<S>(fixed, g, w);
    load_states<S, N>(A2, g.A, w.rate(g), g.states, w);
    for (int n = 0; n < N; n++) { A2[n] *= S(LOG2E); h[n] = state[n]; }
    total = V<S>{};
  }
};

template <class S, int N> static void write_steps(Tiles<S, N>& x, const ScanCall& g,
                                                  const Walk<S>& w, const Span& span) {
  constexpr int L = LANES<S>;
  const Steps s = span.all;
  clear_rest<S>(x.y, span);
  const bool add = (w.k > 0 && g.y.stride[1] == 0) || w.group > 0;
  const bool last = w.k == g.routes - 1 && w.group == groups_of(g) - 1;
  const Rows y = rows_of(g.y, w.b, w.k, w.first);
  if (!(g.z.data && last)) return scatter<S, L>((const S*)x.y, y, s, w.lanes, add);
  if (add) {
    gather<S, L>((S*)x.e, y, s, w.lanes);
    for (int t = 0; t < s.count; t++) x.y[t] += x.e[t];
  }
  if (y.data) scatter<S, L>((const S*)x.y, y, s, w.lanes, false);
  gather<S, L>((S*)x.z, rows_of(g.z, w.b, 0, w.first), s, w.lanes);
  for (int t = 0; t < s.count; t++) x.y[t] *= x.z[t] * sigmoid<S>(x.z[t]);
  scatter<S, L>((const S*)x.y, rows_of(g.out, w.b, 0, w.first), s, w.lanes, false);
}

enum Mode { OUTPUTS, STATES, LOCAL };  // STATES: only the end state and the sum of s
// R states from n0 on over the steps of a chunk; LOCAL keeps the decays.
template <class S, int N, int R, Mode MODE> INLINE void sweep_right(Tiles<S, N>& x, Column<S, N>& q,
                                                                    int n0, int count, V<S>* decay,
                                                                    const Ahead& next) {
  V<S> h[R], A2[R];
  for (int n = 0; n < R; n++) { h[n] = q.h[n0 + n]; A2[n] = q.A2[n0 + n]; }
  for (int t = 0; t < count; t++) {
    if (n0 == 0) touch(next, t);
    const V<S> s = x.s[t], su = x.su[t];
    const S *B = x.B + t * N + n0, *C = x.C + t * N + n0;
    V<S> even = MODE == STATES ? V<S>{} : x.y[t], odd = V<S>{};
#pragma GCC unroll 16
    for (int n = 0; n < R; n++) {
      const V<S> a = exp2v(s * A2[n]);
      h[n] = a * h[n] + su * B[n];
      if (MODE != STATES) (n % 2 ? odd : even) += h[n] * C[n];
      if (MODE == LOCAL) decay[t * R + n] = a;
    }
    if (MODE != STATES) x.y[t] = even + odd;
  }
  for (int n = 0; n < R; n++) q.h[n0 + n] = h[n];
}
// The local window: y_t += C_t . a_t r_{t+1}, r_t = a_t r_{t+1} + s_t u_t B_t, zero at each window's end
template <class S, int N, int R> INLINE void sweep_left(Tiles<S, N>& x, int n0, int count, int window,
                                                        const V<S>* decay) {
  for (int end = count, begin; end > 0; end = begin) {
    begin = (end - 1) / window * window;
    V<S> r[R];
    for (int n = 0; n < R; n++) r[n] = V<S>{};
    for (int t = end - 1; t >= begin; t--) {
      const S *B = x.B + t * N + n0, *C = x.C + t * N + n0;
      V<S> even = x.y[t], odd = V<S>{};
#pragma GCC unroll 16
      for (int n = 0; n < R; n++) {
        const V<S> later = decay[t * R + n] * r[n];
        (n % 2 ? odd : even) += later * C[n];
        r[n] = later + x.su[t] * B[n];
      }
      x.y[t] = even + odd;
    }
  }
}
template <class S, int N, Mode MODE> static void scan_chunk(Tiles<S, N>& x, Column<S, N>& q,
                                                            int count, int window,
                                                            const Ahead& next) {
  constexpr int R = std::min(N, MODE == LOCAL ? LOCAL_SWEEP : SWEEP);
  V<S> decay[MODE == LOCAL ? CHUNK * R : 1];
  for (int t = 0; t < count; t++) {
    if (MODE == STATES) q.total += x.s[t];
    else x.y[t] = q.fixed.D * x.u[t];
  }
  for (int n0 = 0; n0 < N; n0 += R) {
    sweep_right<S, N, R, MODE>(x, q, n0, count, decay, next);
    if (MODE == LOCAL) sweep_left<S, N, R>(x, n0, count, window, decay);
  }
}
// Chunks c0 .. c1 of `blocks` channel blocks from w on; states come in and go out through `columns`.
template <class S, int N, Mode MODE> static void scan_chunks(const ScanCall& g, const Walk<S>& w,
                                                             int64_t blocks, int64_t c0, int64_t c1,
                                                             Column<S, N>* columns) {
  Tiles<S, N> x;
  for (int64_t c = c0; c < c1; c++) {
    const Span s(g, w, c);
    read_states<S, N>(x.B, g.B, w, s);
    if (MODE != STATES) read_states<S, N>(x.C, g.C, w, s);
    for (int64_t i = 0; i < blocks; i++) {
      const Walk<S> at(g, w.b, w.k, w.group, w.block + i);
      Column<S, N>& q = columns[i];
      if (MODE != STATES && g.starts) std::memcpy(start_of_chunk<S, N>(g, at, c), q.h, sizeof(q.h));
      read_steps<S, N, false>(x, g, at, q.fixed, s);
      const Ahead next = c + 1 < c1 ? ahead_of<S>(g, at, c + 1, MODE != STATES ? g.y : View{}) : Ahead{};
      scan_chunk<S, N, MODE>(x, q, s.count, int(g.window), next);
      if (MODE != STATES) write_steps<S, N>(x, g, at, s);
    }
  }
}
