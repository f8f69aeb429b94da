// Whether this processor has the instructions that the rest of the library is compiled for. Compiled itself for any processor.

extern "C" __attribute__((visibility("default"))) int sightline_runs_here() {
    __builtin_cpu_init();
#if defined(NEEDS_AVX512)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni");
#else
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("f16c");
#endif
}
