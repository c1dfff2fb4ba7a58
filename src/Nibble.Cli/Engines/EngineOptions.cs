using System.CommandLine;

namespace Nibble.Cli.Engines;

/// <summary>Options that commands with engines share.</summary>
internal static class EngineOptions
{
    /// <summary>The engine name of Nibble's own simulation.</summary>
    public const string Nibble = "nibble";

    public static Option<string?> LibrariesFolder() => new("--engine-path")
    {
        Description = $"Folder of llama.cpp's shared libraries. Default: the environment variable {LlamaCppLibraries.Variable}, or the npm package "
            + $"@node-llama-cpp/linux-x64.",
    };

    public static Option<string?> TokenizerFolder() =>
        new("--tokenizer") { Description = "Folder of the tokenizer, onnxruntime only. Default: the folder of the ONNX file." };
}
