using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Graphs;

namespace Nibble.Onnx.Engine;

/// <summary>Loads a graph with values from its inside as additional outputs.</summary>
internal static class ProbedGraph
{
    /// <summary>Loads a graph.</summary>
    /// <param name="graph">The graph. It is not changed.</param>
    /// <param name="values">The values that shall be outputs.</param>
    /// <param name="folder">A folder for temporary files, which are gone when this returns.</param>
    public static InferenceSession Open(OnnxGraph graph, IEnumerable<string> values, string folder) =>
        Open(graph, values, folder, path => OnnxRuntimeSession.Open(path, path, Environment.ProcessorCount, FreeEarly));

    /// <summary>Makes a session take memory for each value alone and give it back with the value. An arena takes up to twice as much, and keeps it.</summary>
    public static void FreeEarly(SessionOptions settings)
    {
        ArgumentNullException.ThrowIfNull(settings);
        settings.EnableCpuMemArena = false;
        settings.EnableMemoryPattern = false;
    }

    /// <summary>Loads a graph in a session of one's own.</summary>
    /// <inheritdoc cref="Open(OnnxGraph, IEnumerable{string}, string)"/>
    /// <param name="graph">The graph. It is not changed.</param>
    /// <param name="values">The values that shall be outputs.</param>
    /// <param name="folder">A folder for temporary files, which are gone when this returns.</param>
    /// <param name="open">Loads the file with the additional outputs.</param>
    public static InferenceSession Open(OnnxGraph graph, IEnumerable<string> values, string folder, Func<string, InferenceSession> open)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(open);

        // Outputs without a type get the one that ONNX Runtime infers.
        var added = values.Where(value => !graph.IsOutput(value)).Select(value => new ValueInfoProto { Name = value }).ToList();
        var path = Path.Combine(folder, "probed.onnx");
        graph.Proto.Output.AddRange(added);
        try
        {
            OnnxWriter.Write(path, graph.Model);
            return open(path);
        }
        finally
        {
            added.ForEach(output => graph.Proto.Output.Remove(output));
            File.Delete(path);
            File.Delete(OnnxWriter.DataPath(path));
        }
    }
}
