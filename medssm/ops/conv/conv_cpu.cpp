// Causal depthwise convolution along routes on CPU, with bias and SiLU: lanes are channels.
//
//   out_k[pos_t] = silu(bias_k + sum_j w_k[j] x[pos_{t - (taps - 1) + j}])     (zeros before step 0)
//
// Steps are independent, so tasks are ranges of steps; the backward recomputes the sum before SiLU.
#include "crew.h"
#include "simd.h"

constexpr int MOST_TAPS = 8;

extern "C" struct ConvCall {  // mirrored in cpu.py
  int64_t batch, routes, length, channels, taps, silu, threads, segments;
  const int32_t* pos;               // (routes, length) or null
  const void *weight, *bias;        // (k, d, taps), (k, d) or null
  void *dweight, *dbias;            // (segments, b, k, d, taps), (segments, b, k, d)
  View x, out, dout, dx;
};

template <class S> struct Task {
  int64_t b, k, first, t0, t1, slot;
  int lanes, halo;
  const int32_t* table;
  V<S> w[MOST_TAPS], bias;
  Task(const ConvCall& g, int64_t k_, int64_t i) : k(k_) {
    const int64_t blocks = (g.channels + LANES<S> - 1) / LANES<S>;
    const int64_t segment = i / blocks % g.segments;
    first = i % blocks * LANES<S>;
    b = i / blocks / g.segments;
    slot = ((segment * g.batch + b) * g.routes + k) * g.channels + first;
    t0 = segment * g.length / g.segments;
    t1 = (segment + 1) * g.length / g.segments;
    lanes = int(std::min<int64_t>(LANES<S>, g.channels - first));
    halo = int(g.taps) - 1;
    table = g.pos ? g.pos + k * g.length : nullptr;
    const int64_t c = k * g.channels + first;
    for (int j = 0; j < g.taps; j++)
      w[j] = load_lanes<S>((const S*)g.weight + c * g.taps + j, g.taps, lanes);
    bias = load_lanes<S>(g.bias ? (const S*)g.bias + c : nullptr, 1, lanes);
  }
};
template <class S> struct Tile {
  V<S> x[CHUNK + MOST_TAPS], sum[CHUNK + MOST_TAPS], d[CHUNK + 2 * MOST_TAPS];
};
// x at the steps t - halo .. t + count, zeros before the start; then the sums before SiLU
template <class S> static void sums(Tile<S>& m, const ConvCall& g, const Task<S>& q, int64_t t,
                                    int count) {
  const int before = int(std::max<int64_t>(0, q.halo - t));
  for (int j = 0; j < before; j++) m.x[j] = V<S>{};
  gather<S, LANES<S>>((S*)(m.x + before), rows_of(g.x, q.b, 0, q.first),
                      {q.table, t - q.halo + before, count + q.halo - before}, q.lanes);
  for (int i = 0; i < count; i++) {
    V<S> sum = q.bias;
    for (int j = 0; j <= q.halo; j++) sum += q.w[j] * m.x[i + j];
    m.sum[i] = sum;
  }
}
template <class S> static void forward(const ConvCall& g, const Task<S>& q) {
  Tile<S> m;
  for (int64_t t = q.t0; t < q.t1; t += CHUNK) {
    const int count = int(std::min<int64_t>(CHUNK, q.t1 - t));
    sums<S>(m, g, q, t, count);
    if (g.silu)
      for (int i = 0; i < count; i++) m.sum[i] *= sigmoid<S>(m.sum[i]);
    scatter<S, LANES<S>>((const S*)m.sum, rows_of(g.out, q.b, q.k, q.first), {q.table, t, count},
                         q.lanes, false);
  }
}
// gradients of the sums at the steps t .. t + count, into d
template <class S> static void slopes(Tile<S>& m, V<S>* d, const ConvCall& g, const Task<S>& q,
                                      int64_t t, int count) {
  sums<S>(m, g, q, t, count);
  gather<S, LANES<S>>((S*)d, rows_of(g.dout, q.b, q.k, q.first), {q.table, t, count}, q.lanes);
  if (g.silu)
    for (int i = 0; i < count; i++) d[i] *= silu_slope<S>(m.sum[i], sigmoid<S>(m.sum[i]));
}
template <class S> static void backward(const ConvCall& g, const Task<S>& q) {
  Tile<S> m;
  V<S> dw[MOST_TAPS], dbias = V<S>{};
  for (int j = 0; j <= q.halo; j++) dw[j] = V<S>{};
  // d holds the steps of a chunk, then the `halo` steps to its right
  int right = int(std::min<int64_t>(q.halo, g.length - q.t1));
  V<S> next[MOST_TAPS];
  for (int j = 0; j < q.halo; j++) next[j] = V<S>{};
  if (right > 0) slopes<S>(m, next, g, q, q.t1, right);
  const int64_t chunks = (q.t1 - q.t0 + CHUNK - 1) / CHUNK;
  for (int64_t c = chunks - 1; c >= 0; c--) {
    const int64_t t = q.t0 + c * CHUNK;
    const int count = int(std::min<int64_t>(CHUNK, q.t1 - t));
    slopes<S>(m, m.d, g, q, t, count);
    for (int j = 0; j < q.halo; j++) m.d[count + j] = next[j];
    for (int i = 0; i < count; i++) {
      V<S> sum = V<S>{};
      for (int j = 0; j <= q.halo; j++) {
        sum += q.w[j] * m.d[i + q.halo - j];
        dw[j] += m.d[i] * m.x[i + j];
      }
      dbias += m.d[i];
      m.sum[i] = sum;
    }
    scatter<S, LANES<S>>((const S*)m.sum, rows_of(g.dx, q.b, 0, q.first), {q.table, t, count},
                         q.lanes, q.k > 0);
    for (int j = 0; j < q.halo; j++) next[j] = m.d[j];  // a short chunk ends in the old `next`
  }
  for (int j = 0; j <= q.halo; j++)
    store_lanes<S>((S*)g.dweight + q.slot * g.taps + j, g.taps, dw[j], q.lanes);
  store_lanes<S>((S*)g.dbias + q.slot, 1, dbias, q.lanes);
}
template <class S> static void run(const ConvCall& g, int back) {
  const int64_t tasks = g.batch * g.segments * ((g.channels + LANES<S> - 1) / LANES<S>);
  for (int64_t k = 0; k < g.routes; k++)  // one route after the other: they add into one dx
    parallel_for(tasks, g.threads, [&](int64_t i) {
      const Task<S> q(g, k, i);
      back ? backward<S>(g, q) : forward<S>(g, q);
    });
}
#define EXPORT extern "C" __attribute__((visibility("default")))
// 0: done, 1: the route table is no permutation of the positions, 2: no memory, 3: no float16
EXPORT int medssm_conv(const ConvCall* g, int is_double, int back) {
  try {
    if (g->pos && !back && !visits_every_position_once(g->pos, g->routes, g->length)) return 1;
    if (g->batch * g->length * g->channels == 0) return 0;
    if (g->x.kind == 3 && !WITH_HALF) return 3;
    is_double ? run<double>(*g, back) : run<float>(*g, back);
  } catch (const std::bad_alloc&) {
    return 2;
  }
  return 0;
}
EXPORT int medssm_conv_call_size() { return int(sizeof(ConvCall)); }
EXPORT int medssm_conv_has_half() { return WITH_HALF; }
