// Shared memory: conflict-free 16-byte loads, UNROLL in flight per thread, 32 KiB per block.
#define UNROLL 8
#define SET_VECTORS 2048  // 32 KiB

// bytes moved = blockDim.x * 16 * UNROLL * iterations per block; the XOR of what was read goes to out.
extern "C" __global__ void __launch_bounds__(256) shared_read(const uint4* src, u32 iterations, u32* out, u64* stamps) {
    __shared__ uint4 set[SET_VECTORS];
    for (u32 i = threadIdx.x; i < SET_VECTORS; i += blockDim.x) set[i] = src[i];
    u32 base;
    asm("{ .reg .u64 p; cvta.to.shared.u64 p, %1; cvt.u32.u64 %0, p; }" : "=r"(base) : "l"(set));
    base += threadIdx.x * 16;
    u32 x = 0;
    stamp_begin(stamps);
#pragma unroll 1
    for (u32 n = 0; n < iterations; ++n) {
        uint4 v[UNROLL];
#pragma unroll
        for (int j = 0; j < UNROLL; ++j)
            asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
                         : "=r"(v[j].x), "=r"(v[j].y), "=r"(v[j].z), "=r"(v[j].w)
                         : "r"(base + j * 256 * 16));
#pragma unroll
        for (int j = 0; j < UNROLL; ++j) x ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = x;
    stamp_end(stamps);
}
