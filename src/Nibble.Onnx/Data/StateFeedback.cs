using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Data;

/// <summary>The states of a model that runs over a sequence: inputs that get an output of the run before.</summary>
internal sealed class StateFeedback
{
    private readonly (GraphInput Input, string Output)[] states;
    private readonly Dictionary<string, NamedOnnxValue> kept = new(StringComparer.Ordinal);

    /// <summary>States that begin with zeros.</summary>
    /// <param name="pairs">Inputs, and the outputs that they get.</param>
    /// <param name="inputs">The inputs of the model.</param>
    /// <exception cref="NibbleException">An input is unknown or named twice.</exception>
    public StateFeedback(IReadOnlyList<(string Input, string Output)> pairs, IReadOnlyList<GraphInput> inputs)
    {
        ArgumentNullException.ThrowIfNull(pairs);
        if (pairs.GroupBy(pair => pair.Input).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new NibbleException($"State '{twice.Key}' is given twice, expected once");
        }

        states = [.. pairs.Select(pair => (GraphInputs.Find(inputs, pair.Input, $"State '{pair.Input}={pair.Output}'"), pair.Output))];
    }

    /// <summary>The outputs that <see cref="Take"/> needs.</summary>
    public IEnumerable<string> Outputs => states.Select(state => state.Output);

    /// <summary>Parses <c>input=output</c>.</summary>
    /// <exception cref="NibbleException">The text is something else.</exception>
    public static (string Input, string Output) Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        return text.Split('=') is [{ Length: > 0 } input, { Length: > 0 } output] ? (input, output)
            : throw new NibbleException($"State '{text}': expected an input and the output that it gets, such as state=stateN");
    }

    /// <summary>A sample with its states: zeros in the first one, and later what <see cref="Take"/> kept.</summary>
    /// <param name="sample">The other inputs.</param>
    /// <exception cref="NibbleException">A state has a free size apart from a batch axis at the start.</exception>
    public IReadOnlyList<NamedOnnxValue> Complete(IReadOnlyList<NamedOnnxValue> sample) =>
        [.. sample, .. states.Select(state => kept.GetValueOrDefault(state.Input.Name) ?? Zeros(state.Input, sample))];

    /// <summary>Keeps copies of the outputs that are the next states.</summary>
    /// <param name="outputs">Outputs of the run, among them <see cref="Outputs"/>.</param>
    /// <exception cref="NibbleException">An output is missing, or does not fit its input.</exception>
    public void Take(IReadOnlyCollection<NamedOnnxValue> outputs)
    {
        foreach (var (input, name) in states)
        {
            var place = $"State '{input.Name}={name}'";
            var output = outputs.FirstOrDefault(value => value.Name == name)
                ?? throw new NibbleException($"{place}: the model has no output '{name}', expected one of "
                    + string.Join(", ", outputs.Select(value => $"'{value.Name}'")));
            var copy = TensorKind.Of(output).Copy(output, input.Name);
            SampleCheck.Require([copy], [input], place);
            kept[input.Name] = copy;
        }
    }

    /// <summary>Begins a new sequence: the next states are zeros.</summary>
    public void Reset() => kept.Clear();

    /// <summary>The first state. A free batch axis has the size of the sample's.</summary>
    private static NamedOnnxValue Zeros(GraphInput input, IReadOnlyList<NamedOnnxValue> sample)
    {
        var sizes = input.FixedSizes("states");
        if (input.HasFreeBatch)
        {
            sizes[0] = sample.Select(value => TensorKind.Of(value).ShapeOf(value)).Where(shape => shape.Length > 0).Select(shape => shape[0])
                .DefaultIfEmpty(1).Max();
            sizes = TensorKind.RequireSize([.. sizes], $"State '{input.Name}'");
        }

        return TensorKind.Of(input).Zeros(input.Name, sizes);
    }
}
