// What one core can do at best: nanoseconds of a register multiply-add and of exp2, per vector.
//
// The vectors stay in registers and sixteen are in flight, so neither memory nor latency counts.
#include <ctime>
#include "simd.h"

constexpr int FLIGHT = VBYTES == 64 ? 16 : 8;  // no more than there are registers
// CPU time: what others on the machine take away from the clock does not count
static double now() { return double(std::clock()) / CLOCKS_PER_SEC; }
template <class F> static double best_of(F work, double vectors) {
  double best = 1e9;
  for (int turn = 0; turn < 40; turn++) {
    const double start = now();
    work();
    best = std::min(best, now() - start);
  }
  return best / vectors * 1e9;
}
extern "C" __attribute__((visibility("default"))) void medssm_floor(double* nanoseconds) {
  V<float> x[FLIGHT], y[FLIGHT];
  for (int i = 0; i < FLIGHT; i++) { x[i] = V<float>{} - 0.01f * float(i + 1); y[i] = V<float>{} + 0.5f; }
  constexpr long TURNS = 200000, INNER = 8;
  nanoseconds[0] = best_of([&] {
    for (long r = 0; r < TURNS; r++) {
      V<float> a[FLIGHT];
      for (int i = 0; i < FLIGHT; i++) a[i] = y[i];
      const V<float> c = x[0];
      for (long q = 0; q < INNER; q++)
#pragma GCC unroll 16
        for (int i = 0; i < FLIGHT; i++) a[i] = a[i] * c + c;
      for (int i = 0; i < FLIGHT; i++) y[i] = a[i];
      asm volatile("" : "+m"(y), "+m"(x));
    }
  }, double(TURNS) * INNER * FLIGHT);
  nanoseconds[1] = best_of([&] {
    for (long r = 0; r < TURNS; r++) {
#pragma GCC unroll 16
      for (int i = 0; i < FLIGHT; i++) y[i] = exp2v(x[i]);
      asm volatile("" : "+m"(x), "+m"(y));
    }
  }, double(TURNS) * FLIGHT);
}
