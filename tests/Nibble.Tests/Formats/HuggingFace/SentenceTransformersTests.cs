using Nibble.Tests.Files;
using Nibble.Formats.HuggingFace;
using Nibble.Models;

namespace Nibble.Tests.Formats.HuggingFace;

public sealed class SentenceTransformersTests : IDisposable
{
    private const string Config = """
        {"model_type":"bert","vocab_size":8,"hidden_size":4,"intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":1,"max_position_embeddings":8}
        """;

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ReadFindsNothingWhereThereIsNothing() => Assert.Null(SentenceTransformers.Read(folder.Path));

    // The files of sentence-transformers/all-MiniLM-L6-v2, which has further keys.
    [Fact]
    public void ReadTakesWhatTheFilesSay()
    {
        Write(
            """
            [{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
             {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
             {"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]
            """,
            """{"word_embedding_dimension":384,"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false,"pooling_mode_mean_sqrt_len_tokens":false}""");

        Assert.Equal(new TaskConfig(ModelTask.Embedding) { Pooling = Pooling.FirstToken, Normalizes = true }, SentenceTransformers.Read(folder.Path));
    }

    [Theory]
    [InlineData(Pooling.Mean, true)]
    [InlineData(Pooling.FirstToken, false)]
    [InlineData(Pooling.Max, true)]
    public void WriteIsReadBack(Pooling pooling, bool normalizes)
    {
        var task = new TaskConfig(ModelTask.Embedding) { Pooling = pooling, Normalizes = normalizes };
        SentenceTransformers.Write(folder.Path, task.AddTo(Config));

        Assert.Equal(task, SentenceTransformers.Read(folder.Path));
    }

    [Fact]
    public void WriteWritesNothingBesideAnotherTask()
    {
        SentenceTransformers.Write(folder.Path, Config);

        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    [Theory]
    [InlineData("{}", null, "expected a list of modules")]
    [InlineData("[1]", null, "expected a list of modules")]
    [InlineData("[{}]", null, "expected a list of modules")]
    [InlineData("""[{"type":null,"path":""}]""", null, "expected a list of modules")]
    [InlineData("""[{"type":"x.Pooling","path":null}]""", null, "expected a list of modules")]
    [InlineData("""[{"type":"x.Dense","path":"2_Dense"}]""", null, "'x.Dense' is not supported")]
    [InlineData("""[{"type":"x.Pooling","path":"../1_Pooling"}]""", null, "leads out of the folder")]
    [InlineData("""[{"type":"x.Pooling","path":"1_Pooling"}]""", "[]", "1_Pooling/config.json: expected a JSON object")]
    [InlineData("""[{"type":"x.Pooling","path":"1_Pooling"}]""", "{", "1_Pooling/config.json: expected a JSON object")]
    [InlineData("""[{"type":"x.Pooling","path":"1_Pooling"}]""", "{}", "found no pooling mode")]
    [InlineData("""[{"type":"x.Pooling","path":"1_Pooling"}]""", """{"pooling_mode_weightedmean_tokens":true}""", "found pooling_mode_weightedmean_tokens, expected one of")]
    [InlineData("""[{"type":"x.Pooling","path":"1_Pooling"}]""", """{"pooling_mode_mean_tokens":true,"pooling_mode_max_tokens":true}""", "pooling_mode_mean_tokens and pooling_mode_max_tokens")]
    public void ReadRefusesWhatItCannotTake(string modules, string? pooling, string reason)
    {
        Write(modules, pooling);

        Assert.Contains(reason, Assert.Throws<NibbleException>(() => SentenceTransformers.Read(folder.Path)).Message, StringComparison.Ordinal);
    }

    private void Write(string modules, string? pooling)
    {
        File.WriteAllText(System.IO.Path.Combine(folder.Path, "modules.json"), modules);
        if (pooling is not null)
        {
            Directory.CreateDirectory(System.IO.Path.Combine(folder.Path, "1_Pooling"));
            File.WriteAllText(System.IO.Path.Combine(folder.Path, "1_Pooling", "config.json"), pooling);
        }
    }
}
