using Nibble.Artifacts;
using Nibble.Models;
using Nibble.Observers;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Calibration;

/// <summary>What calibration looks at.</summary>
/// <param name="Windows">Windows of text, at least 1.</param>
/// <param name="Length">Tokens in a window, at least 2.</param>
public sealed record CalibrationOptions(int Windows = 32, int Length = 256)
{
    /// <summary>The default amount, in windows that a model can take.</summary>
    public static CalibrationOptions For(ModelDefinition definition)
    {
        ArgumentNullException.ThrowIfNull(definition);
        var standard = new CalibrationOptions();
        return standard with { Length = Math.Min(standard.Length, definition.MaxSequence) };
    }
}

/// <summary>Runs text through a float model and finds how each layer's input is to be quantized.</summary>
internal static class ActivationCalibration
{
    /// <summary>Decides the activation quantization of every layer for which a recipe asks it.</summary>
    /// <param name="model">The float model; unchanged afterwards.</param>
    /// <param name="recipe">Says which layers.</param>
    /// <param name="data">Calibration data; null is enough when no layer is static.</param>
    /// <param name="options">How much of the data is used.</param>
    /// <param name="seed">Drives which texts are used.</param>
    /// <param name="progress">Told after each window.</param>
    /// <param name="cancellation">Stops between windows.</param>
    /// <returns>By layer name.</returns>
    /// <exception cref="NibbleException">A static layer without text, or with an input that is not finite.</exception>
    public static IReadOnlyDictionary<string, ActivationQuantization> Run(
        IQuantizableModel model,
        Recipe recipe,
        ICalibrationData? data,
        CalibrationOptions options,
        long seed = 1,
        IProgress<RunProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(options);
        return Observe(model.Linears(), recipe,
            () => Feed(model, (data ?? throw MissingText(recipe)).Pieces(options.Windows, options.Length, seed), progress, cancellation));
    }

    /// <summary>Decides the activation quantization of every <see cref="QuantizableLinear"/> of a module for which a recipe asks it.</summary>
    /// <param name="module">The float module; unchanged afterwards.</param>
    /// <param name="recipe">Says which layers.</param>
    /// <param name="feed">Runs calibration data through the module, without gradients; called once, and only when a layer is static.</param>
    /// <returns>By layer name.</returns>
    /// <exception cref="NibbleException">The input of a static layer is not finite.</exception>
    public static IReadOnlyDictionary<string, ActivationQuantization> Run(nn.Module module, Recipe recipe, Action feed)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentNullException.ThrowIfNull(feed);
        var linears = module.named_modules().Where(item => item.module is QuantizableLinear)
            .Select(item => KeyValuePair.Create(item.name, (QuantizableLinear)item.module));
        return Observe(linears, recipe, feed);
    }

    /// <summary>Decides the activation quantization of some layers.</summary>
    /// <param name="linears">The layers by name; unchanged afterwards.</param>
    /// <param name="recipe">Says how.</param>
    /// <param name="feed">Runs calibration text through the layers; called once, and only when a layer is static.</param>
    /// <exception cref="NibbleException">The input of a static layer is not finite.</exception>
    internal static IReadOnlyDictionary<string, ActivationQuantization> Observe(
        IEnumerable<KeyValuePair<string, QuantizableLinear>> linears, Recipe recipe, Action feed)
    {
        var rules = linears
            .Select(linear => (linear.Key, linear.Value, Rule: recipe.RuleFor(linear.Key)?.Activations))
            .Where(item => item.Rule is not null)
            .ToList();
        var result = rules
            .Where(item => item.Rule!.Scheme.Granularity is Numerics.PerToken)
            .ToDictionary(item => item.Key, item => new ActivationQuantization(item.Rule!.Scheme, null));
        var observed = rules
            .Where(item => item.Rule!.Scheme.Granularity is not Numerics.PerToken)
            .Select(item => (Name: item.Key, Layer: item.Value, item.Rule!.Scheme, Observer: Observer.Create(item.Rule!.Observer)))
            .ToList();
        if (observed.Count == 0)
        {
            return result;
        }

        foreach (var item in observed)
        {
            item.Layer.InputQuantizer = new ObservingQuantizer(item.Observer);
        }

        try
        {
            feed();
        }
        finally
        {
            foreach (var item in observed)
            {
                item.Layer.InputQuantizer = null;
            }
        }

        foreach (var (name, _, scheme, observer) in observed)
        {
            if (observer.NonFiniteCount > 0)
            {
                throw new NibbleException(
                    $"calibration: the input of layer '{name}' holds {observer.NonFiniteCount} NaN or infinite values; the float model itself overflows on "
                    + $"this text");
            }

            result[name] = new ActivationQuantization(scheme, Numerics.QuantizationParameters.FromRange(observer.Range(scheme), scheme));
        }

        return result;
    }

    /// <summary>The fault of a recipe that needs text where none was given.</summary>
    internal static NibbleException MissingText(Recipe recipe) =>
        new MissingDataException($"the recipe '{recipe.Name}' looks at activations, which needs calibration data");

    private static void Feed(IQuantizableModel model, CalibrationPieces pieces, IProgress<RunProgress>? progress, CancellationToken cancellation)
    {
        var training = model.Module.training;
        model.Module.eval();
        try
        {
            using var guard = no_grad();
            int[] lengths = [.. pieces.Sequences.Select(sequence => sequence.Ids.Length)];
            for (int first = 0, count; first < lengths.Length; first += count)
            {
                cancellation.ThrowIfCancellationRequested();

                // Windows one by one, short texts side by side.
                count = pieces.WindowTokens is null ? ActivationStream.BatchSize(lengths, first) : 1;
                using var pause = CollectorPause.Begin();
                using var scope = NewDisposeScope();
                model.Compute(ModelBatch.Of([.. pieces.Sequences.Skip(first).Take(count)], model.Definition.PaddingId));
                progress?.Report(new RunProgress("calibrate", first + count, lengths.Length));
            }
        }
        finally
        {
            model.Module.train(training);
        }
    }
}
