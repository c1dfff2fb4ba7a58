using Nibble.Torch.Calibration;
using Nibble.Files;
using Nibble.Algorithms;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Layers;
using Nibble.Torch.Models.Decoders;
using Nibble.Torch.Ptq;
using Nibble.Torch.Ptq.Scaling;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq.Scaling;

/// <summary>Quantizes a model block by block in memory: scales each stage, then rounds to nearest.</summary>
internal static class ScaledRounding
{
    /// <summary>Replaces the weights by their codes' values and sets the input quantizers.</summary>
    /// <returns>What each search found, in order.</returns>
    public static List<ScalingResult?> Run(DecoderModel model, Recipe recipe, TokenizedText text, bool clip = false)
    {
        using var guard = no_grad();
        using var folder = new TemporaryFolder();
        var settings = recipe.Ptq;
        var results = new List<ScalingResult?>();
        var stream = Embed(model, text, folder, settings);
        foreach (var (index, block) in model.Blocks.Index())
        {
            var unit = new QuantizationUnit(block, $"model.layers.{index}.");
            foreach (var stage in unit.Stages)
            {
                var rules = stage.Linears.ToDictionary(linear => linear.Key, linear => recipe.RuleFor(linear.Key)!);
                if (rules.Values.First().Algorithms.Scaling != ChannelScaling.None)
                {
                    results.Add(StageScaling.Apply(stage, stream, rules, settings, ElementType.F32, CPU, CancellationToken.None));
                }
            }

            foreach (var stage in unit.Stages)
            {
                using var scope = NewDisposeScope();
                var width = stage.Linears[0].Value.InFeatures;
                var hessian = zeros(width, width);
                stream.ForEach(
                    CPU,
                    (_, batch) =>
                    {
                        var x = stage.Trace(batch).Input.reshape(-1, width);
                        hessian.add_(x.t().matmul(x));
                    },
                    CancellationToken.None);
                foreach (var (name, linear) in stage.Linears)
                {
                    var rule = recipe.RuleFor(name)!;
                    var codes = clip
                        ? ActivationAwareClipping.Quantize(linear.Weight, hessian, rule.Weights!)
                        : RoundToNearest.Quantize(Bits.Of(linear.Weight), linear.OutFeatures, linear.InFeatures, rule.Weights!, rule.Range);
                    linear.Weight.copy_(tensor(codes.Dequantize(), codes.Rows, codes.Columns));
                    linear.InputQuantizer = rule.Activations is { Scheme: { Granularity: PerToken } scheme } ? new DynamicInputQuantizer(scheme) : null;
                }
            }

            var next = ActivationStream.Create(folder.File($"{index}"), Lengths(settings), model.Config.HiddenSize, 1 << 28);
            stream.ForEach(CPU, (_, batch) => next.Append(block.Compute(batch)), CancellationToken.None);
            next.Complete();
            stream.Dispose();
            stream = next;
        }

        stream.Dispose();
        return results;
    }

    /// <summary>What the first block reads.</summary>
    public static ActivationStream Embed(DecoderModel model, TokenizedText text, TemporaryFolder folder, PtqSettings settings)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var embedding = model.get_parameter("model.embed_tokens.weight")!;
        var stream = ActivationStream.Create(folder.File("embedded"), Lengths(settings), model.Config.HiddenSize, 1 << 28);
        for (var i = 0; i < settings.Windows; i++)
        {
            stream.Append(embedding.index_select(0, tensor(text.Window(i * settings.SequenceLength, settings.SequenceLength))).unsqueeze(0));
        }

        stream.Complete();
        return stream;
    }

    private static int[] Lengths(PtqSettings settings) => [.. Enumerable.Repeat(settings.SequenceLength, settings.Windows)];
}
