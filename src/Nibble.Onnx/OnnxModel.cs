using System.Reflection;

namespace Nibble.Onnx;

/// <summary>What all models that Nibble writes have in common.</summary>
internal static class OnnxModel
{
    /// <summary>The version written into models.</summary>
    public static string Version { get; } = typeof(OnnxModel).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion
        .Split('+')[0];
}
