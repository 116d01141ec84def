// Latency: one thread follows a random cycle of addresses; no arithmetic between two dependent loads.
#define UNROLL 16

#define CHASE(NAME, CACHE)                                                                          \
    extern "C" __global__ void __launch_bounds__(32)                                                \
    NAME(u64 start, u32 iterations, u64* out, u64* stamps) {                                        \
        u64 p = start;                                                                              \
        stamp_begin(stamps);                                                                        \
        if (threadIdx.x == 0) {                                                                     \
            _Pragma("unroll 1") for (u32 n = 0; n < iterations; ++n) {                              \
                _Pragma("unroll") for (int j = 0; j < UNROLL; ++j)                                  \
                    asm volatile("ld.global." CACHE ".u64 %0, [%0];" : "+l"(p));                    \
            }                                                                                       \
            out[0] = p;                                                                             \
        }                                                                                           \
        stamp_end(stamps);                                                                          \
    }

// dependent loads = UNROLL * iterations
CHASE(chase_l1, "ca")
CHASE(chase_l2, "cg")
