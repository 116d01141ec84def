// Tensor units through mma.sync: CHAINS independent accumulators per warp, two A fragments used in turn.
// When timing, the host sets A1 = -A0, so that the accumulators swing between 0 and A0*B and never overflow;
// when checking, A0 and A1 are independent. Different B per chain: ptxas merges chains with equal inputs.
// FLOPs per warp = iterations * 2 * CHAINS * 2 * M * N * K (dense count; sparse kernels are counted at the 2x K)
#if defined(MMA_F64_K4)
#define INSTR "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64"
#define NA 1
#define NB 1
#define NC 2
#elif defined(MMA_F64_K16)
#define INSTR "mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64"
#define NA 8
#define NB 4
#define NC 4
#define CHAINS 4
#elif defined(MMA_TF32)
#define INSTR "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"
#elif defined(MMA_F16)
#define INSTR "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
#elif defined(MMA_F16_ACC16)
#define INSTR "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16"
#define NC 2
#define ACC_U32
#elif defined(MMA_BF16)
#define INSTR "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"
#elif defined(MMA_E4M3)
#define INSTR "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32"
#elif defined(MMA_E4M3_ACC16)
#define INSTR "mma.sync.aligned.m16n8k32.row.col.f16.e4m3.e4m3.f16"
#define NC 2
#define ACC_U32
#elif defined(MMA_S8)
#define INSTR "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32"
#define ACC_U32
#elif defined(MMA_S4)
#define INSTR "mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32"
#define ACC_U32
#elif defined(MMA_B1)
#define INSTR "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc"
#define ACC_U32
#elif defined(MMA_SP_TF32)
#define INSTR "mma.sp::ordered_metadata.sync.aligned.m16n8k16.row.col.f32.tf32.tf32.f32"
#define NB 4
#define SPARSE
#elif defined(MMA_SP_F16)
#define INSTR "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32"
#define NB 4
#define SPARSE
#elif defined(MMA_SP_F16_ACC16)
#define INSTR "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f16.f16.f16.f16"
#define NB 4
#define NC 2
#define ACC_U32
#define SPARSE
#elif defined(MMA_SP_BF16)
#define INSTR "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32"
#define NB 4
#define SPARSE
#elif defined(MMA_SP_E4M3)
#define INSTR "mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.f32.e4m3.e4m3.f32"
#define NB 4
#define SPARSE
#elif defined(MMA_SP_S8)
#define INSTR "mma.sp::ordered_metadata.sync.aligned.m16n8k64.row.col.s32.s8.s8.s32"
#define NB 4
#define ACC_U32
#define SPARSE
#elif defined(MMA_SP_S4)
#define INSTR "mma.sp::ordered_metadata.sync.aligned.m16n8k128.row.col.s32.s4.s4.s32"
#define NB 4
#define ACC_U32
#define SPARSE
#elif defined(MMA_NVFP4)
// scales: ue4m3 1.0 = 0x38 in each of the four bytes, one per 16 elements of K
#define INSTR "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3"
#define SCALED
#else
#error "choose a variant"
#endif

#ifndef NA
#define NA 4
#endif
#ifndef NB
#define NB 2
#endif
#ifndef NC
#define NC 4
#endif
#ifndef CHAINS
#define CHAINS 8
#endif

#if defined(MMA_F64_K4) || defined(MMA_F64_K16)
typedef double frag;
typedef double acc;
#define F "d"
#define D "+d"
#elif defined(ACC_U32)
typedef u32 frag;
typedef u32 acc;
#define F "r"
#define D "+r"
#else
typedef u32 frag;
typedef float acc;
#define F "r"
#define D "+f"
#endif

__device__ __forceinline__ void mma(acc (&d)[NC], const frag (&a)[NA], const frag (&b)[NB], u32 e) {
#if defined(SPARSE) && NC == 4
    asm volatile(INSTR " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9,%10,%11}, {%0,%1,%2,%3}, %12, 0x0;"
                 : D(d[0]), D(d[1]), D(d[2]), D(d[3])
                 : F(a[0]), F(a[1]), F(a[2]), F(a[3]), F(b[0]), F(b[1]), F(b[2]), F(b[3]), "r"(e));
#elif defined(SPARSE)
    asm volatile(INSTR " {%0,%1}, {%2,%3,%4,%5}, {%6,%7,%8,%9}, {%0,%1}, %10, 0x0;"
                 : D(d[0]), D(d[1])
                 : F(a[0]), F(a[1]), F(a[2]), F(a[3]), F(b[0]), F(b[1]), F(b[2]), F(b[3]), "r"(e));
#elif defined(SCALED)
    asm volatile(INSTR " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3}, %10, {0,0}, %10, {0,0};"
                 : D(d[0]), D(d[1]), D(d[2]), D(d[3])
                 : F(a[0]), F(a[1]), F(a[2]), F(a[3]), F(b[0]), F(b[1]), "r"(e));
#elif NA == 1
    asm volatile(INSTR " {%0,%1}, {%2}, {%3}, {%0,%1};" : D(d[0]), D(d[1]) : F(a[0]), F(b[0]));
#elif NA == 8
    asm volatile(INSTR " {%0,%1,%2,%3}, {%4,%5,%6,%7,%8,%9,%10,%11}, {%12,%13,%14,%15}, {%0,%1,%2,%3};"
                 : D(d[0]), D(d[1]), D(d[2]), D(d[3])
                 : F(a[0]), F(a[1]), F(a[2]), F(a[3]), F(a[4]), F(a[5]), F(a[6]), F(a[7]), F(b[0]), F(b[1]), F(b[2]),
                   F(b[3]));
#elif NC == 2
    asm volatile(INSTR " {%0,%1}, {%2,%3,%4,%5}, {%6,%7}, {%0,%1};"
                 : D(d[0]), D(d[1])
                 : F(a[0]), F(a[1]), F(a[2]), F(a[3]), F(b[0]), F(b[1]));
#else
    asm volatile(INSTR " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : D(d[0]), D(d[1]), D(d[2]), D(d[3])
                 : F(a[0]), F(a[1]), F(a[2]), F(a[3]), F(b[0]), F(b[1]));
#endif
}

#define FRAGS (2 * NA + CHAINS * NB)  // per lane: A0, A1, then B of each chain

// data: `sets` x 32 lanes x FRAGS; out: per thread CHAINS x NC accumulators. extra: 2:4 metadata, or block scales.
extern "C" __global__ void __launch_bounds__(256)
ENTRY(const frag* data, u32 sets, u32 extra, u32 iterations, acc* out, u64* stamps) {
    u32 lane = threadIdx.x % 32, warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    const frag* mine = data + ((u64)(warp % sets) * 32 + lane) * FRAGS;
    frag a0[NA], a1[NA], b[CHAINS][NB];
    acc d[CHAINS][NC];
#pragma unroll
    for (int i = 0; i < NA; ++i) {
        a0[i] = mine[i];
        a1[i] = mine[NA + i];
    }
#pragma unroll
    for (int c = 0; c < CHAINS; ++c) {
#pragma unroll
        for (int i = 0; i < NB; ++i) b[c][i] = mine[2 * NA + c * NB + i];
#pragma unroll
        for (int i = 0; i < NC; ++i) d[c][i] = 0;
    }
    stamp_begin(stamps);
#pragma unroll 1
    for (u32 n = 0; n < iterations; ++n) {
#pragma unroll
        for (int c = 0; c < CHAINS; ++c) mma(d[c], a0, b[c], extra);
#pragma unroll
        for (int c = 0; c < CHAINS; ++c) mma(d[c], a1, b[c], extra);
    }
    stamp_end(stamps);
    acc* to = out + (u64)(blockIdx.x * blockDim.x + threadIdx.x) * (CHAINS * NC);
#pragma unroll
    for (int c = 0; c < CHAINS; ++c)
#pragma unroll
        for (int i = 0; i < NC; ++i) to[c * NC + i] = d[c][i];
}
