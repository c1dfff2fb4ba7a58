namespace Nibble.Cli.Report.Documents;

/// <summary>The document of <c>bench --json</c> for two ONNX files of any model.</summary>
internal sealed record BenchOnnxDocument(
    string Schema, string Data, BenchedGraph File, BenchedGraph Against, IReadOnlyList<BenchedThreads> Timings)
{
    public const string CurrentSchema = "nibble.bench-onnx/1";
}

/// <summary>A file, with its size in bytes.</summary>
internal sealed record BenchedGraph(string Name, string Path, string Engine, long Bytes);

/// <summary>The time of one run with a number of threads: medians of paired runs, and how many times as fast as float the file is.</summary>
internal sealed record BenchedThreads(int Threads, double Seconds, double AgainstSeconds, double Speedup, int Runs);
