using TorchSharp.Modules;

namespace Nibble.Torch.Qat;

/// <summary>Finds the batch normalization that follows each convolution.</summary>
internal static class BatchNormPairs
{
    /// <summary>The batch normalization of each convolution that has one.</summary>
    /// <param name="nodes">All modules.</param>
    /// <param name="convolutions">The paths of the convolutions to consider.</param>
    /// <param name="options">The specified pairs, and whether to search for others.</param>
    /// <exception cref="NibbleException">A specified pair is not a convolution and its batch normalization.</exception>
    public static IReadOnlyDictionary<string, ModuleNode> Find(IReadOnlyList<ModuleNode> nodes, IReadOnlySet<string> convolutions, PrepareOptions options)
    {
        var byPath = nodes.ToDictionary(node => node.Path);
        var pairs = new Dictionary<string, ModuleNode>();
        foreach (var (convolution, norm) in options.BatchNorms)
        {
            if (!byPath.TryGetValue(convolution, out var first) || first.Module is not Conv2d || !byPath.TryGetValue(norm, out var second)
                || !Fits(first, second))
            {
                throw new NibbleException(
                    $"{nameof(PrepareOptions.BatchNorms)} pairs '{convolution}' with '{norm}', expected a Conv2d and a BatchNorm2d with as many channels "
                    + $"that tracks running statistics");
            }

            if (convolutions.Contains(convolution))
            {
                pairs.Add(convolution, second);
            }
        }

        foreach (var node in options.FoldBatchNorms ? nodes.Where(node => convolutions.Contains(node.Path) && !pairs.ContainsKey(node.Path)).ToList() : [])
        {
            if (Next(nodes, node) is { } next && Fits(node, next) && pairs.Values.All(taken => taken.Module != next.Module))
            {
                pairs.Add(node.Path, next);
            }
        }

        return pairs;
    }

    private static ModuleNode? Next(IReadOnlyList<ModuleNode> nodes, ModuleNode convolution)
    {
        var siblings = nodes.Where(node => node.Parent == convolution.Parent).ToList();
        return convolution.Parent is Sequential
            ? siblings.ElementAtOrDefault(siblings.IndexOf(convolution) + 1)
            : siblings.Find(node => node != convolution && node.Name == convolution.Name.Replace("conv", "bn", StringComparison.OrdinalIgnoreCase));
    }

    private static bool Fits(ModuleNode convolution, ModuleNode norm) =>
        norm.Module is BatchNorm2d { track_running_stats: true } batchNorm && batchNorm.num_features == ((Conv2d)convolution.Module).out_channels;
}
