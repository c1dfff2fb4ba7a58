using Nibble.Models;
using System.Text.Json.Nodes;
using Nibble.Models.Bert;

namespace Nibble.Tests.Models.Bert;

public sealed class BertConfigTests
{
    private const string Bert = """
        {"model_type":"bert","vocab_size":100,"hidden_size":32,"intermediate_size":64,"num_hidden_layers":3,"num_attention_heads":4}
        """;

    private const string DistilBert = """
        {"model_type":"distilbert","vocab_size":100,"dim":32,"hidden_dim":64,"n_layers":3,"n_heads":4}
        """;

    private static readonly BertConfig Smallest = new()
    {
        ModelType = "bert",
        VocabularySize = 100,
        HiddenSize = 32,
        IntermediateSize = 64,
        Layers = 3,
        Heads = 4,
        MaxPositions = 512,
        TokenTypes = 2,
        Labels = 2,
        PaddingId = 0,
    };

    [Fact]
    public void ParseFillsInWhatIsAbsent()
    {
        Assert.Equal(Smallest, Parse(Bert));
        Assert.Equal(Smallest with { ModelType = "roberta", PaddingId = 1 }, Parse(Bert, ("model_type", "\"roberta\"")));
        Assert.Equal(Smallest with { ModelType = "distilbert", TokenTypes = 0, ClassifierDropout = 0.2 }, Parse(DistilBert));
    }

    [Fact]
    public void ParseReadsEverything()
    {
        Assert.Equal(
            Smallest with
            {
                MaxPositions = 77,
                TokenTypes = 1,
                Labels = 3,
                PaddingId = 5,
                NormEpsilon = 1e-5,
                HiddenDropout = 0.3,
                AttentionDropout = 0,
                ClassifierDropout = 0.4,
                InitializerRange = 0.1
            },
            Parse(
                Bert,
                ("max_position_embeddings", "77"), ("type_vocab_size", "1"), ("id2label", """{"0":"a","1":"b","2":"c"}"""), ("pad_token_id", "5"), ("layer_norm_eps", "1e-5"),
                ("hidden_dropout_prob", "0.3"), ("attention_probs_dropout_prob", "0"), ("classifier_dropout", "0.4"), ("initializer_range", "0.1"),
                ("hidden_act", "\"gelu\""), ("position_embedding_type", "\"absolute\""), ("problem_type", "\"single_label_classification\""),
                ("is_decoder", "false")));
        Assert.Equal(
            Smallest with
            {
                ModelType = "distilbert",
                TokenTypes = 0,
                MaxPositions = 77,
                Labels = 5,
                HiddenDropout = 0.3,
                AttentionDropout = 0.2,
                ClassifierDropout = 0
            },
            Parse(DistilBert, ("max_position_embeddings", "77"), ("num_labels", "5"), ("dropout", "0.3"), ("attention_dropout", "0.2"),
                ("seq_classif_dropout", "0"), ("activation", "\"gelu\"")));
    }

    [Fact]
    public void ClassifierDropoutIsTheHiddenOneWhereItIsNotGiven() =>
        Assert.Equal(0.3, Parse(Bert, ("hidden_dropout_prob", "0.3"), ("classifier_dropout", "null")).ClassifierDropout);

    [Fact]
    public void MaxSequenceLeavesOutThePositionsThatRobertaKeepsForPadding()
    {
        Assert.Equal(512, Parse(Bert).MaxSequence);
        Assert.Equal(512, Parse(Bert, ("model_type", "\"roberta\""), ("max_position_embeddings", "514")).MaxSequence);
    }

    [Theory]
    [InlineData("model_type", "\"albert\"", "model_type is 'albert', which is not a supported encoder; supported: bert, roberta, distilbert")]
    [InlineData("hidden_act", "\"gelu_new\"", "hidden_act is 'gelu_new', expected 'gelu'")]
    [InlineData("position_embedding_type", "\"relative_key\"", "position_embedding_type is 'relative_key', expected 'absolute'")]
    [InlineData("problem_type", "\"multi_label_classification\"",
        "problem_type is 'multi_label_classification', expected 'single_label_classification' or 'regression'")]
    [InlineData("nibble_task", "{\"name\":\"translation\"}",
        "the task is 'translation', expected one of language-modelling, classification, regression, embedding")]
    [InlineData("nibble_task", "{\"name\":\"language-modelling\"}", "the task is language-modelling, which encoders do not support")]
    [InlineData("nibble_task", "{\"name\":\"embedding\",\"pooling\":\"last\"}", "'pooling' is \"last\", expected mean, cls, max")]
    [InlineData("is_decoder", "true", "'is_decoder' is true, expected an encoder")]
    [InlineData("hidden_size", "0", "'hidden_size' is 0, expected a positive integer of at most 2^24")]
    [InlineData("hidden_size", "30", "a hidden size of 30 and 4 attention heads; expected the heads to divide the hidden size")]
    [InlineData("num_hidden_layers", "null", "'num_hidden_layers' is missing")]
    [InlineData("id2label", "[1,2]", "'id2label' is [1,2], expected an object of class names")]
    [InlineData("id2label", "{}", "id2label is empty")]
    [InlineData("pad_token_id", "-1", "'pad_token_id' is -1, expected the id of a token")]
    [InlineData("pad_token_id", "100", "pad_token_id is 100 with 100 tokens")]
    [InlineData("max_position_embeddings", "1", "1 positions; expected a token of the vocabulary that leaves at least 2 positions")]
    [InlineData("layer_norm_eps", "0", "'layer_norm_eps' is 0, expected a number above 0 and at most 1")]
    [InlineData("hidden_dropout_prob", "1", "'hidden_dropout_prob' is 1, expected a share of at least 0 and less than 1")]
    [InlineData("initializer_range", "-1", "'initializer_range' is -1")]
    public void ParseSaysWhatIsWrong(string key, string json, string complaint)
    {
        var message = Assert.Throws<NibbleException>(() => Parse(Bert, (key, json))).Message;
        Assert.StartsWith("model/config.json: ", message, StringComparison.Ordinal);
        Assert.Contains(complaint, message, StringComparison.Ordinal);
    }

    [Fact]
    public void ParseRefusesAnotherActivationOfDistilBert() => Assert.Contains(
        "activation is 'relu', expected 'gelu'",
        Assert.Throws<NibbleException>(() => Parse(DistilBert, ("activation", "\"relu\""))).Message,
        StringComparison.Ordinal);

    private static BertConfig Parse(string smallest, params (string Key, string Json)[] changes)
    {
        var root = JsonNode.Parse(smallest)!;
        foreach (var (key, json) in changes)
        {
            root[key] = JsonNode.Parse(json);
        }

        return BertConfig.Parse(root.ToJsonString(), "model/config.json");
    }

    [Theory]
    [InlineData("", ModelTask.Classification, 2)]
    [InlineData(""","architectures":["BertForSequenceClassification"],"id2label":{"0":"a","1":"b","2":"c"}""", ModelTask.Classification, 3)]
    [InlineData(""","architectures":["BertForSequenceClassification"],"problem_type":"regression" """, ModelTask.Regression, 1)]
    [InlineData(""","architectures":["BertForSequenceClassification"],"id2label":{"0":"score"}""", ModelTask.Regression, 1)]
    [InlineData(""","architectures":["BertModel"]""", null, 0)]
    [InlineData(""","architectures":["BertForMaskedLM"]""", null, 0)]
    [InlineData(""","architectures":["BertModel"],"nibble_task":{"name":"embedding","pooling":"cls","normalize":true}""", ModelTask.Embedding, 0)]
    [InlineData(""","architectures":["BertModel"],"nibble_task":{"name":"classification"},"id2label":{"0":"no","1":"yes"}""", ModelTask.Classification, 2)]
    public void ParseTellsWhatTheHeadIsFor(string further, ModelTask? task, int labels)
    {
        var config = BertConfig.Parse(Bert.Insert(Bert.LastIndexOf('}'), further), "config.json");
        Assert.Equal((task, labels), (config.Task, config.Labels));
        Assert.Equal(labels > 0, config.HeadTensors.Count > 0);
        Assert.Equal(further.Contains("cls", StringComparison.Ordinal) ? (Pooling.FirstToken, true) : (Pooling.Mean, false),
            (config.Pooling, config.Normalizes));
    }
}
