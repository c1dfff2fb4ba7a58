using Microsoft.ML.OnnxRuntime;
using Nibble.Onnx.Data;

namespace Nibble.Onnx.Quantization;

/// <summary>A session whose states are fed back: an input gets an output of the run before.</summary>
internal sealed class StatefulSession : IDisposable
{
    private readonly InferenceSession session;
    private readonly StateFeedback states;

    /// <summary>Takes a session, which is disposed with this one.</summary>
    /// <param name="session">The session.</param>
    /// <param name="options">The states, and the sizes of inputs that the model leaves free.</param>
    /// <exception cref="NibbleException">An input is unknown or named twice, or has other sizes.</exception>
    public StatefulSession(InferenceSession session, OnnxQuantizationOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        this.session = session;
        var inputs = ShapeFix.Apply(GraphInputs.Of(session), [.. options.Shapes.Select(shape => new ShapeFix(shape.Key, shape.Value))]);
        states = new StateFeedback(options.States, inputs);
    }

    /// <summary>The names of the outputs.</summary>
    public IReadOnlyList<string> Outputs => session.OutputNames;

    /// <summary>The names of the inputs, states among them.</summary>
    public IReadOnlyList<string> Inputs => session.InputNames;

    /// <summary>Computes values.</summary>
    /// <param name="sample">The inputs, without states.</param>
    /// <param name="values">The outputs to compute.</param>
    /// <returns>The values in their order, and the next states after them.</returns>
    /// <exception cref="NibbleException">The sample does not fit the model.</exception>
    public IDisposableReadOnlyCollection<DisposableNamedOnnxValue> Run(IReadOnlyCollection<NamedOnnxValue> sample, IReadOnlyList<string> values)
    {
        try
        {
            var completed = states.Complete([.. sample]);
            var results = session.Run(completed, [.. values.Union(states.Outputs)]);
            states.Take(results);
            return results;
        }
        catch (OnnxRuntimeException exception)
        {
            throw new NibbleException($"ONNX Runtime cannot run the model on a sample: {exception.Message}", exception);
        }
    }

    /// <summary>Begins a new sequence: the next states are zeros.</summary>
    public void Reset() => states.Reset();

    /// <inheritdoc/>
    public void Dispose() => session.Dispose();
}
