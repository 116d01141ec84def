// Shared by every kernel of the measured core. No CUDA header is used: NVRTC wheels ship none.
// A file with variants is compiled once per variant, each in its own namespace, with ENTRY as its kernel's name.
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

#define STAMP_WORDS 8  // clock begin, clock end, ns begin, ns end, SM id, unused x 3

__device__ __forceinline__ u64 sm_clock() {
    u64 t;
    asm volatile("mov.u64 %0, %%clock64;" : "=l"(t) : : "memory");
    return t;
}

__device__ __forceinline__ u64 global_ns() {
    u64 t;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(t) : : "memory");
    return t;
}

// Opens the timed region of a block: all threads have their operands when the clock is read.
__device__ __forceinline__ void stamp_begin(u64* stamps) {
    __syncthreads();
    if (threadIdx.x == 0) {
        u32 sm;
        asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
        stamps[blockIdx.x * STAMP_WORDS + 0] = sm_clock();
        stamps[blockIdx.x * STAMP_WORDS + 2] = global_ns();
        stamps[blockIdx.x * STAMP_WORDS + 4] = sm;
    }
}

// Closes it: every thread of the block has finished its work.
__device__ __forceinline__ void stamp_end(u64* stamps) {
    __syncthreads();
    if (threadIdx.x == 0) {
        stamps[blockIdx.x * STAMP_WORDS + 1] = sm_clock();
        stamps[blockIdx.x * STAMP_WORDS + 3] = global_ns();
    }
}
