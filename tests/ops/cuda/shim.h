// CUDA's words for a host compiler: blocks and threads are loops. A phase runs thread after thread, forwards and
// backwards in turn, so that a value taken from a neighbour without a barrier is wrong in one of the two orders.
// What is not written yet is NaN, and a copy to shared memory arrives only at the barrier that waits for it.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#define INVNAS_HOST
#define INVNAS_DEVICE static inline
#define __global__
#define __launch_bounds__(...)

struct uint3 { unsigned x, y, z; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };

static uint3 threadIdx, blockIdx, blockDim;
static unsigned char* invnas_shared;
static bool invnas_backwards;

INVNAS_DEVICE int here(int x) { return x; }
INVNAS_DEVICE int thread_number() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
INVNAS_DEVICE int thread_count() { return blockDim.x * blockDim.y * blockDim.z; }

struct InvnasThreads {  // a phase
    int done = 0;
    bool next() {
        if (done == thread_count()) return invnas_backwards = !invnas_backwards, false;
        const unsigned at = invnas_backwards ? thread_count() - 1 - done : done;
        threadIdx = {at % blockDim.x, at / blockDim.x % blockDim.y, at / blockDim.x / blockDim.y};
        return ++done;
    }
};

template <class Own>
std::vector<Own> invnas_own() {
    std::vector<Own> all(thread_count());
    std::memset(static_cast<void*>(all.data()), 0xff, all.size() * sizeof(Own));
    return all;
}

struct InvnasCopy {
    void *to;
    const void* from;
    int bytes;
};
static std::vector<InvnasCopy> invnas_copies;

static inline void invnas_arrive() {
    for (const InvnasCopy& copy : invnas_copies) std::memcpy(copy.to, copy.from, copy.bytes);
    invnas_copies.clear();
}

#define INVNAS_OWN(Own) auto own_ = invnas_own<Own>()
#define own own_[thread_number()]
#define INVNAS_PHASE for (InvnasThreads threads_; threads_.next();)
#define INVNAS_SYNC invnas_arrive();
#define INVNAS_EXCHANGE(field, count, mask)                                                      \
    for (int t_ = 0; t_ < thread_count(); ++t_)                                                  \
        if ((t_ ^ (mask)) > t_)                                                                  \
            for (int i_ = 0; i_ < (count); ++i_) std::swap(own_[t_].field[i_], own_.at(t_ ^ (mask)).field[i_]);

// A warp's product on the matrix unit, by the layout of PTX: lane 4 * g + t holds, of A, rows g and g + 8, and of B,
// column g, each at 2t, 2t + 1, 2t + 8, 2t + 9; of C, rows g and g + 8 at columns 2t and 2t + 1.
template <class T, class Own>
void invnas_multiply(Own* warp, int j) {
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; ++lane)
        for (int i = 0; i < 4; ++i) {
            const int g = lane / 4, at = lane % 4 * 2 + i % 2 + i / 2 * 8, shift = i % 2 * 16;
            const Own& held = warp[lane];
            for (int half = 0; half < 2; ++half)
                a[g + 8 * half][at] = widen(T{static_cast<unsigned short>(held.a[half][i / 2] >> shift)});
            b[at][g] = widen(T{static_cast<unsigned short>(held.b[j][i / 2] >> shift)});
        }
    for (int lane = 0; lane < 32; ++lane)
        for (int i = 0; i < 4; ++i)
            for (int k = 0; k < 16; ++k)
                warp[lane].c[j][i] += a[lane / 4 + i / 2 * 8][k] * b[k][lane % 4 * 2 + i % 2];
}

template <class T>
INVNAS_DEVICE void store_if(bool wanted, T* shared, T value) {
    if (wanted) *shared = value;
}

#define INVNAS_MULTIPLY(T)                                          \
    for (int t_ = 0; t_ < thread_count(); t_ += 32) {               \
        if (thread_count() % 32) std::abort();                      \
        for (int j_ = 0; j_ < 2; ++j_) invnas_multiply<T>(&own_[t_], j_); \
    }

template <class T>
INVNAS_DEVICE T* shared_memory() {
    return reinterpret_cast<T*>(invnas_shared);
}

template <int bytes>
INVNAS_DEVICE void copy_async(void* to, const void* from) {
    if (reinterpret_cast<std::size_t>(to) % bytes || reinterpret_cast<std::size_t>(from) % bytes) std::abort();
    invnas_copies.push_back({to, from, bytes});
}

template <class T>
INVNAS_DEVICE T __ldg(const T* from) {
    return *from;
}

template <class To, class From>
INVNAS_DEVICE To invnas_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

INVNAS_DEVICE float __uint_as_float(unsigned bits) { return invnas_bits<float>(bits); }
INVNAS_DEVICE float half_to_float(unsigned short bits) { return invnas_bits<_Float16>(bits); }
INVNAS_DEVICE void halves_to_floats(unsigned word, float& low, float& high) {
    low = half_to_float(word & 0xffff);
    high = half_to_float(word >> 16);
}
INVNAS_DEVICE unsigned short float_to_half(float x) { return invnas_bits<unsigned short>(static_cast<_Float16>(x)); }
INVNAS_DEVICE unsigned short float_to_bfloat(float x) {
    const unsigned bits = invnas_bits<unsigned>(x);
    return x == x ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : 0x7fff;
}
