using System.Diagnostics;
using System.Globalization;
using Nibble.Artifacts;
using Nibble.Cli.Rendering;
using Nibble.Torch.Models;

namespace Nibble.Cli.Commands;

/// <summary>What <c>ptq</c> and <c>qat</c> do alike: refuse an existing output early, write the artifact, say what was written.</summary>
internal static class QuantizeOutput
{
    /// <summary>Refuses an output folder that exists, before hours are spent on what could not be written.</summary>
    /// <exception cref="NibbleException">Something stands at the path, or it is empty.</exception>
    public static void RequireAbsent(string folder)
    {
        if (folder.Length == 0)
        {
            throw new NibbleException("the output folder's name is empty; give one with -o");
        }

        if (Directory.Exists(folder) || File.Exists(folder))
        {
            throw new NibbleException($"{folder}: the output folder exists already; give another with -o, or delete it first");
        }
    }

    public static void Write(CommandHost host, bool json, LoadedModel source, QuantizedModel model, string folder, long started, double? loss)
    {
        QuantizedModelFile.Save(model, folder);
        var bytes = QuantizedModelFile.TensorBytes(folder);
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        if (json)
        {
            host.WriteJson(
                new QuantizeDocument(QuantizeDocument.CurrentSchema, source.Name, model.Recipe.Name, model.Provenance.Method, folder, model.Layers.Count, bytes, source.Bytes, seconds, loss),
                CliJson.Default.QuantizeDocument);
            return;
        }

        host.Output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{folder}: {model.Layers.Count} layers by {model.Provenance.Method} {model.Recipe.Name}, {bytes:N0} bytes ({(double)source.Bytes / bytes:F2} times smaller than {source.Bytes:N0}), {seconds:F1} s"));
    }
}
