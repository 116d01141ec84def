// Threads, pinning, first touch, timing and the core clock. Called from Python through ctypes.
#define _GNU_SOURCE
#include "cpu_core.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHAIN 64
#define CLOCK_ROUNDS 1000  // 64 000 dependent additions: about 15 us
#define CLOCK_TRIES 4      // the fastest counts: an interruption only ever makes one slower

typedef struct Pool Pool;
typedef struct {
    Pool *pool;
    pthread_t thread;
    int index, cpu, started;
    Share share;
    double begin, end, hz;
} Worker;

struct Pool {
    int threads;
    const Probe *probe;
    Worker *workers;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    long reps, ticket;
    int pending, stop, failed;
    atomic_int arrived;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Core clock: a chain of dependent register additions takes one cycle each on every core we know of.
static double clock_once(void) {
    uint64_t x = 1, y = 3;
    double t = now();
    for (int i = 0; i < CLOCK_ROUNDS; ++i) {
#if defined(__x86_64__)
#define A4 "add %1, %0\n add %1, %0\n add %1, %0\n add %1, %0\n"
        __asm__ volatile(A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 : "+r"(x) : "r"(y));
#elif defined(__aarch64__)
#define A4 "add %0, %0, %1\n add %0, %0, %1\n add %0, %0, %1\n add %0, %0, %1\n"
        __asm__ volatile(A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 A4 : "+r"(x) : "r"(y));
#else
        return 0.0;
#endif
    }
    t = now() - t;
    return t > 0 ? (double)CHAIN * CLOCK_ROUNDS / t : 0.0;
}

static double clock_hz(void) {
    double best = 0;
    for (int i = 0; i < CLOCK_TRIES; ++i) {
        double hz = clock_once();
        if (hz > best) best = hz;
    }
    return best;
}

uint64_t next_random(uint64_t *state) {  // splitmix64
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

// Random fp32 in [-1, 1): safe as floats, and never constant as bits.
void fill_random(unsigned char *p, size_t bytes, uint64_t seed) {
    float *f = (float *)p;
    for (size_t i = 0; i < bytes / 4; ++i) f[i] = (float)((double)(next_random(&seed) >> 40) / 8388608.0 - 1.0);
}

int starts_with(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

static int pin(int cpu) {
#if defined(__linux__)
    if (cpu < 0) return 0;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    return pthread_setaffinity_np(pthread_self(), sizeof set, &set);
#else
    (void)cpu;
    return 0;
#endif
}

static int prepare(Worker *w) {
    Share *s = &w->share;
    unsigned char **arrays[3] = {&s->a, &s->b, &s->c};
    for (int i = 0; i < w->pool->probe->arrays; ++i) {
        void *p = NULL;
        if (posix_memalign(&p, 4096, s->bytes)) return -1;
        *arrays[i] = p;
        uint64_t seed = s->seed + 1000003ull * (uint64_t)(3 * w->index + i);
        if (i == 0) fill_blocks(w->pool->probe->name, p, s->bytes, seed);
        else fill_random(p, s->bytes, seed);
    }
    if (w->pool->probe->extra) {
        void *p = NULL;
        if (posix_memalign(&p, 4096, w->pool->probe->extra)) return -1;
        s->b = p;
        memset(p, 0, w->pool->probe->extra);
    }
    uint64_t r = s->seed + (uint64_t)w->index;
    for (size_t i = 0; i < sizeof s->state / 4; ++i)
        s->state[i] = (float)((double)(next_random(&r) >> 40) / 8388608.0 - 1.0);
    return 0;
}

static void *worker_main(void *argument) {
    Worker *w = argument;
    Pool *pool = w->pool;
    pin(w->cpu);
    int bad = prepare(w);
    long seen = 0;
    pthread_mutex_lock(&pool->lock);
    pool->failed |= bad != 0;
    for (;;) {
        if (--pool->pending == 0) pthread_cond_signal(&pool->done);
        while (pool->ticket == seen && !pool->stop) pthread_cond_wait(&pool->wake, &pool->lock);
        if (pool->stop) break;
        seen = pool->ticket;
        long reps = pool->reps;
        pthread_mutex_unlock(&pool->lock);
        atomic_fetch_add(&pool->arrived, 1);
        for (long spin = 0; atomic_load(&pool->arrived) < pool->threads; ++spin)
            if (spin > 20000) sched_yield();  // all start together; give way where cores are shared
        w->begin = now();
        pool->probe->run(&w->share, reps);
        w->end = now();
        w->hz = clock_hz();
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void one_batch(Pool *pool, long reps) {
    pthread_mutex_lock(&pool->lock);
    pool->reps = reps;
    pool->pending = pool->threads;
    atomic_store(&pool->arrived, 0);
    ++pool->ticket;
    pthread_cond_broadcast(&pool->wake);
    while (pool->pending) pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static const Probe *find(const char *name) {
    const Probe *lists[] = {memory_probes, compute_probes, dot_probes, exp_probes};
    const int counts[] = {memory_count, compute_count, dot_count, exp_count};
    for (int l = 0; l < 4; ++l)
        for (int i = 0; i < counts[l]; ++i)
            if (!strcmp(lists[l][i].name, name)) return &lists[l][i];
    return NULL;
}

const char *rl_isa(void) { return isa_name(); }

double rl_clock_hz(void) { return clock_hz(); }

// ops and bytes of one rep of one thread whose arrays have `bytes` bytes each. 0: known, -1: no such probe here.
int rl_counts(const char *name, size_t bytes, double *ops, double *moved) {
    const Probe *p = find(name);
    if (!p) return -1;
    double units = p->unit_bytes ? (double)(bytes / p->unit_bytes) : 1.0;
    *ops = p->ops * units;
    *moved = p->traffic * units;
    return 0;
}

void rl_close(Pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->threads; ++i) {
        Worker *w = &pool->workers[i];
        if (w->started) pthread_join(w->thread, NULL);
        free(w->share.a);
        free(w->share.b);
        free(w->share.c);
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    free(pool->workers);
    free(pool);
}

// Starts `threads` workers (cpus[i] = -1: not pinned), each with its own first-touched arrays. NULL on failure.
Pool *rl_open(const char *name, int threads, const int *cpus, size_t bytes, uint64_t seed) {
    const Probe *probe = find(name);
    if (!probe || threads < 1 || bytes % 4096) return NULL;
    Pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pool->workers = calloc((size_t)threads, sizeof *pool->workers);
    if (!pool->workers) {
        free(pool);
        return NULL;
    }
    pool->threads = pool->pending = threads;
    pool->probe = probe;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    for (int i = 0; i < threads; ++i) {
        Worker *w = &pool->workers[i];
        w->pool = pool;
        w->index = i;
        w->cpu = cpus[i];
        w->share.bytes = bytes;
        w->share.seed = seed;
        w->started = pthread_create(&w->thread, NULL, worker_main, w) == 0;
        if (!w->started) {
            pthread_mutex_lock(&pool->lock);
            pool->failed = 1;
            --pool->pending;
            pthread_mutex_unlock(&pool->lock);
        }
    }
    pthread_mutex_lock(&pool->lock);
    while (pool->pending) pthread_cond_wait(&pool->done, &pool->lock);
    int failed = pool->failed;
    pthread_mutex_unlock(&pool->lock);
    if (!failed) return pool;
    rl_close(pool);
    return NULL;
}

// Runs `batches` timed batches of `reps`; seconds[i] = last end - first begin, hz[i] = mean core clock right after.
void rl_sample(Pool *pool, long reps, int batches, double *seconds, double *hz) {
    for (int i = 0; i < batches; ++i) {
        one_batch(pool, reps);
        double begin = pool->workers[0].begin, end = pool->workers[0].end, sum = 0;
        for (int t = 0; t < pool->threads; ++t) {
            Worker *w = &pool->workers[t];
            if (w->begin < begin) begin = w->begin;
            if (w->end > end) end = w->end;
            sum += w->hz;
        }
        seconds[i] = end - begin;
        hz[i] = sum / pool->threads;
    }
}

// Largest relative error of the probe's result against plain C, over all threads' data.
double rl_check(Pool *pool) {
    double worst = 0;
    for (int t = 0; t < pool->threads; ++t) {
        double e = pool->probe->check(&pool->workers[t].share);
        if (!(e <= worst)) worst = e;  // also when e is not a number
    }
    return worst;
}
