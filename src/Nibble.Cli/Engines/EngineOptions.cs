using System.CommandLine;

namespace Nibble.Cli.Engines;

/// <summary>Options that commands with engines share.</summary>
internal static class EngineOptions
{
    /// <summary>The engine name of Nibble's own simulation.</summary>
    public const string Nibble = "nibble";

    /// <summary>The option that names the engine of a model or a file.</summary>
    public static Option<string?> Engine()
    {
        var engine = new Option<string?>("--engine")
        {
            Description = "Inference engine. Default: nibble (the simulation) for folders, llama.cpp for GGUF files, onnxruntime for ONNX files. For another "
                + "engine, the model is converted temporarily.",
        };
        engine.AcceptOnlyFromAmong(Nibble, LlamaCppEngine.EngineName, OnnxRuntimeEngine.EngineName);
        return engine;
    }

    /// <summary>Refuses options of engines that do not run.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="running">The engines that run.</param>
    /// <param name="libraries">The option of <see cref="LibrariesFolder"/>.</param>
    /// <param name="tokenizer">The option of <see cref="TokenizerFolder"/>.</param>
    /// <exception cref="UsageException">One of them is given.</exception>
    public static void RefuseOfOthers(ParseResult parsed, IReadOnlyList<string> running, Option libraries, Option tokenizer)
    {
        Refuse(libraries, LlamaCppEngine.EngineName, LlamaCppEngine.EngineName);
        Refuse(tokenizer, OnnxRuntimeEngine.EngineName, "ONNX Runtime");

        void Refuse(Option option, string engine, string name)
        {
            if (!running.Contains(engine) && parsed.GetResult(option) is { Implicit: false })
            {
                throw new UsageException($"{option.Name} has no effect here: it is for {name}, and the engine is {running[0]}; remove it");
            }
        }
    }

    public static Option<string?> LibrariesFolder() => new("--engine-path")
    {
        Description = $"Folder of llama.cpp's shared libraries. Default: the environment variable {LlamaCppLibraries.Variable}, or the npm package "
            + $"@node-llama-cpp/linux-x64.",
    };

    public static Option<string?> TokenizerFolder() =>
        new("--tokenizer") { Description = "Folder of the tokenizer, onnxruntime only. Default: the folder of the ONNX file." };
}
