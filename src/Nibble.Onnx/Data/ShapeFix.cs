using System.Globalization;

namespace Nibble.Onnx.Data;

/// <summary>Sizes for an input whose model leaves some free.</summary>
/// <param name="Name">The input.</param>
/// <param name="Sizes">The size of each axis.</param>
internal sealed record ShapeFix(string Name, IReadOnlyList<long> Sizes)
{
    private const string Expected = "expected an input and its sizes, such as images=1x3x224x224";

    /// <summary>Parses <c>name=1x3x224x224</c>.</summary>
    /// <exception cref="NibbleException">The text is something else.</exception>
    public static ShapeFix Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var at = text.LastIndexOf('=');
        if (at < 1)
        {
            throw new NibbleException($"Shape '{text}': {Expected}");
        }

        var sizes = new List<long>();
        foreach (var part in text[(at + 1)..].Split('x'))
        {
            sizes.Add(int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var size) && size > 0
                ? size : throw new NibbleException($"Shape '{text}': '{part}' is not a size; {Expected}"));
        }

        return new ShapeFix(text[..at], sizes);
    }

    /// <summary>The inputs with fixed sizes.</summary>
    /// <param name="inputs">The inputs of the model.</param>
    /// <param name="fixes">The sizes, at most once per input.</param>
    /// <exception cref="NibbleException">An input is unknown or named twice, or has another number of axes or another fixed size.</exception>
    public static IReadOnlyList<GraphInput> Apply(IReadOnlyList<GraphInput> inputs, IReadOnlyList<ShapeFix> fixes)
    {
        var changed = inputs.ToList();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var (name, sizes) in fixes)
        {
            var place = $"Shape '{name}={string.Join('x', sizes)}'";
            var input = GraphInputs.Find(inputs, name, place);
            if (!seen.Add(name))
            {
                throw new NibbleException($"{place}: the shape of input '{name}' is given twice, expected once");
            }

            if (sizes.Count != input.Shape.Count || sizes.Zip(input.Shape).Any(pair => pair.Second is { } size && size != pair.First))
            {
                throw new NibbleException($"{place}: input '{name}' is {input.Text}; only free sizes can be fixed");
            }

            changed[changed.IndexOf(input)] = input with { Shape = [.. sizes.Select(size => (long?)size)] };
        }

        return changed;
    }
}
