// The processor's part of the measured core: what the probes share.
#ifndef ROOFLINE_CPU_CORE_H
#define ROOFLINE_CPU_CORE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif
#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define ROW_VALUES 4096  // length of a weight row in the dot probes
#define MAX_COLUMNS 4

// What one thread owns: up to three arrays of `bytes` bytes, first touched by that thread.
typedef struct {
    unsigned char *a, *b, *c;
    size_t bytes;     // of each array; a multiple of 4096
    uint64_t seed;
    double sink;      // keeps results alive
    float state[768]; // accumulators of the register probes
} Share;

// One probe. `run` does its work `reps` times; `check` returns the largest relative error against plain C.
// ops and traffic of one rep: of the whole rep when `unit_bytes` is 0, else of each whole unit of that many bytes
// of an array. traffic is STREAM's count: write-allocate is not counted. extra: bytes of `b` when arrays is 1.
typedef struct {
    const char *name;
    int arrays;
    double ops, traffic;
    size_t unit_bytes;
    void (*run)(Share *, long reps);
    double (*check)(Share *);
    size_t extra;
} Probe;

extern const Probe memory_probes[], compute_probes[], dot_probes[], exp_probes[];
extern const int memory_count, compute_count, dot_count, exp_count;

const char *isa_name(void);
void fill_random(unsigned char *p, size_t bytes, uint64_t seed);
void fill_blocks(const char *format, unsigned char *p, size_t bytes, uint64_t seed);
uint64_t next_random(uint64_t *state);
int starts_with(const char *text, const char *prefix);

#endif
