using Nibble.Torch.Training;
using Nibble.Numerics;
using Nibble.Observers;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>Runs data through a prepared module in float to determine how each layer's input is quantized.</summary>
internal static class ModuleCalibration
{
    /// <summary>Sets the initial ranges of a prepared module's static inputs to those that the observers of their rules find.</summary>
    /// <param name="prepared">The module. Afterwards, nothing but the ranges has changed.</param>
    /// <param name="feed">Runs calibration data through the module. Called once, and only if an input is static.</param>
    /// <exception cref="NibbleException">The data never reach a static input, or are not finite there.</exception>
    public static void Run(PreparedModel prepared, Action feed)
    {
        var observed = prepared.Prepared
            .Where(layer => layer.Input is InputFakeQuantizer)
            .Select(layer => (layer.Name, Input: (InputFakeQuantizer)layer.Input!, layer.Layer, Rule: layer.Rule.Activations!,
                Observer: Observer.Create(layer.Rule.Activations!.Observer)))
            .ToList();
        if (observed.Count == 0)
        {
            return;
        }

        var modes = prepared.Module.modules().Prepend(prepared.Module).Select(module => (Module: module, module.training)).ToList();
        var quantizers = prepared.Prepared.Select(layer => (layer.Layer, layer.Layer.WeightQuantizer, layer.Layer.InputQuantizer)).ToList();
        try
        {
            prepared.Module.eval();
            quantizers.ForEach(item => (item.Layer.WeightQuantizer, item.Layer.InputQuantizer) = (null, null));
            observed.ForEach(item => item.Layer.InputQuantizer = new ObservingQuantizer(item.Observer));
            using var guard = no_grad();
            using var pause = CollectorPause.Begin();
            using var scope = NewDisposeScope();
            feed();
        }
        finally
        {
            quantizers.ForEach(item => (item.Layer.WeightQuantizer, item.Layer.InputQuantizer) = (item.WeightQuantizer, item.InputQuantizer));

            // A module passes its mode on to its children, whose own modes are restored after it.
            modes.ForEach(mode => mode.Module.train(mode.training));
        }

        foreach (var (name, input, _, rule, observer) in observed)
        {
            if (observer.NonFiniteCount > 0 || observer.Count == 0)
            {
                throw new NibbleException(
                    $"calibration: the input of layer '{name}' "
                    + $"{(observer.Count == 0 ? "received no data" : $"holds {observer.NonFiniteCount} NaN or infinite values")}. Run data through the module "
                    + $"that reaches every layer with finite values");
            }

            input.Start(QuantizationParameters.FromRange(observer.Range(rule.Scheme), rule.Scheme));
        }
    }
}
