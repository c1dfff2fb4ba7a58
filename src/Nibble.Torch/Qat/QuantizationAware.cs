using System.Runtime.CompilerServices;
using Nibble.Artifacts;
using Nibble.Numerics;
using Nibble.Recipes;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Qat;

/// <summary>Quantization-aware training of any TorchSharp module in your own training loop.</summary>
/// <remarks>
/// <c>Prepare</c> replaces Linear, Conv2d and Embedding layers by fake-quantized ones. Then train <see cref="PreparedModel.Parameters"/> in the normal way.
/// <see cref="PreparedModel.Convert"/> returns the quantized model. Linear, Conv2d, BatchNorm2d and Embedding are sealed classes of TorchSharp. A field
/// declared as one of them cannot hold the replacement, so declare it as <c>nn.Module&lt;Tensor, Tensor&gt;</c>.
/// </remarks>
public static class QuantizationAware
{
    // The finalizer of a module disposes its tensors, which its replacement still uses. So both are kept alive equally long.
    private static readonly ConditionalWeakTable<nn.Module, nn.Module> Replaced = [];

    /// <summary>Replaces the layers that a recipe has a rule for by fake-quantized ones that share their parameters.</summary>
    /// <remarks>
    /// The names of parameters and buffers do not change. The parameters are the same objects, so an optimizer that was created before still works. It does not
    /// train learned scales, for which you need <see cref="PreparedModel.ScaleParameters"/> too. Layers that already are <see cref="IQuantizableLayer"/> are
    /// used as they are. The <c>padding_idx</c> and <c>max_norm</c> of an embedding are lost, because TorchSharp does not expose them.
    /// </remarks>
    /// <param name="module">The float module, which is changed.</param>
    /// <param name="recipe">What to do with each layer, and the estimators and the schedule (<see cref="Recipe.Qat"/>).</param>
    /// <param name="options">Initial values and what is known about the module. Default: null, all defaults.</param>
    /// <exception cref="NibbleException">
    /// The recipe matches no layer, requires something that a layer cannot do, or a layer is in a place that cannot hold its replacement.
    /// </exception>
    public static PreparedModel Prepare(nn.Module module, Recipe recipe, PrepareOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(recipe);
        options ??= new PrepareOptions();
        RequireSupported(module, recipe);
        var nodes = ModuleTree.Nodes(module);
        var layers = nodes.Where(node => IsLayer(node.Module)).ToList();
        if (!layers.Exists(layer => recipe.RuleFor(layer.Path) is not null))
        {
            throw new NibbleException(layers.Count == 0
                ? $"{module.GetType().Name} has no Linear, Conv2d or Embedding, so there is nothing to quantize"
                : recipe.Rules.FirstOrDefault(rule => layers.Exists(layer => rule.Matches(layer.Path))) is { } keeping
                ? $"the recipe '{recipe.Name}' keeps all {layers.Count} layers of {module.GetType().Name} in float, by the rule '{keeping.Pattern}'"
                : $"the recipe '{recipe.Name}' matches none of the {layers.Count} layers of {module.GetType().Name}; their names look like '{layers[0].Path}'");
        }

        TrainingModes.RequireMethods(recipe, recipe.Qat, layers.Select(layer => layer.Path));
        var chosen = layers.Where(layer => recipe.RuleFor(layer.Path) is not null).ToList();
        RequireOwnWeights(module, nodes, chosen);
        foreach (var layer in chosen.Where(
            layer => layer.Module is Conv2d or QuantizableConv2d && recipe.RuleFor(layer.Path)!.Activations?.Scheme.Granularity is PerToken))
        {
            throw new NibbleException(
                $"the recipe '{recipe.Name}' quantizes the input of the convolution '{layer.Path}' per token, but images have no tokens. Use a static scheme "
                + $"per tensor, for example w8a8-static");
        }

        var norms = BatchNormPairs.Find(nodes, chosen.Where(layer => layer.Module is Conv2d).Select(layer => layer.Path).ToHashSet(), options);
        var replacements = new List<(ModuleNode Node, nn.Module Module)>();
        foreach (var layer in chosen.Where(layer => layer.Module is not IQuantizableLayer))
        {
            var twin = Twin(layer.Module);
            if (norms.TryGetValue(layer.Path, out var norm))
            {
                var folded = new FoldedBatchNorm((BatchNorm2d)norm.Module, norm.Path, layer.Path);
                ((QuantizableConv2d)twin).BatchNorm = folded;
                replacements.Add((norm, folded));
            }

            replacements.Add((layer, twin));
        }

        Replace(replacements);
        var twins = replacements.ToDictionary(replacement => replacement.Node.Path, replacement => replacement.Module);
        return new PreparedModel(
            module,
            chosen.Select(layer => KeyValuePair.Create(layer.Path, (IQuantizableLayer)twins.GetValueOrDefault(layer.Path, layer.Module))),
            recipe,
            recipe.Qat,
            options)
        {
            BatchNorms = norms.ToDictionary(pair => pair.Key, pair => pair.Value.Path),
            Summary = Summarize(layers, recipe, Method.Qat),
        };
    }

    /// <summary>Summarizes what a recipe does with the layers of a module.</summary>
    internal static RunSummary Summarize(IEnumerable<ModuleNode> layers, Recipe recipe, Method method) => RunSummary.Of(
        recipe,
        new RunFacts(method, [.. layers.Select(layer =>
        {
            var weight = layer.Module switch
            {
                Linear linear => linear.weight!,
                Conv2d convolution => convolution.weight!,
                Embedding embedding => embedding.weight!,
                _ => ((IQuantizableLayer)layer.Module).Weight,
            };
            return new ModelLayer(layer.Path, (int)weight.shape[0], (int)(weight.numel() / weight.shape[0]))
            {
                HasInput = layer.Module is not (Embedding or QuantizableEmbedding),
            };
        })]));

    /// <summary>Makes a float module compute the same as a quantized model.</summary>
    /// <remarks>
    /// Layers take the values of their codes. Layers with quantized inputs become fake-quantized. Batch normalizations that were folded into convolutions
    /// become identities.
    /// </remarks>
    /// <param name="module">A module of the same class as the one that was converted. It is changed, and its own values do not matter.</param>
    /// <param name="model">The result of <see cref="PreparedModel.Convert"/>, directly or read back from disk.</param>
    /// <exception cref="NibbleException">The model's tensors do not match those of the module.</exception>
    public static void Load(nn.Module module, QuantizedModel model)
    {
        ArgumentNullException.ThrowIfNull(module);
        ArgumentNullException.ThrowIfNull(model);
        ModuleConversion.Load(module, model);
    }

    /// <summary>Creates a quantizable layer that computes the same as a float layer.</summary>
    internal static nn.Module Twin(nn.Module layer)
    {
        return layer switch
        {
            Linear linear => new QuantizableLinear(linear.weight!, linear.bias),
            Conv2d convolution => new QuantizableConv2d(convolution),
            Embedding embedding => new QuantizableEmbedding(embedding.weight!),
            _ => throw new ArgumentException($"A {layer.GetType().Name} has no fake-quantized counterpart.", nameof(layer)),
        };
    }

    /// <summary>Replaces modules and copies their training or evaluation mode.</summary>
    internal static void Replace(IReadOnlyList<(ModuleNode Node, nn.Module Module)> replacements)
    {
        ModuleTree.Replace(replacements);
        foreach (var (node, module) in replacements)
        {
            module.train(node.Module.training);

            Replaced.Add(module, node.Module);
        }
    }

    /// <summary>Whether a module can be quantized, directly or through its replacement.</summary>
    internal static bool IsLayer(nn.Module module) => module is Linear or Conv2d or Embedding or IQuantizableLayer;

    private static void RequireSupported(nn.Module module, Recipe recipe)
    {
        if (IsLayer(module))
        {
            throw new NibbleException(
                $"the module itself is a {module.GetType().Name}, which cannot be replaced from inside. Put it into a Sequential or a module of your own");
        }

        if (recipe.KeyValueCache is not null)
        {
            throw new NibbleException($"the recipe '{recipe.Name}' quantizes a key-value cache, which only Nibble's own decoders have");
        }

        if (recipe.Rotation != Rotation.None)
        {
            throw new NibbleException($"the recipe '{recipe.Name}' rotates the model, which only post-training quantization of Nibble's own decoders does");
        }
    }

    /// <summary>Rejects a weight that is also used elsewhere, because it would have to be quantized in one place and float in the other.</summary>
    private static void RequireOwnWeights(nn.Module module, IReadOnlyList<ModuleNode> nodes, IReadOnlyList<ModuleNode> layers)
    {
        // state_dict omits a module or parameter that it has already listed.
        var parameters = nodes
            .SelectMany(node => node.Module.named_parameters(false).Select(item => (Name: $"{node.Path}.{item.name}", Value: item.parameter)))
            .Concat(module.named_parameters(false).Select(item => (Name: item.name, Value: item.parameter)))
            .ToList();
        foreach (var layer in layers)
        {
            var weight = $"{layer.Path}.weight";
            var own = parameters.Find(parameter => parameter.Name == weight).Value;
            var others = parameters.Where(parameter => parameter.Name != weight && own is not null && IsSame(own, parameter.Value)).ToList();
            if (others.Count > 0)
            {
                throw new NibbleException(
                    $"the weight of '{layer.Path}' is also {string.Join(" and ", others.Select(parameter => $"'{parameter.Name}'"))}, so it cannot be "
                    + $"quantized separately. Keep both in float with a rule that has no weights, or give each its own weight");
            }
        }
    }

    // An Embedding returns a new object for the same tensor each time.
    private static bool IsSame(Tensor left, Tensor right) => left.Handle == right.Handle
        || (left.device_type == DeviceType.CPU && right.device_type == DeviceType.CPU && left.is_contiguous() && right.is_contiguous()
            && left.numel() > 0 && TensorMemory.Start(left) == TensorMemory.Start(right));
}
