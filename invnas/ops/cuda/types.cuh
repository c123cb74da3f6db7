// Involution on GPUs. This text needs no header, so that the run-time compiler needs no path; compute capability 8.0.
//
// Maps are (B, H, W, C) and kernels (B, H', W', G, K * K). Half types add up in float32. Every result is written by one
// thread in one order of additions, without atomics: the same bits in every run.
//
// Threads of a block meet only between phases. What lives across phases is a thread's `own`. For the host the same
// text is compiled with other definitions of the macros below (INVNAS_HOST): a phase is then a loop over the threads.

typedef long long i64;

struct Half { unsigned short bits; };
struct Bfloat { unsigned short bits; };

#ifndef INVNAS_HOST

#define INVNAS_DEVICE __device__ __forceinline__
#define INVNAS_OWN(Own) Own own_[1]
#define own own_[0]
#define INVNAS_PHASE
// Also waits for the copies that the thread itself started.
#define INVNAS_SYNC { asm volatile("cp.async.wait_all;" ::: "memory"); __syncthreads(); }
// Every thread hands `own.field[0 .. count)` to the thread whose number differs by the bits of `mask`, and gets its.
#define INVNAS_EXCHANGE(field, count, mask) \
    _Pragma("unroll") for (int i_ = 0; i_ < (count); ++i_) own.field[i_] = __shfl_xor_sync(~0u, own.field[i_], mask);

// Keeps what is computed from a number inside the loop where this stands: held in registers through the loop, many
// small results would cost more than they save.
INVNAS_DEVICE int here(int x) {
    asm volatile("" : "+r"(x));
    return x;
}

INVNAS_DEVICE int thread_number() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
INVNAS_DEVICE int thread_count() { return blockDim.x * blockDim.y * blockDim.z; }

template <class T>
INVNAS_DEVICE T* shared_memory() {
    extern __shared__ uint4 invnas_shared[];
    return reinterpret_cast<T*>(invnas_shared);
}

INVNAS_DEVICE float half_to_float(unsigned short bits) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}

// Both halves of a word at once: the compiler then needs no instruction to take them apart.
INVNAS_DEVICE void halves_to_floats(unsigned word, float& low, float& high) {
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, h; }"
        : "=f"(low), "=f"(high)
        : "r"(word));
}

INVNAS_DEVICE unsigned short float_to_half(float x) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

INVNAS_DEVICE unsigned short float_to_bfloat(float x) {
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

// Copies on the way to shared memory occupy no register and are awaited by INVNAS_SYNC.
template <int bytes>
INVNAS_DEVICE void copy_async(void* to, const void* from) {
    const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
    if (bytes == 2)
        *static_cast<unsigned short*>(to) = *static_cast<const unsigned short*>(from);
    else if (bytes == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(at), "l"(from), "n"(bytes > 4 ? 8 : 4)
                     : "memory");
}

#endif

template <class T> struct SumOf { typedef float Type; };
template <> struct SumOf<double> { typedef double Type; };
template <class T> using Sum = typename SumOf<T>::Type;

INVNAS_DEVICE float widen(float x) { return x; }
INVNAS_DEVICE double widen(double x) { return x; }
INVNAS_DEVICE float widen(Half x) { return half_to_float(x.bits); }
INVNAS_DEVICE float widen(Bfloat x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

INVNAS_DEVICE void narrow(float x, float& to) { to = x; }
INVNAS_DEVICE void narrow(double x, double& to) { to = x; }
INVNAS_DEVICE void narrow(float x, Half& to) { to.bits = float_to_half(x); }
INVNAS_DEVICE void narrow(float x, Bfloat& to) { to.bits = float_to_bfloat(x); }

template <int bytes> struct WordOf;
template <> struct WordOf<2> { typedef unsigned short Type; };
template <> struct WordOf<4> { typedef unsigned Type; };
template <> struct WordOf<8> { typedef uint2 Type; };
template <> struct WordOf<16> { typedef uint4 Type; };
template <int bytes> using Word = typename WordOf<bytes>::Type;

// V neighbouring values, moved by one instruction.
template <class T, int V>
union Vector {
    Word<V * sizeof(T)> word;
    T values[V];
    unsigned pairs[V * sizeof(T) < 4 ? 1 : V * sizeof(T) / 4];
};

template <class T, int V>
INVNAS_DEVICE void widen_all(const Vector<T, V>& vector, Sum<T> (&to)[V]) {
#pragma unroll
    for (int i = 0; i < V; ++i) to[i] = widen(vector.values[i]);
}

template <int V>
INVNAS_DEVICE void widen_all(const Vector<Half, V>& vector, float (&to)[V]) {
#pragma unroll
    for (int i = 0; i + 1 < V; i += 2) halves_to_floats(vector.pairs[i / 2], to[i], to[i + 1]);
    if (V == 1) to[0] = widen(vector.values[0]);
}

template <int V>
INVNAS_DEVICE void widen_all(const Vector<Bfloat, V>& vector, float (&to)[V]) {
#pragma unroll
    for (int i = 0; i + 1 < V; i += 2) {
        to[i] = __uint_as_float(vector.pairs[i / 2] << 16);
        to[i + 1] = __uint_as_float(vector.pairs[i / 2] & 0xffff0000u);
    }
    if (V == 1) to[0] = widen(vector.values[0]);
}

template <int V, class T>
INVNAS_DEVICE void load(const T* from, bool inside, Sum<T> (&to)[V]) {
    Vector<T, V> vector = {};
    if (inside) vector.word = __ldg(reinterpret_cast<const Word<V * sizeof(T)>*>(from));
    widen_all(vector, to);
}

template <int V, class T>
INVNAS_DEVICE void store(T* to, const Sum<T> (&from)[V]) {
    Vector<T, V> vector;
#pragma unroll
    for (int i = 0; i < V; ++i) narrow(from[i], vector.values[i]);
    *reinterpret_cast<Word<V * sizeof(T)>*>(to) = vector.word;
}

// What folding adds to the sums of V channels: times scale, plus bias, kept between low and high; NaN stays NaN.
struct Finish {
    const void *scale, *bias;
    double low, high;
};

template <int V, class T>
INVNAS_DEVICE void load_finish(const Finish& end, int channel, Sum<T> (&scale)[V], Sum<T> (&bias)[V]) {
    load<V>(static_cast<const T*>(end.scale) + channel, true, scale);
    load<V>(static_cast<const T*>(end.bias) + channel, true, bias);
}

template <int V, class S>
INVNAS_DEVICE void finish(const Finish& end, const S (&scale)[V], const S (&bias)[V], S (&sum)[V]) {
    const S low = end.low, high = end.high;
#pragma unroll
    for (int i = 0; i < V; ++i) {
        const S y = sum[i] * scale[i] + bias[i], raised = y < low ? low : y;
        sum[i] = raised > high ? high : raised;
    }
}

template <int V, class S>
INVNAS_DEVICE void add_products(S (&sum)[V], S factor, const S (&x)[V]) {
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] += factor * x[i];
}
