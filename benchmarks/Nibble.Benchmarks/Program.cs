using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Running;
using Nibble.Benchmarks;

if (args is ["gptq", .. var rest])
{
    GptqTimes.Run(rest);
    return;
}

if (args is ["synthetic-decoder", .. var where])
{
    SyntheticDecoder.Run(where);
    return;
}

if (args is ["llama.cpp-quantize", .. var quantize])
{
    LlamaCppQuantize.Run(quantize);
    return;
}

if (args is ["gguf-error", .. var compared])
{
    GgufError.Run(compared);
    return;
}

BenchmarkSwitcher.FromAssembly(typeof(KernelBenchmarks).Assembly).Run(args, DefaultConfig.Instance.AddColumn(new ThroughputColumn()));
