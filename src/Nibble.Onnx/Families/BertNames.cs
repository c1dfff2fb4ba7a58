using Nibble.Models.Bert;

namespace Nibble.Onnx.Families;

/// <summary>The tensor names of the families, as transformers writes them.</summary>
internal sealed class BertNames(BertConfig config)
{
    private readonly string model = config.ModelType;

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
    public string Pooler => config.IsRoberta ? "classifier.dense" : IsDistilBert ? "pre_classifier" : $"{model}.pooler.dense";

    public string Classifier => config.IsRoberta ? "classifier.out_proj" : "classifier";

    private bool IsDistilBert => config.IsDistilBert;

    public string Layer(int index) => config.BlockPrefix(index).TrimEnd('.');
}
