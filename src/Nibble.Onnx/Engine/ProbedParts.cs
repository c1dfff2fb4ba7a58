using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Engine;

/// <summary>Loads a graph with values from its inside as additional outputs, in parts: one session for each part of the values.</summary>
/// <remarks>
/// ONNX Runtime keeps every output of a run until its end, so that parts need less memory at a time. Which nodes it joins depends on the outputs, and with that
/// the rounding of what they compute. Therefore it optimizes the graph once, with all values as outputs. The sessions of parts run the optimized graph as it
/// is, without some of its outputs, and compute the same bits.
/// </remarks>
internal sealed class ProbedParts : IDisposable
{
    private const string Optimized = "optimized.onnx";
    private const string Part = "part.onnx";

    private readonly OnnxGraph graph;
    private readonly IReadOnlyList<IReadOnlyList<string>> parts;
    private readonly string folder;
    private readonly HashSet<string> added;
    private ModelProto? optimized;

    /// <summary>Prepares the sessions.</summary>
    /// <param name="graph">The graph. It must not change until this is disposed of.</param>
    /// <param name="parts">The values that shall be outputs, in at least one part.</param>
    /// <param name="folder">A folder for temporary files, which are gone when this is disposed of.</param>
    public ProbedParts(OnnxGraph graph, IReadOnlyList<IReadOnlyList<string>> parts, string folder)
    {
        ArgumentNullException.ThrowIfNull(graph);
        (this.graph, this.parts) = (graph, parts);
        this.folder = Directory.CreateDirectory(Path.Combine(folder, Path.GetRandomFileName())).FullName;
        added = parts.SelectMany(part => part).Where(value => !graph.IsOutput(value)).ToHashSet(StringComparer.Ordinal);
    }

    /// <summary>Loads the graph with a part of the values as outputs.</summary>
    /// <param name="part">The place of the part.</param>
    public InferenceSession Open(int part)
    {
        if (parts.Count == 1)
        {
            return ProbedGraph.Open(graph, parts[0], folder);
        }

        var rest = (optimized ??= Optimize()).Clone();
        foreach (var output in rest.Graph.Output.Where(output => added.Contains(output.Name) && !parts[part].Contains(output.Name)).ToList())
        {
            rest.Graph.Output.Remove(output);
        }

        var path = Path.Combine(folder, Part);
        try
        {
            using (var file = File.Create(path))
            {
                rest.WriteTo(file);
            }

            return OnnxRuntimeSession.Open(path, path, Environment.ProcessorCount, settings =>
            {
                ProbedGraph.FreeEarly(settings);
                settings.GraphOptimizationLevel = GraphOptimizationLevel.ORT_DISABLE_ALL;
            });
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Directory.Delete(folder, recursive: true);

    /// <summary>The graph as ONNX Runtime runs it with all values as outputs. Large tensors stay in a file next to it.</summary>
    private ModelProto Optimize()
    {
        var path = Path.Combine(folder, Optimized);
        ProbedGraph.Open(graph, added, folder, source => OnnxRuntimeSession.Open(source, source, 1, settings =>
        {
            settings.OptimizedModelFilePath = path;
            if (File.Exists(OnnxWriter.DataPath(source)))
            {
                settings.AddSessionConfigEntry("session.optimized_model_external_initializers_file_name", Path.GetFileName(OnnxWriter.DataPath(path)));
            }
        })).Dispose();
        using var file = File.OpenRead(path);
        return ModelProto.Parser.ParseFrom(file);
    }
}
