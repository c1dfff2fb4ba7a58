using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Data;

/// <summary>Checks samples against the inputs of a model before they run.</summary>
internal static class SampleCheck
{
    /// <summary>Requires one tensor for each input, with its type and its sizes.</summary>
    /// <param name="sample">The tensors.</param>
    /// <param name="inputs">The inputs.</param>
    /// <param name="place">The origin of the sample, for messages.</param>
    /// <exception cref="NibbleException">An input is missing, unknown, given twice, or has another type or shape.</exception>
    public static void Require(IReadOnlyList<NamedOnnxValue> sample, IReadOnlyList<GraphInput> inputs, string place)
    {
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var value in sample)
        {
            var input = GraphInputs.Find(inputs, value.Name, place);
            if (!seen.Add(value.Name))
            {
                throw new NibbleException($"{place}: input '{value.Name}' is given twice, expected once");
            }

            var kind = TensorKind.Of(value);
            var sizes = kind.ShapeOf(value);
            if (kind.Type != input.Type || sizes.Length != input.Shape.Count
                || sizes.Zip(input.Shape).Any(pair => pair.Second is { } size && size != pair.First))
            {
                throw new NibbleException($"{place}: input '{value.Name}' gets {kind.Name} [{string.Join(", ", sizes)}], expected {input.Text}");
            }
        }

        if (inputs.Where(input => !seen.Contains(input.Name)).ToList() is { Count: > 0 } missing)
        {
            throw new NibbleException($"{place}: nothing is given for {string.Join(", ", missing.Select(input => $"input '{input.Name}' ({input.Text})"))}. "
                + "Give it in the data, as a constant or as a state");
        }
    }
}
