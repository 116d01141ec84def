// Bandwidth of DRAM and L2: 16-byte accesses, UNROLL of them in flight per thread, L1 bypassed (.cg).
// A tile is UNROLL * THREADS vectors; `vectors` is a multiple of it, so that every byte moves exactly once.
#define UNROLL 8
#define THREADS 512
#define TILE (UNROLL * THREADS)

__device__ __forceinline__ uint4 load_cg(const uint4* p) {
    uint4 v;
    asm volatile("ld.global.cg.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}

__device__ __forceinline__ void store_cg(uint4* p, uint4 v) {
    asm volatile("st.global.cg.v4.u32 [%0], {%1,%2,%3,%4};" : : "l"(p), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}

__device__ __forceinline__ void load_tile(uint4 (&v)[UNROLL], const uint4* src, u64 tile) {
    const uint4* p = src + tile * TILE + threadIdx.x;
#pragma unroll
    for (int j = 0; j < UNROLL; ++j) v[j] = load_cg(p + j * THREADS);
}

__device__ __forceinline__ void store_tile(const uint4 (&v)[UNROLL], uint4* dst, u64 tile) {
    uint4* p = dst + tile * TILE + threadIdx.x;
#pragma unroll
    for (int j = 0; j < UNROLL; ++j) store_cg(p + j * THREADS, v[j]);
}

__device__ __forceinline__ u32 fold(const uint4 (&v)[UNROLL]) {
    u32 x = 0;
#pragma unroll
    for (int j = 0; j < UNROLL; ++j) x ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    return x;
}

// Reads src once; the XOR of all words lands in out (one word a thread), which proves that each was read.
// bytes moved = 16 * vectors
extern "C" __global__ void __launch_bounds__(THREADS, 2) dram_read(const uint4* src, u64 vectors, u32* out, u64* stamps) {
    u64 tiles = vectors / TILE;
    u32 x = 0;
    stamp_begin(stamps);
#pragma unroll 1
    for (u64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        uint4 v[UNROLL];
        load_tile(v, src, tile);
        x ^= fold(v);
    }
    out[blockIdx.x * THREADS + threadIdx.x] = x;
    stamp_end(stamps);
}

// dst = seed mixed with the position, never constant. bytes moved = 16 * vectors
extern "C" __global__ void __launch_bounds__(THREADS, 2) dram_write(uint4* dst, u64 vectors, u32 seed, u64* stamps) {
    u64 tiles = vectors / TILE;
    stamp_begin(stamps);
#pragma unroll 1
    for (u64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        uint4 v[UNROLL];
#pragma unroll
        for (int j = 0; j < UNROLL; ++j) {
            u32 i = (u32)(tile * TILE + j * THREADS + threadIdx.x);
            u32 h = (i ^ seed) * 2654435761u;
            v[j] = make_uint4(h, h ^ 0x9e3779b9u, ~h, h * 2246822519u);
        }
        store_tile(v, dst, tile);
    }
    stamp_end(stamps);
}

// dst = src. bytes moved = 32 * vectors (read and written)
extern "C" __global__ void __launch_bounds__(THREADS, 2) dram_copy(const uint4* src, uint4* dst, u64 vectors, u64* stamps) {
    u64 tiles = vectors / TILE;
    stamp_begin(stamps);
#pragma unroll 1
    for (u64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        uint4 v[UNROLL];
        load_tile(v, src, tile);
        store_tile(v, dst, tile);
    }
    stamp_end(stamps);
}

__device__ __forceinline__ u32 fma_bits(u32 b, float s, u32 c) {
    return __float_as_uint(__fmaf_rn(__uint_as_float(b), s, __uint_as_float(c)));
}

// dst = b * scale + c in fp32. bytes moved = 48 * vectors (two read, one written), FLOPs = 8 * vectors
extern "C" __global__ void __launch_bounds__(THREADS, 2)
dram_triad(const uint4* b, const uint4* c, uint4* dst, float scale, u64 vectors, u64* stamps) {
    u64 tiles = vectors / TILE;
    stamp_begin(stamps);
#pragma unroll 1
    for (u64 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        uint4 v[UNROLL], w[UNROLL];
        load_tile(v, b, tile);
        load_tile(w, c, tile);
#pragma unroll
        for (int j = 0; j < UNROLL; ++j) {
            v[j].x = fma_bits(v[j].x, scale, w[j].x);
            v[j].y = fma_bits(v[j].y, scale, w[j].y);
            v[j].z = fma_bits(v[j].z, scale, w[j].z);
            v[j].w = fma_bits(v[j].w, scale, w[j].w);
        }
        store_tile(v, dst, tile);
    }
    stamp_end(stamps);
}

// Every block reads the whole set `passes` times, each from its own starting tile, so that a small set still
// feeds every SM and a set beyond L2 misses. bytes moved = 16 * vectors * passes * gridDim.x
extern "C" __global__ void __launch_bounds__(THREADS, 2)
l2_read(const uint4* src, u64 vectors, u32 passes, u32* out, u64* stamps) {
    u64 tiles = vectors / TILE;
    u64 first = tiles * blockIdx.x / gridDim.x;
    u32 x = 0;
    stamp_begin(stamps);
#pragma unroll 1
    for (u32 pass = 0; pass < passes; ++pass) {
        u64 tile = first;
#pragma unroll 1
        for (u64 t = 0; t < tiles; ++t) {
            uint4 v[UNROLL];
            load_tile(v, src, tile);
            x ^= fold(v);
            tile = tile + 1 == tiles ? 0 : tile + 1;
        }
    }
    out[blockIdx.x * THREADS + threadIdx.x] = x;
    stamp_end(stamps);
}
