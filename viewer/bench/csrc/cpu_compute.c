// Arithmetic peaks. Each loop is one block of assembly, so that no compiler can spill an accumulator.
// A rep is 8 x ACCS instructions; x = a * x + b with a = -0.9990 and random b keeps every value moving.
#include "cpu_core.h"

#include <math.h>
#include <string.h>

#define UNROLL 8
#define A_VALUE (-0.99902344f)

#if defined(__AVX512F__)
#define ISA "avx512"
#define REG "zmm"
#define WIDTH 64
#define ACCS 16
#define X "30"
#define Y "31"
#define LOAD "vmovups "
#elif defined(__AVX2__) && defined(__FMA__)
#define ISA "avx2"
#define REG "ymm"
#define WIDTH 32
#define ACCS 12
#define X "14"
#define Y "15"
#define LOAD "vmovups "
#elif defined(__aarch64__)
#define ISA "neon"
#define WIDTH 16
#define ACCS 24
#else
#define ISA "generic"
#define WIDTH 16
#define ACCS 8
#endif

const char *isa_name(void) { return ISA; }

#define LANES (WIDTH / 4)
#define EACH12(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define EACH16(M) EACH12(M) M(12) M(13) M(14) M(15)
#define EACH24(M) EACH16(M) M(16) M(17) M(18) M(19) M(20) M(21) M(22) M(23)
#if ACCS == 16
#define EACH EACH16
#elif ACCS == 24
#define EACH EACH24
#else
#define EACH EACH12
#endif

#if defined(__x86_64__) && WIDTH >= 32
#define IN(n) LOAD #n "*%c[w](%[s]), %%" REG #n "\n"
#define OUT(n) LOAD "%%" REG #n ", " #n "*%c[w](%[s])\n"
#define EIGHT(M) EACH(M) EACH(M) EACH(M) EACH(M) EACH(M) EACH(M) EACH(M) EACH(M)
// state: ACCS accumulators, then the operands x and y
#define REGISTER_LOOP(NAME, M)                                                                        \
    static void NAME(Share *s, long reps) {                                                           \
        __asm__ volatile(EACH(IN) LOAD "%c[x](%[s]), %%" REG X "\n" LOAD "%c[y](%[s]), %%" REG Y "\n"   \
                         ".p2align 5\n1:\n" EIGHT(M) "sub $1, %[r]\n jnz 1b\n" EACH(OUT)               \
                         : [r] "+r"(reps)                                                             \
                         : [s] "r"(s->state), [w] "i"(WIDTH), [x] "i"(ACCS * WIDTH), [y] "i"((ACCS + 1) * WIDTH) \
                         : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                           "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15" HIGH);         \
    }
#if defined(__AVX512F__)
#define HIGH , "xmm30", "xmm31"
#else
#define HIGH
#endif
#define FMA32(n) "vfmadd213ps %%" REG Y ", %%" REG X ", %%" REG #n "\n"
#define FMA64(n) "vfmadd213pd %%" REG Y ", %%" REG X ", %%" REG #n "\n"
REGISTER_LOOP(fma_f32_run, FMA32)
REGISTER_LOOP(fma_f64_run, FMA64)
#if defined(__AVX512BF16__) && defined(__AVX512F__)
#define HAVE_BF16
#define DPBF(n) "vdpbf16ps %%" REG Y ", %%" REG X ", %%" REG #n "\n"
REGISTER_LOOP(dot_bf16_run, DPBF)
#endif
#if defined(__AVX512VNNI__) && defined(__AVX512F__)
#define HAVE_INT8
#define DPBU(n) "vpdpbusd %%" REG Y ", %%" REG X ", %%" REG #n "\n"
REGISTER_LOOP(dot_int8_run, DPBU)
#elif defined(__AVXVNNI__) && ACCS == 12
#define HAVE_INT8
#define DPBU(n) "{vex} vpdpbusd %%" REG Y ", %%" REG X ", %%" REG #n "\n"
REGISTER_LOOP(dot_int8_run, DPBU)
#endif

#elif defined(__aarch64__)
#define IN(n) "ldr q" #n ", [%[s], " #n "*16]\n"
#define OUT(n) "str q" #n ", [%[s], " #n "*16]\n"
#define EIGHT(M) EACH(M) EACH(M) EACH(M) EACH(M) EACH(M) EACH(M) EACH(M) EACH(M)
// fmla adds: acc += x * y
#define REGISTER_LOOP(NAME, M)                                                                        \
    static void NAME(Share *s, long reps) {                                                           \
        __asm__ volatile(EACH(IN) "ldr q30, [%[s], 24*16]\n ldr q31, [%[s], 25*16]\n"                   \
                         ".p2align 5\n1:\n" EIGHT(M) "subs %[r], %[r], 1\n b.ne 1b\n" EACH(OUT)        \
                         : [r] "+r"(reps) : [s] "r"(s->state)                                         \
                         : "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", \
                           "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v30", "v31"); \
    }
#define FMA32(n) "fmla v" #n ".4s, v30.4s, v31.4s\n"
#define FMA64(n) "fmla v" #n ".2d, v30.2d, v31.2d\n"
REGISTER_LOOP(fma_f32_run, FMA32)
REGISTER_LOOP(fma_f64_run, FMA64)
#define ADDS
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#define HAVE_BF16
#define DPBF(n) "bfdot v" #n ".4s, v30.8h, v31.8h\n"
REGISTER_LOOP(dot_bf16_run, DPBF)
#endif
#if defined(__ARM_FEATURE_DOTPROD)
#define HAVE_INT8
#define DPBU(n) "sdot v" #n ".4s, v30.16b, v31.16b\n"
REGISTER_LOOP(dot_int8_run, DPBU)
#endif

#else  // plain C: whatever the compiler makes of it
typedef float F4 __attribute__((vector_size(16), may_alias));
typedef double D2 __attribute__((vector_size(16), may_alias));
#define GENERIC_LOOP(NAME, V)                                                     \
    static void NAME(Share *s, long reps) {                                       \
        V acc[ACCS], x, y;                                                        \
        memcpy(acc, s->state, sizeof acc);                                        \
        memcpy(&x, (char *)s->state + sizeof acc, sizeof x);                      \
        memcpy(&y, (char *)s->state + sizeof acc + sizeof x, sizeof y);           \
        for (long r = 0; r < reps * UNROLL; ++r)                                  \
            for (int i = 0; i < ACCS; ++i) acc[i] = acc[i] * x + y;               \
        memcpy(s->state, acc, sizeof acc);                                        \
    }
GENERIC_LOOP(fma_f32_run, F4)
GENERIC_LOOP(fma_f64_run, D2)
#endif

static double relative(double got, double want) {
    double scale = fabs(want) > 1 ? fabs(want) : 1;
    return fabs(got - want) / scale;
}

#define CHECK_REPS 3

static double fma_f32_check(Share *s) {
    float *v = s->state, want[ACCS * LANES], *x = v + ACCS * LANES, *y = x + LANES;
    uint64_t r = s->seed;
    for (int i = 0; i < (ACCS + 2) * LANES; ++i) v[i] = (float)((double)(next_random(&r) >> 40) / 8388608.0 - 1.0);
    for (int i = 0; i < LANES; ++i) x[i] = A_VALUE;
    memcpy(want, v, sizeof want);
    for (int k = 0; k < CHECK_REPS * UNROLL; ++k)
        for (int i = 0; i < ACCS * LANES; ++i)
#if defined(ADDS)
            want[i] = fmaf(x[i % LANES], y[i % LANES], want[i]);
#else
            want[i] = fmaf(want[i], x[i % LANES], y[i % LANES]);
#endif
    fma_f32_run(s, CHECK_REPS);
    double worst = 0;
    for (int i = 0; i < ACCS * LANES; ++i) {
        double e = relative(v[i], want[i]);
        if (!(e <= worst)) worst = e;
    }
    return worst;
}

static double fma_f64_check(Share *s) {
    enum { N = WIDTH / 8 };
    double *v = (double *)s->state, want[ACCS * N], *x = v + ACCS * N, *y = x + N;
    uint64_t r = s->seed;
    for (int i = 0; i < (ACCS + 2) * N; ++i) v[i] = (double)(next_random(&r) >> 40) / 8388608.0 - 1.0;
    for (int i = 0; i < N; ++i) x[i] = A_VALUE;
    memcpy(want, v, sizeof want);
    for (int k = 0; k < CHECK_REPS * UNROLL; ++k)
        for (int i = 0; i < ACCS * N; ++i)
#if defined(ADDS)
            want[i] = fma(x[i % N], y[i % N], want[i]);
#else
            want[i] = fma(want[i], x[i % N], y[i % N]);
#endif
    fma_f64_run(s, CHECK_REPS);
    double worst = 0;
    for (int i = 0; i < ACCS * N; ++i) {
        double e = relative(v[i], want[i]);
        if (!(e <= worst)) worst = e;
    }
    return worst;
}

#if defined(HAVE_BF16)
static float from_bf16(uint16_t h) {
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static double dot_bf16_check(Share *s) {
    float *v = s->state;
    uint16_t *x = (uint16_t *)(v + ACCS * LANES), *y = x + 2 * LANES;
    uint64_t r = s->seed;
    for (int i = 0; i < ACCS * LANES; ++i) v[i] = 0;
    for (int i = 0; i < 4 * LANES; ++i) x[i] = (uint16_t)(0x3f00u | (next_random(&r) & 0x80ffu));  // 0.5 ... 1.99
    dot_bf16_run(s, CHECK_REPS);
    double worst = 0;
    for (int i = 0; i < LANES; ++i) {
        double one = (double)from_bf16(x[2 * i]) * from_bf16(y[2 * i]) + (double)from_bf16(x[2 * i + 1]) * from_bf16(y[2 * i + 1]);
        for (int k = 0; k < ACCS; ++k) {
            double e = relative(v[k * LANES + i], one * CHECK_REPS * UNROLL);
            if (!(e <= worst)) worst = e;
        }
    }
    return worst;
}
#endif

#if defined(HAVE_INT8)
static double dot_int8_check(Share *s) {
    int32_t *v = (int32_t *)s->state;
    int8_t *x = (int8_t *)(v + ACCS * LANES), *y = x + WIDTH;
    uint64_t r = s->seed;
    memset(v, 0, sizeof(float) * ACCS * LANES);
    for (int i = 0; i < 2 * WIDTH; ++i) x[i] = (int8_t)(next_random(&r) >> 33);
    dot_int8_run(s, CHECK_REPS);
    for (int i = 0; i < LANES; ++i) {
        int32_t one = 0;
        for (int j = 0; j < 4; ++j)
#if defined(__aarch64__)
            one += (int32_t)x[4 * i + j] * y[4 * i + j];
#else
            one += (int32_t)(uint8_t)x[4 * i + j] * y[4 * i + j];  // x86: unsigned times signed
#endif
        for (int k = 0; k < ACCS; ++k)
            if (v[k * LANES + i] != one * CHECK_REPS * UNROLL) return 1.0;
    }
    return 0.0;
}
#endif

#define REP(per_instruction) ((double)(UNROLL * ACCS) * (per_instruction))
const Probe compute_probes[] = {
    {"fma_f32", 0, REP(2.0 * WIDTH / 4), 0, 0, fma_f32_run, fma_f32_check, 0},
    {"fma_f64", 0, REP(2.0 * WIDTH / 8), 0, 0, fma_f64_run, fma_f64_check, 0},
#if defined(HAVE_BF16)
    {"dot_bf16", 0, REP(2.0 * WIDTH / 2), 0, 0, dot_bf16_run, dot_bf16_check, 0},
#endif
#if defined(HAVE_INT8)
    {"dot_int8", 0, REP(2.0 * WIDTH), 0, 0, dot_int8_run, dot_int8_check, 0},
#endif
};
const int compute_count = sizeof compute_probes / sizeof *compute_probes;
