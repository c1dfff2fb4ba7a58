using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Nibble.Onnx.Serving;

/// <summary>Registers exported encoders as services.</summary>
public static class ServingExtensions
{
    /// <summary>Registers a <see cref="SentenceEncoder"/> as a singleton. It is loaded when it is first needed, and the container disposes it.</summary>
    /// <param name="services">The services.</param>
    /// <param name="path">The ONNX file, as <see cref="OnnxExporter"/> writes it.</param>
    /// <param name="options">
    /// The options. If they have no logger, that of the registered <see cref="ILoggerFactory"/> is used, if any. Default: null, all defaults.
    /// </param>
    /// <returns><paramref name="services"/>.</returns>
    /// <exception cref="NibbleException">There is no such file. Other errors follow when the encoder is loaded.</exception>
    /// <exception cref="ArgumentException">An argument is null or empty.</exception>
    public static IServiceCollection AddSentenceEncoder(this IServiceCollection services, string path, EncoderOptions? options = null) =>
        Add(services, path, options, SentenceEncoder.Open);

    /// <summary>Registers a <see cref="TextClassifier"/> as a singleton. It is loaded when it is first needed, and the container disposes it.</summary>
    /// <param name="services">The services.</param>
    /// <param name="path">The ONNX file, as <see cref="OnnxExporter"/> writes it.</param>
    /// <param name="options">
    /// The options. If they have no logger, that of the registered <see cref="ILoggerFactory"/> is used, if any. Default: null, all defaults.
    /// </param>
    /// <returns><paramref name="services"/>.</returns>
    /// <exception cref="NibbleException">There is no such file. Other errors follow when the classifier is loaded.</exception>
    /// <exception cref="ArgumentException">An argument is null or empty.</exception>
    public static IServiceCollection AddTextClassifier(this IServiceCollection services, string path, EncoderOptions? options = null) =>
        Add(services, path, options, TextClassifier.Open);

    private static IServiceCollection Add<T>(IServiceCollection services, string path, EncoderOptions? options, Func<string, EncoderOptions?, T> open)
        where T : class
    {
        ArgumentNullException.ThrowIfNull(services);

        // A missing file is reported when the application starts, not at its first request.
        TextEngine.RequireFile(path);
        options ??= new EncoderOptions();
        return services.AddSingleton(provider => open(
            path, options.Logger is null ? options with { Logger = provider.GetService<ILoggerFactory>()?.CreateLogger<T>() } : options));
    }
}
