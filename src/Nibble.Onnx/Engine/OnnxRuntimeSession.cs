using Microsoft.ML.OnnxRuntime;

namespace Nibble.Onnx.Engine;

/// <summary>Loads files into ONNX Runtime on the CPU.</summary>
internal static class OnnxRuntimeSession
{
    /// <summary>Loads a file.</summary>
    /// <param name="path">The ONNX file. Its tensor file, if any, must be next to it.</param>
    /// <param name="threads">The number of threads per node, limited to the number of processors.</param>
    /// <exception cref="NibbleException">The file is missing or is rejected by ONNX Runtime.</exception>
    /// <exception cref="NativeLibraryException">ONNX Runtime itself cannot be loaded.</exception>
    public static InferenceSession Open(string path, int threads) => Open(path, threads, settings => new InferenceSession(path, settings));

    /// <summary>Loads a file with the codes of its layers' inputs as additional outputs.</summary>
    /// <inheritdoc cref="Open(string, int)"/>
    public static (InferenceSession Session, InputProbe Probe) OpenProbed(string path, int threads)
    {
        InputProbe? probe = null;
        var session = Open(path, threads, settings =>
        {
            settings.AddSessionConfigEntry("session.model_external_initializers_file_folder_path", Path.GetDirectoryName(Path.GetFullPath(path))!);
            (probe, var model) = InputProbe.Of(path);
            return new InferenceSession(model, settings);
        });
        return (session, probe!);
    }

    /// <summary>Loads a file with settings of its own.</summary>
    /// <param name="path">The ONNX file.</param>
    /// <param name="name">What messages call the file.</param>
    /// <param name="threads">The number of threads per node, limited to the number of processors.</param>
    /// <param name="settings">Changes the settings.</param>
    /// <param name="isDefault">Whether products of bytes are computed as in a session without settings, saturation included.</param>
    public static InferenceSession Open(string path, string name, int threads, Action<SessionOptions> settings, bool isDefault = false) => Open(
        path,
        threads,
        options =>
        {
            settings(options);
            return new InferenceSession(path, options);
        },
        name,
        isDefault);

    private static InferenceSession Open(
        string path, int threads, Func<SessionOptions, InferenceSession> create, string? name = null, bool isDefault = false)
    {
        ArgumentNullException.ThrowIfNull(path);
        if (!File.Exists(path))
        {
            throw new NibbleException($"There is no file {path}.");
        }

        using var settings = Settings();
        settings.IntraOpNumThreads = ThreadLimit.Cap(threads);

        // Spinning threads are no faster here on an idle machine. On a busy one, they block the threads that they wait for.
        settings.AddSessionConfigEntry("session.intra_op.allow_spinning", "0");
        settings.AddSessionConfigEntry("session.inter_op.allow_spinning", "0");
        settings.LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL;

        // Products of unsigned and signed bytes saturate on processors with AVX2 but without VNNI unless this is set. Nibble's own files have unsigned
        // bytes on both sides, which never saturate.
        if (!isDefault)
        {
            settings.AddSessionConfigEntry("session.x64quantprecision", "1");
        }

        try
        {
            return create(settings);
        }
        catch (OnnxRuntimeException exception)
        {
            throw new NibbleException($"{name ?? path}: ONNX Runtime {OnnxRuntimeDecoder.EngineVersion} refuses the file: {exception.Message}", exception);
        }
    }

    /// <summary>Creates the session options. This is the first use of ONNX Runtime in a process, which loads its library.</summary>
    private static SessionOptions Settings()
    {
        try
        {
            // ONNX Runtime's builds send data about the program, the machine and the models to Microsoft. The variable also prevents the first event,
            // which names the program, from being queued in the user's cache.
            NativeEnvironment.SetDefault("ORT_DISABLE_TELEMETRY", "1");
            OrtEnv.Instance().DisableTelemetryEvents();
            return new SessionOptions();
        }
        catch (Exception exception) when (
            exception is TypeInitializationException or DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            var cause = exception is TypeInitializationException { InnerException: { } inner } ? inner : exception;
            throw new NativeLibraryException(
                $"ONNX Runtime's native library cannot be loaded: {cause.Message.Trim()} Reference the package Microsoft.ML.OnnxRuntime in the "
                + $"application.", exception);
        }
    }
}
