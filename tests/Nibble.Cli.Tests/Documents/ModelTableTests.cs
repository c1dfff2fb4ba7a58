using Nibble.Models.Decoders;
using Nibble.Models.Decoders.Families;

namespace Nibble.Cli.Tests.Documents;

/// <summary>The tables of docs/reference/models.md, made from what is registered.</summary>
public sealed class ModelTableTests
{
    /// <summary>The environment variable that makes the test write the table before it compares.</summary>
    private const string Update = "NIBBLE_WRITE_TABLES";
    private const string Page = "docs/reference/models.md";
    private const string Header = "| `model_type` |";
    private const string Longer = "\"short_factor\":[1,1,1,1],\"long_factor\":[2,2,2,2],\"original_max_position_embeddings\":64";

    [Fact]
    public void FamiliesAreThoseRegistered()
    {
        string[] rows = [.. DecoderFamily.All.SelectMany(family => family.ModelTypes.Select(type => Row(family, type)))];
        if (Environment.GetEnvironmentVariable(Update) is not null)
        {
            var path = Document.Read(Page).Path;
            var lines = File.ReadAllLines(path).ToList();
            var first = lines.FindIndex(line => line.StartsWith(Header, StringComparison.Ordinal)) + 2;
            var old = lines.Skip(first).TakeWhile(line => line.StartsWith('|')).Count();
            lines.RemoveRange(first, old);
            lines.InsertRange(first, rows);
            File.WriteAllText(path, string.Join('\n', lines) + "\n");
        }

        Assert.Equal(rows, Table());
    }

    [Fact]
    public void ArchitecturesAreThoseOfTheFamilies() => Assert.Equal(
        DecoderFamily.Architectures.Order(), DecoderConfig.SupportedTypes.Select(type => GgufNames.Architecture(Config(type, "default")).Name).Distinct().Order());

    [Theory]
    [InlineData("normalizer")]
    [InlineData("pre_tokenizer")]
    [InlineData("decoder")]
    public void TypesOfTokenizerPartsAreThoseOfTheReader(string part)
    {
        using var folder = new Nibble.Torch.Tests.Shared.TemporaryFolder();
        Directory.CreateDirectory(folder.File("model"));
        var json = System.Text.Json.Nodes.JsonNode.Parse(Nibble.Torch.Tests.Shared.TinyLlama.ByteTokenizer(addsBos: true))!;
        json[part] = System.Text.Json.Nodes.JsonNode.Parse("{\"type\":\"Unheard\"}");
        folder.Write("model/tokenizer.json", json.ToJsonString());
        var message = Assert.Throws<NibbleException>(() => Nibble.Formats.HuggingFace.TextTokenizer.Load(folder.File("model"))).Message;
        var expected = message[(message.LastIndexOf("expected ", StringComparison.Ordinal) + "expected ".Length)..].TrimEnd('.').Split([", ", " and ", " or "], StringSplitOptions.None);
        var row = Assert.Single(Document.Read(Page).Text.Split('\n'), line => line.StartsWith($"| `{part}` |", StringComparison.Ordinal));
        var listed = System.Text.RegularExpressions.Regex.Matches(row[(row.IndexOf('|', 2) + 1)..], "`([A-Za-z]+)`").Select(match => match.Groups[1].Value)
            .Where(name => char.IsUpper(name[0]));
        Assert.Equal(expected.Order(), listed.Order());
    }

    private static string Row(DecoderFamily family, string type)
    {
        var scalings = DecoderReader.RotaryTypes.Where(kind => GgufNames.Architecture(Config(type, kind)).FaultOf(Config(type, kind)) is null);
        return $"| `{type}` | {family.NameOf(type)} | `{GgufNames.Architecture(Config(type, "default")).Name}` | {string.Join(", ", scalings)} |";
    }

    /// <summary>A model that llama.cpp's architecture can express, but for the scaling.</summary>
    private static DecoderConfig Config(string type, string scaling)
    {
        var keys = scaling switch
        {
            "default" => """{"rope_type":"default"}""",
            "dynamic" or "linear" or "yarn" => $$"""{"rope_type":"{{scaling}}","factor":2}""",
            "llama3" => """{"rope_type":"llama3","factor":2,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64}""",
            _ => $$"""{"rope_type":"longrope",{{Longer}}}""",
        };
        var tied = type.StartsWith("gemma", StringComparison.Ordinal) ? "true" : "false";
        var scalar = type is "gemma2" or "gemma3_text" ? ",\"query_pre_attn_scalar\":8" : string.Empty;
        return DecoderConfig.Parse($$"""
            {"model_type":"{{type}}","vocab_size":100,"hidden_size":32,"intermediate_size":64,"num_hidden_layers":12,"num_attention_heads":4,
             "num_key_value_heads":2,"head_dim":8,"max_position_embeddings":128,"tie_word_embeddings":{{tied}}{{scalar}},
             "rope_scaling":{{keys}} }
            """, type);
    }

    private static string[] Table() => [.. Document.Read(Page).Text.Split('\n')
        .SkipWhile(line => !line.StartsWith(Header, StringComparison.Ordinal)).Skip(2).TakeWhile(line => line.StartsWith('|'))];
}
