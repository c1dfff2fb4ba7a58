using Nibble.Files;
using Nibble.Models.Decoders;
using Nibble.Formats.Gguf;
using Nibble.Torch.Layers;
using Nibble.Torch.Models;
using Nibble.Torch.Native;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace Nibble.Torch.Evaluation;

/// <summary>Runs a model with the additional rounding of llama.cpp, to see how much of a difference it explains.</summary>
/// <remarks>
/// llama.cpp rounds the inputs of a matrix to a type that depends on the matrix's own type, and keeps keys and values in binary16 (ggml-org/llama.cpp,
/// <c>ggml-cpu.c</c>: <c>vec_dot_type</c>; <c>llama_context_default_params</c>). A file can also hold float matrices in a narrower type than the model.
/// </remarks>
internal sealed class EngineRounding
{
    private readonly IDecoder model;
    private readonly Dictionary<QuantizableLinear, GgufType> layers = [];
    private readonly GgufType head;
    private readonly List<(Parameter Parameter, ScalarType Type)> narrowed = [];

    /// <summary>Determines from a file how llama.cpp rounds.</summary>
    /// <param name="model">The model that the file holds. It is changed only while <see cref="Run"/> works.</param>
    /// <param name="path">The GGUF file.</param>
    /// <exception cref="NibbleException">The file is not valid.</exception>
    public EngineRounding(IDecoder model, string path)
    {
        ArgumentNullException.ThrowIfNull(model);
        this.model = model;
        using var file = GgufFile.Open(path);
        var types = GgufNames.Of((DecoderConfig)model.Definition)
            .ToDictionary(tensor => tensor.Source, tensor => file.FindTensor(tensor.Name)?.Type ?? GgufType.F32, StringComparer.Ordinal);
        head = types[DecoderConfig.EmbeddingName];
        Narrow(model.Embedding, head);
        foreach (var (name, layer) in model.Linears())
        {
            var type = layers[layer] = types[name + ".weight"];
            if (layer.WeightQuantizer is null)
            {
                Narrow(layer.Weight, type);
            }
        }
    }

    /// <summary>
    /// Whether every matrix is float32. Then only keys and values are rounded, and the result hardly depends on the last bits of the values before rounding.
    /// </summary>
    public bool IsExact => head == GgufType.F32 && layers.Values.All(type => type == GgufType.F32);

    /// <summary>Runs the model. Inputs are rounded as in llama.cpp and not as in the artifact, because llama.cpp ignores an artifact's input
    /// quantization.</summary>
    /// <param name="forward">Runs the model.</param>
    /// <returns>The result of <paramref name="forward"/>.</returns>
    public Tensor Run(Func<Tensor> forward)
    {
        ArgumentNullException.ThrowIfNull(forward);
        var inputs = model.Linears().Select(item => (Layer: item.Value, item.Value.InputQuantizer)).ToList();
        var caches = model.Blocks.OfType<IKeyValueBlock>().Select(block => (Attention: block, block.KeyQuantizer, block.ValueQuantizer)).ToList();
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var originals = narrowed.ConvertAll(item => item.Parameter.clone());
        try
        {
            narrowed.ForEach(item => item.Parameter.copy_(item.Parameter.to(item.Type)));
            model.TiedHeadInput = Rounding(head);
            foreach (var (layer, _) in inputs)
            {
                layer.InputQuantizer = Rounding(layers[layer]);
            }

            foreach (var (attention, _, _) in caches)
            {
                (attention.KeyQuantizer, attention.ValueQuantizer) = (new Narrowing(float16), new Narrowing(float16));
            }

            return forward().MoveToOuterDisposeScope();
        }
        finally
        {
            model.TiedHeadInput = null;
            inputs.ForEach(item => item.Layer.InputQuantizer = item.InputQuantizer);
            caches.ForEach(item => (item.Attention.KeyQuantizer, item.Attention.ValueQuantizer) = (item.KeyQuantizer, item.ValueQuantizer));
            for (var i = 0; i < narrowed.Count; i++)
            {
                narrowed[i].Parameter.copy_(originals[i]);
            }
        }
    }

    /// <summary>Records a float tensor that the file holds in a narrower type, if that changes its values.</summary>
    private void Narrow(Parameter parameter, GgufType type)
    {
        ScalarType? narrow = type switch { GgufType.F16 => float16, GgufType.BF16 => bfloat16, _ => null };
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        if (narrow is { } stored && !parameter.to(stored).to(float32).eq(parameter).all().item<bool>())
        {
            narrowed.Add((parameter, stored));
        }
    }

    /// <summary>How the inputs of a matrix of a given type are rounded.</summary>
    private static ITensorQuantizer? Rounding(GgufType type) => type switch
    {
        GgufType.F32 => null,
        GgufType.F16 => new Narrowing(float16),
        GgufType.BF16 => new Narrowing(bfloat16),
        GgufType.Q8_0 or GgufType.Q4_0 or GgufType.Q4_1 or GgufType.Q5_0 or GgufType.Q5_1 or GgufType.MXFP4 => new BlockRounding(32, narrowScale: true),
        _ => new BlockRounding(256, narrowScale: false),
    };

    /// <summary>Rounds to a narrower float type.</summary>
    private sealed class Narrowing(ScalarType type) : ITensorQuantizer
    {
        public Tensor Apply(Tensor tensor)
        {
            using var scope = NewDisposeScope();
            return tensor.to(type).to(float32).MoveToOuterDisposeScope();
        }
    }

    /// <summary>Rounds to 8-bit codes in blocks: ggml's <c>Q8_0</c>, which has a binary16 scale, and <c>Q8_K</c>.</summary>
    private sealed class BlockRounding(int size, bool narrowScale) : ITensorQuantizer
    {
        private const float Largest = 127;

        public Tensor Apply(Tensor tensor)
        {
            using var scope = NewDisposeScope();
            var blocks = tensor.reshape(-1, size);
            var scale = blocks.abs().amax([1], keepdim: true).DividedBy(Largest);
            var codes = (blocks / scale.ClampMin(float.Epsilon)).round();
            return (codes * (narrowScale ? scale.to(float16).to(float32) : scale)).view(tensor.shape).MoveToOuterDisposeScope();
        }
    }
}
