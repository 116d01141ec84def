// Exponentials on the vector lanes, written as softmax kernels do: range reduction and a polynomial.
#include "cpu_core.h"

#include <math.h>
#include <string.h>

#define VALUES 4096
typedef float V __attribute__((vector_size(64), may_alias));
typedef int32_t I __attribute__((vector_size(64), may_alias));

// 2^x for |x| < 126, relative error below 3e-6: 2^n * p(f), f in [-0.5, 0.5], Taylor of 2^f to f^5
static inline __attribute__((always_inline)) V exp2_lanes(V x) {
    V magic = x * 0.0f + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    V n = (x + magic) - magic, f = x - n;
    V p = 1.33335581e-3f * f + 9.61812911e-3f;
    p = p * f + 5.55041087e-2f;
    p = p * f + 2.40226507e-1f;
    p = p * f + 6.93147181e-1f;
    p = p * f + 1.0f;
    return (V)((I)p + (__builtin_convertvector(n, I) << 23));
}

// y[i] = 2^x[i]; both stay in the first-level cache
static void exp_run(Share *s, long reps) {
    const V *x = (const V *)s->b;
    V *y = (V *)(s->b + VALUES * 4);
    for (long r = 0; r < reps; ++r) {
        for (int i = 0; i < VALUES / 16; ++i) y[i] = exp2_lanes(x[i]);
        __asm__ volatile("" : : : "memory");
    }
}

static double exp_check(Share *s) {
    float *x = (float *)s->b;
    fill_random(s->b, VALUES * 4, s->seed);
    for (int i = 0; i < VALUES; ++i) x[i] *= i % 2 ? 1.0f : 20.0f;
    exp_run(s, 1);
    double worst = 0;
    for (int i = 0; i < VALUES; ++i) {
        double want = exp2((double)x[i]), e = fabs((double)x[VALUES + i] - want) / want;
        if (!(e <= worst)) worst = e;
    }
    return worst;
}

const Probe exp_probes[] = {{"exp_f32", 0, VALUES, 0, 0, exp_run, exp_check, 2 * VALUES * 4}};
const int exp_count = 1;
