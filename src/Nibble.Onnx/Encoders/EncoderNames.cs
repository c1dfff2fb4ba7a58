using System.Globalization;

namespace Nibble.Onnx.Encoders;

/// <summary>What the families call their tensors, as transformers writes them.</summary>
internal sealed class EncoderNames(EncoderFamily family)
{
    private readonly string model = family.ToString().ToLowerInvariant();

    public string Embeddings => $"{model}.embeddings";

    public string Query => IsDistilBert ? "attention.q_lin" : "attention.self.query";

    public string Key => IsDistilBert ? "attention.k_lin" : "attention.self.key";

    public string Value => IsDistilBert ? "attention.v_lin" : "attention.self.value";

    public string AttentionOutput => IsDistilBert ? "attention.out_lin" : "attention.output.dense";

    public string AttentionNorm => IsDistilBert ? "sa_layer_norm" : "attention.output.LayerNorm";

    public string Up => IsDistilBert ? "ffn.lin1" : "intermediate.dense";

    public string Down => IsDistilBert ? "ffn.lin2" : "output.dense";

    public string OutputNorm => IsDistilBert ? "output_layer_norm" : "output.LayerNorm";

    /// <summary>The layer between the first token's vector and the classifier.</summary>
    public string Pooler => family switch { EncoderFamily.Bert => $"{model}.pooler.dense", EncoderFamily.Roberta => "classifier.dense", _ => "pre_classifier" };

    public string Classifier => family == EncoderFamily.Roberta ? "classifier.out_proj" : "classifier";

    private bool IsDistilBert => family == EncoderFamily.DistilBert;

    public string Layer(int index) => string.Create(CultureInfo.InvariantCulture, $"{model}.{(IsDistilBert ? "transformer" : "encoder")}.layer.{index}");

    /// <summary>Tables of consecutive numbers that older versions of transformers wrote.</summary>
    public static bool IsBuffer(string name) =>
        name.EndsWith(".embeddings.position_ids", StringComparison.Ordinal) || name.EndsWith(".embeddings.token_type_ids", StringComparison.Ordinal);
}
