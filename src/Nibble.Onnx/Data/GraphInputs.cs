using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Data;

/// <summary>The inputs of a model.</summary>
internal static class GraphInputs
{
    /// <summary>The inputs that a session expects, in its order. Initializers are not among them.</summary>
    /// <exception cref="NibbleException">An input is not a tensor.</exception>
    public static IReadOnlyList<GraphInput> Of(InferenceSession session)
    {
        ArgumentNullException.ThrowIfNull(session);
        return [.. session.InputMetadata.Select(input => input.Value.IsTensor
            ? new GraphInput(input.Key, input.Value.ElementDataType, [.. input.Value.Dimensions.Select(size => size < 0 ? (long?)null : size)])
            : throw new NibbleException($"Input '{input.Key}' of the model is a {input.Value.OnnxValueType}, expected a tensor"))];
    }

    /// <summary>Finds an input by its name.</summary>
    /// <param name="inputs">The inputs of the model.</param>
    /// <param name="name">The name.</param>
    /// <param name="place">What names the input, for messages.</param>
    /// <exception cref="NibbleException">There is no such input.</exception>
    public static GraphInput Find(IReadOnlyList<GraphInput> inputs, string name, string place) =>
        inputs.FirstOrDefault(input => input.Name == name)
            ?? throw new NibbleException($"{place}: '{name}' is none of the inputs to give: {Names(inputs)}");

    /// <summary>The names of inputs, for messages.</summary>
    public static string Names(IEnumerable<GraphInput> inputs) => string.Join(", ", inputs.Select(input => $"'{input.Name}'"));

    /// <summary>The one input that a file without names gives values for.</summary>
    /// <param name="wanted">The inputs that need data.</param>
    /// <param name="place">The file, for messages.</param>
    /// <exception cref="NibbleException">There is none, or more than one.</exception>
    public static GraphInput Only(IReadOnlyList<GraphInput> wanted, string place) => wanted is [var only] ? only
        : wanted.Count == 0 ? throw new NibbleException($"{place}: no input of the model is left that needs data")
        : throw new NibbleException($"{place} gives values for one input, and {wanted.Count} inputs need them: {Names(wanted)}. Give all of them in an .npz or "
            + "a .jsonl file, or give all but one as constants or as states");
}
