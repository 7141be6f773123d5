// What a scan is asked (ScanCall), where one channel block stands in it (Walk), and what one chunk
// of steps reads (Tiles).
#pragma once
#include "simd.h"

constexpr int GROUP = 16;  // states in one pass; more states are more passes (the scan is linear)
constexpr int RANK = 16;   // largest low rank of dt formed inside

extern "C" struct ScanCall {  // mirrored in cpu_call.py
  int64_t batch, routes, length, channels, states, rank, softplus, threads, segments, parts, window;
  const int32_t *pos, *lengths;                          // (routes, length), (batch) or null
  const void *A, *D, *bias, *W, *h0;                     // (k,d,n) (k,d) (k,d) (k,d,r) (b,k,d,n)
  void *hT, *starts;                                     // (b,k,d,n); states at chunk starts
  const void* dhT;
  void *dA, *dD, *dbias, *dW, *dh0;                      // as A, D, bias, W, h0
  View u, dt, B, C, z, y, out, dout, du, ddt, dB, dC, dz;
};

// Steps of a chunk: whole windows, so that no local window lies in two chunks.
static int64_t chunk_of(const ScanCall& g) { return g.window > 1 ? CHUNK / g.window * g.window : CHUNK; }
static int64_t chunks_of(const ScanCall& g) { return (g.length + chunk_of(g) - 1) / chunk_of(g); }
static int64_t groups_of(const ScanCall& g) { return (g.states + GROUP - 1) / GROUP; }
template <class S> static int64_t blocks_of(const ScanCall& g) {
  return (g.channels + LANES<S> - 1) / LANES<S>;
}
static int64_t segment_start(const ScanCall& g, int64_t segment) {
  return segment * chunks_of(g) / g.segments;
}

template <class S> struct Walk {  // one channel block of one route and one group of states
  int64_t b, k, group, block, first;
  int lanes, states;
  const int32_t* table;
  Walk(const ScanCall& g, int64_t b_, int64_t k_, int64_t group_, int64_t block_)
      : b(b_), k(k_), group(group_), block(block_), first(block_ * LANES<S>),
        lanes(int(std::min<int64_t>(LANES<S>, g.channels - first))),
        states(int(std::min<int64_t>(GROUP, g.states - group_ * GROUP))),
        table(g.pos ? g.pos + k_ * g.length : nullptr) {}
  int64_t channel(const ScanCall& g) const { return k * g.channels + first; }
  int64_t state(const ScanCall& g) const {
    return ((b * g.routes + k) * g.channels + first) * g.states + group * GROUP;
  }
  int64_t rate(const ScanCall& g) const { return channel(g) * g.states + group * GROUP; }
};
// The steps of a chunk, and how many of them come before the end of this batch element.
struct Span {
  Steps all;
  int count;
  template <class S> Span(const ScanCall& g, const Walk<S>& w, int64_t c) {
    const int64_t chunk = chunk_of(g), t0 = c * chunk;
    all = {w.table, t0, int(std::min<int64_t>(chunk, g.length - t0))};
    const int64_t end = g.lengths ? g.lengths[w.b] : g.length;
    count = int(std::max<int64_t>(0, std::min<int64_t>(all.count, end - t0)));
  }
  Steps visited() const { return {all.table, all.t0, count}; }
};
template <class S> static void clear_rest(V<S>* tile, const Span& s) {
  for (int t = s.count; t < s.all.count; t++) tile[t] = V<S>{};
}

// What a later chunk will read, and one tensor more that it reads or writes.
template <class S> static Ahead ahead_of(const ScanCall& g, const Walk<S>& w, int64_t c, const View& more) {
  Ahead next;
  next.s = Span(g, w, c).all;
  next.add(rows_of(g.u, w.b, w.k, w.first));
  if (!g.rank) next.add(rows_of(g.dt, w.b, w.k, w.first));
  next.add(rows_of(more, w.b, w.k, w.first));
  return next;
}

template <class S, int N> static S* start_of_chunk(const ScanCall& g, const Walk<S>& w, int64_t c) {
  int64_t row = ((w.b * g.routes + w.k) * groups_of(g) + w.group) * chunks_of(g) + c;
  return (S*)g.starts + (row * blocks_of<S>(g) + w.block) * N * LANES<S>;
}
template <class S, int N> INLINE void load_states(V<S>* h, const void* from, int64_t offset,
                                                  int64_t step, const Walk<S>& w) {
  for (int n = 0; n < N; n++)
    h[n] = from && n < w.states ? load_lanes<S>((const S*)from + offset + n, step, w.lanes) : V<S>{};
}
template <class S, int N> INLINE void store_states(void* to, int64_t offset, int64_t step,
                                                   const V<S>* h, const Walk<S>& w) {
  if (to)
    for (int n = 0; n < w.states; n++) store_lanes<S>((S*)to + offset + n, step, h[n], w.lanes);
}

template <class S, int N> struct Tiles {
  V<S> u[CHUNK], s[CHUNK], su[CHUNK], slope[CHUNK], e[CHUNK], y[CHUNK], z[CHUNK];
  alignas(64) S B[CHUNK * N], C[CHUNK * N], low[CHUNK * RANK];
};
template <class S> struct Fixed {  // what is constant along the length
  V<S> bias, D, W[RANK];
};
template <class S> static void load_fixed(Fixed<S>& f, const ScanCall& g, const Walk<S>& w) {
  const int64_t c = w.channel(g);
  f.bias = load_lanes<S>(g.bias ? (const S*)g.bias + c : nullptr, 1, w.lanes);
  f.D = load_lanes<S>(g.D && w.group == 0 ? (const S*)g.D + c : nullptr, 1, w.lanes);
  for (int r = 0; r < g.rank; r++)
    f.W[r] = load_lanes<S>((const S*)g.W + c * g.rank + r, g.rank, w.lanes);
}
// u, s and s u of the visited steps; SLOPE: d s / d raw too
template <class S, int N, bool SLOPE> static void read_steps(Tiles<S, N>& x, const ScanCall& g,
                                                             const Walk<S>& w, const Fixed<S>& f,
                                                             const Span& span) {
  const Steps s = span.visited();
  gather<S, LANES<S>>((S*)x.u, rows_of(g.u, w.b, w.k, w.first), s, w.lanes);
  if (g.rank) {
    gather<S, RANK>(x.low, rows_of(g.dt, w.b, w.k, 0), s, int(g.rank));
    for (int t = 0; t < s.count; t++) {
      V<S> sum = f.bias;
      for (int r = 0; r < g.rank; r++) sum += f.W[r] * x.low[t * RANK + r];
      x.s[t] = sum;
    }
  } else {
    gather<S, LANES<S>>((S*)x.s, rows_of(g.dt, w.b, w.k, w.first), s, w.lanes);
    for (int t = 0; t < s.count; t++) x.s[t] += f.bias;
  }
  for (int t = 0; t < s.count; t++) {
    if (!g.softplus) x.slope[t] = V<S>{} + S(1);
    else if (SLOPE) x.s[t] = softplus<S>(x.s[t], x.slope[t]);
    else x.s[t] = softplus<S>(x.s[t]);
    x.su[t] = x.s[t] * x.u[t];
  }
}
template <class S, int N> static void read_states(S* tile, const View& v, const Walk<S>& w,
                                                  const Span& s) {
  gather<S, N>(tile, rows_of(v, w.b, w.k, w.group * GROUP), s.visited(), w.states);
}
