// Vector units. PAIRS leapfrog rotations per thread: x += s * y; y -= s * x. Every value keeps changing, none
// grows, and the two chains of a pair depend on each other, so that nothing can be folded away.
// FLOPs per thread = iterations * STEPS * PAIRS * 2 FMA * 2 * LANES
#define STEPS 8
#define PAIRS 8

#if defined(VEC_F64)
typedef double word;
#define LANES 1
#define FMA(d, a, b, c) asm volatile("fma.rn.f64 %0, %1, %2, %3;" : "=d"(d) : "d"(a), "d"(b), "d"(c))
#define NEGATE(x) (-(x))
#elif defined(VEC_F32)
typedef float word;
#define LANES 1
#define FMA(d, a, b, c) asm volatile("fma.rn.f32 %0, %1, %2, %3;" : "=f"(d) : "f"(a), "f"(b), "f"(c))
#define NEGATE(x) (-(x))
#elif defined(VEC_F16)
typedef u32 word;
#define LANES 2
#define FMA(d, a, b, c) asm volatile("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c))
#define NEGATE(x) ((x) ^ 0x80008000u)
#elif defined(VEC_BF16)
typedef u32 word;
#define LANES 2
#define FMA(d, a, b, c) asm volatile("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c))
#define NEGATE(x) ((x) ^ 0x80008000u)
#endif

#if defined(FMA)
// data: per thread of a block PAIRS x values, PAIRS y values, one s; out: the same places of x and y.
extern "C" __global__ void __launch_bounds__(256)
ENTRY(const word* data, u32 iterations, word* out, u64* stamps) {
    word x[PAIRS], y[PAIRS];
    const word* mine = data + threadIdx.x * (2 * PAIRS + 1);
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) {
        x[i] = mine[i];
        y[i] = mine[PAIRS + i];
    }
    word s = mine[2 * PAIRS], minus_s = NEGATE(s);
    stamp_begin(stamps);
#pragma unroll 1
    for (u32 n = 0; n < iterations; ++n) {
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
#pragma unroll
            for (int i = 0; i < PAIRS; ++i) FMA(x[i], y[i], s, x[i]);
#pragma unroll
            for (int i = 0; i < PAIRS; ++i) FMA(y[i], x[i], minus_s, y[i]);
        }
    }
    stamp_end(stamps);
    word* to = out + (blockIdx.x * blockDim.x + threadIdx.x) * (2 * PAIRS);
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) {
        to[i] = x[i];
        to[PAIRS + i] = y[i];
    }
}
#else
// Special-function unit: x = 2 - 3 * 2^x, a two-cycle that keeps the data moving. The FMA rides in the shadow
// of the exponential (one in eight issue slots) and is not counted. exp operations per thread = iterations * STEPS * PAIRS
extern "C" __global__ void __launch_bounds__(256)
ENTRY(const float* data, u32 iterations, float* out, u64* stamps) {
    float x[PAIRS];
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) x[i] = data[threadIdx.x * PAIRS + i];
    stamp_begin(stamps);
#pragma unroll 1
    for (u32 n = 0; n < iterations; ++n) {
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
#pragma unroll
            for (int i = 0; i < PAIRS; ++i) {
                float e;
                asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(x[i]));
                x[i] = __fmaf_rn(e, -3.0f, 2.0f);
            }
        }
    }
    stamp_end(stamps);
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) out[(blockIdx.x * blockDim.x + threadIdx.x) * PAIRS + i] = x[i];
}
#endif
