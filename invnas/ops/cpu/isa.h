// The instruction sets that loops are compiled for, and the widest that this machine has.
#pragma once

namespace invnas {

enum Isa { baseline_isa, avx2_isa, avx512_isa };

inline Isa best_isa() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        return avx512_isa;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_isa;
#endif
    return baseline_isa;
}

}  // namespace invnas
