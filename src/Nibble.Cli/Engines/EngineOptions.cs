using System.CommandLine;

namespace Nibble.Cli.Engines;

/// <summary>Options of commands that run engines, worded once.</summary>
internal static class EngineOptions
{
    /// <summary>Nibble's own simulation, among the names of engines.</summary>
    public const string Nibble = "nibble";

    public static Option<string?> LibrariesFolder() => new("--engine-path")
    {
        Description = $"The folder of llama.cpp's shared libraries; the environment variable {LlamaCppLibraries.Variable}, or npm's package "
            + $"@node-llama-cpp/linux-x64 when not given.",
    };

    public static Option<string?> TokenizerFolder() =>
        new("--tokenizer") { Description = "ONNX Runtime: the folder of the tokenizer's files; that of the ONNX file when not given." };
}
