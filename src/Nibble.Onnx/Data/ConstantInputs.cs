using System.Globalization;
using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Data;

/// <summary>Inputs that are the same in all samples, given as text.</summary>
internal static class ConstantInputs
{
    private const string Expected = "expected an input and its values, such as sr=16000 or sizes=640,640";

    /// <summary>Parses texts such as <c>sr=16000</c> or <c>sizes=640,640</c>. One value fills the input; a free batch axis is 1.</summary>
    /// <param name="texts">The texts, at most one per input.</param>
    /// <param name="inputs">The inputs of the model.</param>
    /// <exception cref="NibbleException">A text is something else, or its values do not fit the input.</exception>
    public static IReadOnlyList<NamedOnnxValue> Parse(IReadOnlyList<string> texts, IReadOnlyList<GraphInput> inputs)
    {
        var parsed = texts.Select(text => Parse(text, inputs)).ToList();
        return parsed.GroupBy(value => value.Name).FirstOrDefault(group => group.Count() > 1) is { } twice
            ? throw new NibbleException($"Constant input '{twice.Key}' is given twice, expected once")
            : parsed;
    }

    private static NamedOnnxValue Parse(string text, IReadOnlyList<GraphInput> inputs)
    {
        var (place, at) = ($"Constant '{text}'", text.LastIndexOf('='));
        if (at < 1)
        {
            throw new NibbleException($"{place}: {Expected}");
        }

        var input = GraphInputs.Find(inputs, text[..at], place);
        var kind = TensorKind.Of(input);
        var parts = text[(at + 1)..].Split(',');
        var sizes = parts.Length > 1 && input.Shape is [null] ? [parts.Length] : input.FixedSizes("constants");
        var count = sizes.Aggregate(1, (product, size) => product * size);
        if (parts.Length != 1 && parts.Length != count)
        {
            throw new NibbleException($"{place}: {parts.Length} values for input '{input.Name}', which is {input.Text}; expected 1 or {count}");
        }

        var numbers = kind.IsFloat ? new ReadNumbers(Array.ConvertAll(parts, Float)) : new ReadNumbers(Array.ConvertAll(parts, Integer));
        return kind.Create(input.Name, sizes, parts.Length == count ? numbers : Filled(numbers, count), place);

        double Float(string part) => double.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out var value)
            ? value : throw new NibbleException($"{place}: '{part}' is not a number; {Expected}");

        long Integer(string part) => part is "true" or "false" ? (part == "true" ? 1 : 0)
            : long.TryParse(part, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value)
            ? value : throw new NibbleException($"{place}: '{part}' is not an integer, and input '{input.Name}' is {input.Text}; {Expected}");
    }

    private static ReadNumbers Filled(ReadNumbers one, int count) => one.Floats is [var number]
        ? new ReadNumbers([.. Enumerable.Repeat(number, count)]) : new ReadNumbers([.. Enumerable.Repeat(one.Integers![0], count)]);
}
