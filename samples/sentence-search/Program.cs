// Serves a quantized sentence encoder: POST /embed turns texts into vectors, and GET /search?q=TEXT finds the sentences closest in meaning.
//     dotnet run -c Release --project samples/sentence-search -- --model encoder/model.onnx
// README.md shows how to quantize the encoder. The server itself needs neither libtorch nor the float model.
using System.Numerics.Tensors;
using Nibble.Onnx.Serving;

var builder = WebApplication.CreateBuilder(args);
builder.Services.AddSentenceEncoder(
    builder.Configuration["model"] ?? "encoder/model.onnx", new EncoderOptions { MaxLength = 256 });
var app = builder.Build();

// Loads the encoder, so that a file that it cannot use stops the server here and not at the first request.
var encoder = app.Services.GetRequiredService<SentenceEncoder>();
var sentences = File.ReadAllLines(Path.Combine(AppContext.BaseDirectory, "sentences.txt"));
var embeddings = encoder.Encode(sentences);

app.MapPost("/embed", (string?[] texts, SentenceEncoder encoder, CancellationToken cancellation) =>
    Array.TrueForAll(texts, text => text is not null)
        ? Results.Ok(encoder.Encode(texts!, cancellation))
        : Results.BadRequest("Expected a JSON array of texts without null."));

app.MapGet("/search", (string q, SentenceEncoder encoder) =>
{
    var query = encoder.Encode(q);
    return sentences.Zip(embeddings, (text, embedding) => new Match(text, TensorPrimitives.CosineSimilarity<float>(query, embedding)))
        .OrderByDescending(match => match.Score).Take(3);
});

app.Run();

internal sealed record Match(string Text, float Score);
