using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Running;
using Nibble.Benchmarks;

BenchmarkSwitcher.FromAssembly(typeof(KernelBenchmarks).Assembly).Run(args, DefaultConfig.Instance.AddColumn(new ThroughputColumn()));
