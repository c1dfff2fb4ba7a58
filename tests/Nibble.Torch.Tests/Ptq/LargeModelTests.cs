using System.Globalization;
using System.Text;
using Nibble.Recipes;
using Nibble.Torch.Data;
using Nibble.Torch.Native;
using Nibble.Torch.Ptq;
using Nibble.Torch.Tests.Shared;
using static TorchSharp.torch;

namespace Nibble.Torch.Tests.Ptq;

/// <summary>Shapes beyond 2^31 values or bytes. The model's files are holes, which take no room.</summary>
public sealed class LargeModelTests : IDisposable
{
    private const int Hidden = 16_384;
    private const int Vocabulary = 140_000;
    private const int MaxPositions = 140_000;
    private readonly TemporaryFolder folder = new();

    public LargeModelTests() => WriteModel();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AHeadOfMoreValuesThanAnArrayIsRefusedBeforeTheWork(bool dryRun)
    {
        var recipe = RecipeFile.ParseYaml("rules: [{ pattern: '*', weights: { bits: 4 } }]", "all");
        Assert.Equal(
            "large: the weight of lm_head has 140,000 x 16,384 values, and a quantized matrix can have at most 2,147,483,591; leave it in float",
            Refused(new PtqRequest(folder.File("large"), recipe, folder.File("out")), dryRun));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WindowsOfMoreValuesThanAnArrayAreRefusedBeforeTheWork(bool dryRun)
    {
        var recipe = RecipePresets.Parse("w4a16-g32-gptq");
        recipe = recipe with { Ptq = recipe.Ptq with { SequenceLength = 131_073, Windows = 1 } };
        Assert.Equal(
            "large: windows of 131073 tokens have 2147500032 values between two blocks, but at most 2147483591 are supported. "
            + "Calibrate with windows of at most 131071 tokens",
            Refused(new PtqRequest(folder.File("large"), recipe, folder.File("out")) { Data = new TokenizedText("zeros", new int[131_073], 1) }, dryRun));
    }

    [Fact]
    public void TensorsOfMoreThanTwoGibibytesAreSpans()
    {
        // Pages that nothing was written to cost no memory.
        const int Count = (1 << 29) + 3;
        using var scope = NewDisposeScope();
        var tensor = empty(Count, float32);
        var values = TensorMemory.Floats(tensor);
        Assert.Equal(Count, values.Length);
        values[^1] = 7;
        values[0] = 5;
        Assert.Equal((5f, 7f), (tensor[0].item<float>(), tensor[Count - 1].item<float>()));
        var small = tensor.narrow(0, Count - 2, 2);
        Assert.Equal(7, TensorMemory.Floats(small)[1]);
        Assert.Equal(TensorMemory.Start(tensor), TensorMemory.Start(tensor.view(1, -1)));
        Assert.NotEqual(TensorMemory.Start(tensor), TensorMemory.Start(small));
        Assert.Equal(0, TensorMemory.Floats(empty(0)).Length);
        Assert.Throws<ArgumentException>(() => TensorMemory.Floats(ones(2, 2).t()[.., 0].expand(2, 2)));
        Assert.Throws<ArgumentException>(() => TensorMemory.Floats(ones(2, int64)));
    }

    private string Refused(PtqRequest options, bool dryRun)
    {
        var message = Assert.Throws<NibbleException>(() =>
        {
            if (dryRun)
            {
                PostTrainingQuantizer.Estimate(options, TestContext.Current.CancellationToken);
            }
            else
            {
                PostTrainingQuantizer.Run(options, null, TestContext.Current.CancellationToken);
            }
        }).Message;
        Assert.Equal(["large"], Directory.EnumerateFileSystemEntries(folder.Path).Select(Path.GetFileName));
        return message;
    }

    private void WriteModel()
    {
        var model = Directory.CreateDirectory(folder.File("large")).FullName;
        new TinyLlama().Write(folder.File("small"));
        File.Move(Path.Combine(folder.File("small"), "tokenizer.json"), Path.Combine(model, "tokenizer.json"));
        Directory.Delete(folder.File("small"), recursive: true);
        File.WriteAllText(Path.Combine(model, "config.json"), $$"""
            {"model_type":"llama","vocab_size":{{Vocabulary}},"hidden_size":{{Hidden}},"intermediate_size":8,"num_hidden_layers":1,
             "num_attention_heads":2,"num_key_value_heads":1,"head_dim":8,
             "max_position_embeddings":{{MaxPositions}},"rms_norm_eps":1e-05,"tie_word_embeddings":false,"bos_token_id":1,"eos_token_id":2}
            """);
        var header = new StringBuilder("{");
        var end = 0L;
        foreach (var (name, shape) in (ReadOnlySpan<(string, long[])>)
        [
            ("embed_tokens", [Vocabulary, Hidden]), ("norm", [Hidden]), ("layers.0.input_layernorm", [Hidden]), ("layers.0.post_attention_layernorm", [Hidden]),
            ("layers.0.self_attn.q_proj", [16, Hidden]), ("layers.0.self_attn.k_proj", [8, Hidden]), ("layers.0.self_attn.v_proj", [8, Hidden]),
            ("layers.0.self_attn.o_proj", [Hidden, 16]), ("layers.0.mlp.gate_proj", [8, Hidden]), ("layers.0.mlp.up_proj", [8, Hidden]),
            ("layers.0.mlp.down_proj", [Hidden, 8]), (string.Empty, [Vocabulary, Hidden]),
        ])
        {
            var (tensor, bytes) = (name.Length == 0 ? "lm_head.weight" : $"model.{name}.weight", shape.Aggregate(2L, (product, size) => product * size));
            header.Append(end == 0 ? string.Empty : ",").Append(
                CultureInfo.InvariantCulture,
                $$"""{{'"'}}{{tensor}}":{"dtype":"F16","shape":[{{string.Join(',', shape)}}],"data_offsets":[{{end}},{{end + bytes}}]}""");
            end += bytes;
        }

        var text = Encoding.UTF8.GetBytes(header.Append('}').ToString());
        using var file = File.Create(Path.Combine(model, "model.safetensors"));
        file.Write(BitConverter.GetBytes((long)text.Length));
        file.Write(text);
        file.SetLength(8 + text.Length + end);
    }
}
