using Nibble.Models.Decoders;
using Nibble.Torch.Layers;
using Nibble.Torch.Native;
using static TorchSharp.torch;

namespace Nibble.Torch.Models.Decoders;

/// <summary>
/// Rotates a model's hidden values with orthogonal matrices that spread outliers. The model's output does not change (QuaRot, Ashkboos et al. 2024).
/// </summary>
/// <remarks>
/// <para>The residual stream is rotated by <c>Q = D H</c>, where D holds random signs drawn with the seed and H is the matrix of
/// <see cref="HadamardTransform"/> (section 4, stage 1a). RMSNorm without its weight g commutes with Q. Therefore g moves into the linear layers that read
/// the norm, which become <c>W diag(g) Q</c>. Layers that write to the stream become <c>Q^T W</c>, with biases <c>b Q</c>. The norm's weight becomes 1.</para>
/// <para>The values of each head are rotated by H: the rows of the value projection, and the columns of the output projection for every query head that
/// shares them (stage 1c). The down projection reads its input through an online H, and its columns are rotated in the same way (stage 1b).</para>
/// <para>The head absorbs the final norm's weight, but the embedding does not. They can therefore no longer share one matrix (<see cref="TiedHead"/>). The
/// artifact of a model with a tied head grows by that matrix.</para>
/// <para>The rotation works tensor by tensor in float64, so that only one block has to be in memory.</para>
/// </remarks>
internal sealed class DecoderRotation : IModelRotation
{
    private readonly HadamardTransform residual;
    private readonly HadamardTransform head;
    private readonly HadamardTransform down;
    private readonly Tensor signs;
    private readonly DecoderConfig config;

    /// <summary>Creates the rotation for a model's shape.</summary>
    /// <param name="config">The shape.</param>
    /// <param name="seed">The seed of the random signs.</param>
    public DecoderRotation(DecoderConfig config, long seed)
    {
        this.config = config;
        residual = new HadamardTransform(config.HiddenSize);
        head = new HadamardTransform(config.HeadSize);
        down = new HadamardTransform(config.IntermediateSize);
        var random = SeededRandom.Create(seed);
        var drawn = new double[config.HiddenSize];
        for (var i = 0; i < drawn.Length; i++)
        {
            drawn[i] = random.Next(2) == 0 ? 1 : -1;
        }

        signs = tensor(drawn).DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public void TurnBlock(IQuantizableBlock block, Func<string, bool> isQuantized) => Apply((DecoderBlock)block, online: isQuantized("mlp.down_proj"));

    /// <inheritdoc/>
    public void TurnHead(IQuantizableBlock head)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        var (norm, linear) = (((DecoderHead)head).Norm, ((DecoderHead)head).Linear);
        linear.Weight.copy_(RotateHead(linear.Weight, norm.Factors));
        norm.Weight.Fill(1 - norm.Offset);
    }

    /// <inheritdoc/>
    public Tensor TurnOuter(string tensor, Tensor rows, Func<string, Tensor> read) => tensor switch
    {
        DecoderConfig.NormName => config.NormsAddOne ? zeros_like(rows) : ones_like(rows),
        DecoderConfig.EmbeddingName => RotateEmbedding(rows),
        _ => RotateHead(rows, config.NormsAddOne ? read(DecoderConfig.NormName).Plus(1) : read(DecoderConfig.NormName)),
    };

    /// <summary>Rotates the embedding that writes into the residual stream: <c>E Q</c>.</summary>
    /// <param name="embedding">[vocabulary, hidden].</param>
    public Tensor RotateEmbedding(Tensor embedding)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        return Turn(embedding).MoveToOuterDisposeScope();
    }

    /// <summary>Rotates the head: <c>W diag(g) Q</c>. Afterwards the factors of the final norm are 1.</summary>
    /// <param name="weight">The head, [vocabulary, hidden]. For a tied head, this is the embedding before its rotation.</param>
    /// <param name="finalNorm">The factors g of the final norm, [hidden].</param>
    public Tensor RotateHead(Tensor weight, Tensor finalNorm)
    {
        using var guard = no_grad();
        using var scope = NewDisposeScope();
        return TurnReader(weight, finalNorm).MoveToOuterDisposeScope();
    }

    /// <summary>Rotates a block in place.</summary>
    /// <param name="block">A float block of the configuration.</param>
    /// <param name="online">
    /// Whether the down projection reads its input through an online transform. This must be false if that layer stays float, because an artifact stores the
    /// transform together with the quantized layer.
    /// </param>
    public void Apply(DecoderBlock block, bool online)
    {
        using var guard = no_grad();
        using var pause = CollectorPause.Begin();
        using var scope = NewDisposeScope();
        var attention = block.Attention;
        TurnInputs(block.InputNorm!, attention.Inputs);
        TurnInputs(block.FeedForwardNorm!, block.FeedForward.Inputs);
        TurnOutput(attention.Output);
        TurnOutput(block.FeedForward.Down);
        TurnValues(attention.Value, attention.Output);
        if (online)
        {
            var projection = block.FeedForward.Down;
            Set(projection.Weight, down.Apply(projection.Weight.to(float64)));
            projection.InputTransform = new HadamardTransform(config.IntermediateSize);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        residual.Dispose();
        head.Dispose();
        down.Dispose();
        signs.Dispose();
    }

    private static void Set(Tensor parameter, Tensor value) => parameter.copy_(value);

    /// <summary>The product of rows and Q.</summary>
    private Tensor Turn(Tensor rows) => residual.Apply(rows.to(float64) * signs.to(rows.device)).to(float32);

    /// <summary>W diag(g) Q.</summary>
    private Tensor TurnReader(Tensor weight, Tensor norm) => Turn(weight.to(float64) * norm.to(float64));

    private void TurnInputs(RmsNorm norm, IEnumerable<KeyValuePair<string, QuantizableLinear>> readers)
    {
        foreach (var (_, reader) in readers)
        {
            Set(reader.Weight, TurnReader(reader.Weight, norm.Factors));
        }

        norm.Weight.Fill(1 - norm.Offset);
    }

    private void TurnOutput(QuantizableLinear writer)
    {
        Set(writer.Weight, Turn(writer.Weight.t()).t());
        if (writer.Bias is { } bias)
        {
            Set(bias, Turn(bias));
        }
    }

    private void TurnValues(LinearRows value, QuantizableLinear output)
    {
        // The rows of a head are its channels. They are rotated as columns of the transpose, head by head.
        Set(value.Weight, Heads(value.Weight.t()).t());
        if (value.Bias is { } bias)
        {
            Set(bias, Heads(bias));
        }

        Set(output.Weight, Heads(output.Weight));
    }

    private Tensor Heads(Tensor x) => head.Apply(x.to(float64).reshape(-1, config.HeadSize)).reshape(x.shape).to(float32);
}
